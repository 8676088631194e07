"""A reward from the optimal transport between an episode and a demonstration."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ilfo._tools.checks import check_choices, check_positive
from ilfo._tools.effects import Effects, one_of
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards.atoms import Sequences
from ilfo.rewards.base import Episodes, Explanation
from ilfo.rewards.exact import exact_costs, exact_plan
from ilfo.rewards.features import StateFeatures
from ilfo.rewards.matching import Matching, MatchingOptions
from ilfo.rewards.pairs import Pairs
from ilfo.rewards.row_costs import RowCosts
from ilfo.rewards.sinkhorn import sinkhorn_costs, sinkhorn_plan

__all__ = ["OptimalTransport", "TransportOptions"]

Plan = Literal["exact", "entropic"]
Aggregate = Literal["best", "mean", "random"]


@dataclass(frozen=True)
class TransportOptions(MatchingOptions):
    """How an episode is compared with the expert, and how the cost becomes a reward."""

    TAKES_EFFECT: ClassVar[Effects] = {
        **MatchingOptions.TAKES_EFFECT,
        "workers": one_of("plan", "exact"),
        "regularization": one_of("plan", "entropic"),
        "max_iterations": one_of("plan", "entropic"),
        "tolerance": one_of("plan", "entropic"),
        "seed": one_of("aggregate", "random"),
    }

    plan: Plan = "exact"
    """Exact (on the CPU, 0.1 s for 1000 steps) or entropic (many episodes at once, on any device)."""
    workers: int = 0
    """Exact plans solved at a time; 0: one on each core that PyTorch may use (--threads). It changes no reward."""
    regularization: float = 0.05
    """Weight of the entropy in an entropic plan, in the units of the cost."""
    max_iterations: int = 1000
    """Maximum number of Sinkhorn iterations for an entropic plan."""
    tolerance: float = 1e-3
    """Marginal error at which an entropic plan stops: the share of the expert's mass that may be on the wrong step."""
    scale_per_sqrt_dim: bool = False
    """Divide the factor by the square root of the number of features of one state, as OOPS does."""
    aggregate: Aggregate = "best"
    """With several demonstrations: the one of lowest total cost, the mean of their costs, or a random one."""
    subtract_absorbing: bool = False
    """Subtract the reward of a step that costs absorbing_cost from every reward: the state after a termination is then
    worth about 0, which is what critics start from. It is a plain shift: where episodes end without absorbing states,
    it also changes what living is worth."""
    seed: int = 0
    """Seed of the demonstrations that aggregate=random draws. It does not follow --seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, {"plan": Plan, "aggregate": Aggregate})
        check_positive(self, "regularization", "max_iterations", "tolerance")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}: it must be at least 1, or 0 for all cores.")


class OptimalTransport(Matching):
    """Rewards a step by the cost of moving its share of the episode's mass to the demonstration.

    The atoms of an episode are its pairs ``(z(s_t), z(s_t+1))``, each with the same mass, and so are those of
    the demonstration. With the plan ``P`` of lowest cost ``M`` between the two, step ``t`` costs
    ``c_t = sum_j P[t,j] M[t,j] / sum_j P[t,j]`` and is rewarded by ``scale * exp(-c_t / temperature)`` or
    ``-scale * c_t``. Each expert step can take only its own mass: staying in one good state does not pay.
    Episodes and demonstrations may differ in length.

    **Termination.** An episode of ``L`` steps that terminated before the horizon ``H``, the longer of the
    longest demonstration and the episode itself, has mass ``1/H`` on each step and ``(H-L)/H`` on an
    absorbing state; so has a demonstration that terminated early. In the plan, absorbing and real states are
    ``absorbing_cost`` apart, and two absorbing states 0. Where the expert lives on, the absorbing state itself
    costs at least as much as the worst step of the episode: dying early never costs less than living on, unless
    the expert did so too. Its reward is :meth:`absorbing_reward`. ``subtract_absorbing`` lowers that one and all
    others alike. Any episode that goes on for ever, dead or alive, loses the same by it, so it favours no policy;
    but being dead is then worth about 0. If it were worth more than untrained critics predict for living, dying
    would be the first thing that an agent learns.

    Args:
        options: The comparison and the scale.
        features: What part of the state is compared; fitted by :meth:`fit`. All dimensions by default.

    Notes:
        OOPS (arXiv 2310.01632) is ``atoms="transitions"``, ``cost="sqrt_euclidean"``,
        ``distance_per_sqrt_dim=False``, ``plan="entropic"``, ``regularization=0.05``, ``squash="none"``,
        ``scale=5``, ``scale_per_sqrt_dim=True`` and ``aggregate="random"`` on features with ``divisor=3``,
        ``std_floor=0.33``, ``constant_std=1`` and ``leave_out=2``, without absorbing states. What then differs:

        * Its plan comes from at most 20,000 plain iterations, after which the rewards of an episode close to the
          expert are still about 1e-4 from their limit. Ours are over-relaxed: with ``tolerance=2e-5`` they
          come as close in a tenth of the iterations, and ``max_iterations=10_000`` suffices.
        * The last of its iterations makes the masses of the demonstration exact, the last of ours those of the
          episode.
        * Its sums ``sum_j P[t,j] M[t,j]`` are multiplied by 1000, ours by the number of steps; and lengths may
          differ here, for which it gives no reward.
        * It adds 1e-8 to the divisor of features: less than float32 resolves.

    Example:
        >>> import numpy as np, torch
        >>> from ilfo.demos import Demonstrations, Trajectory
        >>> expert = Trajectory(np.linspace([0.0], [1.0], 6, dtype=np.float32))
        >>> idle = Trajectory(np.zeros((6, 1), np.float32))
        >>> reward = OptimalTransport().fit(Demonstrations((expert,)))
        >>> reward.score(Episodes.from_trajectories([expert, idle])).mean(dim=1)
        tensor([2.0000, 0.6443])
    """

    Options: ClassVar[type | None] = TransportOptions
    options: TransportOptions

    def __init__(self, options: TransportOptions | None = None, features: StateFeatures | None = None) -> None:
        super().__init__(options, features)
        self._generator = torch.Generator().manual_seed(self.options.seed)
        self._last: tuple[Episodes, Tensor, Tensor] | None = None

    def fit(self, demonstrations: Demonstrations) -> OptimalTransport:
        """Fits the features and keeps the expert's; returns itself.

        Raises:
            InputError: The features cannot be fitted on these demonstrations.
        """
        super().fit(demonstrations)
        self._last = None
        return self

    def score(self, episodes: Episodes) -> Tensor:
        """Rewards ``(B, T)`` float32 on the device of the episodes; 0 beyond an episode's length.

        Raises:
            InputError: An episode is not finite, has no steps, or is not as wide as the demonstrations.
        """
        steps, _ = self._costs(episodes)
        return torch.where(episodes.mask, self._rewarded(steps), 0.0).float()

    def absorbing_reward(self, episodes: Episodes) -> Tensor:
        """Reward per step, ``(B,)``, of the state that follows a termination; 0 for other episodes.

        It comes from the plan that :meth:`score` uses. An episode that terminated at the horizon has no mass
        left to plan with: its absorbing state costs 0 where the demonstration terminated too, and
        ``absorbing_cost`` where the expert lived on.
        """
        _, absorbing = self._costs(episodes)
        return torch.where(episodes.terminated, self._rewarded(absorbing), 0.0).float()

    def explain(self, trajectory: Trajectory) -> Explanation:
        """The match with the demonstration of lowest total cost, whatever ``aggregate`` is.

        The state after a termination is part of the match but is not returned: a row of the plan sums to
        less than 1 where the rest of its mass went to the state after an expert's own termination.
        """
        episodes = Episodes.from_trajectories([trajectory])
        pairs = self._pairs(self.episode_atoms(episodes))
        costs, total = self._match(pairs)
        best = int(total.argmin())
        alone = pairs.part(slice(best, best + 1))
        plan = self._plan(alone.costs(slice(None), slice(None)), *alone.masses())[0]
        shares = (plan / plan.sum(dim=1, keepdim=True))[:-1, :-1]
        return Explanation(
            demonstration=best,
            expert_steps=shares.argmax(dim=1).numpy(),
            costs=costs[best, :-1].numpy(),
            plan=shares.numpy(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Options, features, the expert's features and the random state, as tensors and plain values."""
        return super().state_dict() | {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned, options included; no demonstration is needed."""
        super().load_state_dict(state)
        self._generator.set_state(state["generator"].cpu())
        self._last = None

    def reward_of(self, costs: Tensor) -> Tensor:
        """The rewards of steps with these costs, of any shape, before ``subtract_absorbing`` applies."""
        rewards = super().reward_of(costs)
        return rewards / math.sqrt(self.features.width) if self.options.scale_per_sqrt_dim else rewards

    def _rewarded(self, costs: Tensor) -> Tensor:
        rewards = self.reward_of(costs)
        if self.options.subtract_absorbing:
            rewards = rewards - self.reward_of(costs.new_full((), self._absorbing_cost))
        return rewards

    def _costs(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Costs ``(B, T)`` of the steps and ``(B,)`` of the absorbing state.

        The last result is kept: :meth:`score` and :meth:`absorbing_reward` share one plan and one draw.
        """
        if self._last is None or self._last[0] is not episodes:
            costs = self._aggregate(episodes)
            self._last = (episodes, costs[:, :-1], costs[:, -1])
        return self._last[1:]

    def _aggregate(self, episodes: Episodes) -> Tensor:
        """Costs ``(B, T+1)`` under all demonstrations together."""
        atoms = self.episode_atoms(episodes)
        batch, count = len(episodes.lengths), len(self._expert)
        pairs = self._pairs(atoms)
        if self.options.aggregate == "random":
            drawn = torch.randint(count, (batch,), generator=self._generator)
            return self._match(replace(pairs, episode=pairs.episode[:batch], expert=drawn))[0]
        costs, total = self._match(pairs)
        costs = costs.unflatten(0, (count, batch))
        if self.options.aggregate == "mean":
            return costs.mean(dim=0)
        best = total.unflatten(0, (count, batch)).argmin(dim=0)
        return costs[best, torch.arange(batch, device=costs.device)]

    def _pairs(self, episodes: Sequences) -> Pairs:
        return Pairs.every(episodes, self.experts_like(episodes.atoms), self.cost_matrix, self._absorbing_cost)

    def _match(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Mean costs ``(P, T+1)`` of the rows, and the costs ``(P,)`` of the plans."""
        found = self._row_costs(pairs)
        costs = found.moved / torch.where(found.mass > 0, found.mass, 1.0)
        # Far from the expert, a living step can cost more than any distance between expert states; being dead must
        # not be a way out, so it costs at least as much as the worst step of the episode.
        apart = costs[:, :-1].amax(dim=1).clamp(min=self._absorbing_cost)
        absorbed = found.mass[:, -1]
        alone = (absorbed - found.corner) / torch.where(absorbed > 0, absorbed, 1.0)
        at_horizon = torch.where(pairs.experts.terminated[pairs.expert], 0.0, 1.0).to(alone)
        costs[:, -1] = apart * torch.where(absorbed > 0, alone, at_horizon)
        return costs, found.moved.sum(dim=-1)

    def _row_costs(self, pairs: Pairs) -> RowCosts:
        a, b = pairs.masses()
        if self.options.plan == "exact":
            columns = [
                torch.cat([row[:length], row[-1:]]) for row, length in zip(b, pairs.lengths.tolist(), strict=True)
            ]
            return exact_costs(
                lambda problems, rows: pairs.part(problems).costs(slice(None), rows),
                a,
                columns,
                workers=self.options.workers or None,
            )
        found = RowCosts.empty(a)
        for problems, part in pairs.parts():
            found.put(problems, slice(None), sinkhorn_costs(part.costs, *part.masses(), **self._entropic))
        return found

    def _plan(self, cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
        if self.options.plan == "exact":
            return exact_plan(cost[0], a[0], b[0])[None]
        return sinkhorn_plan(cost, a, b, **self._entropic)

    @property
    def _entropic(self) -> dict[str, Any]:
        return {name: getattr(self.options, name) for name in ("regularization", "max_iterations", "tolerance")}
