"""What it costs to move one atom on to another."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from ilfo.rewards import _farthest, cost_matrix
from ilfo.rewards.costs import largest_cost

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


def circle(count: int) -> torch.Tensor:
    """Points that are all as far from their centre."""
    angle = torch.linspace(0.0, 6.2, count)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


CLOUDS = {
    "one": points(1).float(),
    "equal": points(1).float().expand(40, -1),
    "two places": points(2).float().repeat(30, 1),
    "cloud": points(900).float(),
    "wide and narrow": points(700).float() * torch.tensor([100.0, 1.0, 1.0, 1e-3, 0.0, 1.0]),
    "far from the origin": 1e3 + points(300).float(),
    "walk": points(1200, width=34).cumsum(dim=0).float(),
    "circle": circle(500),
    "with a zero": torch.cat([points(200).float(), torch.zeros(2, 6)]),
}


@pytest.mark.parametrize("per_sqrt_dim", [True, False])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_largest_cost_is_that_of_all_pairs(cloud, cost, per_sqrt_dim):
    atoms = CLOUDS[cloud]
    expected = float(cost_matrix(atoms, atoms, cost, per_sqrt_dim=per_sqrt_dim).max())
    assert largest_cost(atoms, cost, per_sqrt_dim=per_sqrt_dim) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_few_distances_at_a_time_lead_to_the_same_pair(cloud, monkeypatch):
    atoms = CLOUDS[cloud]
    whole = largest_cost(atoms)
    monkeypatch.setattr(_farthest, "ROWS", 7)
    monkeypatch.setattr(_farthest, "COLUMNS", 5)
    assert largest_cost(atoms) == pytest.approx(whole, rel=1e-6)


def test_most_pairs_of_many_atoms_are_not_looked_at(monkeypatch):
    looked_at, product = [], torch.addmm

    def counted(*args, **more):
        looked_at.append(product(*args, **more))
        return looked_at[-1]

    monkeypatch.setattr(torch, "addmm", counted)
    atoms = points(20_000, width=34).float()
    largest_cost(atoms)
    assert max(each.numel() for each in looked_at) <= _farthest.ROWS * _farthest.COLUMNS
    assert sum(each.numel() for each in looked_at) < 0.05 * len(atoms) ** 2
