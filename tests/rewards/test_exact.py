"""Exact plans of many problems, on any number of workers."""

import threading
import warnings

import pytest
import torch
from plain_sinkhorn import padded, problem

from ilfo._tools.errors import InputError
from ilfo.rewards import exact
from ilfo.rewards.exact import default_workers, exact_costs, exact_plan
from ilfo.rewards.row_costs import blocks_of
from ilfo.rewards.sinkhorn import sinkhorn_plan


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("workers", [None, 1, 2, 7])
def test_costs_are_those_of_the_plans_one_by_one(workers, dtype):
    cost, a, b = (tensor.to(dtype) for tensor in padded(batch=6))
    found = exact_costs(blocks_of(cost), a, b, workers=workers)
    assert found.moved.dtype == found.mass.dtype == found.corner.dtype == dtype
    for index in range(6):
        plan = exact_plan(cost[index].double(), a[index], b[index])
        torch.testing.assert_close(found.moved[index].double(), (plan * cost[index]).sum(1), atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(found.mass[index].double(), plan.sum(1), atol=1e-7, rtol=1e-6)
        assert found.corner[index].item() == pytest.approx(plan[-1, -1].item(), abs=1e-7)


@pytest.mark.parametrize("workers", [1, 2])
def test_problems_may_have_columns_of_their_own_number(workers):
    narrow, wide = problem(10, 4, seed=1), problem(10, 30, seed=2)
    a, columns = torch.cat([narrow[1], wide[1]]), [narrow[2][0], wide[2][0]]
    found = exact_costs(lambda problems, rows: (narrow, wide)[problems.start][0][:, rows], a, columns, workers=workers)
    for index, (cost, mass, other) in enumerate((narrow, wide)):
        alone = exact_costs(blocks_of(cost), mass, other)
        for name in ("moved", "mass", "corner"):
            assert torch.equal(getattr(found, name)[index], getattr(alone, name)[0])


def test_the_number_of_workers_changes_no_bit():
    cost, a, b = problem(40, 50, batch=9)
    one, three = (exact_costs(blocks_of(cost), a, b, workers=workers) for workers in (1, 3))
    assert torch.equal(one.moved, three.moved)
    assert torch.equal(one.mass, three.mass)
    assert torch.equal(one.corner, three.corner)


def test_costs_are_asked_for_in_order_by_the_caller_alone():
    cost, a, b = problem(5, 6, batch=30)
    asked = []

    def blocks(problems: slice, rows: slice) -> torch.Tensor:
        assert threading.current_thread() is threading.main_thread()
        asked.append(problems.start)
        return cost[problems, rows]

    exact_costs(blocks, a, b, workers=2)
    assert asked == list(range(30))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("exact-plan")]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_solver_that_stops_early_is_an_error_that_says_so(workers, monkeypatch):
    monkeypatch.setattr(exact, "MAX_PIVOTS", 1)
    cost, a, b = problem(30, 31, batch=3)
    with pytest.raises(RuntimeError, match="of a 30 x 31 problem was not found"):
        exact_costs(blocks_of(cost), a, b, workers=workers)
    with pytest.raises(RuntimeError, match="plan of a 30 x 31 problem"):
        exact_plan(cost[0], a[0], b[0])


def test_what_is_to_be_said_once_is_not_said_again_after_every_plan():
    cost, a, b = problem(4, 5, batch=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        exact_plan(cost[0], a[0], b[0])
        for _ in range(3):
            warnings.warn("The text is the same each time.", RuntimeWarning, stacklevel=1)
            exact_plan(cost[0], a[0], b[0])
            exact_costs(blocks_of(cost), a, b)
    assert [str(each.message) for each in caught] == ["The text is the same each time."]


def test_by_default_there_is_no_worker_without_a_core():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert default_workers() == 1
    finally:
        torch.set_num_threads(before)
    assert 1 <= default_workers() <= before


@pytest.mark.parametrize("seed", range(5))
def test_infinite_costs_are_never_paid_and_the_rest_is_as_cheap_as_it_can_be(seed):
    cost, a, b = (tensor[0] for tensor in problem(20, 30, seed=seed))
    # The plan that fills one column after the other always fits; around it, most is forbidden.
    corners = torch.minimum(a.cumsum(0)[:, None], b.cumsum(0)) - torch.maximum(
        a.cumsum(0)[:, None] - a[:, None], b.cumsum(0) - b
    )
    forbidden = (corners <= 0) & (torch.rand(20, 30, generator=torch.Generator().manual_seed(seed)) < 0.8)
    barred = cost.masked_fill(forbidden, torch.inf)
    plan, dear = exact_plan(barred, a, b), exact_plan(cost + 1e4 * forbidden, a, b)
    assert plan[forbidden].eq(0).all()
    torch.testing.assert_close(plan.sum(1), a)
    torch.testing.assert_close(plan.sum(0), b)
    torch.testing.assert_close((plan * cost).sum(), (dear * cost).sum())
    found = exact_costs(blocks_of(barred[None]), a[None], b[None])
    torch.testing.assert_close(found.moved[0], (plan * cost).sum(1))


def test_no_plan_without_what_is_forbidden_is_an_error():
    cost, a, b = problem(4, 5)
    cost[0, 2] = torch.inf
    with pytest.raises(RuntimeError, match="of a 4 x 5 problem was not found"):
        exact_plan(cost[0], a[0], b[0])


def test_rows_and_columns_of_different_mass_are_refused():
    a, b = torch.ones(4), torch.ones(6)
    with pytest.raises(InputError, match="have the masses 4 and 6 in all; expected the same"):
        exact_plan(torch.rand(4, 6), a, b)
    with pytest.raises(InputError, match="have the masses 4 and 6 in all; expected the same"):
        sinkhorn_plan(torch.rand(1, 4, 6), a[None], b[None], regularization=0.1)
    with pytest.raises(InputError, match="regularization is 0; expected a number above 0"):
        sinkhorn_plan(torch.rand(1, 4, 4), a[None], a[None], regularization=0)
