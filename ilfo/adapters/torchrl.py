"""A TorchRL transform that writes imitation rewards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from ilfo._tools.averages import Averages
from ilfo._tools.errors import InputError
from ilfo.adapters._scoring import Scoring, check_transitions_suffice
from ilfo.adapters._transitions import named_returns
from ilfo.adapters.labeller import EpisodeLabeller
from ilfo.rewards import Episodes, RewardGenerator

try:
    from tensordict import LazyStackedTensorDict, TensorDictBase
    from torchrl.data import TensorSpec, Unbounded
    from torchrl.envs import EnvBase, Transform
except ModuleNotFoundError as error:
    raise InputError("TorchRL is not installed: pip install 'ilfo[torchrl]'") from error

__all__ = ["ImitationReward"]

REWARD, ENV_REWARD = ("next", "reward"), ("next", "env_reward")
TERMINATED, DONE = ("next", "terminated"), ("next", "done")
IDS, MASKS = (("collector", "traj_ids"), "traj_ids"), (("collector", "mask"), "mask")
SCORES = "imitation_scores"
"""Where steps have what their return is summed of, ``(K,)`` each, while trajectories are told apart."""


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

    The reward of a step compares two successive states. So n-step returns come after it: append it to a replay buffer
    after ``MultiStepTransform``, since data on their way in go through the last transform first. And in an environment,
    transforms like ``ObservationNorm`` write to another ``out_keys`` than ``observation_key``.

    What there is to log of trajectories that are over is read by :meth:`read_metrics`.

    Args:
        reward: A fitted generator.
        discount: The loss's ``gamma``; the last reward of a terminated episode holds what the absorbing state is worth.
        absorbing: Whether terminated episodes go on in absorbing states; else they are simply the end. Without them,
            fit the reward on ``ilfo.rewards.without_terminations(demonstrations)``: else part of a demonstration that
            terminated is in an absorbing state, which no episode can match.
        observation_key: The observation that the demonstration shows.

    Raises:
        InputError: The reward does not imitate, or the discount does not fit. Whether the reward is fitted and can
            score the observations is found out by the first data, before any of them are held back; on the way into a
            replay buffer, so is whether it could score them again.

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
        # Of trajectories whose steps are not held back: the last observation, and the scores so far.
        self._open: dict[int, tuple[Tensor, Tensor]] = {}
        self._averages = Averages()
        self._stepper: EpisodeLabeller | None = None
        self._was_reset = True

    @property
    def reward(self) -> RewardGenerator:
        """The generator."""
        return self._scoring.reward

    def read_metrics(self) -> dict[str, float]:
        """What there is to log: means over the trajectories that ended since the last reading; nothing where none did.

        The names are those of ilfo's own runs: ``imitation_return``, of a sum also ``imitation_return/TERM``, and what
        the reward says of what it learned. Steps that have no ids of trajectories count where several lead to an end,
        one after another in the same data: a single one does not tell what came before. A transform in another process
        keeps its numbers there.
        """
        return self._averages.read()[0]

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Labels data that have no imitation rewards yet; others get today's, where rewards change.

        Raises:
            InputError: Something is missing, a trajectory is not complete and has no id, or the reward cannot score an
                observation.
        """
        if ENV_REWARD not in tensordict.keys(include_nested=True):
            return self._label(tensordict)
        if self._scoring.changes:
            _refuse_several_steps(tensordict)
            labels = self._scoring.labels(self._transitions(tensordict))
            tensordict.set(REWARD, labels.rewards.reshape(*tensordict.shape, 1))
        return tensordict

    def _inv_call(self, tensordict: TensorDictBase) -> TensorDictBase | None:
        """On the way into a replay buffer; nothing at all where no trajectory is complete."""
        if self._in_environment or ENV_REWARD in tensordict.keys(include_nested=True):
            return tensordict
        labelled = self._label(tensordict, rescored=True)
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

    def _label(self, tensordict: TensorDictBase, rescored: bool = False) -> TensorDictBase:
        if isinstance(tensordict, LazyStackedTensorDict):
            tensordict = tensordict.contiguous()  # Of a collector that fills a buffer; nothing of it makes no stack.
        _refuse_several_steps(tensordict)
        if not self._scoring.sees_episodes:
            return self._label_steps(tensordict)
        states, _ = self._states(tensordict.reshape(-1)[:1])
        self._scoring.try_on(states.shape[-1], rescored=rescored, device=states.device)
        complete = [self._ended(trajectory) for trajectory in self._trajectories(tensordict)]
        nothing = tensordict.reshape(-1)[:0]
        return torch.cat(complete) if complete else _with_rewards(nothing, torch.zeros(0, 1, device=nothing.device))

    def _label_steps(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Transitions with their rewards, in their own shape; of padding they mean nothing."""
        steps = self._transitions(tensordict)
        labels = self._scoring.labels(steps)
        if DONE in tensordict.keys(include_nested=True):
            total, terms = self._scoring.returns(steps, labels)
            kept = tensordict.select(self._key, ("next", *self._key), DONE, *IDS, *MASKS, strict=False)
            kept.set(SCORES, torch.stack([total, *terms.values()], dim=-1).reshape(*tensordict.shape, -1))
            self._add_up(kept if kept.ndim else kept.unsqueeze(0), list(terms))
        return _with_rewards(tensordict, labels.rewards.reshape(*tensordict.shape, 1))

    def _add_up(self, scored: TensorDictBase, terms: Sequence[str]) -> None:
        """Sums what trajectories get whose steps are not held back, and takes note of those that are over."""
        over: list[Tensor] = []
        for number, piece in self._pieces(scored):
            states, following = self._states(piece)
            if not torch.equal(states[1:], following[:-1]) or (number is None and len(piece) == 1):
                continue  # Transitions that do not stand one after another make no return.
            scores = piece.get(SCORES).sum(dim=0)
            before = self._open.pop(number, None) if number is not None else None
            if before is not None and torch.equal(before[0], states[0]):
                scores = before[1] + scores
            elif before is not None:
                over.append(before[1])
            if bool(piece.get(DONE)[-1].any()):
                over.append(scores)
            elif number is not None:
                self._open[number] = following[-1].clone(), scores
        for total, *parts in (scores.tolist() for scores in over):
            self._averages.add_own(0, named_returns(total, dict(zip(terms, parts, strict=True))))

    def _trajectories(self, tensordict: TensorDictBase) -> Iterator[TensorDictBase]:
        """Trajectories that are over, with what was held back of them; holds back what goes on."""
        for number, piece in self._pieces(tensordict):
            before = self._held.pop(number, None) if number is not None else None
            if before is not None and self._follows(before, piece):
                piece = torch.cat([before, piece])
            elif before is not None:
                yield before
            if bool(piece.get(DONE)[-1].any()):
                yield piece
            elif number is not None:
                self._held[number] = piece.clone()
            else:
                raise InputError(
                    f"a trajectory of {len(piece)} steps is not done in its last one, and has no ('collector', "
                    "'traj_ids') by which to find its rest: give complete trajectories, or a collector's data"
                )

    def _pieces(self, tensordict: TensorDictBase) -> list[tuple[int | None, TensorDictBase]]:
        """The stretches of one trajectory each, without padding, and its id, where it has one."""
        if not tensordict.ndim:
            raise InputError("a single step is no trajectory: extend the replay buffer by whole ones")
        length = tensordict.shape[-1]
        rows = torch.arange(tensordict.numel() // max(length, 1)).repeat_interleave(length)
        steps = tensordict.reshape(-1)
        mask = _first(tensordict, *MASKS)
        if mask is not None:
            steps, rows = steps[mask.reshape(-1)], rows[mask.reshape(-1).cpu()]
        if not len(steps):
            return []
        ids = _first(steps, *IDS)
        numbers = None if ids is None else ids.reshape(len(steps), -1)[:, 0].cpu()
        done = self._get(steps, DONE).reshape(len(steps), -1).any(dim=1).cpu()
        new = torch.ones(len(steps), dtype=torch.bool)
        new[1:] = done[:-1] | (rows[1:] != rows[:-1])
        if numbers is not None:
            new[1:] |= numbers[1:] != numbers[:-1]
        starts = new.nonzero()[:, 0].tolist()
        spans = zip(starts, [*starts[1:], len(steps)], strict=True)
        return [(None if numbers is None else int(numbers[start]), steps[start:stop]) for start, stop in spans]

    def _follows(self, before: TensorDictBase, after: TensorDictBase) -> bool:
        """Whether a stretch goes on where another ended; else somebody reset the environment."""
        return torch.equal(before.get(("next", *self._key))[-1], after.get(self._key)[0])

    def _ended(self, piece: TensorDictBase) -> TensorDictBase:
        """A trajectory with its rewards, after the reward has seen it."""
        states, following = self._states(piece)
        terminated = bool(self._get(piece, TERMINATED)[-1].any())
        observations = torch.cat([states, following[-1:]])
        labels, episode = self._scoring.finish(observations, terminated)
        self._averages.add_own(0, episode.numbers)
        return _with_rewards(piece, labels.rewards[0, :, None])

    def _transitions(self, tensordict: TensorDictBase) -> Episodes:
        """The steps, each on its own, as the reward is shown them."""
        terminated = self._get(tensordict, TERMINATED).reshape(tensordict.numel(), -1).any(dim=1)
        return self._scoring.transitions(*self._states(tensordict.reshape(-1)), terminated)

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

    def _reset(self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase) -> TensorDictBase:
        """Takes note that an episode may begin in the next step."""
        self._was_reset = True
        return super()._reset(tensordict, tensordict_reset)

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """Rewards a step of an environment."""
        count = tensordict.numel()
        before, after = (
            self._get(part, self._key).reshape(count, -1).float() for part in (tensordict, next_tensordict)
        )
        if self._stepper is None:
            self._stepper = EpisodeLabeller(
                self.reward,
                count,
                discount=self._scoring.discount,
                absorbing=self._scoring.absorbing,
                autoreset=AutoresetMode.DISABLED,
                device=after.device,
            )
        self._stepper.device = after.device
        states = before.cpu().numpy()
        gaps = np.flatnonzero(self._stepper.gaps(states))
        if len(gaps) and not self._was_reset:
            warnings.warn(
                f"a step starts from another {self._name} than the one that the step before it led to, and the "
                "environment was not reset: it counts as the first of an episode. If another transform changes it in "
                "place (ObservationNorm, VecNorm), all rewards are wrong: have that one write to another out_key",
                stacklevel=1,  # Always from here, so that it is shown once.
            )
        self._was_reset = False
        cut = self._stepper.cut(gaps)
        terminated, done = (
            self._get(next_tensordict, (name,)).reshape(count, -1).any(dim=1).cpu().numpy()
            for name in ("terminated", "done")
        )
        labelled = self._stepper.label(
            states, np.zeros((count, 0)), after.cpu().numpy(), terminated, done & ~terminated, {}
        )
        for episode in (*cut.episodes, *labelled.episodes):
            self._averages.add_own(0, episode.numbers)
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


def _refuse_several_steps(tensordict: TensorDictBase) -> None:
    """Refuses data in which a step stands for several: a reward compares two successive states."""
    steps = tensordict.get("steps_to_next_obs", None)
    if steps is not None and bool((steps > 1).any()):
        raise InputError(
            "the data are of n-step returns (steps_to_next_obs is there), and the reward of a step takes the state "
            "that follows it at once. Append ImitationReward after MultiStepTransform (data on their way into a replay "
            "buffer go through its transforms from the last to the first), or use it before a collector's MultiStep. "
            "With a reward that changes while the agent learns, go without n-step returns"
        )


def _first(tensordict: TensorDictBase, *keys: str | tuple[str, ...]) -> Tensor | None:
    found = (tensordict.get(key, None) for key in keys)
    return next((value for value in found if value is not None), None)


def _with_rewards(tensordict: TensorDictBase, rewards: Tensor) -> TensorDictBase:
    """A copy with these rewards, that keeps the environment's beside them; NaN where it gave none."""
    labelled = tensordict.clone(recurse=False)
    own = tensordict.get(REWARD, None)
    labelled.set(ENV_REWARD, torch.full_like(rewards, torch.nan) if own is None else own)
    return labelled.set(REWARD, rewards)
