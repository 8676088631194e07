"""What a discriminator must do as a reward that learns while the agent does."""

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
from ilfo.rewards._step_atoms import StepAtoms, perceptron
from ilfo.rewards._step_memory import StepMemory
from ilfo.rewards.discriminator import Discriminator, DiscriminatorOptions, gradient_penalty

SMALL = {"hidden_dim": 32, "batch_size": 64, "updates_per_step": 0.25, "learning_rate": 2e-3, "capacity": 2000}


def episodes_of(*trajectories: Trajectory) -> Episodes:
    return Episodes.from_trajectories(trajectories)


def fitted(*experts: Trajectory, **options) -> Discriminator:
    return Discriminator(DiscriminatorOptions(**(SMALL | options))).fit(demonstrations(*experts))


def taught(reward: Discriminator, agents: int = 8, terminated: bool = False) -> Discriminator:
    """After some episodes of random torques; those that terminate are shorter."""
    for seed in range(agents):
        steps = 20 + 3 * seed if terminated else 120
        reward.observe(episodes_of(rollout(flail, steps=steps, seed=seed, terminated=terminated)))
    return reward


@functools.cache
def _once_taught() -> Discriminator:
    return taught(fitted())


def experienced() -> Discriminator:
    """One that has learned from 8 episodes of random torques."""
    return copy.deepcopy(_once_taught())


def same(one: Discriminator, other: Discriminator) -> bool:
    """Whether weights and moments are the same bits."""
    states = [reward.state_dict() for reward in (one, other)]
    weights = [list(state["network"].values()) for state in states]
    moments = [[value for own in state["adam"]["state"].values() for value in own.values()] for state in states]
    return all(torch.equal(a, b) for kind in (weights, moments) for a, b in zip(*kind, strict=True))


def test_the_time_counts_over_all_of_a_long_demonstration():
    reward = Discriminator(DiscriminatorOptions(**SMALL), StateFeatures(FeatureOptions(time=5.0)))
    reward.fit(demonstrations(rollout(flail, steps=300, seed=1)))
    step = episodes_of(rollout(flail, steps=1, seed=2))
    found = [
        float(reward.score(dataclasses.replace(step, starts=torch.tensor([start])))) for start in (0, 50, 250, 298)
    ]
    assert len(set(found)) == 4


class TestLearning:
    @pytest.mark.parametrize("form", ["gail", "airl", "negative"])
    @pytest.mark.parametrize("activation", ["tanh", "relu"])
    def test_the_expert_outscores_the_agent_and_standing_still(self, form, activation):
        reward = taught(fitted(form=form, activation=activation))
        agents = rollout(), rollout(seed=50), still(rollout()), rollout(flail, seed=60)
        means = scores(reward, *agents).mean(dim=1)
        assert means[:2].min() > means[2:].max() + 0.25

    def test_an_agent_in_the_experts_states_at_the_wrong_time_is_found_out(self):
        reward = experienced()
        for seed in range(4):
            reward.observe(episodes_of(shuffled(rollout(seed=seed))))
        means = scores(reward, rollout(), rollout(seed=50), shuffled(rollout(seed=60))).mean(dim=1)
        assert means[:2].min() > means[2] + 0.1

    def test_it_says_how_well_it_tells_them_apart(self):
        reward = fitted()
        first = reward.observe(episodes_of(rollout(flail)))
        assert list(first) == [
            f"discriminator_{name}"
            for name in ("loss", "penalty", "expert_accuracy", "agent_accuracy", "expert_logit", "agent_logit")
        ]
        last = experienced().observe(episodes_of(rollout(flail, seed=9)))
        assert last["discriminator_loss"] < first["discriminator_loss"] < 2.2 * math.log(2)
        assert last["discriminator_expert_logit"] > 0 > last["discriminator_agent_logit"]
        assert last["discriminator_expert_accuracy"] > 0.6
        assert last["discriminator_agent_accuracy"] > 0.9

    def test_before_it_has_seen_an_agent_all_is_about_alike(self):
        found = scores(fitted(), rollout(), rollout(flail))
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, torch.full_like(found, math.log(2)), atol=0.3, rtol=0)

    def test_an_agent_that_is_the_expert_cannot_be_told_apart(self):
        reward = fitted()
        for _ in range(8):
            metrics = reward.observe(episodes_of(rollout()))
        assert metrics["discriminator_loss"] == pytest.approx(2 * math.log(2), rel=0.02)
        torch.testing.assert_close(scores(reward, rollout()).mean(), torch.tensor(math.log(2)), atol=0.1, rtol=0)

    def test_what_is_rewarded_moves_with_the_agent(self):
        reward = taught(fitted(capacity=300))
        assert scores(reward, rollout()).mean() > 0.9
        for _ in range(6):
            reward.observe(episodes_of(rollout()))
        assert scores(reward, rollout()).mean() < 0.8

    def test_it_makes_a_share_of_updates_for_each_step(self):
        reward = fitted(updates_per_step=0.3)
        made = 0
        for _ in range(10):
            made += bool(reward.observe(episodes_of(rollout(flail, steps=1))))
        assert made == 3
        steps = {int(own["step"]) for own in reward.state_dict()["adam"]["state"].values()}
        assert steps == {3}

    def test_several_episodes_at_once_are_as_many_one_by_one(self):
        agents = [rollout(flail, steps=40), rollout(flail, seed=1, steps=60, terminated=True)]
        together, apart = fitted(updates_per_step=1e-3), fitted(updates_per_step=1e-3)
        assert together.observe(episodes_of(*agents)) == {}
        for agent in agents:
            apart.observe(episodes_of(agent))
        one, other = (reward.state_dict()["agent"] for reward in (together, apart))
        assert one["next"] == other["next"] == 102
        assert all(torch.equal(one[name], other[name]) for name in ("states", "beginning", "last"))


