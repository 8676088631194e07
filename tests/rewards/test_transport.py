"""What optimal transport must do as a reward, beside what every reward that matches steps does: test_matching."""

import dataclasses
import io
import itertools

import numpy as np
import ot
import pytest
import torch
from pendulum_ladder import scores, shuffled, still
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Trajectory
from ilfo.rewards import (
    Episodes,
    FeatureOptions,
    OptimalTransport,
    StateFeatures,
    TransportOptions,
    cost_matrix,
)

COSTS = ["euclidean", "sqrt_euclidean", "squared_euclidean", "cosine"]
EVERY_KIND = [
    pytest.param(TransportOptions(plan=plan, cost=cost, squash=squash), id=f"{plan}-{cost}-{squash}")
    for plan, cost, squash in itertools.product(["exact", "entropic"], COSTS, ["exponential", "none"])
]
OTHER_COSTS = [kind for kind in EVERY_KIND if kind.values[0].cost != TransportOptions.cost]


def fitted(*experts: Trajectory, **options) -> OptimalTransport:
    return OptimalTransport(TransportOptions(**options)).fit(demonstrations(*experts))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("atoms", ["transitions", "states"])
def test_the_expert_against_itself_costs_nothing(cost, atoms):
    expert = rollout()
    assert scores(fitted(cost=cost, atoms=atoms), expert).eq(2.0).all()
    assert scores(fitted(cost=cost, atoms=atoms, squash="none"), expert).eq(0.0).all()


@pytest.mark.parametrize("options", OTHER_COSTS)
def test_the_expert_outscores_shuffled_still_and_random(options):
    reward = OptimalTransport(options).fit(demonstrations())
    expert, again = rollout(), rollout(seed=5)
    mean = scores(reward, expert, again, shuffled(expert), still(expert), rollout(flail)).mean(dim=1)
    assert mean[0] > mean[1] > mean[2:].max()


def test_pairs_tell_the_order_of_time_and_single_states_do_not():
    expert = rollout(steps=120)
    mixed = shuffled(expert)
    assert scores(fitted(atoms="states"), mixed).mean() > 1.95
    assert scores(fitted(atoms="transitions"), mixed).mean() < 1.2


def test_the_reward_is_the_cost_under_the_plan_of_pot():
    agent, expert = rollout(flail, steps=60), rollout()
    features = StateFeatures().fit(demonstrations())
    x, y = (
        torch.cat([z[:-1], z[1:]], dim=1) for z in (features(torch.from_numpy(t.observations)) for t in (agent, expert))
    )
    cost = cost_matrix(x, y).double().numpy()
    a, b = np.full(60, 1 / 60), np.full(120, 1 / 120)
    expected = 60 * (ot.emd(a, b, cost) * cost).sum(axis=1)
    ours = scores(fitted(squash="none", scale=1.0), agent)[0]
    np.testing.assert_allclose(-ours.numpy(), expected, rtol=1e-5)
    squashed = scores(fitted(scale=3.0, temperature=0.5), agent)[0]
    np.testing.assert_allclose(squashed.numpy(), 3.0 * np.exp(-expected / 0.5), rtol=1e-5)


@pytest.mark.parametrize("options", OTHER_COSTS)
def test_single_precision_agrees_with_double(options):
    reward = OptimalTransport(options).fit(demonstrations())
    single = Episodes.from_trajectories([rollout(flail, steps=50), rollout(seed=3)])
    double = dataclasses.replace(single, observations=single.observations.double())
    assert reward.score(single).dtype == reward.score(double).dtype == torch.float32
    torch.testing.assert_close(reward.score(single), reward.score(double), atol=2e-3, rtol=2e-3)


def test_exact_and_entropic_agree_as_the_regularization_shrinks():
    """Step by step for an episode near the expert; far from it, many plans are nearly as good, and the mean agrees."""
    near, far = rollout(seed=5), rollout(flail)
    exact_near, exact_far = scores(fitted(squash="none"), near), scores(fitted(squash="none"), far)
    steps, means = [], []
    for regularization in (0.2, 0.05, 0.01, 0.002):
        reward = fitted(plan="entropic", squash="none", regularization=regularization, max_iterations=20_000)
        steps.append(float((scores(reward, near) - exact_near).abs().mean()))
        means.append(float((scores(reward, far).mean() - exact_far.mean()).abs()))
    assert steps == sorted(steps, reverse=True)
    assert means == sorted(means, reverse=True)
    assert steps[-1] < 2e-3
    assert means[-1] < 5e-3


