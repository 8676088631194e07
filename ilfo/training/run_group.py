"""The runs of several seeds that train side by side, saved and restored together; or the run of one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ilfo._tools.errors import InputError
from ilfo.runs import Run, read_config, read_summary
from ilfo.training.configs import several_seeds

__all__ = ["RunGroup", "seed_runs"]


def seed_runs(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """Seed to folder of the runs that a folder of several seeds holds; empty if it is a run itself.

    Raises:
        InputError: The folder is neither, or one of its runs has not begun yet.
    """
    seeds = read_config(folder)["config"].get("seeds", "")
    found = {seed: _seed_folder(folder, seed) for seed in several_seeds(seeds)}
    for path in found.values():
        if not (path / "config.json").exists():
            raise InputError(
                f"{folder} is to hold a run for each of the seeds {seeds}, and {path.name} is missing or not begun: "
                "the command that trained the others goes on with it"
            )
    return found


def _seed_folder(folder: str | os.PathLike[str], seed: int) -> Path:
    return Path(folder) / f"seed_{seed}"


_FIRST = "first_save"
"""Whether a checkpoint is of a run's first save."""


class RunGroup:
    """A run, or a folder that holds one for each seed; all of them are at the same step at any time.

    The run of a seed is what it would be alone. The folder around them has a ``config.json`` and a ``summary.json`` of
    its own.

    Args:
        folder: The run, or the folder around the runs.
        config: The resolved configuration as plain values.
        seeds: The seeds side by side, or none: the folder is the run.
        demo_sha256: Hash of the demonstrations, or None.
        keep_replay: Whether finished runs keep their last checkpoint, to be trained further.

    Raises:
        InputError: See :class:`~ilfo.runs.Run`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: Mapping[str, Any],
        seeds: Sequence[int],
        demo_sha256: str | None,
        keep_replay: bool = False,
    ) -> None:
        self._steps, self._keep_replay, self._goes_on = config.get("steps", 0), keep_replay, False
        self._saved_before = False
        self._outer = Run(folder, dict(config), demo_sha256)
        self.runs: list[Run] = []
        try:
            for seed in seeds:
                alone = dict(config) | {"seed": seed, "seeds": ""}
                self.runs.append(Run(_seed_folder(folder, seed), alone, demo_sha256))
        except BaseException:
            self.close()
            raise
        self.runs = self.runs or [self._outer]

    def finished(self) -> dict[str, Any] | None:
        """The result, once all are finished with as many steps as the configuration says.

        Checkpoints that a kill left behind when all was finished are removed.

        Raises:
            InputError: It says more steps than the runs were finished with, and a checkpoint to resume from is gone.
        """
        summary = read_summary(self._outer.folder)
        if summary is None:
            return None
        if summary.get("steps", self._steps) < self._steps:
            lost = [run.folder for run in self.runs if not run.saved_steps()]
            if lost:
                raise InputError(
                    f"{lost[0]} was finished after {summary['steps']:,} steps, and the checkpoint to train it further "
                    "from is gone: choose another --out to start afresh"
                )
            return None
        if not summary.get("kept_replay"):
            self._drop_what_resumes()
        return summary

    def _drop_what_resumes(self) -> None:
        if not self._keep_replay:
            for run in self.runs:
                run.keep_only(None)

    def append(self, rows: Sequence[dict[str, Any] | None]) -> None:
        """Adds a row to the metrics of each run; None: it has that row already."""
        for run, row in zip(self.runs, rows, strict=True):
            if row is not None:
                run.append(row)

    def save(self, step: int, states: Sequence[dict[str, Any]]) -> None:
        """Writes a checkpoint of each run. Those before it go when all are whole: a kill in between loses nothing.

        Only the first one of a process gives up what was finished before, so that a run that cannot be trained further
        stays as it was.
        """
        if not self._goes_on:
            # The outer one last: what is left of it tells after a kill that the others were finished.
            for run in dict.fromkeys([*self.runs, self._outer]):
                run.go_on()
            self._goes_on = True
        for run, state in zip(self.runs, states, strict=True):
            run.save(step, state | {_FIRST: not self._saved_before})
        for run in self.runs:
            run.keep_only(step)
        self._saved_before = True

    def restore(self) -> list[dict[str, Any]] | None:
        """The newest checkpoints that all runs have, or None; what was written after them is cut off.

        Raises:
            InputError: A seed was trained further on its own, so that it cannot go on beside the others; or the
                checkpoints of a seed are gone.
        """
        alone = [run.folder for run in self.runs if read_summary(run.folder) and not run.saved_steps()]
        if alone:
            raise InputError(
                f"{alone[0]} is finished and the folder around it is not: it was trained on its own and cannot go on "
                "beside the others. Finish each seed by itself ('--seed N --out' its folder), or choose another --out"
            )
        saved = [run.saved_steps() for run in self.runs]
        common = set.intersection(*saved)
        if all(saved) and not common:
            raise InputError(
                f"the runs of the seeds are at different steps ({', '.join(str(max(steps)) for steps in saved)}): some "
                "were trained on their own and cannot go on beside the others. Finish each seed by itself ('--seed N "
                "--out' its folder), or choose another --out"
            )
        # After a kill amid the very first save some have a checkpoint and some have none yet: all begin anew.
        kept = [(run, max(steps)) for run, steps in zip(self.runs, saved, strict=True) if steps]
        if len(kept) < len(saved) and not all(run.read(step).get(_FIRST, False) for run, step in kept):
            lost = next(run.folder for run, steps in zip(self.runs, saved, strict=True) if not steps)
            raise InputError(
                f"{lost} has no checkpoint, and the runs beside it have: they cannot go on together. Put its "
                "checkpoints back; or finish each of the others by itself ('--seed N --out' its folder); or choose "
                "another --out"
            )
        step = max(common, default=None)
        self._saved_before = step is not None
        states = [run.restore(step) for run in self.runs]
        return None if step is None else [state for state in states if state is not None]

    def finish(
        self, summaries: Sequence[dict[str, Any]], states: Sequence[dict[str, Any]], together: dict[str, Any]
    ) -> None:
        """Writes each trained agent with its summary, then the summary of all."""
        kept = {"kept_replay": True} if self._keep_replay else {}
        for run, summary, state in zip(self.runs, summaries, states, strict=True):
            run.finish(summary | kept, state)
        if self.runs != [self._outer]:
            self._outer.finish(together | kept)
        self._drop_what_resumes()

    def close(self) -> None:
        """Releases the folders for other processes."""
        for run in {self._outer, *self.runs}:
            run.close()
