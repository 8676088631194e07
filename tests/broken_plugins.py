"""A reward and an agent that keep their contracts, and of each others that break one clause."""

import copy
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ilfo.agents import Agent
from ilfo.agents.td3 import TD3
from ilfo.rewards import Explanation, RewardGenerator


@dataclass(frozen=True)
class SoundOptions:
    """What a plug-in is told."""

    width: float = 1.0
    """Distance from the expert at which the reward has fallen to 1/e."""


class Sound(RewardGenerator):
    """The closer (s, s') is to one of the expert's, the more."""

    Options = SoundOptions
    needs = "transition"

    def __init__(self, options=None, features=None):
        super().__init__(options, features)
        self.size = torch.tensor(1.0)

    def pairs(self, observations):
        z = self.features(observations)
        return torch.cat([z[..., :-1, :], z[..., 1:, :]], dim=-1)

    def fit(self, demonstrations):
        self.features.fit(demonstrations)
        self.expert = torch.cat([self.pairs(torch.from_numpy(one.observations)) for one in demonstrations])
        return self

    def distances(self, episodes):
        pairs = self.pairs(episodes.observations)
        return torch.cdist(pairs, self.expert.to(pairs)).amin(dim=-1) / pairs.shape[-1] ** 0.5

    def rewards(self, episodes):
        return self.size * torch.exp(-self.distances(episodes) / self.options.width)

    def score(self, episodes):
        return torch.where(episodes.mask, self.rewards(episodes), 0.0)

    def state_dict(self):
        return {"features": self.features.state_dict(), "expert": self.expert, "size": self.size}

    def load_state_dict(self, state):
        self.features.load_state_dict(state["features"])
        self.expert, self.size = state["expert"], state["size"]


class Learning(Sound):
    """One whose rewards change as it sees the agent, and says so."""

    stationary = False

    def observe(self, episodes):
        self.size = self.size + self.rewards(episodes).mean()
        return {"size": float(self.size)}


class Explaining(Sound):
    """One with terms, and a reason."""

    def terms(self, episodes):
        scores = self.score(episodes)
        return {"most": 0.75 * scores, "rest": 0.25 * scores}

    def explain(self, trajectory):
        steps = len(trajectory)
        return Explanation(0, np.arange(steps) % 3, np.zeros(steps, np.float32))


class NoReward:
    """Of no kind."""

    def __init__(self, options=None, features=None):
        pass


class OneArgument(Sound):
    def __init__(self, options=None):
        super().__init__(options)


class NoSuper(Sound):
    def __init__(self, options=None, features=None):
        pass


class Undecided(Sound):
    needs = "episode"


class Unclear(Sound):
    stationary = None


class MovingWhole(Learning):
    needs = "trajectory"


@dataclass
class MeltedOptions:
    width: float = 1.0


@dataclass(frozen=True)
class BareOptions:
    width: float


@dataclass(frozen=True)
class OddOptions:
    width: object = field(default_factory=lambda: torch.ones(2))


class Melted(Sound):
    Options = MeltedOptions


class Bare(Sound):
    Options = BareOptions

    def __init__(self, options=None, features=None):
        super().__init__(options or BareOptions(1.0), features)


class Odd(Sound):
    Options = OddOptions

    def rewards(self, episodes):
        return torch.exp(-self.distances(episodes))


class NoDataclass(Odd):
    Options = dict


class FitsForNothing(Sound):
    def fit(self, demonstrations):
        super().fit(demonstrations)


class FitsInPlace(Sound):
    def fit(self, demonstrations):
        for trajectory in demonstrations:
            trajectory.observations[:] -= trajectory.observations.mean(axis=0)
        return super().fit(demonstrations)


class FitsNot(Sound):
    def fit(self, demonstrations):
        raise KeyError("velocity")


class OneTooMany(Sound):
    def score(self, episodes):
        return torch.nn.functional.pad(super().score(episodes), (0, 1))


