"""What the distillation of a random network must do as a reward."""

import copy
import dataclasses
import functools
import io
import math

import numpy as np
import pytest
import torch
from pendulum_ladder import scores, shuffled, still
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards import Episodes, FeatureOptions, StateFeatures
from ilfo.rewards.distillation import DistillationOptions, RandomExpertDistillation

SMALL = {"hidden_dim": 64, "outputs": 16, "updates": 400, "learning_rate": 3e-3, "batch_size": 64}


def made(**options) -> RandomExpertDistillation:
    return RandomExpertDistillation(DistillationOptions(**(SMALL | options)))


def fitted(*experts: Trajectory, **options) -> RandomExpertDistillation:
    return made(**options).fit(demonstrations(*experts))


@functools.cache
def usual() -> RandomExpertDistillation:
    """Fitted on a single demonstration; nothing that the tests do with it changes it."""
    return fitted()


def noisy(trajectory: Trajectory, share: float) -> Trajectory:
    """Every state off by a share of the spread of the states."""
    states, noise = trajectory.observations, np.random.default_rng(0).normal(size=trajectory.observations.shape)
    return Trajectory((states + share * states.std(axis=0) * noise).astype(np.float32))


def same(one: RandomExpertDistillation, other: RandomExpertDistillation) -> bool:
    states = [[*reward.state_dict()["predictor"].values()] for reward in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*states, strict=True)) and one._sigma == other._sigma


class TestReward:
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_the_expert_outscores_shuffled_still_random_and_noise(self, seed):
        reward, expert = fitted(seed=seed), rollout()
        others = shuffled(expert), still(expert, step=60), rollout(flail, seed=60), noisy(expert, 0.3)
        means = scores(reward, expert, rollout(seed=50), *others).mean(dim=1)
        assert means[0] > 0.9
        assert means[0] > means[1] > 0.5 > 0.2 > means[2:].max()

    def test_the_farther_from_the_expert_the_less(self):
        expert = rollout()
        means = scores(usual(), *(noisy(expert, share) for share in (0.0, 0.01, 0.02, 0.04, 0.1))).mean(dim=1)
        assert (means.diff() < 0).all()

    def test_rewards_lie_between_zero_and_one(self):
        found = scores(usual(), rollout(), rollout(flail), Trajectory(np.full((121, 3), 9e11, np.float32)))
        assert torch.isfinite(found).all()
        assert found.min() >= 0.0
        assert found.max() <= 1.0

    def test_it_is_the_formula(self):
        reward, agent = usual(), rollout(seed=50)
        z = reward.features(torch.from_numpy(agent.observations))
        atoms = torch.cat([z[:-1], z.diff(dim=0) / reward.state_dict()["atoms"]["spread"]], dim=1).clamp(-10, 10)
        apart = reward._predictor(atoms) - reward._target(atoms)
        expected = torch.exp(-reward.state_dict()["sigma"] * (apart**2).mean(dim=1)).detach()
        torch.testing.assert_close(scores(reward, agent)[0], expected)

    @pytest.mark.parametrize("expert_reward", [0.37, 0.95])
    def test_the_median_step_held_out_gets_what_was_asked_for(self, expert_reward):
        reward = fitted(held_out=0.505, expert_reward=expert_reward)  # 61 of 120 steps: an odd number has a median
        held_out = torch.randperm(120, generator=torch.Generator().manual_seed(0))[:61]
        assert scores(reward, rollout())[0, held_out].median() == pytest.approx(expert_reward, rel=1e-3)

    def test_a_batch_of_different_lengths_scores_as_one_by_one(self):
        agents = [rollout(flail, steps=1), rollout(seed=2, steps=40, terminated=True), rollout(seed=5, steps=150)]
        together = scores(usual(), *agents)
        assert together.dtype == torch.float32
        for row, agent in enumerate(agents):
            torch.testing.assert_close(together[row, : len(agent)], scores(usual(), agent)[0], atol=1e-4, rtol=1e-3)
            assert together[row, len(agent) :].eq(0.0).all()

    def test_what_stands_in_the_padding_is_never_seen(self):
        episodes = Episodes.from_trajectories([rollout(seed=2, steps=40), rollout(seed=3)])
        soiled = dataclasses.replace(episodes, observations=episodes.observations.clone())
        soiled.observations[0, 41:] = torch.nan
        assert torch.equal(usual().score(soiled), usual().score(episodes))

    def test_being_dead_is_worth_nothing(self):
        episodes = Episodes.from_trajectories([cut(rollout(), 40, terminated=True), rollout(flail)])
        assert usual().absorbing_reward(episodes).tolist() == [0.0, 0.0]

    def test_features_decide_what_is_seen(self):
        reward = RandomExpertDistillation(DistillationOptions(**SMALL), StateFeatures(keys=("speed",)))
        agent = rollout(seed=5)
        turned = Trajectory(agent.observations * np.array([-1, -1, 1], np.float32))
        assert torch.equal(scores(reward.fit(demonstrations()), agent), scores(reward, turned))


