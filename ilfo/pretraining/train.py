"""The training of ``ilfo_vit_tiny``: step after step, and on from where it stopped."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.atomic import atomic_path
from ilfo._tools.devices import check_device
from ilfo._tools.errors import InputError
from ilfo._tools.target import file_to_write
from ilfo.pretraining.dino import Dino, DinoOptions, Schedule
from ilfo.pretraining.frames import Frames, read_frames
from ilfo.pretraining.keypoint_error import probe
from ilfo.pretraining.views import ViewOptions, views
from ilfo.vision.backbones import TINY, Backbone
from ilfo.vision.loading import build_tiny

__all__ = ["TrainingConfig", "collapsed", "train"]


@dataclass(frozen=True)
class TrainingConfig:
    """Train the network on files of frames. The same command on the same checkpoint goes on where it stopped."""

    frames: tuple[Path, ...]
    """Files that 'frames' wrote."""
    out: Path = Path("ilfo_vit_tiny.safetensors")
    """The safetensors file to write at the end."""
    checkpoint: Path = Path("ilfo_vit_tiny.checkpoint.pt")
    """Where the state of the training is kept."""
    steps: int = 2000
    """Gradient steps in all."""
    batch_size: int = 64
    """Images in a step."""
    seed: int = 0
    """Of weights, order of the frames and views."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute."""
    threads: int = 1
    """Threads of PyTorch on the CPU."""
    bf16: bool = True
    """Whether the networks compute in bfloat16: nearly twice as fast on a CPU that can, more on a GPU."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints."""
    log_every: int = 20
    """Steps between lines."""
    judge_after: int = 200
    """Steps before collapse is checked for: at first every teacher outputs nearly the same for all images."""
    probe_every: int = 500
    """Steps between measurements of how far the patches most like an object are from it."""
    views: ViewOptions = field(default_factory=ViewOptions)
    """Crops."""
    dino: DinoOptions = field(default_factory=DinoOptions)
    """Constants of the algorithm."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "threads", "log_every", "probe_every"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; expected at least 1")


def train(config: TrainingConfig, *, say: Callable[[str], None] = print) -> Path:
    """Trains the network, or resumes its training; see :class:`TrainingConfig`.

    All randomness of a step depends on the seed and the step's number alone, so that a resumed and an uninterrupted
    training end with the same weights on the same CPU.

    Args:
        config: What to train on, and how.
        say: Called with a line of progress.

    Returns:
        The file of weights: the teacher's, in float16.

    Raises:
        InputError: Frames, a checkpoint or a path that cannot be used.

    Warns:
        UserWarning: The teacher says the same of every image.
    """
    check_device(config.device)
    for path in (config.out, config.checkpoint):
        file_to_write(path, reads=config.frames)
    torch.set_num_threads(config.threads)
    frames = read_frames(config.frames)
    if len(frames) < config.batch_size:
        raise InputError(f"{len(frames)} frames: fewer than --batch-size, {config.batch_size}; render more")
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = build_tiny(dynamic_img_size=True).to(config.device)
        dino = Dino(backbone, TINY["embed_dim"], Schedule(config.dino, config.steps, config.batch_size))
    recipe = _recipe(config, frames)
    first = _resume(config.checkpoint, dino, recipe)
    say(f"{len(frames):,} frames of {len(frames.names)} scenes; steps {first:,} to {config.steps:,} on {config.device}")
    started = saved = time.monotonic()
    warned = False
    for step in range(first, config.steps):
        images = torch.from_numpy(frames.images[_batch(config, len(frames), step)]).to(config.device)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        metrics = dino.update(step, *views(images, config.views, generator), bf16=config.bf16)
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            say(_line(config, step, first, started, metrics))
            if not warned and step >= config.judge_after and collapsed(metrics):
                warned = True
                warnings.warn(
                    "collapse: the teacher says the same of every image; lower --dino.learning-rate or the second "
                    "--dino.teacher-temperature, and begin anew",
                    stacklevel=2,
                )
        if (step + 1) % config.probe_every == 0 or step + 1 == config.steps:
            apart, size = probe(_frozen(dino), frames), frames.images.shape[1]
            say(f"step {step + 1:,}: objects are {apart:.1f} of {size} pixels from the patch most like them (median)")
        if time.monotonic() - saved > config.checkpoint_seconds or step + 1 == config.steps:
            _save(config.checkpoint, {"step": step + 1, "recipe": recipe} | dino.state_dict())
            saved = time.monotonic()
    return _write_weights(config.out, dino)


def collapsed(metrics: dict[str, Tensor]) -> bool:
    """Whether the teacher's answer says nothing of which image it saw: less than 0.01 nats.

    Args:
        metrics: Of :meth:`ilfo.pretraining.dino.Dino.update`.
    """
    return float(metrics["information"]) < 0.01


def _batch(config: TrainingConfig, number: int, step: int) -> np.ndarray:
    """Which frames a step sees: each once an epoch, in an order of the epoch's own; the last few wait for the next."""
    per_epoch = number // config.batch_size
    epoch, within = divmod(step, per_epoch)
    order = np.random.default_rng([config.seed, epoch]).permutation(number)
    return np.sort(order[within * config.batch_size : (within + 1) * config.batch_size])


def _line(config: TrainingConfig, step: int, first: int, started: float, metrics: dict[str, Tensor]) -> str:
    speed = (step + 1 - first) / (time.monotonic() - started)
    numbers = "  ".join(f"{name} {float(value):.3f}" for name, value in metrics.items())
    left = (config.steps - step - 1) / speed / 60
    return f"step {step + 1:,}  {numbers}  {speed * config.batch_size:.1f} images a second  {left:.0f} min left"


def _frozen(dino: Dino) -> Backbone:
    """The teacher as a user has it."""
    model = build_tiny().to(dino.device)
    model.load_state_dict(dino.teacher["backbone"].state_dict())
    return Backbone(model, "ilfo_vit_tiny", image_size=96, device=dino.device)


def _recipe(config: TrainingConfig, frames: Frames) -> str:
    """What a checkpoint has to have in common with the training that goes on with it."""
    digest = hashlib.sha256(frames.images[:: max(len(frames) // 100, 1)].tobytes())
    numbers = {name: getattr(config, name) for name in ("steps", "batch_size", "seed", "bf16")}
    kept = {"network": TINY, "views": asdict(config.views), "dino": asdict(config.dino)} | numbers
    return f"{kept}, {len(frames)} frames {digest.hexdigest()[:16]}"


def _resume(path: Path, dino: Dino, recipe: str) -> int:
    """Loads a checkpoint where there is one. Returns the step to go on with."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=dino.device, weights_only=True)
        found = state["recipe"]
    # PyTorch's reader raises errors of many kinds for a file that is none of its own.
    except Exception as error:
        raise InputError(f"{path}: no checkpoint of this training ({error}); name another with --checkpoint") from error
    if found != recipe:
        raise InputError(
            f"{path}: this checkpoint is of another training. It was begun with {found}; now it is {recipe}. Name "
            "another with --checkpoint, or go on with the settings that it was begun with"
        )
    dino.load_state_dict(state)
    return int(state["step"])


def _save(path: Path, state: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _write_weights(path: Path, dino: Dino) -> Path:
    from safetensors.torch import save_file

    weights = {name: value.half().cpu().contiguous() for name, value in dino.teacher["backbone"].state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(weights, os.fspath(temporary), metadata={"format": "pt"})
    return path
