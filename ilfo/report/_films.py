"""The videos of a report: the best episode, and the keypoints that were seen in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from ilfo.demos import Trajectory
from ilfo.envs import RenderError, describe
from ilfo.envs.video import write_video
from ilfo.evaluate import Evaluation
from ilfo.report import _page as html
from ilfo.report.keypoint_pictures import write_keypoints
from ilfo.rewards.keypoints import KeypointFeatures

__all__ = ["film_best", "film_keypoints", "without_video"]


def film_best(found: Evaluation, path: Path, say: Callable[[str], None]) -> tuple[str, bytes]:
    """Films the best episode: the section about it, and the video.

    Raises:
        RenderError: Nothing can be drawn here.
    """
    best = found.trajectories[found.ranked()[0]]
    write_video(
        path,
        best,
        found.env_id,
        found.protocol,
        progress=lambda step, total: say(f"filming the best episode, step {step} of {total}"),
    )
    content = path.read_bytes()
    speed = f"Return {best.env_return or 0.0:,.1f} in {len(best)} steps, at the environment's own speed."
    return html.section("Best episode", speed, html.video(content)), content


def without_video(error: RenderError, stacklevel: int) -> str:
    """The section in place of the videos; warns, with the stack level of the caller's own call of ``warn``."""
    warnings.warn(f"the report comes without a video: {error}", stacklevel=stacklevel + 1)
    return html.section("Video", f"Not made: {error}")


def film_keypoints(
    trajectory: Trajectory, features: KeypointFeatures, env_id: str, path: Path, viewers: tuple[str, ...]
) -> tuple[str, bytes]:
    """Films the keypoints that were seen in an episode: the section about them, and the video.

    Args:
        trajectory: The best episode, with frames.
        features: What finds them.
        env_id: Where it was played.
        path: Of the video.
        viewers: Who saw them: the policy, the reward.
    """
    assert trajectory.frames is not None
    height, width = trajectory.frames.shape[1:3]
    write_keypoints(path, trajectory, features, describe(env_id).provenance.time_step)
    content = path.read_bytes()
    who, see = " and ".join(viewers), "sees" if len(viewers) == 1 else "see"
    text = (
        f"The best episode in the frames of {width} x {height} pixels that {who} {see}, enlarged: a colour for each "
        "concept, a disc larger where it is more visible, and its recent path."
    )
    return html.section(f"What {who} saw", text, html.video(content)), content
