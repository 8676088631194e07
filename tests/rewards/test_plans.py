"""Plans: marginals, optimality, and agreement with POT."""

import itertools
from typing import ClassVar

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sinkhorn import padded, plain_sinkhorn, problem

from ilfo.rewards import exact_plan, sinkhorn_plan
from ilfo.rewards.row_costs import RowCosts, blocks_of
from ilfo.rewards.sinkhorn import sinkhorn_costs

TIGHT = {"regularization": 0.1, "max_iterations": 5000, "tolerance": 1e-9}


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


def test_single_precision_reaches_a_small_tolerance():
    """Over-relaxed as the rest is, the mass as a whole would stay wrong by ten times what the sums are rounded by."""
    cost, a, b = problem(1000, 1000, dtype=torch.float32)
    plan = sinkhorn_plan(cost, a, b, regularization=0.02, tolerance=3e-6)
    assert (plan.double().sum(dim=1) - b).abs().sum() < 5e-6


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


class TestThePlainPath:
    """What is fast about entropic plans changes none of them."""

    @pytest.mark.parametrize("regularization", [0.5, 0.1, 0.02])
    def test_plans_are_the_textbooks(self, regularization):
        cost, a, b = padded()
        plans = sinkhorn_plan(cost, a, b, regularization=regularization, max_iterations=5000, tolerance=1e-10)
        for index, plan in enumerate(plans):
            plain = plain_sinkhorn(cost[index], a[index], b[index], regularization, 5000)
            torch.testing.assert_close(plan, plain, atol=1e-9, rtol=0)

    def test_so_are_those_of_single_precision(self):
        cost, a, b = padded()
        plans = sinkhorn_plan(
            cost.float(), a.float(), b.float(), regularization=0.05, max_iterations=5000, tolerance=1e-5
        )
        for index, plan in enumerate(plans):
            plain = plain_sinkhorn(cost[index], a[index], b[index], 0.05, 5000)
            torch.testing.assert_close(plan.double(), plain, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("regularization", [0.1, 0.001])
    def test_the_first_iterations_are_the_textbooks_one_by_one(self, regularization):
        cost, a, b = problem(20, 30)
        for iterations in (1, 2, 7):
            with pytest.warns(RuntimeWarning, match="missed its tolerance"):
                plan = sinkhorn_plan(
                    cost, a, b, regularization=regularization, max_iterations=iterations, tolerance=1e-12
                )
            plain = plain_sinkhorn(cost[0], a[0], b[0], regularization, iterations)
            torch.testing.assert_close(plan[0], plain, atol=1e-13, rtol=1e-9)

    def test_over_relaxation_needs_fewer_iterations(self):
        cost, a, b = problem(40, 40)
        plan = sinkhorn_plan(cost, a, b, regularization=0.01, max_iterations=150, tolerance=1e-4)
        plain = plain_sinkhorn(cost[0], a[0], b[0], 0.01, 300)
        assert (plan[0].sum(dim=0) - b[0]).abs().sum() <= 1e-4
        assert (plain.sum(dim=0) - b[0]).abs().sum() > 1e-4


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-6, 1.0, 1e3, 1e6, 1e10]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=30, deadline=None)
@pytest.mark.filterwarnings("ignore:Sinkhorn missed its tolerance")
def test_whatever_the_costs_a_plan_is_finite_and_its_rows_are_right(seed, scale, dtype):
    cost, a, b = problem(9, 13, batch=2, seed=seed, dtype=dtype)
    plan = sinkhorn_plan(scale * cost, a, b, regularization=0.05, max_iterations=60, tolerance=1e-6)
    assert plan.isfinite().all()
    assert (plan >= 0).all()
    torch.testing.assert_close(plan.sum(dim=2), a, atol=0, rtol=1e-4)


def test_equal_costs_share_out_every_row_alike():
    _, a, b = problem(6, 8, batch=2)
    plan = sinkhorn_plan(torch.full((2, 6, 8), 3.0).double(), a, b, regularization=0.05)
    torch.testing.assert_close(plan, a[:, :, None] * b[:, None])


def test_masses_of_any_size_are_moved():
    cost, a, b = problem(10, 10)
    a[0, 3], b[0, 7] = 1e-18, 1e-9
    a, b = a / a.sum(), b / b.sum()
    plan = sinkhorn_plan(cost, a, b, **TIGHT)
    torch.testing.assert_close(plan[0], plain_sinkhorn(cost[0], a[0], b[0], 0.1, 5000), atol=1e-9, rtol=1e-6)
    assert plan[0, 3].sum().item() == pytest.approx(a[0, 3].item(), rel=1e-6)