class Double(Sound):
    def score(self, episodes):
        return super().score(episodes).double()


class Array(Sound):
    def score(self, episodes):
        return super().score(episodes).numpy()


class Gradient(Sound):
    def score(self, episodes):
        return super().score(episodes) * torch.ones(1, requires_grad=True)


class NoNumber(Sound):
    def rewards(self, episodes):
        return super().rewards(episodes) * torch.nan


class Unmasked(Sound):
    def score(self, episodes):
        return self.rewards(episodes)


class Padded(Sound):
    needs = "trajectory"

    def rewards(self, episodes):
        found = super().rewards(episodes)
        return found - found.mean(dim=1, keepdim=True)


class Batched(Sound):
    needs = "trajectory"

    def rewards(self, episodes):
        found = super().rewards(episodes)
        return found - found[episodes.mask].mean()


class InPlace(Sound):
    def score(self, episodes):
        episodes.observations.clamp_(-0.9, 0.9)
        return super().score(episodes)


class Exploding(Sound):
    def rewards(self, episodes):
        return torch.exp(self.distances(episodes) / 10)


class Remembering(Sound):
    def rewards(self, episodes):
        return super().rewards(episodes).cumsum(dim=1)


class AbsorbingEveryStep(Sound):
    def absorbing_reward(self, episodes):
        return self.score(episodes)


class AbsorbingNumber(Sound):
    def absorbing_reward(self, episodes):
        return 0.0


class Negative(Sound):
    def rewards(self, episodes):
        return -self.distances(episodes)


class NegativeUnless(Negative):
    """What would be the last step, had it not been left out."""

    def absorbing_reward(self, episodes):
        return torch.zeros(len(episodes.lengths))


class NegativeAndBounded(Negative):
    def rewards(self, episodes):
        return super().rewards(episodes).clamp(min=-50.0)

    def absorbing_reward(self, episodes):
        return torch.full((len(episodes.lengths),), -50.0)


class ObservesTensors(Sound):
    def observe(self, episodes):
        return {"mean": self.score(episodes).mean()}


class ObservesNothing(Sound):
    def observe(self, episodes):
        pass


class SecretlyLearning(Learning):
    stationary = True


class BadlySummed(Explaining):
    def terms(self, episodes):
        return {name: term / 2 for name, term in super().terms(episodes).items()}


class ExplainsNobody(Explaining):
    def explain(self, trajectory):
        return replace(super().explain(trajectory), demonstration=7)


class ExplainsTooMuch(Explaining):
    def explain(self, trajectory):
        return replace(super().explain(trajectory), costs=np.zeros(len(trajectory) + 1))


class ExplainsBeyond(Explaining):
    def explain(self, trajectory):
        return replace(super().explain(trajectory), expert_steps=np.full(len(trajectory), 10_000))


class Forgetful(Sound):
    def fit(self, demonstrations):
        self.unsaved = 3.0
        return super().fit(demonstrations)

    def rewards(self, episodes):
        return getattr(self, "unsaved", 1.0) * super().rewards(episodes)


class ForgetsWhatItObserves(Learning):
    """Its second step depends on how many there were."""

    def __init__(self, options=None, features=None):
        super().__init__(options, features)
        self.seen = 0

    def fit(self, demonstrations):
        self.seen = 10
        return super().fit(demonstrations)

    def observe(self, episodes):
        self.seen += 1
        self.size = self.size + 1 / self.seen
        return {}


class NeverSavesWhatItObserved(Learning):
    """As good as one that saves all, until it has learned."""

    def state_dict(self):
        return super().state_dict() | {"size": torch.tensor(1.0)}


class SavesArrays(Sound):
    def state_dict(self):
        return super().state_dict() | {"expert": self.expert.numpy()}


class Uncopied(Sound):
    def fit(self, demonstrations):
        self.running = (number for number in range(3))
        return super().fit(demonstrations)