class TestFitting:
    def test_only_the_predictor_is_trained_and_every_weight_of_it(self):
        reward, untrained = usual(), made()
        untrained.features.fit(demonstrations())
        untrained._make(reward._atoms)
        for name, weights in untrained._target.state_dict().items():
            assert torch.equal(weights, reward._target.state_dict()[name])
        for name, weights in untrained._predictor.state_dict().items():
            assert not torch.equal(weights, reward._predictor.state_dict()[name])

    def test_the_weights_that_were_best_on_what_was_held_out_are_kept(self):
        told = []
        reward = made(updates=300, learning_rate=0.1)  # far too large: it leaps about
        reward.on_progress = lambda share, text: told.append((share, text))
        reward.fit(demonstrations())
        assert [share for share, _ in told] == pytest.approx([0.05 / 0.3 * number for number in range(1, 7)])
        best = [float(text.rpartition(" ")[2]) for _, text in told]
        assert best == sorted(best, reverse=True)
        z = reward.features(torch.from_numpy(rollout().observations))
        atoms = reward._atoms(z[:-1], z[1:])
        order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
        assert reward._errors(atoms[order[:12]]).mean().item() == pytest.approx(best[-1], rel=0.05)

    def test_it_stops_when_nothing_gets_better(self):
        told = []
        reward = made(updates=100_000, patience=100, learning_rate=0.1)
        reward.on_progress = lambda share, text: told.append(share)
        reward.fit(demonstrations())
        assert told[-1] < 0.02

    def test_more_demonstrations_are_more_to_know(self):
        other = rollout(flail, seed=7)
        alone, both = usual(), fitted(rollout(), other, updates=800)
        assert scores(alone, other).mean() < 0.2 < 0.7 < scores(both, other).mean()

    @pytest.mark.parametrize("steps", [1, 2])
    def test_a_demonstration_of_a_step_or_two_will_do(self, steps):
        short = cut(rollout(), steps, terminated=False)
        found = scores(fitted(short, updates=50), short, rollout(flail))
        assert torch.isfinite(found).all()

    @pytest.mark.parametrize("share", [0.01, 0.99])
    @pytest.mark.parametrize("steps", [2, 3, 10])
    def test_something_is_always_left_to_learn_and_to_hold_out(self, steps, share):
        short = cut(rollout(), steps, terminated=False)
        assert torch.isfinite(scores(fitted(short, updates=50, held_out=share), short)).all()

    def test_a_fit_that_diverges_is_refused(self):
        with pytest.raises(InputError, match=r"diverged within \d+ updates at a learning_rate of 1e\+30: lower it"):
            fitted(learning_rate=1e30)

    def test_an_expert_that_stands_still_is_told_from_one_that_moves(self):
        frozen = Trajectory(np.ones((31, 3), np.float32))
        reward = fitted(frozen)
        assert scores(reward, frozen).mean() > 0.5
        assert scores(reward, rollout()).mean() < 0.1

    def test_a_seed_decides_everything_and_the_global_stream_is_left_alone(self):
        before = torch.random.get_rng_state()
        first, again, other = (fitted(seed=seed, updates=50) for seed in (1, 1, 2))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert same(first, again)
        assert not same(first, other)

    def test_it_learns_where_gradients_are_switched_off(self):
        with torch.no_grad():
            there = fitted(updates=50)
        assert same(there, fitted(updates=50))


class TestState:
    def test_a_restored_copy_scores_the_same_bits(self):
        features = StateFeatures(FeatureOptions(std_floor=0.1), keys=("speed",))
        reward = RandomExpertDistillation(DistillationOptions(**SMALL | {"updates": 50}), features)
        reward.fit(demonstrations(rollout(), rollout(seed=1)))
        file = io.BytesIO()
        torch.save(reward.state_dict(), file)
        file.seek(0)
        restored = RandomExpertDistillation()
        restored.load_state_dict(torch.load(file, weights_only=True))
        agents = rollout(seed=5), rollout(flail, steps=30)
        assert torch.equal(scores(restored, *agents), scores(reward, *agents))
        assert restored.options == reward.options

    def test_copies_are_independent(self):
        reward, agent = fitted(updates=50), rollout(flail)
        before = scores(reward, agent)
        copied = copy.deepcopy(reward)
        assert torch.equal(scores(copied, agent), before)
        copied.fit(demonstrations(agent))
        assert torch.equal(scores(reward, agent), before)
        assert not torch.equal(scores(copied, agent), before)


class TestRefusals:
    def test_an_unusable_episode_is_refused(self):
        episodes = Episodes.from_trajectories([rollout(), rollout(flail, seed=1)])
        episodes.observations[1, 63, 2] = torch.nan
        with pytest.raises(InputError, match="Episode 1, step 63: dimension 2"):
            usual().score(episodes)

    def test_without_an_expert_there_is_nothing_to_compare_with(self):
        with pytest.raises(InputError, match="fit or load_state_dict"):
            scores(RandomExpertDistillation(), rollout())

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"hidden_dim": 0}, "hidden_dim is 0"),
            ({"outputs": 0}, "outputs is 0"),
            ({"batch_size": 0}, "batch_size is 0"),
            ({"updates": 0}, "updates is 0"),
            ({"patience": 0}, "patience is 0"),
            ({"learning_rate": math.nan}, "learning_rate is nan"),
            ({"held_out": 1.0}, "held_out is 1.0"),
            ({"expert_reward": 0.0}, "expert_reward is 0.0"),
        ],
    )
    def test_impossible_options_are_refused(self, settings, message):
        with pytest.raises(InputError, match=message):
            DistillationOptions(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_does_not_change_the_rewards():
    reward, agents = fitted(), [rollout(flail, steps=50), rollout(seed=3, steps=70, terminated=True)]
    here, there = (Episodes.from_trajectories(agents, device) for device in ("cpu", "cuda"))
    expected = reward.score(here)
    found = reward.score(there)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(reward.score(here), expected)
