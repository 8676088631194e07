import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ilfo._tools.seeds import seeded
from ilfo.cloning import Samples, fit_network, networks
from ilfo.cloning.networks import FrameEncoder, PolicyNetwork, Standardised, soft_argmax


def frames(count=6, height=20, width=24):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, height, width, 3), generator=generator, dtype=torch.uint8)


class TestStandardised:
    def test_pools_all_but_the_columns(self):
        rows = torch.randn(700, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1000
        units = Standardised(2)
        units.fit(rows)
        torch.testing.assert_close(units.mean.double(), rows.flatten(0, 1).mean(dim=0))
        torch.testing.assert_close(units.scale.double(), rows.flatten(0, 1).std(dim=0, correction=0))
        assert units(rows).dtype == torch.float32
        assert units(rows).std() == pytest.approx(1, abs=1e-3)

    def test_of_large_frames_few_are_added_up_at_once(self, monkeypatch):
        class Largest(TorchDispatchMode):
            numbers = 0

            def __torch_dispatch__(self, function, types, arguments=(), named=None):
                made = function(*arguments, **(named or {}))
                if getattr(made, "dtype", None) == torch.float64:
                    self.numbers = max(self.numbers, made.numel())
                return made

        films = frames(20, 10, 10)
        whole, few = Standardised(3), Standardised(3)
        whole.fit(films)
        monkeypatch.setattr(networks, "_NUMBERS", 1000)
        with Largest() as largest:
            few.fit(films)
        assert 0 < largest.numbers <= 1000
        torch.testing.assert_close(few.state_dict(), whole.state_dict())
        monkeypatch.setattr(networks, "_NUMBERS", 1)
        few.fit(films)
        torch.testing.assert_close(few.state_dict(), whole.state_dict())

    def test_what_hardly_moves_is_not_blown_up(self):
        units = Standardised(1)
        units.fit(torch.full((9, 1), 5.0))
        assert units(torch.tensor([[5.1]])).item() == pytest.approx(0.1 / 0.02, rel=1e-3)

    def test_without_columns_there_is_nothing_to_fit(self):
        units = Standardised(0)
        units.fit(torch.empty(9, 0))
        assert units(torch.empty(4, 0)).shape == (4, 0)


class TestSoftArgmax:
    @pytest.mark.parametrize(("row", "col"), [(0, 0), (4, 6), (2, 3)])
    def test_finds_a_peak(self, row, col):
        maps = torch.zeros(1, 1, 5, 7)
        maps[..., row, col] = 50.0
        u, v = soft_argmax(maps).flatten().tolist()
        assert (u, v) == pytest.approx((col / 3 - 1, row / 2 - 1), abs=1e-5)

    def test_a_level_map_is_in_the_middle(self):
        assert soft_argmax(torch.zeros(2, 3, 5, 7)).abs().max() < 1e-6


class TestFrameEncoder:
    def test_shifts_while_it_learns_alone(self):
        with seeded(0):
            encoder = FrameEncoder(4, shift=2)
        shown = frames().float()
        encoder.train()
        with seeded(1):
            first = encoder(shown)
        with seeded(1):
            again = encoder(shown)
        with seeded(2):
            other = encoder(shown)
        assert first.shape == (6, 8)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        encoder.eval()
        assert torch.equal(encoder(shown), encoder(shown))

    def test_a_shift_moves_a_frame_whole(self):
        shown = frames(count=40).float()
        seen = []
        encoder = FrameEncoder(4, shift=2)
        encoder.maps.register_forward_pre_hook(lambda module, given: seen.append(given[0].movedim(1, -1)))
        with seeded(0):
            encoder.train()(shown)
        (moved,) = seen
        inner = shown[:, 2:-2, 2:-2]
        found = [
            {
                (down, across)
                for down in range(5)
                for across in range(5)
                if torch.equal(frame[down : down + 16, across : across + 20], still)
            }
            for frame, still in zip(moved, inner, strict=True)
        ]
        assert all(len(each) == 1 for each in found)
        assert len(set.union(*found)) > 10


class TestPolicyNetwork:
    def make(self, own=2):
        with seeded(0):
            return PolicyNetwork(FrameEncoder(4, shift=1), 3, 8, own, action_dim=3, hidden_dim=16)

    def test_every_parameter_learns(self):
        network = self.make()
        network.fit_units(frames(), torch.randn(6, 2))
        network(frames(), torch.randn(6, 2)).square().sum().backward()
        assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in network.parameters())

    def test_actions_lie_within_one(self):
        network = self.make(own=0)
        actions = network(frames(), torch.empty(6, 0))
        assert actions.shape == (6, 3)
        assert actions.abs().max() < 1

    def test_a_batch_is_learned_by_heart(self):
        network = self.make()
        actions = torch.from_numpy(np.random.default_rng(0).uniform(-0.9, 0.9, (6, 3)).astype(np.float32))
        samples = Samples(frames(), torch.randn(6, 2, generator=torch.Generator().manual_seed(1)), actions)
        network.encoder.shift = 0
        with seeded(0):
            kept = fit_network(network, samples, None, epochs=150, learning_rate=3e-3)
        assert kept.number == 150
        assert kept.loss < 1e-3
