"""``ilfo report``: one HTML page on a run, with its curves, rewards, match with the expert and a video.

For several seeds it writes a page on all of them, and one on the best; for a cloned policy, one of its own kind.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ilfo._tools.checks import check_episode_count
from ilfo._tools.cores import threads
from ilfo._tools.words import UNKNOWN
from ilfo.cloning import is_clone
from ilfo.demos import Trajectory
from ilfo.envs import RenderError
from ilfo.evaluate import Evaluation, play
from ilfo.report import _figures as figures
from ilfo.report import _page as html
from ilfo.report._clone_report import report_on_clone
from ilfo.report._films import film_best, film_keypoints, without_video
from ilfo.report._group_report import GroupReport
from ilfo.runs import read_config, read_metrics, read_summary
from ilfo.training.imitation import Imitation, load
from ilfo.training.run_group import seed_runs

__all__ = ["main", "update_report", "write_report"]


def write_report(
    run: str | os.PathLike[str],
    *,
    episodes: int = 5,
    video: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Writes ``RUN/report/index.html``, which embeds its pictures and its video; they are also stored beside it.

    For several seeds the page is on all of them, with the video of the best one, whose own report is written too.
    That of a cloned policy has the error of its actions, how it does in other looks if that was measured, and what it
    saw. If the machine cannot render, the page comes without the video, and a warning says so.

    Args:
        run: Folder of a run or of several seeds, finished or under way; that of a cloned policy must be finished.
        episodes: Fresh episodes to play, of which the best and the worst are shown; at least 1.
        video: Film the best of them.
        progress: Called with what is being done.

    Returns:
        The page.

    Raises:
        InputError: Not a run, a run without a checkpoint, or no episodes.
    """
    check_episode_count(episodes)
    say = progress or (lambda doing: None)
    if is_clone(run):
        return report_on_clone(Path(run), episodes, video, say)
    seeds = seed_runs(run)
    if not seeds:
        return _report_on_one(Path(run), episodes, video, say).page
    together = GroupReport(Path(run), seeds)
    best = _report_on_one(seeds[together.best], episodes, video, lambda doing: say(f"seed {together.best}, {doing}"))
    say("drawing all seeds")
    return together.write(best.imitation.expert_return, best.random_return, best.video, best.files.get("best.webm"))


def update_report(run: str | os.PathLike[str], progress: Callable[[str], None] | None = None) -> Path:
    """The page of a finished run, as :func:`write_report` writes it unless one is there that is no older than the run.

    Args:
        run: Folder of a run or of several seeds.
        progress: Called with what is being done.
    """
    page = Path(run) / "report" / "index.html"
    if page.exists() and page.stat().st_mtime >= (Path(run) / "summary.json").stat().st_mtime:
        return page
    return write_report(run, progress=progress)


def _report_on_one(run: Path, episodes: int, video: bool, say: Callable[[str], None]) -> _Report:
    say("loading the run")
    report = _Report(run, load(run))
    with closing(report.imitation), threads(report.imitation.config.threads):
        _fill(report, episodes, video, say)
    return report


def _fill(report: _Report, episodes: int, video: bool, say: Callable[[str], None]) -> None:
    """Plays the run's policy, and writes what there is to show of it and of the run."""
    say(f"playing {episodes} episodes")
    found = play(report.imitation, report.run, episodes)
    if report.summary is None:
        (random,) = report.imitation.random_episodes(10)
        report.random_return = float(np.mean([each.env_return or 0.0 for each in random]))
    report.folder.mkdir(exist_ok=True)
    say("drawing")
    body = [
        html.tiles(report.headline(found)),
        html.table(report.facts(found)),
        *report.learning(),
        *report.episodes(found),
    ]
    if video:
        report.video = report.film(found, say)
    body += [*report.video, html.table(report.config["config"], "Configuration"), html.versions(report.config)]
    say("writing the page")
    report.write(body)


