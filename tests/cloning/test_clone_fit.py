import pytest
import torch
from torch import nn

from ilfo._tools.errors import InputError
from ilfo._tools.seeds import seeded
from ilfo.cloning import Samples, fit_network
from ilfo.cloning.networks import PolicyNetwork


def samples(count=40, noise=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn(count, 3, generator=generator)
    actions = torch.tanh(seen[:, :1] - seen[:, 1:2]) + noise * torch.randn(count, 1, generator=generator)
    return Samples(seen, torch.empty(count, 0), actions.clamp(-1, 1))


def network():
    return PolicyNetwork(nn.Identity(), 3, 3, 0, 1, 32)


def fit(held=None, seed=0, **options):
    epochs = []
    with seeded(seed):
        made = network()
        kept = fit_network(
            made, samples(noise=0.5), held, **dict(epochs=30, batch_size=16) | options, on_epoch=epochs.append
        )
    return made, kept, epochs


def loss(made, held):
    with torch.inference_mode():
        return float((made.eval()(held.seen, held.own) - held.actions).square().mean())


def test_the_epoch_that_does_best_on_what_is_held_out_is_kept():
    held = samples(seed=1)
    made, kept, epochs = fit(held, learning_rate=1e-2)
    assert [epoch.number for epoch in epochs] == list(range(1, 31))
    assert kept == min(epochs, key=lambda epoch: epoch.held_out_loss)
    assert kept.number < 30, "the noise is learned by heart later on"
    assert loss(made, held) == pytest.approx(kept.held_out_loss)


def test_the_last_epoch_is_kept_where_nothing_is_held_out():
    _, kept, epochs = fit()
    assert kept == epochs[-1]
    assert kept.held_out_loss is None


def test_what_is_held_out_is_not_learned_from():
    first, second = (fit(held, epochs=1)[0] for held in (samples(seed=1), samples(seed=2)))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize("held", [None, samples(seed=1)])
def test_a_fit_that_diverges_is_refused(held):
    with pytest.raises(InputError, match=r"cloning diverged in epoch 1, at a learning_rate of 1e\+30: lower it"):
        fit(held, learning_rate=1e30)


def test_the_seed_decides_everything():
    first, again, other = (fit(seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.0.weight"], other["head.0.weight"])
