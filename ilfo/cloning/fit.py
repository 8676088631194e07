"""Behaviour cloning: minimises the mean squared error of actions, and keeps the best epoch on held-out episodes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.cloning.data import Samples
from ilfo.cloning.networks import PolicyNetwork

__all__ = ["Epoch", "fit_network"]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the demonstrations came to.

    Attributes:
        number: From 1.
        loss: Mean squared error of the actions over the updates of the pass.
        held_out_loss: That of the episodes that are held out, after it; None where there are none.
    """

    number: int
    loss: float
    held_out_loss: float | None


def fit_network(
    network: PolicyNetwork,
    samples: Samples,
    held: Samples | None,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[Epoch], object] = lambda epoch: None,
) -> Epoch:
    """Trains a network on the actions of an expert, with Adam; draws from the CPU's default generator.

    Args:
        network: On the device. Is standardised by the samples, and ends with the weights that are kept: those of the
            epoch with the lowest held-out loss, or the last ones where nothing is held out.
        samples: To learn from. They stay where they are, and go to the device in batches.
        held: Of episodes that no update sees, or None.
        epochs: Passes over the samples.
        batch_size: Samples of an update; the last ones of a pass may be fewer.
        learning_rate: Of Adam.
        device: Where the network is.
        on_epoch: Called after each pass.

    Returns:
        The epoch whose weights are kept.

    Raises:
        InputError: The fit diverged.
    """
    network.fit_units(samples.seen, samples.own)
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    best: Epoch | None = None
    kept = network.state_dict()
    for number in range(1, epochs + 1):
        network.train()
        total = torch.zeros((), device=device)
        for rows in torch.randperm(len(samples)).split(batch_size):
            error = _squared_error(network, samples, rows, device).mean()
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
            total += error.detach() * len(rows)
        held_out_loss = None if held is None else _loss(network, held, batch_size, device)
        epoch = Epoch(number, float(total) / len(samples), held_out_loss)
        if not math.isfinite(epoch.loss) or not math.isfinite(held_out_loss or 0.0):
            raise InputError(
                f"cloning diverged in epoch {number}, at a learning_rate of {learning_rate:g}: lower it, or look for "
                "extreme numbers in the demonstrations"
            )
        if held_out_loss is None or best is None or held_out_loss < best.held_out_loss:  # type: ignore[operator]
            best, kept = epoch, copy.deepcopy(network.state_dict())
        on_epoch(epoch)
    network.load_state_dict(kept)
    assert best is not None
    return best


def _loss(network: PolicyNetwork, samples: Samples, batch_size: int, device: torch.device | str) -> float:
    """Mean squared error without augmentation."""
    network.eval()
    with torch.inference_mode():
        parts = torch.arange(len(samples)).split(batch_size)
        return float(torch.cat([_squared_error(network, samples, rows, device) for rows in parts]).mean())


def _squared_error(network: PolicyNetwork, samples: Samples, rows: Tensor, device: torch.device | str) -> Tensor:
    seen, own, actions = (each[rows].to(device) for each in (samples.seen, samples.own, samples.actions))
    return F.mse_loss(network(seen, own), actions, reduction="none")