@dataclass
class _Report:
    """A report under way."""

    run: Path
    imitation: Imitation
    files: dict[str, bytes] = field(default_factory=dict)
    video: list[str] = field(default_factory=list)
    film_of_best: Trajectory | None = None

    def __post_init__(self) -> None:
        self.config = read_config(self.run)
        self.rows = read_metrics(self.run)
        self.summary = read_summary(self.run)
        self.random_return: float | None = (self.summary or {}).get("random_return")
        self.folder = self.run / "report"
        self.page = self.folder / "index.html"

    @property
    def evaluated(self) -> dict[str, Any]:
        """The last row with an evaluation; empty before the first."""
        return next((row for row in reversed(self.rows) if "eval_return" in row), {})

    def headline(self, found: Evaluation) -> dict[str, str]:
        last = self.evaluated
        expert = self.imitation.expert_return
        policy = last.get("eval_return", found.return_mean)
        numbers: dict[str, str] = {}
        if expert is not None and expert > 0:
            numbers["of the expert's return"] = f"{policy / expert:.2f}"
        numbers["policy's return"] = f"{policy:,.1f}"
        if expert is not None:
            numbers["expert's return"] = f"{expert:,.1f}"
        if self.random_return is not None:
            numbers["random policy's return"] = f"{self.random_return:,.1f}"
        if last.get("eval_success") is not None:
            numbers["success"] = f"{last['eval_success']:.0%}"
        numbers["environment steps"] = f"{found.steps:,}"
        return numbers

    def facts(self, found: Evaluation) -> dict[str, str]:
        config, evaluated = self.config["config"], self.evaluated.get("eval_returns", [])
        seconds = self.rows[-1]["seconds"] if self.rows else None
        return {
            "state of the run": "finished" if self.summary else f"under way to {config['steps']:,} steps",
            "policy's return": f"mean of {len(evaluated)} episodes of the last evaluation"
            if evaluated
            else "mean of the fresh episodes: there was no evaluation yet",
            "fresh episodes": found.in_words,
            "protocol": config["protocol"],
            "seed": str(config["seed"]),
            "training time": UNKNOWN if seconds is None else html.duration(seconds),
            "demonstration": config["demo"] or "none",
            "demonstration's SHA-256": self.config["demo_sha256"] or UNKNOWN,
        }

    def learning(self) -> list[str]:
        sections = []
        if self.evaluated:
            curve = figures.learning_curve(self.rows, self.imitation.expert_return, self.random_return)
            seen = "The agent never sees it." if self.imitation.reward.imitates else "It is what the agent learns from."
            best = " It plays its checkpoint, the policy of the best imitation return with absorbing states so far."
            text = (
                "The environment's return over the episodes of each evaluation, without exploration noise: the mean, "
                f"and the range from the worst to the best. {seen}{best if self.imitation.agent.plays_best else ''}"
            )
            sections.append(html.section("Learning", text, self._picture("learning.png", curve, "learning curve")))
        small = figures.training_curves(self.rows)
        if small is not None:
            text = "What training measured since the row before; a curve starts where it was measured first."
            sections.append(html.section("Training", text, self._picture("training.png", small, "training curves")))
        return sections

    def episodes(self, found: Evaluation) -> list[str]:
        order = found.ranked()
        chosen = {"best episode": order[0], "worst episode": order[-1]}
        if len(order) == 1:
            del chosen["worst episode"]
        try:
            films = self.imitation.filmed([found.trajectories[index] for index in chosen.values()])
        except RenderError as error:
            warnings.warn(f"the report comes without the rewards, which are given to frames: {error}", stacklevel=5)
            return [html.section("Reward along an episode", f"Not known: {error}")]
        if self.imitation.sight is not None:
            self.film_of_best = films[0]
        trajectories = {
            f"{name}, return {found.returns[index]:,.1f}": each
            for (name, index), each in zip(chosen.items(), films, strict=True)
        }
        traces, ended = {}, {}
        for label, trajectory in trajectories.items():
            scores = self.imitation.rewards_of([trajectory]).scores
            assert trajectory.env_rewards is not None
            traces[label] = (scores[0].cpu().numpy(), trajectory.env_rewards)
            ended[label] = trajectory.terminated
        drawn = figures.reward_traces(traces, terminated=ended, imitates=self.imitation.reward.imitates)
        text = f"Of {len(order)} fresh episodes. A cross marks a termination by the environment."
        sections = [
            html.section(
                "Reward along an episode", text, self._picture("rewards.png", drawn, "reward along the episodes")
            )
        ]
        known = {label: self.imitation.explain(trajectory) for label, trajectory in trajectories.items()}
        explained = {label: explanation for label, explanation in known.items() if explanation is not None}
        if explained:
            text = (
                "Which expert step each step of the episode was matched to: blue is the share of the step's mass, an "
                "orange dot the expert step with the most. On the dotted line the policy keeps the expert's pace."
            )
            drawn = figures.plans(explained)
            sections.append(
                html.section("Match with the expert", text, self._picture("plan.png", drawn, "the plan as a picture"))
            )
        return sections

    def film(self, found: Evaluation, say: Callable[[str], None]) -> list[str]:
        try:
            section, self.files["best.webm"] = film_best(found, self.folder / "best.webm", say)
        except RenderError as error:
            return [without_video(error, stacklevel=5)]
        return [section, *self._keypoints(found)]

    def _keypoints(self, found: Evaluation) -> list[str]:
        """What the reward saw of the best episode, and perhaps the policy, where it sees keypoints."""
        sight = self.imitation.sight
        if sight is None or self.film_of_best is None:
            return []
        viewers = ("the reward",) if self.imitation.view is None else ("the policy", "the reward")
        path = self.folder / "keypoints.webm"
        section, self.files["keypoints.webm"] = film_keypoints(
            self.film_of_best, sight.features, found.env_id, path, viewers
        )
        return [section]

    def _picture(self, name: str, png: bytes, description: str) -> str:
        self.files[name] = png
        return html.picture(png, description)

    def write(self, body: list[str]) -> None:
        config = self.config["config"]
        title = f"{config['env']}: {config['agent']} on the {config['reward']} reward"
        html.write(self.folder, html.page(title, str(self.run), body), self.files)


def main(argv: Sequence[str]) -> int:
    """The command line of ``ilfo report``."""
    import tyro

    tyro.cli(_command, args=list(argv), prog="ilfo report")
    return 0


def _command(run: Path, /, *, episodes: int = 5, video: bool = True) -> None:
    """Write one HTML page on a run: curves, rewards, matches, video. Of several seeds: on all, and on the best.

    Of a cloned policy: the error of its actions, its success in other looks if that was measured, and what it saw.

    Args:
        run: Folder of a run or of several seeds, finished or under way.
        episodes: Fresh episodes to play; the best and the worst are shown.
        video: Film the best of them. Without, the film of an earlier report goes with that report.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    with console.status("loading the run") as status:
        path = write_report(run, episodes=episodes, video=video, progress=status.update)
    console.print(f"report    {path}", markup=False)
