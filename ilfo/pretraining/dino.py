"""Self-distillation without labels: from a crop, a student predicts what its moving average outputs for the image.

Caron and others, "Emerging Properties in Self-Supervised Vision Transformers" (DINO), arXiv 2104.14294.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Dino", "DinoOptions", "Head", "Schedule", "dino_loss"]


@dataclass(frozen=True)
class DinoOptions:
    """Constants of the algorithm. Those of the paper unless said."""

    prototypes: int = 2048
    """Numbers that the head puts out. The paper has 65,536, for a million images of a thousand classes."""
    hidden: int = 512
    """Width of the head's hidden layers. The paper has 2048, for networks twice as wide."""
    batch_norm: bool = True
    """Whether the head's hidden layers have batch normalisation, an option of the paper's code. With it a new network
    tells images apart better: 1.4 nats after 20 steps, against 0.8 without."""
    bottleneck: int = 128
    """Width before the last layer, where vectors get length 1. The paper has 256."""
    learning_rate: float = 0.002
    """AdamW's, after the warm-up, for a batch of 256; it scales with the batch size. The paper has 0.0005, for
    trainings a thousand times as long."""
    final_learning_rate: float = 1e-6
    """Learning rate at the end of its cosine."""
    warm_up: float = 0.1
    """Share of the training in which the learning rate rises."""
    weight_decay: tuple[float, float] = (0.04, 0.4)
    """At the start and the end of a cosine. Biases and norms have none."""
    momentum: float = 0.99
    """Momentum of the teacher's moving average; a cosine takes it to 1. The paper has 0.996, for long trainings."""
    student_temperature: float = 0.1
    """Temperature of the student's softmax."""
    teacher_temperature: tuple[float, float] = (0.04, 0.04)
    """Temperature of the teacher's, before and after its linear warm-up. The paper's second is 0.07. With that, a
    momentum of 0.996, a learning rate of 0.001 and no batch normalisation, the teacher told images apart less and
    less: 0.84 nats at first, 0.48 after 300 steps."""
    teacher_warm_up: float = 0.3
    """Share of the training in which the teacher's temperature rises."""
    centre_momentum: float = 0.9
    """Momentum of the mean of the teacher's outputs, which is subtracted from them."""
    largest_gradient: float = 3.0
    """Norm to which every parameter's gradient is clipped."""
    frozen_last_layer: float = 0.01
    """Share of the training in which the head's last layer stays as it is. In the paper: the first epoch of 100."""


@dataclass(frozen=True)
class Schedule:
    """What changes in the course of training. Steps count from 0; the last is ``steps - 1``."""

    options: DinoOptions
    steps: int
    batch_size: int

    def learning_rate(self, step: int) -> float:
        """Up on a line, then down on a cosine."""
        peak = self.options.learning_rate * self.batch_size / 256
        warm_up = int(self.options.warm_up * self.steps)
        if step < warm_up:
            return peak * step / warm_up
        return _cosine(peak, self.options.final_learning_rate, step - warm_up, self.steps - warm_up)

    def weight_decay(self, step: int) -> float:
        """Up on a cosine."""
        return _cosine(*self.options.weight_decay, step, self.steps)

    def momentum(self, step: int) -> float:
        """Up to 1 on a cosine."""
        return _cosine(self.options.momentum, 1.0, step, self.steps)

    def teacher_temperature(self, step: int) -> float:
        """Up on a line, then level."""
        low, high = self.options.teacher_temperature
        return low + (high - low) * min(step / max(int(self.options.teacher_warm_up * self.steps), 1), 1.0)

    def last_layer_frozen(self, step: int) -> bool:
        """Whether the head's last layer waits."""
        return step < self.options.frozen_last_layer * self.steps


def _cosine(start: float, end: float, step: int, steps: int) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * step / max(steps - 1, 1))) / 2


