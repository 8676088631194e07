"""Episodes played for a recording: one environment, in which everything worth keeping is written down."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.envs.copies import Copy
from ilfo.envs.drawing import drawable_env
from ilfo.envs.making import ACTION_SLACK, Protocol, make_env
from ilfo.envs.rollouts import Policy
from ilfo.rewards.sight import View

__all__ = ["Recorder"]


class Recorder:
    """Plays whole episodes with a policy, one after the other.

    Args:
        env_id: Gymnasium id.
        protocol: How episodes end.
        policy: Observations ``(N, D)`` and the episodes' ages in steps ``(N,)`` to actions ``(N, A)`` in [-1, 1].
            Here ``N`` is 1.
        name: What an error calls the policy.
        frame_size: Width and height of the frames to keep; None: none.
        stop_after_success: Steps that an episode goes on after its first success; None: to its end.
        view: What the policy sees in place of states; None: these.

    Raises:
        InputError: See :func:`ilfo.envs.make_env`; or frames of another size than the policy sees.
        RenderError: Frames are wanted of an environment that takes no ``render_mode``.
    """

    def __init__(
        self,
        env_id: str,
        protocol: Protocol,
        policy: Policy,
        name: str,
        *,
        frame_size: tuple[int, int] | None = None,
        stop_after_success: int | None = None,
        view: View | None = None,
    ) -> None:
        if view is not None and frame_size is not None and frame_size != view.frame_size:
            wanted, seen = (f"{width}x{height}" for width, height in (frame_size, view.frame_size))
            raise InputError(
                f"--frame-size is {wanted}, and {name} sees frames of {seen}, which are drawn once: record them with "
                f"--frame-size {seen}"
            )
        self._drawn_size = frame_size if view is None else view.frame_size
        self._env: gymnasium.Env[Any, Any]
        if self._drawn_size is None:
            self._env = make_env(env_id, protocol)
        else:
            self._env = drawable_env(env_id, protocol, self._drawn_size)
        self._env_id, self._policy, self._name = env_id, policy, name
        self._keeps_frames, self._stop_after_success = frame_size is not None, stop_after_success
        self._tracker = None if view is None else view.tracker(1)
        shape = self._env.action_space.shape
        assert shape
        self._action_dim = shape[0]

    def play(self, seed: int) -> Trajectory:
        """Plays one episode.

        Args:
            seed: Decides how it starts: as the first episode of a rollout with this seed.

        Returns:
            The episode with actions and rewards, and with frames and goal (``info["goal"]`` of the reset, if that is
            made of numbers) where there are any. One that was stopped after its success is truncated.

        Raises:
            InputError: Actions that are not finite numbers in [-1, 1], of one row an observation; or a simulation that
                diverges.
            RenderError: Nothing can be drawn here.
        """
        copy = Copy(self._env, seed, 0, self._drawn_size, self._keeps_frames, self._stop_after_success)
        shown = self._shown(copy)
        terminated = truncated = False
        while not (terminated or truncated):
            _, terminated, truncated = copy.step(self._act(shown, len(copy.actions), copy.episode_seed))
            if not copy.finite:
                raise copy.diverged(self._env_id)
            shown = self._shown(copy)
        return copy.episode(terminated)

    def _shown(self, copy: Copy) -> np.ndarray:
        """What the policy sees of the newest observation, ``(D,)``."""
        state = copy.observations[-1]
        if self._tracker is None:
            return state
        if not copy.actions:
            return self._tracker.begin(state[None], copy.look()[None])[0]
        return self._tracker.step(state[None], state[None], copy.look()[None], [])[0][0]

    def _act(self, observation: np.ndarray, step: int, seed: int) -> np.ndarray:
        """The policy's action ``(A,)`` float32, sure to be one."""
        where = f"{self._name}, step {step} of the episode with seed {seed}"
        # A copy, since the row stays in the episode whatever the policy does to it.
        returned: Any = self._policy(observation[None].copy(), np.array([step]))
        try:
            with np.errstate(over="ignore"):
                actions = np.asarray(returned, np.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{where}: it returned a {type(returned).__name__}, expected an array of actions (1, "
                f"{self._action_dim}), free of gradients and on the CPU ({error})"
            ) from error
        if actions.shape != (1, self._action_dim):
            raise InputError(
                f"{where}: it returned actions of shape {actions.shape} for observations of shape "
                f"{observation[None].shape}, expected (1, {self._action_dim}): one row for each row of observations"
            )
        if not (np.abs(actions) <= 1 + ACTION_SLACK).all():
            raise InputError(
                f"{where}: it returned the action {actions[0].tolist()}, expected finite numbers in [-1, 1], which are "
                "rescaled to the environment's bounds: clip them, or divide them by the bound"
            )
        return actions[0].clip(-1, 1)

    def close(self) -> None:
        """Frees the simulator."""
        self._env.close()
