"""A job for a fleet: a policy to clone, and then to play where its environment only looks different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilfo._tools.errors import InputError
from ilfo._tools.seeds import EVALUATION, derived_seed
from ilfo.clone import clone
from ilfo.cloning import EYES, CloneConfig, evaluate_looks, parse_clone, read_looks
from ilfo.cloning.eyes import Sees
from ilfo.evaluate import write_looks
from ilfo.fleet.cell_flags import without_flags
from ilfo.fleet.jobs import Job, check_unchanged
from ilfo.runs import read_summary
from ilfo.variants import Kind

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["CloneJob", "flags_for"]


@dataclass(frozen=True)
class CloneJob(Job):
    """A policy to clone, and to play in every look.

    Attributes:
        name: Its name in displays.
        words: Flags of ``ilfo clone``.
        kinds: What varies when it is played, one at a time.
        episodes: Episodes of each kind and split.
        stop_after_success: Steps that an episode goes on after its first success; None: to its end.
        config: The configuration that the flags give.
    """

    name: str
    words: tuple[str, ...]
    kinds: tuple[Kind, ...]
    episodes: int
    stop_after_success: int | None
    config: CloneConfig

    @classmethod
    def read(
        cls, name: str, words: Sequence[str], kinds: Sequence[Kind], episodes: int, stop_after_success: int | None
    ) -> CloneJob:
        """Makes a job from its flags, parsed at once so that a wrong one is found now, not an hour later.

        Raises:
            InputError: See :func:`ilfo.cloning.parse_clone`.
        """
        return cls(name, tuple(words), tuple(kinds), episodes, stop_after_success, parse_clone(words))

    @property
    def commands(self) -> list[list[str]]:
        """What to run, as words after ``ilfo``."""
        played = ["--episodes", str(self.episodes), "--variants", *self.kinds]
        if self.stop_after_success is not None:
            played += ["--stop-after-success", str(self.stop_after_success)]
        return [["clone", *self.words], ["evaluate", str(self.folder), *played]]

    @property
    def counts(self) -> str:
        """The column of its metrics that says how far it is."""
        return "epoch"

    @property
    def size(self) -> int:
        """Passes over the demonstrations."""
        return self.config.epochs

    @property
    def takes_frames(self) -> bool:
        """Whether it learns from the frames of its demonstrations too."""
        return EYES[self.config.sees].takes_frames

    @property
    def is_done(self) -> bool:
        """Whether its policy was played in all of these looks, see :func:`ilfo.cloning.read_looks`.

        Raises:
            InputError: It was played by earlier code, which stored less.
        """
        return read_looks(self.folder, self.kinds, self.episodes, self.stop_after_success) is not None

    def check(self) -> None:
        """Refuses a folder that holds a run of other flags, finished or not.

        Raises:
            InputError: The message names the flags that differ; or earlier code finished the run, and stored less.
        """
        if not (self.folder / "config.json").exists():
            return
        was, now = self._compared()
        names = sorted((was.keys() & now.keys()) - {"out"})
        check_unchanged(self.folder, {name: was[name] for name in names}, {name: now[name] for name in names})
        if "variants" not in (read_summary(self.folder) or {"variants": ()}):
            raise InputError(
                f"{self.folder} was cloned by earlier code, which did not keep the variants that demonstrations show: "
                "remove it, or name another --out"
            )

    def run(self, console: Console | None) -> None:
        """Does it in this process."""
        from rich.console import Console

        with (console or Console(quiet=True)).status("") as status:
            clone(
                self.config,
                doing=status.update,
                on_epoch=lambda epoch: status.update(f"epoch {epoch.number} of {self.size}, loss {epoch.loss:.4f}"),
            )
            looks = evaluate_looks(
                self.folder,
                self.kinds,
                episodes=self.episodes,
                seed=derived_seed(self.config.seed, EVALUATION),
                stop_after_success=self.stop_after_success,
                progress=status.update,
            )
        write_looks(self.folder, looks)


def flags_for(sees: Sees, flags: Sequence[str]) -> list[str]:
    """Selects the flags of ``ilfo clone`` that concern one policy, from flags for several policies.

    Args:
        sees: What it sees. The options of other eyes are left out; with states, ``--state-dims`` too.
        flags: Words; one that does not begin with ``--`` belongs to the flag before it.

    Examples:
        >>> flags_for("states", ["--epochs", "9", "--keypoints.k", "8", "--pixels.shift", "0"])
        ['--epochs', '9']
    """
    foreign = tuple(f"--{eye}." for eye in EYES if eye != sees) + (("--state-dims",) if sees == "states" else ())
    return without_flags(flags, foreign)