class TestReward:
    def test_a_form_is_a_function_of_the_logit(self):
        logits = torch.tensor([-50.0, -9.0, -1.0, 0.0, 2.0, 9.0, 50.0])
        d = torch.sigmoid(logits.double()).clamp(1e-4, 1 - 1e-4)
        expected = {"gail": -torch.log(1 - d), "airl": torch.log(d) - torch.log(1 - d), "negative": torch.log(d)}
        for form, wanted in expected.items():
            found = Discriminator(DiscriminatorOptions(form=form)).reward_of(logits)
            torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)

    def test_a_batch_of_different_lengths_scores_as_one_by_one(self):
        reward = experienced()
        agents = [rollout(flail, steps=1), rollout(seed=2, steps=40, terminated=True), rollout(flail, steps=150)]
        together = scores(reward, *agents)
        assert together.dtype == torch.float32
        for row, agent in enumerate(agents):
            torch.testing.assert_close(together[row, : len(agent)], scores(reward, agent)[0], atol=1e-6, rtol=1e-5)
            assert together[row, len(agent) :].eq(0.0).all()

    def test_a_transition_alone_gets_what_it_gets_in_its_episode(self):
        reward, agent = experienced(), rollout(flail, seed=3)
        observations = torch.from_numpy(agent.observations)
        pairs = torch.stack([observations[:-1], observations[1:]], dim=1)
        ones, no = torch.ones(120, dtype=torch.int64), torch.zeros(120, dtype=torch.bool)
        alone = reward.score(Episodes(pairs, ones, no))
        torch.testing.assert_close(alone[:, 0], scores(reward, agent)[0], atol=1e-6, rtol=1e-5)

    def test_what_stands_in_the_padding_is_never_seen(self):
        episodes = episodes_of(rollout(seed=2, steps=40), rollout(seed=3))
        soiled = dataclasses.replace(episodes, observations=episodes.observations.clone())
        soiled.observations[0, 41:] = torch.nan
        clean, other = fitted(), fitted()
        clean.observe(episodes)
        assert all(map(math.isfinite, other.observe(soiled).values()))
        assert torch.equal(other.score(soiled), clean.score(episodes))

    def test_a_simulation_on_its_way_to_infinity_does_no_harm(self):
        reward = experienced()
        wild = Trajectory(np.geomspace(1e-3, 9e11, 61 * 3).astype(np.float32).reshape(61, 3))
        assert all(map(math.isfinite, reward.observe(episodes_of(wild)).values()))
        assert torch.isfinite(scores(reward, wild, rollout())).all()
        last = taught(reward, agents=2).observe(episodes_of(rollout(flail)))
        assert last["discriminator_loss"] < 1.3

    def test_features_decide_what_is_seen(self):
        options = DiscriminatorOptions(**SMALL)
        reward = Discriminator(options, StateFeatures(FeatureOptions(), keys=("speed",))).fit(demonstrations())
        agent = rollout(flail)
        turned = Trajectory(agent.observations * np.array([-1, -1, 1], np.float32))
        taught(reward, agents=2)
        assert torch.equal(scores(reward, agent), scores(reward, turned))