class Head(nn.Module):
    """Three layers, vectors of length 1, and their cosines with the prototypes.

    Args:
        width: Of the network's class token.
        options: Widths.
    """

    def __init__(self, width: int, options: DinoOptions) -> None:
        super().__init__()
        hidden = options.hidden
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            *([nn.BatchNorm1d(hidden)] if options.batch_norm else []),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            *([nn.BatchNorm1d(hidden)] if options.batch_norm else []),
            nn.GELU(),
            nn.Linear(hidden, options.bottleneck),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        # Weight normalisation whose lengths stay 1, as in the paper: rows count by their direction alone.
        self.last = nn.Parameter(torch.empty(options.prototypes, options.bottleneck))
        nn.init.kaiming_uniform_(self.last, a=math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Class tokens ``(B, width)`` to outputs ``(B, prototypes)`` in [-1, 1]."""
        return F.linear(F.normalize(self.layers(tokens), dim=-1), F.normalize(self.last, dim=-1))


def dino_loss(student: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the teacher's and the student's distributions, over all pairs of different views (equation 3).

    Args:
        student: ``(V, B, K)`` outputs, of which the first two views are the global ones.
        targets: ``(2, B, K)`` probabilities of the teacher on these.
        temperature: Of the student.

    Returns:
        A number: the mean over images and over the ``2 (V - 1)`` pairs.
    """
    log_probabilities = F.log_softmax(student.float() / temperature, dim=-1)
    total = -torch.einsum("tbk,vbk->", targets, log_probabilities)
    same = -torch.einsum("tbk,tbk->", targets, log_probabilities[:2])
    return (total - same) / (2 * (len(student) - 1) * student.shape[1])


class Dino:
    """Student, teacher, centre and optimiser.

    Args:
        backbone: Images ``(B, 3, h, w)``, of two sizes, to class tokens ``(B, width)``. It becomes the student's.
        width: Of these.
        schedule: Constants, and how they change.

    Attributes:
        student: Backbone and head.
        teacher: Their moving average. No gradient reaches it.
        centre: ``(K,)`` float32.
    """

    def __init__(self, backbone: nn.Module, width: int, schedule: Schedule) -> None:
        options = schedule.options
        self.schedule = schedule
        self.student = nn.ModuleDict({"backbone": backbone, "head": Head(width, options)})
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.device = next(backbone.parameters()).device
        self.student["head"].to(self.device)
        self.teacher["head"].to(self.device)
        self.centre = torch.zeros(options.prototypes, device=self.device)
        weights = [each for each in self.student.parameters() if each.ndim > 1]
        rest = [each for each in self.student.parameters() if each.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": weights}, {"params": rest}]
        self._optimizer = torch.optim.AdamW(groups)

    def update(
        self, step: int, global_views: list[Tensor], local_views: Tensor, *, bf16: bool = False
    ) -> dict[str, Tensor]:
        """A gradient step of the student, then one of the teacher towards it.

        Args:
            step: Its number, from 0.
            global_views: Two of ``(B, 3, h, w)``.
            local_views: ``(L * B, 3, h', w')``, view after view.
            bf16: Whether networks compute in bfloat16.

        Returns:
            Scalars on the device: ``loss``; in nats, ``entropy``, the mean entropy of the teacher's distributions,
            and ``spread``, the entropy of their mean over the batch; and ``information``, their difference: how
            much the teacher's output tells of which image it saw. It is 0 after a collapse of either kind.
        """
        options, schedule = self.schedule.options, self.schedule
        batch = len(global_views[0])
        both = torch.cat(global_views)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                taught = self.teacher["head"](self.teacher["backbone"](both)).float()
            tokens = [self.student["backbone"](both)]
            if len(local_views):
                tokens.append(self.student["backbone"](local_views))
            said = self.student["head"](torch.cat(tokens)).float()
        targets = F.softmax((taught - self.centre) / schedule.teacher_temperature(step), dim=-1)
        loss = dino_loss(said.unflatten(0, (-1, batch)), targets.unflatten(0, (2, batch)), options.student_temperature)
        self._descend(step, loss)
        self._follow(schedule.momentum(step))
        self.centre = torch.lerp(taught.mean(dim=0), self.centre, options.centre_momentum)
        entropy, spread = _entropy(targets).mean(), _entropy(targets.mean(dim=0))
        return {"loss": loss.detach(), "entropy": entropy, "spread": spread, "information": spread - entropy}

    def _descend(self, step: int, loss: Tensor) -> None:
        for group, decays in zip(self._optimizer.param_groups, (True, False), strict=True):
            group["lr"] = self.schedule.learning_rate(step)
            group["weight_decay"] = self.schedule.weight_decay(step) if decays else 0.0
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameter in self.student.parameters():
            if parameter.grad is not None:
                nn.utils.clip_grad_norm_(parameter, self.schedule.options.largest_gradient)
        if self.schedule.last_layer_frozen(step):
            self.student["head"].last.grad = None
        self._optimizer.step()

    @torch.no_grad()
    def _follow(self, momentum: float) -> None:
        teachers: list[Tensor] = list(self.teacher.parameters())
        students: list[Tensor] = list(self.student.parameters())
        torch._foreach_lerp_(teachers, students, 1 - momentum)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, enough to go on exactly."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "centre": self.centre,
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes on what :meth:`state_dict` returned, of the same sizes."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.centre = state["centre"].to(self.device)
        self._optimizer.load_state_dict(state["optimizer"])


def _entropy(probabilities: Tensor) -> Tensor:
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)
