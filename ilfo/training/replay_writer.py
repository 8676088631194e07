"""How steps and episodes are written to the replay: with their rewards, and the time where the policy is shown it."""

from __future__ import annotations

import numpy as np
import torch

from ilfo._tools.averages import Averages
from ilfo._tools.devices import to_device
from ilfo.demos import Trajectory
from ilfo.envs import Steps
from ilfo.rewards import Episodes
from ilfo.rewards.labelling import Labels
from ilfo.training.policy_inputs import PolicyInputs
from ilfo.training.replay import Replay
from ilfo.training.scorer import Scorer

__all__ = ["ReplayWriter"]


class ReplayWriter:
    """Has the reward score the agent's experience, and writes it to the replay.

    A reward of transitions scores every step immediately, one of trajectories every episode at its end.

    Args:
        replay: Where it is written.
        scorer: Scores it.
        inputs: Puts the time beside observations.
        averages: Averages the numbers of finished episodes.
        horizon: Time limit of an episode in steps.
        device: Where rewards are computed.
    """

    def __init__(
        self,
        replay: Replay,
        scorer: Scorer,
        inputs: PolicyInputs,
        averages: Averages,
        *,
        horizon: int,
        device: torch.device,
    ) -> None:
        self._replay, self._scorer, self._inputs, self._averages = replay, scorer, inputs, averages
        self._horizon, self._device = horizon, device

    def write_steps(self, steps: Steps) -> None:
        """Writes a step of every environment, where the reward scores transitions."""
        if self._scorer.needs != "transition":
            return
        pairs = np.stack([steps.observations, steps.next_observations], axis=1)
        episodes = Episodes(
            observations=to_device(pairs, self._device),
            lengths=torch.ones(len(pairs), dtype=torch.int64, device=self._device),
            terminated=to_device(steps.terminated, self._device),
            env_rewards=to_device(steps.env_rewards[:, None], self._device),
            starts=to_device(steps.ages, self._device),
        )
        # The replay gets copies of its own, lest a reward that changes what it is shown change them.
        rewards = self._scorer.of_steps(episodes, to_device(self._horizon - steps.ages - 1, self._device))
        ages = steps.ages + 1
        ended = np.zeros(len(pairs), bool)
        ended[[row for row, _ in steps.finished]] = True
        self._replay.append(
            self._inputs.with_time(to_device(steps.observations, self._device), steps.ages),
            torch.from_numpy(steps.actions),
            rewards,
            self._inputs.with_time(to_device(steps.next_observations, self._device), ages),
            torch.from_numpy(self._ends(steps.terminated, ages)),
            ended,
        )

    def write_episode(self, trajectory: Trajectory, shown: np.ndarray, member: int, stream: int) -> Labels:
        """Writes a finished episode, where the reward scores trajectories; in any case its numbers are averaged.

        Args:
            trajectory: ``T`` steps, with actions.
            shown: ``(T + 1, D)``: what the policy saw of it.
            member: Position of its seed.
            stream: Which of that seed's environments it comes from.

        Returns:
            What the reward says of it.
        """
        labels, numbers = self._scorer.of_finished(trajectory, member, shown)
        measured = numbers | {
            "imitation_return": float(labels.scores.sum()),
            "train_return": trajectory.env_return or 0.0,
            "train_length": float(len(trajectory)),
        }
        self._averages.add_own(member, measured)
        if self._scorer.needs == "trajectory":
            assert trajectory.actions is not None
            ages = np.arange(len(trajectory) + 1)
            self._replay.extend(
                self._inputs.with_time(to_device(shown, self._device), ages),
                torch.from_numpy(trajectory.actions),
                labels.rewards[0],
                bool(self._ends(np.array([trajectory.terminated]), ages[-1:])[0]),
                ended=True,
                stream=stream,
                member=member,
            )
        return labels

    def _ends(self, terminated: np.ndarray, ages: np.ndarray) -> np.ndarray:
        """Where nothing follows: after a termination and, for a policy that is shown the time, at the time limit."""
        return terminated if self._inputs.horizon is None else terminated | (ages >= self._horizon)