@pytest.mark.parametrize("options", OTHER_COSTS)
def test_a_batch_of_different_lengths_scores_as_one_by_one(options):
    reward = OptimalTransport(options).fit(demonstrations(rollout(), rollout(seed=1, steps=80)))
    agents = [
        rollout(flail, steps=1),
        rollout(seed=2, steps=40, terminated=True),
        rollout(flail, steps=150),
        rollout(seed=3, steps=120, terminated=True),
    ]
    episodes = Episodes.from_trajectories(agents)
    together, absorbing = reward.score(episodes), reward.absorbing_reward(episodes)
    for row, agent in enumerate(agents):
        alone = Episodes.from_trajectories([agent])
        torch.testing.assert_close(together[row, : len(agent)], reward.score(alone)[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(absorbing[row], reward.absorbing_reward(alone)[0], atol=1e-5, rtol=1e-4)
        assert together[row, len(agent) :].eq(0.0).all()


class TestSeveralDemonstrations:
    experts = (rollout(), rollout(flail, seed=7), rollout(seed=4, steps=90))
    agents = (rollout(seed=8), rollout(flail, seed=9), rollout(flail, seed=7))

    def costs(self, **options) -> torch.Tensor:
        return -scores(fitted(*self.experts, squash="none", scale=1.0, **options), *self.agents)

    def apart(self) -> torch.Tensor:
        """Costs ``(demonstration, agent, step)``, each demonstration alone, on the features of all."""
        features = StateFeatures().fit(demonstrations(*self.experts))
        every = []
        for expert in self.experts:
            reward = fitted(expert, squash="none", scale=1.0)
            reward.features.load_state_dict(features.state_dict())
            state = reward.state_dict()
            state["expert"] = [features(torch.from_numpy(expert.observations))]
            reward.load_state_dict(state)
            every.append(-scores(reward, *self.agents))
        return torch.stack(every)

    def test_best_is_the_demonstration_of_lowest_total_cost(self):
        apart = self.apart()
        best = apart.mean(dim=2).argmin(dim=0)
        assert best[2] == 1
        torch.testing.assert_close(self.costs(), apart[best, torch.arange(3)])

    def test_mean_is_the_mean_of_the_costs(self):
        torch.testing.assert_close(self.costs(aggregate="mean"), self.apart().mean(dim=0))

    def test_random_draws_one_per_episode_and_every_one_in_time(self):
        apart = self.apart()
        reward = fitted(*self.experts, squash="none", scale=1.0, aggregate="random")
        seen = set()
        for _ in range(12):
            costs = -scores(reward, *self.agents)
            gaps = (costs - apart).abs().amax(dim=2)
            assert gaps.amin(dim=0).max() < 1e-5
            seen.add(tuple(gaps.argmin(dim=0).tolist()))
        assert len(seen) > 3
        assert {draw for drawn in seen for draw in drawn} == {0, 1, 2}

    def test_random_repeats_with_its_seed(self):
        one, same, other = (self.costs(aggregate="random", seed=seed) for seed in (3, 3, 4))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_the_explanation_is_of_the_best(self):
        reward = fitted(*self.experts, aggregate="random")
        before = reward.state_dict()["generator"].clone()
        assert reward.explain(self.agents[2]).demonstration == 1
        assert torch.equal(reward.state_dict()["generator"], before)


@pytest.mark.parametrize("aggregate", ["best", "mean", "random"])
@pytest.mark.parametrize("plan", ["exact", "entropic"])
def test_demonstrations_of_any_length_in_one_batch_count_as_one_by_one(plan, aggregate):
    """Whatever is padded to the longest: each demonstration alone, with the same features, gives the same costs."""
    experts = (
        rollout(seed=5, steps=12, terminated=True),
        rollout(),
        rollout(seed=4, steps=70, terminated=True),
        rollout(flail, seed=7, steps=90),
        rollout(seed=6, steps=25),
    )
    agents = [rollout(seed=8, steps=60, terminated=True), rollout(flail, seed=9), rollout(flail, seed=7)]
    options = {"plan": plan, "squash": "none", "scale": 1.0, "absorbing_cost": 4.0}
    together = fitted(*experts, aggregate=aggregate, **options)
    apart = []
    for index in range(len(experts)):
        state = together.state_dict()
        for name in ("expert", "expert_terminated"):
            state[name] = state[name][index : index + 1]
        alone = fitted(experts[0], **options)
        alone.load_state_dict(state | {"options": dataclasses.asdict(alone.options)})
        apart.append(-scores(alone, *agents[1:]))
    costs, apart = -scores(together, *agents)[1:], torch.stack(apart)
    if aggregate == "mean":
        torch.testing.assert_close(costs, apart.mean(dim=0), atol=2e-3, rtol=2e-3)
    else:
        gaps = (apart - costs).abs().amax(dim=2)
        assert gaps.amin(dim=0).max() < 5e-3
    if aggregate == "best":
        assert torch.equal(gaps.argmin(dim=0), apart.mean(dim=2).argmin(dim=0))


def test_the_number_of_workers_changes_no_bit():
    agents = [rollout(seed=8), rollout(flail, seed=9, steps=40), rollout(seed=3, steps=70, terminated=True)]
    episodes = Episodes.from_trajectories(agents)
    rewards = [fitted(rollout(), rollout(flail), workers=workers).score(episodes) for workers in (0, 1, 3)]
    assert torch.equal(rewards[0], rewards[1])
    assert torch.equal(rewards[0], rewards[2])


class TestTermination:
    @pytest.mark.parametrize("options", EVERY_KIND)
    def test_dying_early_is_never_better_than_a_living_expert_like_step(self, options):
        reward = OptimalTransport(options).fit(demonstrations())
        expert = rollout()
        episodes = Episodes.from_trajectories([cut(expert, steps, terminated=True) for steps in (1, 30, 119)])
        living = reward.score(episodes)[episodes.mask]
        assert (reward.absorbing_reward(episodes)[:, None] <= living + 1e-5).all()
        assert (reward.absorbing_reward(episodes) < scores(reward, rollout(seed=5)).mean()).all()

    @pytest.mark.parametrize("steps", [40, 119])
    def test_an_early_end_costs_the_largest_cost_between_expert_states(self, steps):
        reward = fitted(squash="none", scale=1.0, absorbing_cost=None)
        expert = rollout()
        z = reward.features(torch.from_numpy(expert.observations))
        atoms = torch.cat([z[:-1], z[1:]], dim=1)
        died = Episodes.from_trajectories([cut(expert, steps, terminated=True)])
        torch.testing.assert_close(-reward.absorbing_reward(died)[0], cost_matrix(atoms, atoms).max())

    def test_the_absorbing_cost_can_be_given(self):
        reward = fitted(squash="none", scale=1.0, absorbing_cost=9.0)
        died = Episodes.from_trajectories([cut(rollout(), 40, terminated=True)])
        assert reward.absorbing_reward(died).tolist() == pytest.approx([9.0 * -1])

    @pytest.mark.parametrize("squash", ["none", "exponential"])
    def test_far_from_the_expert_being_dead_is_no_better_than_the_worst_living_step(self, squash):
        reward = fitted(squash=squash)
        far = dataclasses.replace(cut(rollout(), 5, terminated=True))
        drifting = far.observations + np.linspace(0, 50, 6, dtype=np.float32)[:, None]
        episodes = Episodes.from_trajectories([dataclasses.replace(far, observations=drifting)])
        worst = reward.score(episodes).amin()
        assert worst < reward.reward_of(torch.tensor(reward.state_dict()["absorbing_cost"]))
        torch.testing.assert_close(reward.absorbing_reward(episodes)[0], worst)

    def test_an_end_like_the_experts_costs_nothing(self):
        short = cut(rollout(), 50, terminated=True)
        reward = fitted(short, rollout(seed=1), squash="none", absorbing_cost=5.0)
        alike = Episodes.from_trajectories([short])
        assert reward.score(alike).eq(0.0).all()
        assert reward.absorbing_reward(alike).eq(0.0).all()

    def test_an_end_sooner_than_the_experts_costs_in_proportion(self):
        expert = cut(rollout(), 50, terminated=True)
        reward = fitted(expert, rollout(seed=1), squash="none", scale=1.0, absorbing_cost=50.0)
        # The horizon is 120: the expert is absorbed for 70 steps, the agent for 95 of them.
        died = Episodes.from_trajectories([cut(rollout(), 25, terminated=True)])
        torch.testing.assert_close(reward.absorbing_reward(died), torch.tensor([-50.0 * 25 / 95]))
        torch.testing.assert_close(reward.score(died), torch.zeros(1, 25), atol=1e-6, rtol=0)

    def test_at_the_horizon_the_experts_own_end_decides(self):
        agent = Episodes.from_trajectories([rollout(terminated=True)])
        lives, ends = rollout(), rollout(terminated=True)
        assert fitted(lives, absorbing_cost=1.0).absorbing_reward(agent)[0] == pytest.approx(2.0 * np.exp(-1.0))
        assert fitted(ends, absorbing_cost=1.0).absorbing_reward(agent)[0] == 2.0

    def test_reward_and_absorbing_reward_share_a_draw(self):
        reward = fitted(rollout(), rollout(flail, steps=90), rollout(seed=2), aggregate="random")
        episodes = Episodes.from_trajectories([cut(rollout(seed=3), 30, terminated=True)] * 8)
        first = reward.score(episodes)
        drawn = reward.state_dict()["generator"].clone()
        reward.absorbing_reward(episodes)
        assert torch.equal(reward.state_dict()["generator"], drawn)
        assert torch.equal(reward.score(episodes), first)
        again = dataclasses.replace(episodes)
        assert not torch.equal(reward.score(again), first)


class TestSubtractedAbsorbingReward:
    agents = (
        cut(rollout(seed=3), 30, terminated=True),
        cut(rollout(flail), 50, terminated=True),
        rollout(seed=5),
        cut(rollout(), 40, terminated=False),
    )

    @pytest.mark.parametrize("options", EVERY_KIND)
    def test_every_reward_is_lowered_alike(self, options):
        plain = OptimalTransport(options).fit(demonstrations())
        lowered = OptimalTransport(dataclasses.replace(options, subtract_absorbing=True)).fit(demonstrations())
        episodes = Episodes.from_trajectories(self.agents)
        shift = float((plain.score(episodes) - lowered.score(episodes))[0, 0])
        assert (shift > 0) == (options.squash == "exponential")
        expected = torch.where(episodes.mask, plain.score(episodes) - shift, 0.0)
        torch.testing.assert_close(lowered.score(episodes), expected, atol=2e-6, rtol=1e-6)
        absorbing = torch.where(episodes.terminated, plain.absorbing_reward(episodes) - shift, 0.0)
        torch.testing.assert_close(lowered.absorbing_reward(episodes), absorbing, atol=2e-6, rtol=1e-6)

    @pytest.mark.parametrize("absorbing_cost", [None, 3.0])
    def test_being_dead_is_worth_nothing_and_living_near_the_expert_something(self, absorbing_cost):
        reward = fitted(subtract_absorbing=True, absorbing_cost=absorbing_cost)
        episodes = Episodes.from_trajectories(self.agents[:1])
        assert reward.absorbing_reward(episodes).tolist() == [0.0]
        assert reward.score(episodes)[episodes.mask].min() > 0.5

    def test_a_restored_copy_lowers_by_the_same(self):
        reward = fitted(subtract_absorbing=True)
        restored = OptimalTransport()
        restored.load_state_dict(reward.state_dict())
        assert torch.equal(scores(restored, *self.agents), scores(reward, *self.agents))


@pytest.mark.parametrize("squash", ["none", "exponential"])
def test_the_scale_is_divided_by_the_root_of_the_features_of_one_state(squash):
    for keys, width in (((), 3), (("angle",), 2)):
        plain, divided = (
            OptimalTransport(
                TransportOptions(squash=squash, scale_per_sqrt_dim=per_sqrt_dim), StateFeatures(keys=keys)
            ).fit(demonstrations())
            for per_sqrt_dim in (False, True)
        )
        agent = rollout(seed=5)
        torch.testing.assert_close(scores(divided, agent), scores(plain, agent) / width**0.5)


@pytest.mark.parametrize(("cost", "power"), [("euclidean", 0.5), ("sqrt_euclidean", 0.25), ("squared_euclidean", 1.0)])
def test_the_distance_is_divided_by_the_root_of_the_dimensions_of_an_atom(cost, power):
    agent = rollout(seed=5, steps=60, terminated=True)
    episodes = Episodes.from_trajectories([agent])
    plain, whole = (fitted(cost=cost, squash="none", distance_per_sqrt_dim=divided) for divided in (True, False))
    torch.testing.assert_close(whole.score(episodes), plain.score(episodes) * 6**power)
    torch.testing.assert_close(whole.absorbing_reward(episodes), plain.absorbing_reward(episodes) * 6**power)


class TestExplanation:
    def test_the_expert_is_matched_to_itself(self):
        told = fitted().explain(rollout())
        assert told.demonstration == 0
        assert told.expert_steps.tolist() == list(range(120))
        assert told.costs.max() == 0.0
        np.testing.assert_allclose(told.plan, np.eye(120), atol=1e-6)

    def test_it_is_the_plan_that_was_rewarded(self):
        reward, agent = fitted(squash="none", scale=1.0), rollout(flail, steps=70)
        told = reward.explain(agent)
        assert told.plan.shape == (70, 120)
        np.testing.assert_allclose(told.plan.sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(told.expert_steps, told.plan.argmax(axis=1))
        np.testing.assert_allclose(told.costs, -scores(reward, agent)[0].numpy(), rtol=1e-6)

    @pytest.mark.parametrize("plan", ["exact", "entropic"])
    def test_the_plan_is_as_wide_as_its_demonstration(self, plan):
        reward = fitted(rollout(), rollout(flail, seed=7, steps=50), rollout(seed=4, steps=200), plan=plan)
        told = reward.explain(rollout(flail, seed=7, steps=40))
        assert told.demonstration == 1
        assert told.plan.shape == (40, 50)

    def test_an_end_at_the_horizon_leaves_no_nan(self):
        told = fitted().explain(rollout(seed=2, terminated=True))
        assert np.isfinite(told.plan).all()
        assert np.isfinite(told.costs).all()


@pytest.mark.parametrize("plan", ["exact", "entropic"])
def test_a_restored_copy_scores_the_same_bits_and_draws_the_same_demonstrations(plan):
    reward = OptimalTransport(
        TransportOptions(plan=plan, aggregate="random", scale=3.0, cost="sqrt_euclidean"),
        StateFeatures(FeatureOptions(std_floor=0.1), keys=("speed",)),
    ).fit(demonstrations(rollout(), rollout(seed=1, steps=90, terminated=True), rollout(flail)))
    agents = [rollout(seed=5, steps=60, terminated=True), rollout(flail, seed=6)] * 4
    scores(reward, *agents)

    file = io.BytesIO()
    torch.save(reward.state_dict(), file)
    file.seek(0)
    restored = OptimalTransport()
    restored.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(3):
        episodes = Episodes.from_trajectories(agents)
        assert torch.equal(restored.score(episodes), reward.score(episodes))
        assert torch.equal(restored.absorbing_reward(episodes), reward.absorbing_reward(episodes))


class TestHostileEpisodes:
    def episodes(self) -> Episodes:
        return Episodes.from_trajectories([rollout(seed=2, steps=40), rollout(seed=3)])

    @pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30])
    def test_what_is_not_a_usable_number_is_refused_by_name(self, value):
        episodes = self.episodes()
        episodes.observations[1, 63, 2] = value
        with pytest.raises(InputError, match="Episode 1, step 63: dimension 2"):
            fitted().score(episodes)

    @pytest.mark.parametrize("length", [0, -1, 121])
    def test_an_impossible_length_is_refused(self, length):
        episodes = dataclasses.replace(self.episodes(), lengths=torch.tensor([120, length]))
        with pytest.raises(InputError, match=f"Episode 1 has {length} steps; expected 1 to 120"):
            fitted().score(episodes)

    def test_a_refusal_changes_nothing(self):
        reward = fitted(rollout(), rollout(seed=1), aggregate="random")
        before = reward.state_dict()["generator"].clone()
        episodes = self.episodes()
        episodes.observations[0, 0, 0] = np.nan
        with pytest.raises(InputError):
            reward.score(episodes)
        assert torch.equal(reward.state_dict()["generator"], before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plan": "sinkhorn"}, "plan is 'sinkhorn'"),
        ({"regularization": -1.0}, "regularization is -1.0"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_impossible_options_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TransportOptions(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("options", OTHER_COSTS)
def test_the_device_does_not_change_the_rewards(options):
    reward = OptimalTransport(options).fit(demonstrations())
    agents = [rollout(flail, steps=50), rollout(seed=3, steps=70, terminated=True)]
    here, there = (Episodes.from_trajectories(agents, device) for device in ("cpu", "cuda"))
    assert reward.score(there).device.type == "cuda"
    torch.testing.assert_close(reward.score(there).cpu(), reward.score(here), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        reward.absorbing_reward(there).cpu(), reward.absorbing_reward(here), atol=1e-3, rtol=1e-3
    )
