"""Seeds that follow from others."""

import torch

from ilfo._tools.seeds import derived_seed, seeded


def test_derived_seeds_differ_by_seed_and_key():
    assert len({derived_seed(seed, *key) for seed in range(5) for key in ((), (0,), (1,), (0, 1), (1, 0))}) == 25


def test_seeded_numbers_are_those_of_the_seed_and_disturb_no_others():
    torch.manual_seed(3)
    undisturbed = torch.rand(2)
    torch.manual_seed(3)
    first = torch.rand(1)
    with seeded(5):
        found = torch.rand(1)
    torch.testing.assert_close(torch.cat([first, torch.rand(1)]), undisturbed)
    assert found == torch.rand(1, generator=torch.Generator().manual_seed(5))