def test_plans_that_are_left_behind_are_those_that_stopped_alone():
    """Problems that converge at very different iterations, of which most leave the batch before the last."""
    cost, a, b = problem(12, 12, batch=9)
    cost *= torch.linspace(0.1, 4.0, 9).double()[:, None, None]
    settings = {"regularization": 0.05, "max_iterations": 5000, "tolerance": 1e-6}
    together = sinkhorn_plan(cost, a, b, **settings)
    for index in range(9):
        one = slice(index, index + 1)
        alone = sinkhorn_plan(cost[one], a[one], b[one], **settings)
        torch.testing.assert_close(together[one], alone, atol=1e-14, rtol=1e-10)


def test_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        sinkhorn_plan(*problem(5, 6), **TIGHT)
        with pytest.raises(ValueError, match="no costs today"):
            sinkhorn_costs(unwilling, *problem(5, 6)[1:], **TIGHT)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def unwilling(problems: slice, rows: slice) -> torch.Tensor:
    raise ValueError("no costs today")


class TestCostsWithoutPlans:
    SETTINGS: ClassVar = {"regularization": 0.05, "max_iterations": 5000, "tolerance": 1e-6}

    def assert_same(self, found: RowCosts, right: RowCosts) -> None:
        torch.testing.assert_close(found.moved, right.moved, atol=1e-10, rtol=0)
        torch.testing.assert_close(found.mass, right.mass, atol=1e-12, rtol=0)
        torch.testing.assert_close(found.corner, right.corner, atol=1e-10, rtol=0)

    def test_they_are_those_of_the_plans(self):
        cost, a, b = padded()
        found = sinkhorn_costs(blocks_of(cost), a, b, **self.SETTINGS)
        plan = sinkhorn_plan(cost, a, b, **self.SETTINGS)
        self.assert_same(found, RowCosts((plan * cost).sum(2), plan.sum(2), plan[:, -1, -1]))

    def test_costs_that_are_computed_anew_come_to_the_same_in_less_memory(self):
        cost, a, b = padded()
        asked = []

        def blocks(problems: slice, rows: slice) -> torch.Tensor:
            asked.append(cost[problems, rows].shape)
            return cost[problems, rows]

        # Room for three rows of a problem.
        found = sinkhorn_costs(blocks, a, b, max_bytes=6 * 3 * 17 * 8, **self.SETTINGS)
        assert {shape for shape in asked if shape[1] != 3} == {(1, 2, 17)}
        assert (1, 3, 17) in asked
        self.assert_same(found, sinkhorn_costs(blocks_of(cost), a, b, **self.SETTINGS))
        plans = (sinkhorn_plan(cost, a, b, max_bytes=bound, **self.SETTINGS) for bound in (1, 2**32))
        torch.testing.assert_close(*plans, atol=1e-10, rtol=0)

    def test_more_problems_than_the_cache_holds_are_solved_a_few_at_a_time(self):
        cost, a, b = problem(200, 210, batch=60)
        asked = []

        def blocks(problems: slice, rows: slice) -> torch.Tensor:
            asked.append(problems)
            return cost[problems, rows]

        found = sinkhorn_costs(blocks, a, b, regularization=0.2, tolerance=1e-3)
        assert len(asked) > 1
        assert [index for each in asked for index in range(60)[each]] == list(range(60))
        plan = sinkhorn_plan(cost[55:], a[55:], b[55:], regularization=0.2, tolerance=1e-3)
        torch.testing.assert_close(found.moved[55:], (plan * cost[55:]).sum(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_entropic_plan_has_nothing_where_costs_are_infinite(dtype):
    cost, a, b = (tensor.to(dtype) for tensor in problem(20, 20, batch=2))
    far = (torch.arange(20)[:, None] - torch.arange(20)).abs() > 6
    barred = cost.masked_fill(far, torch.inf)
    options = {"regularization": 0.1, "max_iterations": 5000, "tolerance": 1e-5}
    plan = sinkhorn_plan(barred, a, b, **options)
    assert plan[:, far].eq(0).all()
    torch.testing.assert_close(plan.sum(dim=2), a, atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.sum(dim=1), b, atol=2e-5, rtol=0)
    found = sinkhorn_costs(blocks_of(barred), a, b, **options)
    torch.testing.assert_close(found.moved, (plan * cost).sum(dim=2), atol=1e-6, rtol=1e-4)
