"""A TorchRL transform that writes imitation rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from ilfo._errors import InputError
from ilfo.adapters._scoring import Scoring, check_transitions_suffice
from ilfo.adapters.labeller import EpisodeLabeller
from ilfo.rewards import RewardGenerator

try:
    from tensordict import TensorDictBase
    from torchrl.data import TensorSpec, Unbounded
    from torchrl.envs import EnvBase, Transform
except ModuleNotFoundError as error:
    raise InputError("TorchRL is not installed: pip install 'ilfo[torchrl]'") from error

__all__ = ["ImitationReward"]

REWARD, ENV_REWARD = ("next", "reward"), ("next", "env_reward")
TERMINATED, DONE = ("next", "terminated"), ("next", "done")


class ImitationReward(Transform):
    """Puts the imitation reward where the environment's was, at ``("next", "reward")``.

    * **In a replay buffer**, ``replay_buffer.append_transform(ImitationReward(...))``: what is extended gets its
      rewards on the way in. Batches that are sampled are left as they are or, where the reward changes while the
      agent learns, scored again.
    * **After a collector**, ``Collector(..., postproc=ImitationReward(...))``, or called on any rollout: the same.
    * **In an environment**, ``TransformedEnv(env, ImitationReward(...))``: every step is rewarded at once. That takes
      a reward that needs no more than transitions.

    In the first two the environment's own reward is kept at ``("next", "env_reward")``, and data that have it are known
    to be labelled. A reward that needs whole trajectories, or that learns from them, holds back what is not over yet:
    then come the complete trajectories alone, one after another in a single dimension of steps, and nothing if there
    are none. What belongs together is told by ``("collector", "traj_ids")``, and padding by ``("collector", "mask")``
    or ``"mask"``. Without ids a trajectory has to be complete in the data that it begins in. A last dimension is time.

    Args:
        reward: A fitted generator.
        discount: The loss's ``gamma``; the last reward of a terminated episode holds what the absorbing state is worth.
        absorbing: Whether terminated episodes go on in absorbing states; else they are simply the end.
        observation_key: The observation that the demonstration shows.

    Raises:
        InputError: The reward does not imitate, or the discount does not fit.

    Notes:
        ``state_dict`` holds the reward. What is held back is not saved: a new collector begins new episodes.
    """

    def __init__(
        self,
        reward: RewardGenerator,
        *,
        discount: float,
        absorbing: bool = True,
        observation_key: str | tuple[str, ...] = "observation",
    ) -> None:
        super().__init__()
        self._scoring = Scoring(reward, discount=discount, absorbing=absorbing)
        self._key = (observation_key,) if isinstance(observation_key, str) else tuple(observation_key)
        self._held: dict[int, TensorDictBase] = {}
        self._stepper: EpisodeLabeller | None = None

    @property
    def reward(self) -> RewardGenerator:
        """The generator."""
        return self._scoring.reward

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Labels data that have no imitation rewards yet; others get today's, where rewards change.

        Raises:
            InputError: Something is missing, a trajectory is not complete and has no id, or the reward cannot score an
                observation.
        """
        if ENV_REWARD not in tensordict.keys(include_nested=True):
            return self._label(tensordict)
        if self._scoring.changes:
            tensordict.set(REWARD, self._rewards_of(tensordict))
        return tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase | None:
        """On the way into a replay buffer; nothing at all where no trajectory is complete."""
        if self._in_environment or ENV_REWARD in tensordict.keys(include_nested=True):
            return tensordict
        labelled = self._label(tensordict)
        return labelled if labelled.batch_size.numel() else None

    @property
    def _in_environment(self) -> bool:
        try:
            return isinstance(self.container, EnvBase)
        except ValueError:  # So TorchRL answers for the chain of a replay buffer, which is in nothing.
            return False

    def flush(self) -> TensorDictBase | None:
        """Labels what is held back, as if a time limit had ended it; None where there is nothing."""
        pieces, self._held = list(self._held.values()), {}
        return torch.cat([self._ended(piece) for piece in pieces]) if pieces else None

    def _label(self, tensordict: TensorDictBase) -> TensorDictBase:
        if not self._scoring.sees_episodes:
            return _with_rewards(tensordict, self._rewards_of(tensordict))
        complete: list[TensorDictBase] = []
        steps, pieces = self._pieces(tensordict)
        for number, piece in pieces:
            before = self._held.pop(number, None) if number is not None else None
            if before is not None and self._follows(before, piece):
                piece = torch.cat([before, piece])
            elif before is not None:
                complete.append(self._ended(before))
            if bool(piece.get(DONE)[-1].any()):
                complete.append(self._ended(piece))
            elif number is not None:
                self._held[number] = piece.clone()
            else:
                raise InputError(
                    f"a trajectory of {len(piece)} steps is not done in its last one, and has no ('collector', "
                    "'traj_ids') by which to find its rest: give complete trajectories, or a collector's data"
                )
        return torch.cat(complete) if complete else _with_rewards(steps[:0], torch.zeros(0, 1, device=steps.device))

    def _pieces(self, tensordict: TensorDictBase) -> tuple[TensorDictBase, list[tuple[int | None, TensorDictBase]]]:
        """The steps without padding, and their stretches of one trajectory each with its id, where it has one."""
        if not tensordict.ndim:
            raise InputError("a single step is no trajectory: extend the replay buffer by whole ones")
        length = tensordict.shape[-1]
        rows = torch.arange(tensordict.numel() // max(length, 1)).repeat_interleave(length)
        steps = tensordict.reshape(-1)
        mask = _first(tensordict, ("collector", "mask"), "mask")
        if mask is not None:
            steps, rows = steps[mask.reshape(-1)], rows[mask.reshape(-1).cpu()]
        ids = _first(steps, ("collector", "traj_ids"), "traj_ids")
        numbers = None if ids is None else ids.reshape(len(steps), -1)[:, 0].cpu()
        done = self._get(steps, DONE).reshape(len(steps), -1).any(dim=1).cpu()
        new = torch.ones(len(steps), dtype=torch.bool)
        new[1:] = done[:-1] | (rows[1:] != rows[:-1])
        if numbers is not None:
            new[1:] |= numbers[1:] != numbers[:-1]
        starts = new.nonzero()[:, 0].tolist()
        spans = zip(starts, [*starts[1:], len(steps)], strict=True)
        return steps, [(None if numbers is None else int(numbers[start]), steps[start:stop]) for start, stop in spans]

    def _follows(self, before: TensorDictBase, after: TensorDictBase) -> bool:
        """Whether a stretch goes on where another ended; else somebody reset the environment."""
        return torch.equal(before.get(("next", *self._key))[-1], after.get(self._key)[0])

    def _ended(self, piece: TensorDictBase) -> TensorDictBase:
        """A trajectory with its rewards, after the reward has seen it."""
        states, following = self._states(piece)
        terminated = bool(self._get(piece, TERMINATED)[-1].any())
        observations = torch.cat([states, following[-1:]])
        self._scoring.observe(observations, terminated)
        labels = self._scoring.episode(observations, terminated)
        return _with_rewards(piece, labels.rewards[0, :, None])

    def _rewards_of(self, tensordict: TensorDictBase) -> Tensor:
        """Rewards ``(..., 1)`` of transitions; of padding they mean nothing."""
        terminated = self._get(tensordict, TERMINATED).reshape(tensordict.numel(), -1).any(dim=1)
        labels = self._scoring.transitions(*self._states(tensordict.reshape(-1)), terminated)
        return labels.rewards.reshape(*tensordict.shape, 1)

    def _states(self, steps: TensorDictBase) -> tuple[Tensor, Tensor]:
        states = [self._get(steps, key).float() for key in (self._key, ("next", *self._key))]
        if any(part.ndim != 2 for part in states):
            raise InputError(
                f"{self._name} has the shape {tuple(states[0].shape[1:])} at each step; expected one vector with the "
                "columns of the demonstration"
            )
        return states[0], states[1]

    @property
    def _name(self) -> str:
        return ".".join(self._key)

    def _get(self, tensordict: TensorDictBase, key: tuple[str, ...]) -> Tensor:
        found = tensordict.get(key, None)
        if found is None:
            keys = ", ".join(map(str, sorted(tensordict.keys(include_nested=True, leaves_only=True), key=str)))
            raise InputError(f"the data have no {key}; expected it beside {keys}. Is observation_key right?")
        return found

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """Rewards a step of an environment."""
        count = tensordict.numel()
        if self._stepper is None:
            self._stepper = EpisodeLabeller(
                self.reward,
                count,
                discount=self._scoring.discount,
                absorbing=self._scoring.absorbing,
                autoreset=AutoresetMode.DISABLED,
            )
        before, after = (
            self._get(part, self._key).reshape(count, -1).float() for part in (tensordict, next_tensordict)
        )
        self._stepper.device = after.device
        states = before.cpu().numpy()
        self._stepper.cut(np.flatnonzero(self._stepper.gaps(states)))
        terminated, done = (
            self._get(next_tensordict, (name,)).reshape(count, -1).any(dim=1).cpu().numpy()
            for name in ("terminated", "done")
        )
        labelled = self._stepper.label(
            states, np.zeros((count, 0)), after.cpu().numpy(), terminated, done & ~terminated, {}
        )
        rewards = torch.from_numpy(labelled.rewards).to(after.device)
        return next_tensordict.set("reward", rewards.reshape(*tensordict.shape, 1))

    def transform_reward_spec(self, reward_spec: TensorSpec) -> TensorSpec:
        """Without bounds; an environment cannot wait for the end of a trajectory.

        Raises:
            InputError: The reward needs whole trajectories.
        """
        check_transitions_suffice(self.reward, "rewarded in the step that makes them")
        reward_spec["reward"] = Unbounded((*reward_spec.shape, 1), device=reward_spec.device)
        return reward_spec

    def get_extra_state(self) -> dict[str, Any]:
        """The reward's state, as part of ``state_dict``."""
        return {"reward": self.reward.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores the reward."""
        self.reward.load_state_dict(state["reward"])


def _first(tensordict: TensorDictBase, *keys: str | tuple[str, ...]) -> Tensor | None:
    found = (tensordict.get(key, None) for key in keys)
    return next((value for value in found if value is not None), None)


def _with_rewards(tensordict: TensorDictBase, rewards: Tensor) -> TensorDictBase:
    """A copy with these rewards, that keeps the environment's beside them; NaN where it gave none."""
    labelled = tensordict.clone(recurse=False)
    own = tensordict.get(REWARD, None)
    labelled.set(ENV_REWARD, torch.full_like(rewards, torch.nan) if own is None else own)
    return labelled.set(REWARD, rewards)
