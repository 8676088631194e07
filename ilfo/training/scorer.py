"""The rewards of a run: each seed's generator, and its rewards for steps, episodes and batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.agents import Batch
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import Episodes, Explanation, RewardGenerator
from ilfo.rewards._checked import absorbing_of, observed, scores_of
from ilfo.rewards.base import Needs, copied
from ilfo.rewards.labelling import Labels, imitation_rewards, without_terminations
from ilfo.rewards.sight import Sight, View

__all__ = ["Scorer"]

_WITHOUT_A_COPY = "which several seeds need, and evaluations that leave the run unchanged"

_TRIAL_STEPS = 16
"""Steps of the expert that a reward is tried on once it is fitted."""


class Scorer:
    """Fits a generator once, and lets it score, and learn, for each seed separately.

    Args:
        reward: The generator, not fitted yet.
        members: Number of seeds ``S``.
        discount: The agent's.
        absorbing: Whether terminated episodes go on in absorbing states.
        horizon: Time limit of an episode in steps.
        time_aware: The time limit is an end, and the last column of a batch's observations is the share of time left.
        device: Where rewards are computed.
        sight: What the generator sees in place of states; None: the states.
        view: What the policy is shown, if that includes the keypoints that the generator sees; else None.

    Attributes:
        reward: The generator of the first seed.

    Raises:
        InputError: The generator does not say whether it needs transitions or trajectories.
    """

    def __init__(
        self,
        reward: RewardGenerator,
        members: int,
        *,
        discount: float,
        absorbing: bool,
        horizon: int,
        time_aware: bool,
        device: torch.device,
        sight: Sight | None = None,
        view: View | None = None,
    ) -> None:
        if reward.needs not in (known := get_args(Needs)):
            raise InputError(
                f"{type(reward).__qualname__}.needs is {reward.needs!r}; expected {' or '.join(map(repr, known))}"
            )
        self.reward, self._members, self._sight, self._view = reward, members, sight, view
        self._discount, self._absorbing = discount, absorbing
        self._horizon, self._time_aware, self._device = horizon, time_aware, device
        self._share()

    @property
    def needs(self) -> Needs:
        """What a reward needs: whole episodes if only it sees frames, which are encoded in batches and not kept."""
        return self.reward.needs if self._sight is None or self._view is not None else "trajectory"

    @property
    def _rescores(self) -> bool:
        """Whether batches are scored again when they are sampled."""
        return not self.reward.stationary and self.needs == "transition"

    @property
    def _agree(self) -> bool:
        """Whether the generators of all seeds say the same of a transition: fitted as one, none has changed since."""
        return self.reward.stationary and not self.reward.observes and self.reward.needs == "transition"

    def fit(self, demonstrations: Demonstrations, on_progress: Callable[[float, str], None] | None = None) -> None:
        """Learns from the expert; without absorbing states, the expert's end is a step like any other.

        Args:
            demonstrations: As the generator sees them.
            on_progress: See :class:`~ilfo.rewards.RewardGenerator`.

        Raises:
            InputError: The generator cannot be fitted on these demonstrations, or breaks its contract when it scores.

        Warns:
            UserWarning: It could not be tried, because it cannot be copied.
        """
        if not self._absorbing:
            demonstrations = without_terminations(demonstrations)
        self.reward.fit_with_progress(demonstrations, on_progress)
        if self.reward.imitates:
            self._try(demonstrations)
        self._share()

    def _try(self, demonstrations: Demonstrations) -> None:
        """Scores the expert's first steps, so that a broken reward is found now, not at the end of the first episode.

        Where absorbing states apply, the one that would follow these steps is scored too.

        A copy does it, so that its random draws do not change the run.
        """
        trial = copied(self.reward, _WITHOUT_A_COPY)
        if trial is None:
            return
        states = torch.tensor(demonstrations[0].observations[: _TRIAL_STEPS + 1], device=self._device)
        length = torch.tensor([len(states) - 1], device=self._device)
        episode = Episodes(states[None], length, torch.full_like(length, self._absorbing, dtype=torch.bool))
        if self._rescores and not self._time_aware:
            episode = replace(episode, starts=-length)  # In a batch there is nothing to tell the time by.
        scores_of(trial, episode)
        if self._absorbing:
            absorbing_of(trial, episode)
            if trial.needs == "transition":
                # As a run asks it.
                last = episode.observations[:, -2:]
                absorbing_of(trial, replace(episode, observations=last, lengths=torch.ones_like(length)))

    def _share(self) -> None:
        """One generator for each seed: one that draws or learns while it scores does so for its seed alone."""
        self._rewards = [self.reward, *(copy.deepcopy(self.reward) for _ in range(self._members - 1))]

    def of_finished(
        self, trajectory: Trajectory, member: int, shown: np.ndarray | None = None
    ) -> tuple[Labels, dict[str, float]]:
        """Lets a seed's generator learn from an episode of its agent, and then score it.

        Args:
            trajectory: The episode.
            member: Index of the seed.
            shown: What the policy was shown of it; with a view, keypoints are taken from this, not from the frames.

        Returns:
            The labels, and numbers to log: the generator's own and, for a sum, what the episode gets from each term.
        """
        if self._view is None or shown is None:
            seen = self._as_seen([trajectory])
        else:
            seen = [replace(trajectory, observations=self._view.keypoints(shown))]
        episodes, reward = self._seen(Episodes.from_trajectories(seen, self._device)), self._rewards[member]
        learned = observed(reward, episodes)
        labels = self._labels(reward, episodes, self._horizon - episodes.lengths)
        terms = reward.terms(episodes)
        return labels, learned | {f"imitation_return/{name}": float(each.sum()) for name, each in terms.items()}

    def of_episodes(self, trajectories: Sequence[Trajectory], member: int = 0) -> Labels:
        """A seed's labels for whole episodes that nothing learns from; its generator is left unchanged.

        Warns:
            UserWarning: It cannot be copied, so its random draws here change the run.
        """
        episodes = self._seen(Episodes.from_trajectories(self._as_seen(trajectories), self._device))
        return self._labels(self._aside(member), episodes, self._horizon - episodes.lengths)

    def explain(self, trajectory: Trajectory) -> Explanation | None:
        """What the first seed's generator matched an episode to, if it can; on a copy, like :meth:`of_episodes`."""
        return self._aside(0).explain(self._as_seen([trajectory])[0])

    def _aside(self, member: int) -> RewardGenerator:
        """A copy of a seed's generator, or the generator itself if it cannot be copied.

        A whole copy, made on demand: only a generator knows what it draws from. A discriminator that holds 100,000
        states of 376 dimensions is copied in 0.14 s, most generators in a hundredth of that, against an evaluation of
        seconds.
        """
        aside = copied(self._rewards[member], _WITHOUT_A_COPY)
        return self._rewards[member] if aside is None else aside

    def of_steps(self, steps: Episodes, remaining: Tensor) -> Tensor:
        """The rewards to learn from for single steps, ``(S*N,)``, the rows of the first seed first.

        Args:
            steps: ``S * N`` episodes of one step.
            remaining: ``(S*N,)`` steps from there to the time limit.
        """
        copies = len(remaining) // self._members
        parts = [slice(member * copies, (member + 1) * copies) for member in range(self._members)]
        seen = self._seen(replace(steps, observations=self._looked_at(steps.observations)))
        if self._agree:
            # One call instead of S: a generator takes hardly longer for a few rows than for one.
            return self._labels(self.reward, seen, remaining).rewards[:, 0]
        found = [
            self._labels(reward, seen.rows(own.start, own.stop), remaining[own])
            for reward, own in zip(self._rewards, parts, strict=True)
        ]
        return torch.cat([labels.rewards[:, 0] for labels in found])

    def of_batch(self, batch: Batch, member: int | None = None) -> Batch:
        """A batch with current rewards: unchanged where they never change, or where scoring takes whole episodes.

        Args:
            batch: ``(B, D)`` and so on of one seed, or ``(S, B, D)`` of all.
            member: The one seed that it belongs to, if there are several.
        """
        if not self._rescores:
            return batch
        if batch.rewards.dim() == 1:
            return replace(batch, rewards=self._of_transitions(batch, member or 0))
        found = [self._of_transitions(batch.of_seed(each), each) for each in range(self._members)]
        return replace(batch, rewards=torch.stack(found))

    def _of_transitions(self, batch: Batch, member: int) -> Tensor:
        states, left = [batch.observations, batch.next_observations], torch.zeros_like(batch.rewards)
        if self._time_aware:
            left = self._horizon * batch.next_observations[:, -1]
            states = [state[:, :-1] for state in states]
        states = [self._looked_at(state) for state in states]
        once = torch.ones(len(left), dtype=torch.int64, device=left.device)
        starts = self._horizon - 1 - left.round().long() if self._time_aware else -once
        terminated = batch.terminated > 0
        if self._time_aware:
            # The replay marks the time limit too, which ends nothing here; nor does anything follow it.
            terminated = terminated & (left.round() > 0)
        steps = Episodes(torch.stack(states, dim=1), once, terminated, starts=starts)
        return self._labels(self._rewards[member], steps, left).rewards[:, 0]

    def _looked_at(self, observations: Tensor) -> Tensor:
        """Of what the policy is shown, ``(..., D)``, the part that the generator sees."""
        return observations if self._view is None else self._view.keypoints(observations)

    def _labels(self, reward: RewardGenerator, episodes: Episodes, remaining: Tensor) -> Labels:
        return imitation_rewards(
            reward,
            episodes,
            discount=self._discount,
            absorbing=self._absorbing,
            remaining=remaining,
            finite=self._time_aware,
        )

    def _as_seen(self, trajectories: Sequence[Trajectory]) -> Sequence[Trajectory]:
        return trajectories if self._sight is None else self._sight.see(trajectories)

    def _seen(self, episodes: Episodes) -> Episodes:
        """What a generator is shown: terminations where they matter and, if it imitates, no environment rewards."""
        if self.reward.imitates:
            episodes = replace(episodes, env_rewards=None)
        if not self._absorbing:
            episodes = replace(episodes, terminated=torch.zeros_like(episodes.terminated))
        return episodes

    def state_dicts(self) -> list[dict[str, Any]]:
        """The state of each seed's generator."""
        return [reward.state_dict() for reward in self._rewards]

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restores what :meth:`state_dicts` returned; nothing need be fitted before."""
        self._share()
        for reward, state in zip(self._rewards, states, strict=True):
            reward.load_state_dict(dict(state))
