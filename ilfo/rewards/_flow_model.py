"""Conditional normalizing flows: making them, and fitting them to few samples."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ilfo._tools.checks import check_at_least, check_choices, check_not_negative, check_positive
from ilfo._tools.effects import Effects, one_of
from ilfo._tools.errors import InputError
from ilfo._tools.seeds import seeded

if TYPE_CHECKING:
    from nflows.flows import Flow as NormalizingFlow

__all__ = ["FlowModelOptions", "Progress", "held_out_slices", "make_flow", "maximise_likelihood", "train_flow"]

Family = Literal["maf", "spline"]
Progress = Callable[[float, str], None]
"""Called with the fraction that is done, and a line of text about it."""

TAIL_BOUND = 5.0
"""Standard deviations within which a spline bends; outside, it is the identity."""
REACH = 0.9
"""Share of these bounds within which all targets are brought."""
SLICE = 5
"""Successive transitions that are held out together."""
CHECK_EVERY = 10
"""Updates between evaluations on the held-out transitions."""
LARGEST_GRADIENT = 5.0
"""Norm to which gradients are clipped: a sharp density has steep flanks."""


@dataclass(frozen=True)
class FlowModelOptions:
    """The kind of flow, and how it is fitted to few transitions."""

    TAKES_EFFECT: ClassVar[Effects] = {"bins": one_of("family", "spline")}

    family: Family = "maf"
    """Affine autoregressive transforms (maf, arXiv 1705.07057) or rational-quadratic splines (arXiv 1906.04032)."""
    blocks: int = 3
    """Transforms, one after another."""
    hidden_dim: int = 64
    """Units of each hidden layer."""
    bins: int = 8
    """Pieces of a spline; affine transforms have none."""
    noise: float = 0.25
    """Noise added to the difference s' - s while fitting, in the expert's standard deviations of that difference. It
    keeps the density finite and smooth; less noise makes it sharper around one demonstration."""
    context_noise: float = 0.1
    """Noise added to s while fitting, in the expert's standard deviations of s."""
    held_out: float = 0.1
    """Share of the transitions held out of the fit: they decide which update is kept, and set the reward's scale."""
    updates: int = 600
    """Maximum number of gradient steps."""
    patience: int = 150
    """Gradient steps without a rise of the held-out density, after which the fit ends."""
    batch_size: int = 256
    """Transitions per gradient step, drawn with replacement."""
    learning_rate: float = 5e-3
    """Initial step size of AdamW; it falls to 0 along a cosine."""
    weight_decay: float = 1e-3
    """Weight decay of AdamW."""
    seed: int = 0
    """Seed of the initial weights, the batches and the noise."""

    def __post_init__(self) -> None:
        check_choices(self, {"family": Family})
        check_at_least(self, 1, "blocks", "hidden_dim", "updates", "patience", "batch_size")
        if not 2 <= self.bins <= 500:
            raise InputError(f"bins is {self.bins}: a spline has 2 to 500 pieces.")
        check_positive(self, "noise", "learning_rate")
        check_not_negative(self, "context_noise", "weight_decay")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}: it is a share, above 0 and below 1.")


def make_flow(
    width: int, options: FlowModelOptions, context_width: int | None = None, farthest: Tensor | None = None
) -> NormalizingFlow:
    """A flow with ``log_prob(targets, contexts) -> (N,)`` for targets ``(N, width)``, with random weights.

    Autoregressive transforms (nflows) to a standard normal, each with one residual block; each takes the features in
    the reverse order of the one before. PyTorch's global random state is left as it was.

    Args:
        width: Features of a target.
        options: The kind of flow.
        context_width: Features of a context; None: as many as a target's.
        farthest: ``(width,)`` how far from 0 targets lie. Those that a spline would not reach are brought within its
            bounds; None: none are.
    """
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import (
        CompositeTransform,
        MaskedAffineAutoregressiveTransform,
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
        PointwiseAffineTransform,
        ReversePermutation,
    )

    network: dict[str, Any] = {
        "features": width,
        "context_features": width if context_width is None else context_width,
        "hidden_features": options.hidden_dim,
        "num_blocks": 1,
    }
    spline: dict[str, Any] = {"num_bins": options.bins, "tails": "linear", "tail_bound": TAIL_BOUND}
    transforms: list[nn.Module] = []
    if options.family == "spline" and farthest is not None:
        transforms.append(PointwiseAffineTransform(scale=(REACH * TAIL_BOUND / farthest).clamp(max=1.0)))
    with seeded(options.seed):
        for block in range(options.blocks):
            if block:
                transforms.append(ReversePermutation(width))
            if options.family == "maf":
                transforms.append(MaskedAffineAutoregressiveTransform(**network))
            else:
                transforms.append(MaskedPiecewiseRationalQuadraticAutoregressiveTransform(**network, **spline))
        return Flow(CompositeTransform(transforms), StandardNormal([width]))