class Shallow(Sound):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class Shared(Learning):
    """What it learns is the class's."""

    sizes: ClassVar = [1.0]

    def observe(self, episodes):
        self.sizes[0] += 1
        return {}

    def rewards(self, episodes):
        return self.sizes[0] * super().rewards(episodes)


class Unseeded(Sound):
    def fit(self, demonstrations):
        self.size = torch.tensor(np.random.default_rng().uniform(1, 2))
        return super().fit(demonstrations)


class SeedsPyTorch(Sound):
    def fit(self, demonstrations):
        torch.manual_seed(0)
        self.size = torch.rand(())
        return super().fit(demonstrations)


class SeedsNumPy(Sound):
    def absorbing_reward(self, episodes):
        np.random.seed(0)  # noqa: NPY002 -- that is the mistake
        return super().absorbing_reward(episodes)


class Percent(Sound):
    def fit(self, demonstrations):
        if self.on_progress is not None:
            self.on_progress(50, "half")
        return super().fit(demonstrations)


class Wordless(Sound):
    """Refuses another width as PyTorch does."""

    def pairs(self, observations):
        z = observations @ torch.ones(4, 2)
        return torch.cat([z[..., :-1, :], z[..., 1:, :]], dim=-1)


@dataclass(frozen=True)
class AgentOptions:
    """What an agent is told."""

    learning_rate: float = 1e-2
    """Step size of Adam."""


class SoundAgent(Agent):
    """Does what was rewarded."""

    Options = AgentOptions
    batch_size = 16

    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        options = options or self.Options()
        self.generator = torch.Generator(device).manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = nn.Linear(observation_dim, action_dim).to(device)
        self.adam = torch.optim.Adam(self.actor.parameters(), options.learning_rate)

    @torch.no_grad()
    def act(self, observations, explore):
        actions = self.actor(observations).tanh()
        noise = torch.randn(actions.shape, generator=self.generator, device=actions.device)
        return (actions + 0.1 * noise).clamp(-1, 1) if explore else actions

    def loss(self, batch):
        errors = self.actor(batch.observations).tanh() - batch.actions
        return (errors.square().sum(-1) * (batch.rewards - batch.terminated).sigmoid()).mean()

    def update(self, batch):
        loss = self.loss(batch)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return {"loss": loss.detach()}

    def state_dict(self):
        return {
            "actor": self.actor.state_dict(),
            "adam": self.adam.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state):
        self.actor.load_state_dict(state["actor"])
        self.adam.load_state_dict(state["adam"])
        self.generator.set_state(state["generator"])


class EpisodicAgent(SoundAgent):
    """Draws by priorities, and trains between episodes."""

    refresh_priorities_every = 10
    trains_between_episodes = True

    def update(self, batch):
        self.priorities = 1 + batch.rewards.abs()
        return super().update(batch)

    def end_episode(self, return_to_limit, steps):
        return steps


@dataclass(frozen=True)
class ShyOptions(SoundOptions):
    learning_rate: float = 1e-2
    height: float = 1.0
    """Of which something is said."""
    depth: float = 1.0


class NoSeed(SoundAgent):
    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu"):
        super().__init__(observation_dim, action_dim, options, device=device)


class MeltedAgent(SoundAgent):
    Options = dataclass(type("Melting", (), {"__annotations__": {"learning_rate": float}, "learning_rate": 1e-2}))


class NoBatch(SoundAgent):
    batch_size = 16.5


class Impatient(SoundAgent):
    discount = 1.5


@dataclass(frozen=True)
class PatientOptions(AgentOptions):
    discount: float = 0.95
    """Discount factor of future rewards, per step."""


class Deaf(SoundAgent):
    """Its options say a discount, and it goes by the usual one."""

    Options = PatientOptions


class Maybe(SoundAgent):
    compiles = None


