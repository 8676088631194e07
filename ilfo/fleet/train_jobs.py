"""A job for a fleet: a run to train, and then to evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilfo._progress import Progress
from ilfo.evaluate import evaluate, evaluate_seeds, read_evaluations, write_evaluation
from ilfo.fleet.jobs import Job, check_unchanged
from ilfo.report import update_report
from ilfo.runs import kept_replay, read_summary
from ilfo.runs.same_run import NOT_OF_THE_RUN
from ilfo.train import train
from ilfo.training.configs import TrainConfig, several_seeds
from ilfo.training.flags import parse_train

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["TrainJob"]


@dataclass(frozen=True)
class TrainJob(Job):
    """A run to train, and then to evaluate.

    Attributes:
        name: What tables and displays call it.
        words: Flags of ``ilfo train``.
        episodes: Episodes of each seed that ``ilfo evaluate`` plays in the end; 0 for none.
        config: What the flags come to.
    """

    name: str
    words: tuple[str, ...]
    episodes: int
    config: TrainConfig

    @classmethod
    def read(cls, name: str, words: Sequence[str], episodes: int = 0) -> TrainJob:
        """A job from its flags, which are read now: a wrong one is not found an hour later.

        Raises:
            InputError: See :func:`ilfo.training.flags.parse_train`.
        """
        return cls(name, tuple(words), episodes, parse_train(words)[0])

    @property
    def commands(self) -> list[list[str]]:
        """What to run, as words after ``ilfo``."""
        evaluation = ["evaluate", str(self.folder), "--episodes", str(self.episodes)]
        return [["train", *self.words], *([evaluation] if self.episodes else [])]

    @property
    def counts(self) -> str:
        """The column of its metrics that says how far it is."""
        return "step"

    @property
    def size(self) -> int:
        """Environment steps of every seed."""
        return self.config.steps

    @property
    def takes_frames(self) -> bool:
        """Whether it learns from the frames of its demonstrations too."""
        return self.config.sees == "keypoints"

    def check_finished(self, every_flag: bool = False, may_grow: bool = True) -> None:
        """Refuses a finished run that was trained with other settings than a table will state.

        More steps are taken of one that kept its replay.

        Args:
            may_grow: Accept one of fewer steps that kept its replay: it will be trained further.
            every_flag: Compare every setting that this code and the run's have in common, not only those of a table.

        Raises:
            InputError: Environment, demonstration, reward, agent, steps, protocol, seeds or another compared flag
                differs.
        """
        if read_summary(self.folder) is None:
            return
        stored, plain = self._compared()
        stated = ("env", "demo", "reward", "agent", "steps", "protocol")
        names: list[str] = [name for name in stated if name in plain]
        if every_flag:
            names += sorted((plain.keys() & stored.keys()) - {*names, *NOT_OF_THE_RUN, "seed", "seeds"})
        was = {name: stored.get(name) for name in names} | {"seeds": several_seeds(stored.get("seeds", ""))}
        now = {name: plain[name] for name in names} | {"seeds": several_seeds(self.config.seeds)}
        if may_grow and stored.get("steps", 0) < self.config.steps and kept_replay(self.folder):
            del now["steps"]
        check_unchanged(self.folder, was, now, "finished run")

    @property
    def is_done(self) -> bool:
        """Whether all seeds are trained for so many steps and evaluated on so many episodes, and no report is missing.

        A run that was trained for longer is done too: :meth:`check_finished` refuses it where it is not what is meant.
        """
        summary = read_summary(self.folder)
        if summary is None or summary["steps"] < self.config.steps:
            return False
        if self.config.report and not (self.folder / "report" / "index.html").exists():
            return False
        return not self.episodes or {len(each["episodes"]) for each in read_evaluations(self.folder)} == {self.episodes}

    def run(self, console: Console | None) -> None:
        """Does it in this process."""
        if console is None:
            train(self.config)
        else:
            with Progress(self.config, console) as progress:
                train(self.config, progress)
        if self.config.report:
            update_report(self.folder)
        if self.episodes and self.config.seeds:
            write_evaluation(self.folder, evaluate_seeds(self.folder, self.episodes))
        elif self.episodes:
            write_evaluation(self.folder, evaluate(self.folder, self.episodes))
