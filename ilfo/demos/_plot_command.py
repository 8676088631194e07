"""``ilfo demos plot``: a picture of demonstrations, or keypoints over their frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

import ilfo.demos
from ilfo._tools.errors import InputError
from ilfo.demos.commands import new_console, opened

__all__ = ["PlotOptions", "main"]


@dataclass(frozen=True)
class PlotOptions:
    """Draw the states over time, and the return where it is known; or keypoints over the frames."""

    file: Annotated[str, tyro.conf.Positional]
    """HDF5 file, folder of a dataset, or the name of a bundled demonstration."""
    out: Path | None = None
    """PNG to write; by default the file's name with .png, in the current folder."""
    filter_key: str | None = None
    """Draw only the demonstrations of this filter key of a robomimic file."""
    keypoints: Path | None = None
    """Draw this instead: what 'ilfo train --features keypoints' sees of the first episode, as a video (.mp4 or .webm),
    or twelve of its frames as a .png. How they are found is chosen as there."""


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo demos plot``.

    Raises:
        InputError: The file cannot be used or drawn, or a flag would have no effect.
    """
    # Where this verb is run, and not for a list of verbs: it brings PyTorch.
    from ilfo.rewards.keypoints import KeypointOptions

    seeing: Any = Annotated[KeypointOptions, tyro.conf.arg(name="keypoints")]
    kind: Any = dataclasses.make_dataclass(
        "PlotOptions",
        [("seeing", seeing, dataclasses.field(default_factory=KeypointOptions))],
        bases=(PlotOptions,),
        frozen=True,
    )
    options = tyro.cli(kind, args=list(argv), prog="ilfo demos plot", description=PlotOptions.__doc__)
    if options.keypoints is None:
        _refuse_keypoints(options.seeing, KeypointOptions())
        _draw_states(options)
    else:
        _draw_keypoints(options)
    return 0


def _refuse_keypoints(given: Any, default: Any) -> None:
    for name, value in vars(default).items():
        if getattr(given, name) != value:
            raise InputError(
                f"--keypoints.{name.replace('_', '-')} is {getattr(given, name)}, and states are drawn: leave it out, "
                "or give --keypoints FILE for a picture of keypoints"
            )


def _draw_states(options: PlotOptions) -> None:
    console = new_console()
    demonstrations = opened(console, options.file, filter_key=options.filter_key)
    out = options.out or Path(f"{Path(options.file).stem}.png")
    written = ilfo.demos.plot_demonstrations(demonstrations, out)
    console.print(f"{written}", soft_wrap=True, highlight=False, markup=False)


def _draw_keypoints(options: Any) -> None:
    from ilfo.report.keypoint_pictures import draw_demonstrations

    if options.out is not None:
        raise InputError(
            f"--out is {options.out}, and --keypoints {options.keypoints} is what is written: give one of them"
        )
    console = new_console()
    demonstrations = opened(console, options.file, frames=True, filter_key=options.filter_key)

    def tell(what: str) -> None:
        console.print(what, soft_wrap=True, highlight=False, markup=False)

    tell(str(draw_demonstrations(demonstrations, options.keypoints, options.seeing, tell)))
