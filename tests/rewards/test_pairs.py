"""Episodes and demonstrations as transport problems."""

import pytest
import torch

from ilfo.rewards import cost_matrix
from ilfo.rewards.atoms import ExpertAtoms, Sequences, lone_shares
from ilfo.rewards.pairs import Pairs


def atoms(lengths, seed) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.rand(length, 4, generator=rng) for length in lengths]


def sequences(lengths, terminated) -> Sequences:
    padded = torch.nn.utils.rnn.pad_sequence(atoms(lengths, 0), batch_first=True)
    return Sequences(padded, torch.tensor(lengths), torch.tensor(terminated))


def experts(lengths, terminated) -> ExpertAtoms:
    return ExpertAtoms.join(atoms(lengths, 1), terminated)


def pairs(lengths=(4, 2), terminated=(False, True)) -> Pairs:
    return Pairs.every(sequences((5, 3, 4), (False, True, True)), experts(lengths, terminated), cost_matrix, 7.0)


def test_demonstrations_stand_one_after_the_other():
    each, joined = atoms((5, 3, 7), 1), experts((5, 3, 7), (False, True, False))
    assert joined.atoms.shape == (15, 4)
    assert joined.longest == 7
    for index, one in enumerate(each):
        assert torch.equal(joined.of(index), one)
        assert torch.equal(joined.last()[index], one[-1])
    double = joined.like(torch.zeros(1, dtype=torch.float64))
    assert double.atoms.dtype == torch.float64
    assert (double.counts, double.lengths.tolist()) == ((5, 3, 7), [5, 3, 7])


def test_beyond_the_end_of_a_demonstration_stands_its_last_atom():
    each, joined = atoms((5, 3, 7), 1), experts((5, 3, 7), (False, True, False))
    found = joined.padded(torch.tensor([1, 0, 1]), 5)
    assert torch.equal(found[1], each[0])
    for row in (0, 2):
        assert torch.equal(found[row], torch.cat([each[1], each[1][[-1, -1]]]))


def test_every_demonstration_meets_every_episode():
    together = pairs()
    assert together.episode.tolist() == [0, 1, 2, 0, 1, 2]
    assert together.expert.tolist() == [0, 0, 0, 1, 1, 1]


def test_costs_are_those_of_each_pair_with_the_absorbing_states_around():
    together = pairs()
    costs = together.costs(slice(0, 6), slice(None))
    assert costs.shape == (6, 6, 5)
    for index in range(6):
        x, y = together.episodes.atoms[together.episode[index]], together.experts.of(int(together.expert[index]))
        torch.testing.assert_close(costs[index, :-1, : len(y)], cost_matrix(x, y))
    assert costs[:, -1, :-1].eq(7.0).all()
    assert costs[:, :-1, -1].eq(7.0).all()
    assert costs[:, -1, -1].eq(0.0).all()


def test_parts_are_of_demonstrations_about_as_long_and_no_wider_than_these():
    together = pairs((9, 2, 40, 39, 5, 21), (False, True, False, True, False, True))
    seen = []
    a, b = together.masses()
    for problems, part in together.parts():
        seen += problems.tolist()
        lengths = part.lengths.tolist()
        assert part.width == max(lengths) < 2 * min(lengths)
        some = slice(0, len(problems)), slice(None)
        found, whole = part.costs(*some), together.costs(slice(None), slice(None))[problems]
        own, theirs = part.masses()
        assert torch.equal(own, a[problems])
        for row, length in enumerate(lengths):
            real = [*range(length), -1]
            assert torch.equal(found[row][:, real], whole[row][:, real])
            assert torch.equal(theirs[row, real], b[problems[row], real])
    assert sorted(seen) == list(range(18))


def test_demonstrations_of_one_length_are_one_part():
    (problems, part), *more = pairs((4, 4), (False, True)).parts()
    assert not more
    assert problems.tolist() == list(range(6))
    assert part.width == 4


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
    others = experts((10, 5, 10), (False, True, True))
    expected = [[1, 1, 1, 1, 1], [3 / 8, 0, 0, 0, 3 / 8], [1, 1, 0, 0, 1]]
    torch.testing.assert_close(lone_shares(episodes, others), torch.tensor(expected))


def test_the_share_of_the_dead_that_are_alone_is_that_of_the_masses():
    episodes, others = sequences((2, 5, 7), (True, True, True)), experts((10, 5), (False, True))
    together = Pairs.every(episodes, others, cost_matrix, 1.0)
    dead, expert_dead = (mass[:, -1] for mass in together.masses())
    alone = (dead - torch.minimum(dead, expert_dead)) / dead
    torch.testing.assert_close(lone_shares(episodes, others).flatten(), alone)