class StacksNot(SoundAgent):
    @classmethod
    def can_stack(cls, options):
        return True


class Squeezed(SoundAgent):
    def act(self, observations, explore):
        return super().act(observations, explore).mean(dim=0)


class DoubleAgent(SoundAgent):
    def act(self, observations, explore):
        return super().act(observations, explore).double()


class Unbounded(SoundAgent):
    def act(self, observations, explore):
        return 2 * super().act(observations, explore)


class Restless(SoundAgent):
    def act(self, observations, explore):
        return super().act(observations, explore=True)


class Numbers(SoundAgent):
    def update(self, batch):
        return {name: float(value) for name, value in super().update(batch).items()}


class Rows(SoundAgent):
    def update(self, batch):
        return super().update(batch) | {"rewards": batch.rewards}


class NotANumber(SoundAgent):
    def update(self, batch):
        return super().update(batch) | {"spread": batch.rewards[:1].std(correction=0).log() * 0}


class Silent(SoundAgent):
    def update(self, batch):
        super().update(batch)


class Rescaling(SoundAgent):
    def update(self, batch):
        batch.rewards.mul_(0.1)
        return super().update(batch)


class Idle(SoundAgent):
    def update(self, batch):
        return {"loss": self.loss(batch).detach()}


class Unpaid(SoundAgent):
    def loss(self, batch):
        return super().loss(replace(batch, rewards=torch.zeros_like(batch.rewards)))


class Endless(SoundAgent):
    def loss(self, batch):
        return super().loss(replace(batch, terminated=torch.zeros_like(batch.terminated)))


class AlwaysTheSame(SoundAgent):
    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        super().__init__(observation_dim, action_dim, options, device=device)


class NeverTheSame(SoundAgent):
    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        super().__init__(observation_dim, action_dim, options, device=device, seed=seed)
        self.generator.seed()


class LosesItsOptimiser(SoundAgent):
    def load_state_dict(self, state):
        super().load_state_dict(state | {"adam": self.adam.state_dict()})


class LosesItsNoise(SoundAgent):
    def load_state_dict(self, state):
        super().load_state_dict(state | {"generator": self.generator.get_state()})


class LosesItsDecay(SoundAgent):
    """Explores less with every action, and starts over where it is restored."""

    scale = 1.0

    def act(self, observations, explore):
        self.scale *= 0.5 if explore else 1.0
        actions = super().act(observations, False)
        return (actions + self.scale * (super().act(observations, True) - actions) if explore else actions).detach()


class SavesArraysToo(SoundAgent):
    def state_dict(self):
        return super().state_dict() | {"seen": np.zeros(3)}


class NoPriorities(EpisodicAgent):
    def update(self, batch):
        return SoundAgent.update(self, batch)


class ZeroPriorities(EpisodicAgent):
    def update(self, batch):
        metrics = super().update(batch)
        self.priorities = torch.zeros_like(batch.rewards)
        return metrics


class OnePriority(EpisodicAgent):
    def update(self, batch):
        metrics = super().update(batch)
        self.priorities = self.priorities.mean()
        return metrics


class NeverEnding(EpisodicAgent):
    end_episode = Agent.end_episode


class Undue(EpisodicAgent):
    def end_episode(self, return_to_limit, steps):
        return None


class Mixing(TD3):
    """Standardises rewards over all seeds."""

    def update(self, batch):
        return super().update(replace(batch, rewards=batch.rewards - batch.rewards.mean()))


class SharesItsNoise(TD3):
    """Every seed explores with one noise."""

    def act(self, observations, explore):
        actions = super().act(observations, False)
        noise = torch.randn(actions.shape[-2:], generator=torch.Generator().manual_seed(0))
        return actions + 0.1 * noise if explore else actions


class SeedsTheWorld(SoundAgent):
    def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0):
        super().__init__(observation_dim, action_dim, options, device=device, seed=seed)
        torch.manual_seed(seed)
