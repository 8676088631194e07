import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilfo._tools.errors import InputError
from ilfo.statistics import bootstrap_interval, interquartile_mean, wilson_interval


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 10, 31])
def test_interquartile_mean_is_scipys_trimmed_mean(count):
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_interquartile_mean_pools_runs_and_tasks():
    values = np.arange(8.0).reshape(2, 4)
    assert interquartile_mean(values) == interquartile_mean(values.ravel()) == 3.5


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(generator.normal(3.0, 2.0, size=40), resamples=300, seed=trial)
        hits += low <= 3.0 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_bootstrap_agrees_with_the_normal_interval_of_many_values():
    values = np.random.default_rng(1).normal(size=2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    low, high = bootstrap_interval(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_depends_on_the_seed_alone():
    values = np.random.default_rng(2).normal(size=30)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_bootstrap_of_another_statistic():
    values = [0.0] * 9 + [1000.0]
    assert bootstrap_interval(values, interquartile_mean)[1] < bootstrap_interval(values)[1]


def test_bootstrap_of_one_value_is_that_value():
    assert bootstrap_interval([4.0]) is None


# Table I of Newcombe (1998), method 3.
@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_against_published_values(successes, n, expected):
    assert wilson_interval(successes, n) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_rate_and_mirrors(n, data):
    successes = data.draw(st.integers(0, n))
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: interquartile_mean([]),
        lambda: bootstrap_interval([]),
        lambda: wilson_interval(0, 0),
        lambda: wilson_interval(3, 2),
        lambda: wilson_interval(-1, 2),
    ],
)
def test_nothing_to_summarise_is_refused(call):
    with pytest.raises(InputError, match="at least"):
        call()