class TestAbsorbingStates:
    @pytest.mark.parametrize(("steps", "absorbing"), [(100, 21), (115, 6), (119, 2), (120, 1), (150, 1), (30, 30)])
    def test_they_last_until_the_horizon_but_no_longer_than_the_life_before(self, steps, absorbing):
        reward = fitted(updates_per_step=1e-3)  # the expert's 120 steps are the horizon
        agents = [rollout(flail, steps=steps, terminated=ended) for ended in (True, False)]
        reward.observe(episodes_of(*agents))
        drawn = reward._agent.steps(torch.arange(2 * steps + absorbing))[2]
        assert int(drawn.sum()) == absorbing
        assert len(reward._agent) == 2 * steps + absorbing

    def test_an_expert_that_terminates_has_them_too(self):
        reward = fitted(cut(rollout(), 100, terminated=True), rollout(seed=1))
        assert len(reward._expert) == 100 + 21 + 120
        assert len(fitted(cut(rollout(), 100, terminated=False), rollout(seed=1))._expert) == 100 + 120

    def test_what_only_the_agent_does_is_worth_less_than_living_at_random(self):
        reward = taught(fitted(), agents=16, terminated=True)
        random, died = rollout(flail, seed=60), episodes_of(cut(rollout(seed=1), 50, terminated=True))
        assert 0 <= reward.absorbing_reward(died)[0] < 0.3 < 0.5 < scores(reward, random).mean()

    def test_an_end_like_the_experts_is_worth_as_much_as_its_steps(self):
        expert = cut(rollout(), 60, terminated=True)
        reward = fitted(expert, rollout(seed=1), learning_rate=3e-4)
        for _ in range(12):
            reward.observe(episodes_of(expert))
            reward.observe(episodes_of(rollout(seed=1)))
        absorbing = reward.absorbing_reward(episodes_of(expert))
        torch.testing.assert_close(absorbing[0], scores(reward, expert).mean(), atol=0.15, rtol=0)

    def test_others_have_none(self):
        reward = taught(fitted(), terminated=True)
        ended, lived = rollout(flail, steps=30, terminated=True), rollout(flail, steps=50)
        found = reward.absorbing_reward(episodes_of(ended, lived))
        assert found[1] == 0
        assert found[0] > 0
        assert torch.equal(found[:1], reward.absorbing_reward(episodes_of(ended)))

    def test_the_flag_alone_is_what_the_network_sees(self):
        reward = taught(fitted(form="airl"), terminated=True)
        seen = torch.zeros(1, 7)
        seen[0, 6] = 10.0
        expected = reward._network(seen).item()
        died = episodes_of(rollout(steps=30, terminated=True))
        assert reward.absorbing_reward(died).tolist() == pytest.approx([expected])


class TestLoss:
    def test_the_penalty_is_the_distance_of_each_slope_from_one(self):
        """Slopes row by row from central differences in double precision."""
        network = perceptron([5, 16, 16, 1], "tanh", seed=0).double()
        points = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        total, steps = 0.0, 1e-6 * torch.eye(5, dtype=torch.float64)
        for point in points:
            with torch.no_grad():
                slope = (network(point + steps) - network(point - steps)) / 2e-6
            total += (math.sqrt(sum(value**2 for value in slope[:, 0].tolist())) - 1) ** 2
        assert gradient_penalty(network, points).item() == pytest.approx(total / 9, rel=1e-6)

    def test_the_penalty_makes_slopes_one(self):
        network = perceptron([4, 32, 1], "tanh", seed=0)
        points = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        descent = torch.optim.Adam(network.parameters(), lr=1e-2)
        before = gradient_penalty(network, points).item()
        for _ in range(100):
            descent.zero_grad()
            gradient_penalty(network, points).backward()
            descent.step()
        assert gradient_penalty(network, points).item() < 0.05 * before

    def test_the_loss_is_its_transcription(self):
        reward = fitted(gradient_penalty=3.0, entropy_bonus=0.2)
        numbers = torch.Generator().manual_seed(1)
        expert, agent = (torch.randn(8, 7, generator=numbers) for _ in range(2))
        state = reward._generator.get_state()
        loss, metrics = reward._loss(expert, agent)
        reward._generator.set_state(state)
        share = torch.rand(8, 1, generator=reward._generator)
        d_expert, d_agent = (torch.sigmoid(reward._network(atoms)) for atoms in (expert, agent))
        penalty = gradient_penalty(reward._network, share * expert + (1 - share) * agent)
        d = torch.cat([d_expert, d_agent])
        entropy = -(d * d.log() + (1 - d) * (1 - d).log()).mean()
        cross_entropy = -d_expert.log().mean() - (1 - d_agent).log().mean()
        torch.testing.assert_close(loss, cross_entropy + 3.0 * penalty - 0.2 * entropy)
        torch.testing.assert_close(metrics["loss"], cross_entropy.detach())
        assert metrics["expert_accuracy"] == (d_expert > 0.5).float().mean()
        assert metrics["agent_accuracy"] == (d_agent < 0.5).float().mean()

    @pytest.mark.parametrize("activation", ["tanh", "relu"])
    def test_every_parameter_gets_a_gradient(self, activation):
        reward = fitted(activation=activation)
        reward.observe(episodes_of(rollout(flail)))
        for parameter in reward._network.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


