"""What it costs to move one atom on to another."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from ilfo.rewards import cost_matrix

COSTS = ["euclidean", "sqrt_euclidean", "squared_euclidean", "cosine"]


def points(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cost", COSTS)
def test_costs_agree_with_their_definition(cost):
    x, y = points(5), points(8, seed=1)
    rms = np.sqrt(((x.numpy()[:, None] - y.numpy()[None]) ** 2).mean(axis=-1))
    expected = {
        "euclidean": rms,
        "sqrt_euclidean": np.sqrt(rms),
        "squared_euclidean": rms**2,
        "cosine": cdist(x, y, "cosine"),
    }[cost]
    np.testing.assert_allclose(cost_matrix(x, y, cost).numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cost", COSTS)
def test_undivided_costs_are_those_of_the_distance_itself(cost):
    x, y = points(5), points(8, seed=1)
    distance = cdist(x, y)
    expected = {
        "euclidean": distance,
        "sqrt_euclidean": np.sqrt(distance),
        "squared_euclidean": distance**2,
        "cosine": cdist(x, y, "cosine"),
    }[cost]
    np.testing.assert_allclose(cost_matrix(x, y, cost, per_sqrt_dim=False).numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cost", COSTS)
def test_an_atom_costs_exactly_nothing_to_itself(cost):
    # 60 atoms far from the origin: enough for torch to prefer the matrix product, which would cancel.
    x = (100.0 + points(60)).float()
    assert cost_matrix(x, x, cost).diagonal().eq(0.0).all()


@pytest.mark.parametrize("cost", COSTS)
def test_a_batch_is_its_members(cost):
    x, y = points(12).reshape(3, 4, 6), points(15, seed=1).reshape(3, 5, 6)
    alone = torch.stack([cost_matrix(one, other, cost) for one, other in zip(x, y, strict=True)])
    torch.testing.assert_close(cost_matrix(x, y, cost), alone)


def test_the_cosine_of_a_zero_atom_is_a_number():
    cost = cost_matrix(torch.zeros(1, 3), torch.cat([torch.zeros(1, 3), torch.ones(1, 3)]), "cosine")
    torch.testing.assert_close(cost, torch.tensor([[0.0, 0.5]]))
