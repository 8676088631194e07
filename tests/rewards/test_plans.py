"""Plans: marginals, optimality, and agreement with POT."""

import itertools

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilfo.rewards import exact_plan, sinkhorn_plan

TIGHT = {"regularization": 0.1, "max_iterations": 5000, "tolerance": 1e-9}


def problem(
    n: int, m: int, batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random costs, and random masses that sum to 1."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, n, 3, dtype=dtype, generator=rng)
    y = torch.rand(batch, m, 3, dtype=dtype, generator=rng)
    a = torch.rand(batch, n, dtype=dtype, generator=rng) + 0.1
    b = torch.rand(batch, m, dtype=dtype, generator=rng) + 0.1
    return torch.cdist(x, y), a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)


@given(n=st.integers(1, 12), m=st.integers(1, 12), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_marginals_hold(n, m, seed):
    cost, a, b = problem(n, m, seed=seed)
    for plan in (exact_plan(cost[0], a[0], b[0])[None], sinkhorn_plan(cost, a, b, **TIGHT)):
        assert (plan >= 0).all()
        torch.testing.assert_close(plan.sum(dim=2), a, atol=1e-8, rtol=0)
        torch.testing.assert_close(plan.sum(dim=1), b, atol=1e-8, rtol=0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_no_assignment_of_equal_masses_is_cheaper_than_the_exact_plan(seed):
    cost = problem(4, 4, seed=seed)[0][0]
    mass = torch.full((4,), 0.25, dtype=torch.float64)
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[orders.sort(dim=1).values.eq(torch.arange(4)).all(dim=1)]
    cheapest = cost[torch.arange(4), orders].mean(dim=1).min()
    torch.testing.assert_close((exact_plan(cost, mass, mass) * cost).sum(), cheapest)


def test_sinkhorn_agrees_with_pot():
    cost, a, b = problem(20, 33, batch=3)
    ours = sinkhorn_plan(cost, a, b, **TIGHT)
    for index in range(3):
        theirs = ot.bregman.sinkhorn_log(
            a[index].numpy(), b[index].numpy(), cost[index].numpy(), 0.1, numItermax=5000, stopThr=1e-12
        )
        np.testing.assert_allclose(ours[index].numpy(), theirs, atol=1e-9)


def test_sinkhorn_nears_the_exact_plan_as_the_regularization_shrinks():
    cost, a, b = problem(15, 15)
    exact = float((exact_plan(cost[0], a[0], b[0]) * cost[0]).sum())
    excess = []
    for regularization in (0.3, 0.1, 0.03, 0.01, 0.003):
        plan = sinkhorn_plan(cost, a, b, regularization=regularization, max_iterations=50_000, tolerance=1e-8)
        excess.append(float((plan * cost).sum()) - exact)
    assert all(later < earlier for earlier, later in itertools.pairwise(excess))
    assert 0.0 <= excess[-1] < 1e-3 * exact


def test_single_precision_agrees_with_double():
    cost, a, b = problem(30, 40, batch=2)
    double = sinkhorn_plan(cost, a, b, regularization=0.02, max_iterations=5000, tolerance=1e-5)
    single = sinkhorn_plan(cost.float(), a.float(), b.float(), regularization=0.02, max_iterations=5000, tolerance=1e-5)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, atol=1e-6, rtol=1e-3)


def test_tiny_regularization_does_not_underflow():
    cost, a, b = problem(10, 10, dtype=torch.float32)
    plan = sinkhorn_plan(cost, a, b, regularization=1e-3, max_iterations=20_000, tolerance=1e-3)
    exact = exact_plan(cost[0], a[0], b[0])
    assert (-cost / 1e-3).exp().amax() < 1e-30
    torch.testing.assert_close((plan * cost).sum(), (exact * cost[0]).sum(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["exact", "entropic"])
def test_rows_and_columns_without_mass_take_no_part(kind):
    cost, a, b = problem(6, 7)
    padded = torch.full((1, 9, 8), 5.0, dtype=torch.float64)
    padded[:, :6, :7] = cost
    padded_a, padded_b = torch.nn.functional.pad(a, (0, 3)), torch.nn.functional.pad(b, (0, 1))
    if kind == "exact":
        plan, alone = exact_plan(padded[0], padded_a[0], padded_b[0]), exact_plan(cost[0], a[0], b[0])
    else:
        plan = sinkhorn_plan(padded, padded_a, padded_b, **TIGHT)[0]
        alone = sinkhorn_plan(cost, a, b, **TIGHT)[0]
    assert plan.isfinite().all()
    assert plan[6:].eq(0).all()
    assert plan[:, 7:].eq(0).all()
    torch.testing.assert_close(plan[:6, :7], alone)


def test_a_plan_does_not_depend_on_its_neighbours():
    easy, a, b = problem(8, 8, seed=1)
    hard = 10.0 * problem(8, 8, seed=2)[0]
    settings = {"regularization": 0.05, "max_iterations": 5000, "tolerance": 1e-3}
    together = sinkhorn_plan(torch.cat([easy, hard]), torch.cat([a, a]), torch.cat([b, b]), **settings)
    alone = sinkhorn_plan(easy, a, b, **settings)
    torch.testing.assert_close(together[0], alone[0], atol=1e-14, rtol=0)


def test_a_missed_tolerance_is_told():
    cost, a, b = problem(20, 20)
    with pytest.warns(RuntimeWarning, match="missed its tolerance"):
        sinkhorn_plan(cost, a, b, regularization=0.01, max_iterations=5, tolerance=1e-9)


def test_an_exact_plan_of_a_thousand_steps_is_found():
    cost, _, _ = problem(1000, 1000, dtype=torch.float32)
    mass = torch.full((1000,), 1e-3)
    plan = exact_plan(cost[0], mass, mass)
    # With equal masses an optimal plan is an assignment.
    assert int((plan > 0).sum()) == 1000
    torch.testing.assert_close(plan.sum(dim=0), mass)