class TestMemory:
    def states(self, start: int, count: int) -> torch.Tensor:
        return torch.arange(start, start + count, dtype=torch.float32)[:, None]

    def drawn(self, memory: StepMemory) -> list[tuple[float, ...]]:
        before, after, absorbing = memory.steps(torch.arange(len(memory)))
        pairs = zip(before[:, 0].tolist(), after[:, 0].tolist(), absorbing.tolist(), strict=True)
        return [() if ended else (start, end) for start, end, ended in pairs]

    def test_each_number_is_a_step(self):
        memory = StepMemory(10, 1)
        memory.add(self.states(0, 3), 0)
        memory.add(self.states(10, 2), 3)
        assert self.drawn(memory) == [(0, 1), (1, 2), (10, 11), (), (), ()]

    def test_the_oldest_states_make_way_with_what_began_at_them(self):
        memory = StepMemory(6, 1)
        memory.add(self.states(0, 3), 2)
        memory.add(self.states(10, 3), 0)
        memory.add(self.states(20, 2), 1)
        assert sorted(self.drawn(memory)) == [(), (), (), (10, 11), (11, 12), (20, 21)]
        memory.add(self.states(30, 3), 0)
        assert sorted(self.drawn(memory)) == [(), (20, 21), (30, 31), (31, 32)]

    def test_of_an_episode_that_is_too_long_the_end_is_kept(self):
        memory = StepMemory(4, 1)
        memory.add(self.states(0, 9), 1)
        assert sorted(self.drawn(memory)) == [(), (5, 6), (6, 7), (7, 8)]

    def test_a_copy_from_its_state_forgets_alike(self):
        memory = StepMemory(7, 1)
        memory.add(self.states(0, 5), 2)
        copied = StepMemory.from_state(memory.state_dict())
        assert len(memory.state_dict()["states"]) == 5
        for each in (memory, copied):
            each.add(self.states(10, 4), 1)
        assert self.drawn(memory) == self.drawn(copied)
        assert len(memory.state_dict()["states"]) == 7


def test_atoms_hold_the_state_and_its_change_in_the_experts_units():
    expert = torch.tensor([[0.0, 1.0], [1.0, 1.0], [4.0, 1.0]])
    atoms = StepAtoms([expert])
    torch.testing.assert_close(atoms.spread, torch.tensor([1.0, 0.02]))
    found = atoms(torch.tensor([[0.5, 1.0], [99.0, 0.0]]), torch.tensor([[2.5, 1.1], [99.0, -3.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.0, 2.0, 5.0], [10.0, 0.0, 0.0, -10.0]]))


