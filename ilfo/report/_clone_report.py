"""The report on a cloned policy: the error of its actions, how it does in other looks, and what it saw."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ilfo._tools.words import UNKNOWN, counted, estimate, if_known
from ilfo.cloning import KeypointEye, load_clone
from ilfo.cloning.looks import unfinished
from ilfo.envs import RenderError
from ilfo.envs.drawing import filmed
from ilfo.evaluate import Evaluation, evaluate
from ilfo.report import _figures as figures
from ilfo.report import _page as html
from ilfo.report._films import film_best, film_keypoints, without_video
from ilfo.runs import read_config, read_metrics, read_summary

__all__ = ["report_on_clone"]


def report_on_clone(run: Path, episodes: int, video: bool, say: Callable[[str], None]) -> Path:
    """Plays a cloned policy, and writes ``RUN/report/index.html`` with its pictures beside it; returns the page.

    Raises:
        InputError: The run is not finished, or its environment cannot be made.
        RenderError: The policy takes frames, and nothing can be drawn here.

    Warns:
        UserWarning: The page comes without its videos, because nothing can be drawn here.
    """
    if read_summary(run) is None:
        raise unfinished(run)
    say(f"playing {counted(episodes, 'episode')}")
    found = evaluate(run, episodes)
    report = _CloneReport(run, found)
    report.folder.mkdir(exist_ok=True)
    say("drawing")
    body = [
        html.tiles(report.headline()),
        html.table(report.facts()),
        report.learning(),
        *report.looks(),
    ]
    if video:
        try:
            body += report.films(say)
        except RenderError as error:
            body.append(without_video(error, stacklevel=3))
    body += [html.table(report.config["config"], "Configuration"), html.versions(report.config)]
    say("writing the page")
    return report.write(body)


@dataclass
class _CloneReport:
    """A report under way.

    Attributes:
        run: The folder of the run.
        found: What its policy did on fresh episodes.
        files: Name to content of what lies beside the page.
    """

    run: Path
    found: Evaluation
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = read_config(self.run)
        self.summary: Mapping[str, Any] = read_summary(self.run) or {}
        self.folder = self.run / "report"

    def headline(self) -> dict[str, str]:
        found, numbers = self.found, {}
        if found.successes is not None:
            numbers["success"] = f"{found.successes[0] / found.successes[1]:.0%}"
        if found.ratio is not None:
            numbers["of the expert's return"] = f"{found.ratio:.2f}"
        numbers["policy's return"] = f"{found.return_mean:,.1f}"
        for name, value in (("expert's return", found.expert_return), ("random policy's return", found.random_return)):
            if value is not None:
                numbers[name] = f"{value:,.1f}"
        return numbers

    def facts(self) -> dict[str, str]:
        config, summary = self.config["config"], self.summary
        held_out = summary["held_out_episodes"]
        why = f"the best on {counted(len(held_out), 'held-out episode')}" if held_out else "the last: none is held out"
        return {
            "the policy sees": config["sees"]
            + (f", and columns {config['state_dims']} of the state" if config["state_dims"] else ""),
            "cloned from": f"{counted(summary['samples'], 'step')} of {counted(summary['episodes'], 'episode')}",
            "epoch": f"{summary['epoch']} of {config['epochs']}, {why}",
            "fresh episodes": self.found.in_words,
            "steps to success": self.found.time_text,
            "protocol": config["protocol"],
            "seed": str(config["seed"]),
            "time to clone": html.duration(summary["seconds"]),
            "demonstrations": ", ".join(config["demo"]),
            "their SHA-256": self.config["demo_sha256"] or UNKNOWN,
        }

    def learning(self) -> str:
        self.files["learning.png"] = drawn = figures.cloning_curve(read_metrics(self.run), self.summary["epoch"])
        text = (
            "Mean squared error of the actions after each pass over the demonstrations. The policy is that of the "
            "epoch on the dashed line."
        )
        return html.section("Learning", text, html.picture(drawn, "error of the actions against epochs"))

    def looks(self) -> list[str]:
        """What ``ilfo evaluate --variants`` measured, if it did."""
        file = self.run / "variants.json"
        if not file.exists():
            return []
        measured = json.loads(file.read_text())
        rows = [["none", UNKNOWN, *_in_words(measured["plain"])]]
        rows += [[each["kind"], each["split"], *_in_words(each)] for each in measured["each"]]
        head = ["variants", "split", "success", "steps to success", "return"]
        text = (
            "As 'ilfo evaluate --variants' measured it: the same initial states in every row, in environments that "
            "only look different. Success has its 95 % Wilson interval, the return that of the bootstrap."
        )
        return [html.section("In other looks", text, html.grid(head, rows))]

    def films(self, say: Callable[[str], None]) -> list[str]:
        """The best episode and, of a policy that sees keypoints, those that it saw there."""
        section, self.files["best.webm"] = film_best(self.found, self.folder / "best.webm", say)
        policy = load_clone(self.run)
        if not isinstance(policy.eye, KeypointEye) or policy.frame_size is None:
            return [section]
        say("filming the keypoints")
        best = self.found.trajectories[self.found.ranked()[0]]
        (seen,) = filmed([best], self.found.env_id, self.found.protocol, policy.frame_size)
        path = self.folder / "keypoints.webm"
        keypoints, self.files["keypoints.webm"] = film_keypoints(
            seen, policy.eye.features, self.found.env_id, path, ("the policy",)
        )
        return [section, keypoints]

    def write(self, body: list[str]) -> Path:
        title = f"{self.found.env_id}: cloned from {self.config['config']['sees']}"
        return html.write(self.folder, html.page(title, str(self.run), body), self.files)


def _in_words(found: Mapping[str, Any]) -> list[str]:
    """Success, steps to success and return of an evaluation, as ``variants.json`` holds it."""
    success, first = UNKNOWN, found["time_to_success"]
    if found["successes"] is not None:
        (count, played), (low, high) = found["successes"], found["success_interval"]
        success = f"{count} of {played} ({low:.0%} to {high:.0%})"
    returned = estimate(found["return_mean"], found["return_interval"], "{:,.1f}")
    return [success, if_known(first, "{:,.1f}"), returned]