def held_out_slices(count: int, share: float) -> Tensor:
    """Which of ``count`` successive transitions are held out, ``(count,)`` bool: at least one, and never all.

    Slices of 5, or fewer where the share is smaller, are spread evenly over the whole. A single transition between two
    fitted ones says little: its neighbours are much like it. But in one short demonstration that never repeats itself,
    a longer slice cannot be predicted from the rest: on the 300 steps of a hand that opens a door, slices of 10 ended
    the fit after 10 updates, before it had learned which way the hand moves.
    """
    length = max(1, min(SLICE, round(count * share), count // 2))
    slices = math.ceil(count / length)
    held = min(max(1, round(share * slices)), slices - 1)
    chosen = ((torch.arange(held) + 0.5) * slices / held).long()
    return torch.isin(torch.arange(count) // length, chosen)


def train_flow(
    flow: NormalizingFlow,
    targets: Tensor,
    contexts: Tensor,
    held_out: Tensor,
    options: FlowModelOptions,
    on_progress: Progress | None = None,
) -> None:
    """Fits the density of targets given their contexts; see :func:`maximise_likelihood`.

    Noise on targets and contexts keeps the density finite where the targets are constant or lie on a surface, and
    smooth between the few samples of one demonstration. The weights that are kept are those that do best, without
    noise, on the held-out transitions.

    Args:
        flow: From :func:`make_flow`.
        targets: ``(N, F)``, standardised.
        contexts: ``(N, F)``, standardised.
        held_out: ``(N,)`` bool.
        options: The noise and the fit.
        on_progress: See :func:`maximise_likelihood`.

    Raises:
        InputError: See :func:`maximise_likelihood`.
    """

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = fitted[torch.randint(len(fitted), (options.batch_size,), generator=generator)]
        noise = torch.randn(2, options.batch_size, targets.shape[1], generator=generator)
        return targets[drawn] + options.noise * noise[0], contexts[drawn] + options.context_noise * noise[1]

    fitted = torch.nonzero(~held_out).squeeze(1)
    maximise_likelihood(flow, draw, (targets[held_out], contexts[held_out]), options, on_progress)


@torch.enable_grad()
def maximise_likelihood(
    flow: NormalizingFlow,
    draw: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    held_out: tuple[Tensor, Tensor],
    options: FlowModelOptions,
    on_progress: Progress | None = None,
) -> None:
    """Fits a flow, and keeps the weights that do best on the held-out samples.

    Args:
        flow: From :func:`make_flow`.
        draw: Draws the targets and contexts of one update from the samples to fit.
        held_out: Held-out targets and contexts.
        options: The fit.
        on_progress: Told the held-out log-density in nats per feature, at most four times a second and at the end.

    Raises:
        InputError: No update gave the held-out targets a finite density.
    """
    generator = torch.Generator().manual_seed(options.seed)
    width = held_out[0].shape[1]
    optimizer = torch.optim.AdamW(flow.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.updates)
    best, best_update, best_weights = -math.inf, 0, flow.state_dict()
    told = time.monotonic()
    for update in range(1, options.updates + 1):
        targets, contexts = draw(generator)
        optimizer.zero_grad()
        (-flow.log_prob(targets, contexts).mean() / width).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        if update % CHECK_EVERY and update < options.updates:
            continue
        with torch.no_grad():
            found = float(flow.log_prob(*held_out).mean()) / width
        if best < found < math.inf:
            best, best_update, best_weights = found, update, copy.deepcopy(flow.state_dict())
        if on_progress is not None and time.monotonic() - told > 0.25:
            told = time.monotonic()
            on_progress(update / options.updates, f"update {update}  held-out {found:.2f}")
        if update - best_update >= options.patience:
            break
    if best == -math.inf:
        raise InputError(
            f"The fit of the flow diverged within {update} updates at a learning_rate of {options.learning_rate:g}: "
            "lower it, or raise noise."
        )
    flow.load_state_dict(best_weights)
    if on_progress is not None:
        on_progress(1.0, f"best at update {best_update}  held-out {best:.2f}")
