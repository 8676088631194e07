"""Sinkhorn's iterations as the textbook has them: the plain path that the fast ones must agree with."""

import torch
from torch import Tensor


def plain_sinkhorn(cost: Tensor, a: Tensor, b: Tensor, regularization: float, iterations: int) -> Tensor:
    """The plan ``(n, m)`` after so many updates of columns and rows, on logarithms and in float64.

    Rows and columns without mass are left out and come back as zeros.
    """
    rows, columns = torch.nonzero(a)[:, 0], torch.nonzero(b)[:, 0]
    kernel = -cost.double()[rows][:, columns] / regularization
    log_a, log_b = a[rows].double().log(), b[columns].double().log()
    u = log_a
    for _ in range(iterations):
        v = log_b - torch.logsumexp(kernel + u[:, None], dim=0)
        u = log_a - torch.logsumexp(kernel + v[None], dim=1)
    plan = torch.zeros(cost.shape, dtype=torch.float64)
    plan[rows[:, None], columns] = (kernel + u[:, None] + v[None]).exp()
    return plan


def problem(
    n: int, m: int, batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Random costs, and random masses that sum to 1."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, n, 3, dtype=dtype, generator=rng)
    y = torch.rand(batch, m, 3, dtype=dtype, generator=rng)
    a = torch.rand(batch, n, dtype=dtype, generator=rng) + 0.1
    b = torch.rand(batch, m, dtype=dtype, generator=rng) + 0.1
    return torch.cdist(x, y), a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)


def padded(batch: int = 4, n: int = 14, m: int = 17, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Problems of several sizes, whose padding has costs that would be noticed and no mass; in float64."""
    cost, a, b = problem(n, m, batch, seed)
    for index in range(batch):
        a[index, n - index :], b[index, m - 2 * index :] = 0.0, 0.0
        cost[index, n - index :], cost[index, :, m - 2 * index :] = -7.0, 9.0
    return cost, a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
