"""The command that made ``ilfo_vit_tiny``: ``python -m ilfo.pretraining frames|train|error``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ilfo._tools.checks import check_at_least
from ilfo._tools.errors import InputError
from ilfo.pretraining.frames import HELD_OUT, render_frames
from ilfo.pretraining.keypoint_error import keypoint_errors, mean_position_errors
from ilfo.pretraining.scenes import scenes_named
from ilfo.pretraining.studio import Studio
from ilfo.pretraining.train import TrainingConfig, train
from ilfo.vision.backbones import TINY_WEIGHTS
from ilfo.vision.concepts import ConceptOptions
from ilfo.vision.descriptors import DescriptorOptions, Facet
from ilfo.vision.loading import load_backbone

__all__ = ["ErrorConfig", "FramesConfig", "error_table", "main"]


@dataclass(frozen=True)
class FramesConfig:
    """Render frames of many tasks, under random cameras, lights and colours, into one file."""

    out: Path
    """The HDF5 file to write."""
    number: int = 30_000
    """Frames in all; of seed 0, at most 20,000 of a scene, for later episodes are held out."""
    scenes: tuple[str, ...] = ()
    """Scenes, or prefixes of their names, like 'metaworld'. By default all, for which gymnasium-robotics and
    Meta-World must be installed."""
    seed: int = 0
    """Determines every frame."""
    size: int = 96
    """Height and width in pixels."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "number", "size")
        check_at_least(self, 0, "seed")


@dataclass(frozen=True)
class ErrorConfig:
    """Measure how far keypoints are from the simulator's objects, in held-out episodes."""

    weights: Path = TINY_WEIGHTS
    """Weights of the network, which is compared with one of random weights."""
    scenes: tuple[str, ...] = ("halfcheetah", "hopper", "pusher", "reacher")
    """Scenes, or how several of them begin."""
    varied: bool = False
    """Whether every episode has its own camera, lights and colours. By default all look alike, as a user's do."""
    episodes: int = 4
    """Episodes to fit on, and as many others to measure."""
    length: int = 25
    """Frames in an episode."""
    seed: int = HELD_OUT
    """Seed of the first episode; frames of seed 0 are of episodes below 1,000."""
    size: int = 96
    """Height and width of the frames in pixels."""
    image_size: int = 96
    """What the network sees them at."""
    stride: int = 4
    """Pixels between its patches."""
    layer: int = -1
    """Block of the network that describes the patches, from 0; negative: from the end."""
    facet: Facet = "key"
    """Which facet of the block: key, query, value or token."""
    k: int | None = None
    """Clusters of patches; by default found by the elbow."""
    votes: float = 0.0
    """See 'ilfo train --features keypoints --help'. By default all clusters are kept, to measure how well the
    network describes patches and not where it attends."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "episodes", "size", "image_size", "stride", "k")
        check_at_least(self, 2, "length")
        check_at_least(self, 0, "seed")


def error_table(config: ErrorConfig) -> list[tuple[str, ...]]:
    """Films episodes and measures; see :class:`ErrorConfig`.

    Returns:
        Rows of text: scene and object; the mean distance in pixels to the object's mean position, to the keypoint of
        the untrained and of the trained network, and to those of both with labels; then, for the untrained and the
        trained network, the share of frames in which the keypoint is less than a tenth of the image away.

    Raises:
        InputError: Weights or scenes cannot be used, or rendering does not work here.
    """
    stride, image_size = config.stride, config.image_size
    networks = (
        load_backbone(pretrained=False, stride=stride, image_size=image_size),
        load_backbone(weights=config.weights, stride=stride, image_size=image_size),
    )
    descriptors = DescriptorOptions(layer=config.layer, facet=config.facet)
    concepts = ConceptOptions(k=config.k, votes=config.votes)
    rows: list[tuple[str, ...]] = []
    for scene in scenes_named(config.scenes):
        studio = Studio(scene, config.size)
        films = [
            studio.film(config.length, config.seed + each, varied=config.varied) for each in range(2 * config.episodes)
        ]
        studio.close()
        fitting, held_out = films[: config.episodes], films[config.episodes :]
        (untrained, with_labels), (trained, both) = (
            keypoint_errors(network, fitting, held_out, descriptors=descriptors, concepts=concepts)
            for network in networks
        )
        columns = (mean_position_errors(fitting, held_out), untrained, trained, with_labels, both)
        for number, name in enumerate(scene.objects):
            means = (f"{column[number].mean:.1f}" for column in columns)
            shares = (f"{column[number].share:.0%}" for column in (untrained, trained))
            rows.append((scene.name, name, *means, *shares))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``python -m ilfo.pretraining``. Returns the exit status: 0, or 2 for input that cannot be used."""
    import tyro

    verbs = (
        Annotated[FramesConfig, tyro.conf.subcommand("frames", prefix_name=False)]
        | Annotated[TrainingConfig, tyro.conf.subcommand("train", prefix_name=False)]
        | Annotated[ErrorConfig, tyro.conf.subcommand("error", prefix_name=False)]
    )
    try:
        config: Any = tyro.cli(verbs, args=argv, prog="python -m ilfo.pretraining")
        if isinstance(config, FramesConfig):
            scenes = scenes_named(config.scenes)
            render_frames(config.out, scenes, config.number, seed=config.seed, size=config.size, say=_say)
        elif isinstance(config, TrainingConfig):
            train(config, say=_say)
        else:
            _print_errors(config)
    except InputError as error:
        print(f"ilfo.pretraining: {error}", file=sys.stderr)
        return 2
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _print_errors(config: ErrorConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    look = "cameras, lights and colours vary" if config.varied else "one camera, plain colours"
    table = Table(title=f"Mean distance in pixels of {config.size} x {config.size} frames; {look}")
    heads = ("mean position", "untrained", "trained", "untrained, labels", "trained, labels")
    for head in ("scene", "object"):
        table.add_column(head)
    for head in (*heads, "untrained, < 10 %", "trained, < 10 %"):
        table.add_column(head, justify="right")
    for row in error_table(config):
        table.add_row(*row)
    Console(width=120).print(table)
