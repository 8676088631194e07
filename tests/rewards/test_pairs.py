"""Episodes and demonstrations as transport problems."""

import pytest
import torch

from ilfo.rewards import cost_matrix
from ilfo.rewards.pairs import Pairs, Sequences, lone_shares


def sequences(lengths, terminated, seed=0) -> Sequences:
    rng = torch.Generator().manual_seed(seed)
    return Sequences.pad([torch.rand(length, 4, generator=rng) for length in lengths], terminated)


def pairs() -> Pairs:
    episodes = sequences((5, 3, 4), (False, True, True))
    return Pairs.every(episodes, sequences((4, 2), (False, True), seed=1), cost_matrix, 7.0)


def test_padding_is_zeros_behind_the_end():
    padded = sequences((5, 3), (False, True))
    assert padded.atoms.shape == (2, 5, 4)
    assert padded.atoms[1, 3:].eq(0).all()
    assert padded.atoms[1, :3].gt(0).all()
    assert padded.lengths.tolist() == [5, 3]
    assert padded.terminated.tolist() == [False, True]


def test_every_demonstration_meets_every_episode():
    together = pairs()
    assert together.episode.tolist() == [0, 1, 2, 0, 1, 2]
    assert together.expert.tolist() == [0, 0, 0, 1, 1, 1]


def test_costs_are_those_of_each_pair_with_the_absorbing_states_around():
    together = pairs()
    costs = together.costs(slice(0, 6), slice(None))
    assert costs.shape == (6, 6, 5)
    for index in range(6):
        x, y = together.episodes.atoms[together.episode[index]], together.experts.atoms[together.expert[index]]
        torch.testing.assert_close(costs[index, :-1, :-1], cost_matrix(x, y))
    assert costs[:, -1, :-1].eq(7.0).all()
    assert costs[:, :-1, -1].eq(7.0).all()
    assert costs[:, -1, -1].eq(0.0).all()


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 9])
def test_blocks_make_up_the_whole(step):
    together = pairs()
    for problems in (slice(0, 2), slice(5, 6)):
        blocks = [together.costs(problems, slice(start, min(start + step, 6))) for start in range(0, 6, step)]
        assert torch.equal(torch.cat(blocks, dim=1), together.costs(problems, slice(None)))


def test_masses_sum_to_one_and_what_is_missing_to_the_horizon_is_absorbed():
    a, b = pairs().masses()
    torch.testing.assert_close(a.sum(1), torch.ones(6))
    torch.testing.assert_close(b.sum(1), torch.ones(6))
    torch.testing.assert_close(a[0], torch.tensor([0.2] * 5 + [0.0]))
    # The horizon of the shorter episodes is the longest demonstration's: 4.
    torch.testing.assert_close(a[1], torch.tensor([0.25] * 3 + [0.0, 0.0, 0.25]))
    torch.testing.assert_close(a[5], torch.tensor([0.25] * 4 + [0.0, 0.0]))
    torch.testing.assert_close(b[1], torch.tensor([0.25] * 4 + [0.0]))
    # A demonstration that ended after 2 is absorbed for the rest: of 5 steps, or of 4.
    torch.testing.assert_close(b[3], torch.tensor([0.2, 0.2, 0.0, 0.0, 0.6]))
    torch.testing.assert_close(b[4], torch.tensor([0.25, 0.25, 0.0, 0.0, 0.5]))


def test_a_mass_is_shared_by_the_steps_that_it_lasts():
    together = pairs()
    assert [duration.tolist() for duration in together.durations()] == [[5, 4, 4, 5, 4, 4], [4, 4, 4, 5, 4, 4]]
    for mass, duration in zip(together.masses(), together.durations(), strict=True):
        torch.testing.assert_close(mass[:, 0], 1.0 / duration)


def test_the_dead_are_alone_while_the_expert_lives():
    episodes = sequences((2, 5, 10, 12, 2), (True, True, True, True, False))
    experts = sequences((10, 5, 10), (False, True, True))
    expected = [[1, 1, 1, 1, 1], [3 / 8, 0, 0, 0, 3 / 8], [1, 1, 0, 0, 1]]
    torch.testing.assert_close(lone_shares(episodes, experts), torch.tensor(expected))


def test_the_share_of_the_dead_that_are_alone_is_that_of_the_masses():
    episodes, experts = sequences((2, 5, 7), (True, True, True)), sequences((10, 5), (False, True))
    together = Pairs.every(episodes, experts, cost_matrix, 1.0)
    dead, expert_dead = (mass[:, -1] for mass in together.masses())
    alone = (dead - torch.minimum(dead, expert_dead)) / dead
    torch.testing.assert_close(lone_shares(episodes, experts).flatten(), alone)
