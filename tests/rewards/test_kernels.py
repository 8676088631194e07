"""Every kernel takes the sums that the textbook takes."""

import pytest
import torch
from plain_sinkhorn import padded, problem

from ilfo.rewards.kernels import BlockKernel, LogKernel, ScalingKernel, dense_kernel

KERNELS = {
    "log": LogKernel,
    "scaling": ScalingKernel,
    "blocks": lambda scaled: BlockKernel(lambda rows: scaled[:, rows], scaled.shape[1], 4),
}
every_kernel = pytest.mark.parametrize("kind", KERNELS)


def walk(kernel, u, v, steps, reach):
    """Sums at potentials that wander off, rows and columns in turn, as Sinkhorn asks for them."""
    rng = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield kernel.columns(u, v), kernel.rows(u, v), u, v
        u = u + reach * torch.randn(u.shape, dtype=u.dtype, generator=rng)
        v = v + reach * torch.randn(v.shape, dtype=v.dtype, generator=rng)


def expected(scaled, u, v):
    scaled = scaled.double()
    return torch.logsumexp(u[:, :, None] - scaled, dim=1), torch.logsumexp(v[:, None] - scaled, dim=2)


@every_kernel
@pytest.mark.parametrize("reach", [0.1, 5.0, 100.0])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
def test_the_sums_are_right_however_far_the_potentials_go(kind, reach, dtype, atol):
    cost, a, b = padded()
    scaled = (cost / 0.02).to(dtype)
    seen = 0
    for columns, rows, u, v in walk(KERNELS[kind](scaled), a.log(), b.log(), 8, reach):
        right_columns, right_rows = expected(scaled, u, v)
        assert columns.dtype == rows.dtype == torch.float64
        torch.testing.assert_close(columns[b > 0], right_columns[b > 0], atol=atol, rtol=0)
        torch.testing.assert_close(rows[a > 0], right_rows[a > 0], atol=atol, rtol=0)
        seen += 1
    assert seen == 8


@every_kernel
def test_the_parts_make_up_the_plan(kind):
    cost, a, b = padded()
    kernel, plan = KERNELS[kind](cost), torch.full_like(cost, torch.nan)
    u, v = a.log() + 3.0, b.log()
    for rows, part, scaled in kernel.parts(u, v):
        plan[:, rows] = part
        torch.testing.assert_close(scaled, cost[:, rows])
    torch.testing.assert_close(plan, (u[:, :, None] + v[:, None] - cost).exp())


@every_kernel
def test_some_of_the_problems_are_theirs_alone(kind):
    cost, a, b = padded()
    some = torch.tensor([3, 1])
    kernel = KERNELS[kind](cost)
    u, v = a.log(), b.log()
    kernel.rows(u, v)
    left = kernel.take(some)
    with_mass = (b[some] > 0, a[some] > 0)
    for sums, where in zip(("columns", "rows"), with_mass, strict=True):
        ours, theirs = getattr(left, sums)(u[some], v[some]), getattr(kernel, sums)(u, v)[some]
        torch.testing.assert_close(ours[where], theirs[where])


def test_scalings_keep_their_matrix_while_potentials_are_near():
    """The products alone, without exponentials, answer as long as they can."""
    cost, a, b = problem(9, 11)
    kernel = ScalingKernel(cost.clone())
    kernel.rows(a.log(), b.log())
    right = LogKernel(cost).rows(a.log(), b.log() + 5.0)
    kernel.scaled.fill_(torch.nan)
    torch.testing.assert_close(kernel.rows(a.log(), b.log() + 5.0), right)
    assert kernel.rows(a.log(), b.log() + 50.0).isnan().all()


def test_a_sum_that_underflows_is_taken_on_logarithms():
    # A column so dear that float32 has nothing of it, at potentials that have not moved.
    scaled = torch.ones(1, 3, 4)
    scaled[:, :, 2] = 500.0
    kernel, zeros = ScalingKernel(scaled), (torch.zeros(1, 3).double(), torch.zeros(1, 4).double())
    kernel.rows(*zeros)
    assert kernel.columns(*zeros)[0, 2] == pytest.approx(-500.0 + torch.tensor(3.0).log().item())


def test_on_the_cpu_it_is_scalings():
    assert isinstance(dense_kernel(torch.ones(1, 2, 2)), ScalingKernel)