class TestState:
    def test_a_restored_copy_scores_the_same_bits_and_learns_on_alike(self):
        features = StateFeatures(FeatureOptions(std_floor=0.1), keys=("speed",))
        options = DiscriminatorOptions(**SMALL | {"form": "airl", "capacity": 150, "updates_per_step": 0.11})
        reward = Discriminator(options, features).fit(demonstrations(rollout(), rollout(seed=1, terminated=True)))
        taught(reward, agents=5, terminated=True)
        file = io.BytesIO()
        torch.save(reward.state_dict(), file)
        file.seek(0)
        restored = Discriminator()
        restored.load_state_dict(torch.load(file, weights_only=True))
        for seed in range(4):
            episodes = episodes_of(rollout(flail, seed=70 + seed, steps=33, terminated=True))
            assert torch.equal(restored.score(episodes), reward.score(episodes))
            assert torch.equal(restored.absorbing_reward(episodes), reward.absorbing_reward(episodes))
            assert restored.observe(episodes) == reward.observe(episodes)
            assert same(restored, reward)

    def test_a_state_stays_as_it_was_saved(self):
        reward = taught(fitted(), agents=2)
        state, before = reward.state_dict(), scores(reward, rollout(flail))
        taught(reward, agents=2)
        assert not torch.equal(scores(reward, rollout(flail)), before)
        restored = Discriminator()
        restored.load_state_dict(state)
        taught(restored, agents=2)
        restored.load_state_dict(state)
        assert torch.equal(scores(restored, rollout(flail)), before)

    def test_copies_are_independent_and_equal(self):
        reward = taught(fitted(), agents=2)
        copied, agent = copy.deepcopy(reward), episodes_of(rollout(flail, seed=9))
        before = reward.score(agent)
        copied.observe(agent)
        assert torch.equal(reward.score(agent), before)
        assert not torch.equal(copied.score(agent), before)
        reward.observe(agent)
        assert same(copied, reward)

    def test_a_seed_decides_everything_and_the_global_stream_is_left_alone(self):
        before = torch.random.get_rng_state()
        first, again, other = (taught(fitted(seed=seed), agents=2) for seed in (1, 1, 2))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert same(first, again)
        assert not same(first, other)

    def test_to_fit_again_is_to_begin_anew(self):
        reward, fresh = taught(fitted(), agents=2).fit(demonstrations()), fitted()
        assert same(taught(reward, agents=2), taught(fresh, agents=2))

    def test_it_learns_where_gradients_are_switched_off(self):
        here, there = fitted(), fitted()
        here.observe(episodes_of(rollout(flail)))
        with torch.no_grad():
            there.observe(episodes_of(rollout(flail)))
        assert same(here, there)


class TestRefusals:
    def test_an_unusable_episode_is_refused_and_changes_nothing(self):
        reward = taught(fitted(), agents=1)
        episodes = episodes_of(rollout(flail), rollout(flail, seed=1))
        episodes.observations[1, 63, 2] = torch.nan
        held = len(reward._agent)
        for refused in (reward.score, reward.observe):
            with pytest.raises(InputError, match="Episode 1, step 63: dimension 2"):
                refused(episodes)
        assert len(reward._agent) == held

    def test_without_an_expert_there_is_nothing_to_compare_with(self):
        for refused in (Discriminator().score, Discriminator().observe):
            with pytest.raises(InputError, match="fit or load_state_dict"):
                refused(episodes_of(rollout()))

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"form": "gial"}, "did you mean 'gail'"),
            ({"activation": "elu"}, "activation is 'elu'"),
            ({"hidden_dim": 0}, "hidden_dim is 0"),
            ({"batch_size": 1}, "batch_size is 1: it must be at least 2"),
            ({"capacity": 1}, "capacity is 1"),
            ({"learning_rate": 0.0}, "learning_rate is 0.0"),
            ({"updates_per_step": math.inf}, "updates_per_step is inf"),
            ({"gradient_penalty": -1.0}, "gradient_penalty is -1.0"),
            ({"entropy_bonus": math.nan}, "entropy_bonus is nan"),
        ],
    )
    def test_impossible_options_are_refused(self, settings, message):
        with pytest.raises(InputError, match=message):
            DiscriminatorOptions(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_goes_where_the_episodes_are_and_learns_there():
    here = taught(fitted(), agents=2, terminated=True)
    there = copy.deepcopy(here)
    agents = [rollout(flail, seed=9, terminated=True), rollout(flail, seed=8, steps=50)]
    on_cpu, on_gpu = (Episodes.from_trajectories(agents, device) for device in ("cpu", "cuda"))
    for _ in range(3):
        assert there.score(on_gpu).device.type == "cuda"
        torch.testing.assert_close(there.score(on_gpu).cpu(), here.score(on_cpu), atol=1e-3, rtol=1e-3)
        absorbing = there.absorbing_reward(on_gpu).cpu()
        torch.testing.assert_close(absorbing, here.absorbing_reward(on_cpu), atol=1e-3, rtol=1e-3)
        assert there.observe(on_gpu) == pytest.approx(here.observe(on_cpu), rel=0.02, abs=0.02)
    back = Discriminator()
    back.load_state_dict(there.state_dict())
    torch.testing.assert_close(back.score(on_cpu), there.score(on_gpu).cpu(), atol=1e-4, rtol=1e-4)
