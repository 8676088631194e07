"""What the policy is shown: the right columns, in the right units, with the time that is left."""

import numpy as np
import pytest
import torch

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import FeatureOptions, StateFeatures
from ilfo.training.policy_inputs import PolicyInputs, columns_of

EXPERT = Demonstrations((Trajectory(np.random.default_rng(0).normal(2, 3, (50, 4)).astype(np.float32)),))
STATES = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


def make(normalization="expert", columns=range(4), options=None, **others) -> PolicyInputs:
    return PolicyInputs(4, list(columns), normalization, options or FeatureOptions(), **others)


def test_by_default_they_are_the_features_that_a_reward_would_see():
    inputs = make()
    assert not inputs.fitted
    inputs.fit(EXPERT)
    assert inputs.fitted
    assert torch.equal(inputs(STATES), StateFeatures().fit(EXPERT)(STATES))


def test_raw_ones_are_left_alone():
    inputs = make("none")
    assert inputs.fitted
    assert inputs(STATES) is STATES


@pytest.mark.parametrize("columns", [[3, 1], [3, 2, 1, 0]])
def test_chosen_columns_come_in_the_order_chosen(columns):
    inputs = make(columns=columns)
    inputs.fit(EXPERT)
    assert inputs.width == len(columns)
    assert torch.equal(inputs(STATES), StateFeatures().fit(EXPERT)(STATES)[:, columns])
    assert torch.equal(make("none", columns)(STATES), STATES[:, columns])


def test_the_mixture_is_centred_on_the_random_states_and_as_wide_as_both_together():
    random = 5 + 0.1 * torch.randn(2000, 4, generator=torch.Generator().manual_seed(1))
    random[:, 3] = 1.0
    inputs = make("expert-and-random", options=FeatureOptions(std_floor=0.33, divisor=1.0))
    inputs.fit_mixture(EXPERT, [random])
    expert = np.concatenate([EXPERT[0].observations] * 40)  # as many as the others, as in the authors' code
    spread = np.concatenate([expert, random.numpy()]).std(axis=0, ddof=1)
    expected = (STATES.numpy() - random.numpy().mean(axis=0)) / np.maximum(spread, 0.33)
    np.testing.assert_allclose(inputs(STATES), expected, rtol=0.01, atol=0.01)


def test_the_floor_holds_in_the_mixture():
    still = Demonstrations((Trajectory(np.zeros((9, 4), np.float32)),))
    inputs = make("expert-and-random", options=FeatureOptions(std_floor=0.5, divisor=2.0))
    inputs.fit_mixture(still, [torch.zeros(9, 4)])
    torch.testing.assert_close(inputs(STATES), STATES)


def test_a_single_random_state_does_not_vary():
    inputs = make("expert-and-random")
    inputs.fit_mixture(EXPERT, [STATES[:1]])
    variance = EXPERT[0].observations.var(axis=0, ddof=1)
    distance = EXPERT[0].observations.mean(axis=0) - STATES[0].numpy()
    expected = (STATES - STATES[0]).numpy() / np.sqrt(variance / 2 + distance**2 / 4)
    np.testing.assert_allclose(inputs(STATES), expected, rtol=1e-4)


def test_every_seed_has_the_statistics_of_its_own_random_states():
    random = [torch.randn(100, 4, generator=torch.Generator().manual_seed(seed)) * (seed + 1) for seed in (0, 1)]
    together = make("expert-and-random", stack=(2,))
    together.fit_mixture(EXPERT, random)
    shown = together(torch.stack([STATES, STATES]))
    for member in (0, 1):
        alone = make("expert-and-random")
        alone.fit_mixture(EXPERT, [random[member]])
        assert torch.equal(shown[member], alone(STATES))
        assert torch.equal(together(STATES, member), alone(STATES))


def test_the_time_is_1_at_the_first_step_and_0_after_the_last():
    inputs = make(horizon=20, columns=[2])
    inputs.fit(EXPERT)
    seen = inputs.with_time(STATES[:3], np.array([0, 19, 20]))
    assert seen.shape == (3, 5)
    assert inputs.width == 2
    torch.testing.assert_close(inputs(seen)[:, -1], torch.tensor([1.0, 0.05, 0.0]))
    torch.testing.assert_close(inputs(seen)[:, 0], StateFeatures().fit(EXPERT)(STATES[:3])[:, 2])
    assert make().with_time(STATES, np.zeros(10)) is STATES


def test_restored_ones_show_the_same():
    first = make("expert-and-random", horizon=20, stack=(2,))
    first.fit_mixture(EXPERT, [STATES, 2 * STATES])
    second = make("expert-and-random", horizon=20, stack=(2,))
    second.load_state_dicts(first.state_dicts())
    seen = torch.randn(2, 6, 5)
    assert second.fitted
    assert torch.equal(first(seen), second(seen))


def test_keys_and_columns_are_chosen_by_name_and_number():
    blocks = {"pose": 2, "speed": 1, "touch": 3}
    assert columns_of((), (), blocks) == [0, 1, 2, 3, 4, 5]
    assert columns_of(("touch", "pose"), (), blocks) == [3, 4, 5, 0, 1]
    assert columns_of(("touch",), (5,), blocks) == [5]
    with pytest.raises(InputError, match=r"--policy-keys names 'grip'; .* pose, speed, touch"):
        columns_of(("grip",), (), blocks)
    with pytest.raises(InputError, match=r"--policy-features.dims names column 2; .* 3, 4, 5, 0, 1$"):
        columns_of(("touch", "pose"), (2,), blocks)
    with pytest.raises(InputError, match="'touch' more than once"):
        columns_of(("touch", "pose", "touch"), (), blocks)
