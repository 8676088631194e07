"""What the density of transitions must do as a reward."""

import copy
import dataclasses
import io
import math
import re

import numpy as np
import pytest
import torch
from pendulum_ladder import scores
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs import rollouts
from ilfo.rewards import Episodes, FeatureOptions, StateFeatures
from ilfo.rewards._flow_model import FlowModelOptions, held_out_slices, make_flow, train_flow
from ilfo.rewards._state_density import StateDensity
from ilfo.rewards.flow import Flow, FlowOptions
from ilfo.training.flags import parse_train

FAMILIES = ["maf", "spline"]


def fitted(*experts: Trajectory, **options) -> Flow:
    return Flow(FlowOptions(**{"updates": 60, "hidden_dim": 32, "scale": 2.0} | options)).fit(demonstrations(*experts))


def densities(reward: Flow, *trajectories: Trajectory) -> torch.Tensor:
    return reward.log_density(Episodes.from_trajectories(trajectories))


def pairs(before: np.ndarray, after: np.ndarray) -> Episodes:
    """Transitions, each an episode of its own."""
    states = torch.from_numpy(np.stack([before, after], axis=1).astype(np.float32))
    return Episodes(states, torch.ones(len(states), dtype=torch.int64), torch.zeros(len(states), dtype=torch.bool))


def wins(these: torch.Tensor, those: torch.Tensor) -> float:
    """How often one of these is above one of those."""
    return float((these.flatten()[:, None] > those.flatten()).float().mean())


@pytest.fixture(scope="module", params=FAMILIES)
def reward(request) -> Flow:
    """Fitted to the pendulum's one demonstration; tests only look at it."""
    return fitted(family=request.param, updates=200)


@pytest.fixture(scope="module", params=FAMILIES)
def of_moves(request) -> Flow:
    """The same, and all of its reward is for the transition."""
    return fitted(family=request.param, updates=200, state_share=0.0, squash="rational")


class TestWhatItTellsApart:
    def test_the_pendulums_expert_outscores_shuffled_pairs_standing_still_and_flailing(self, of_moves):
        expert = rollout(seed=5).observations
        order = np.random.default_rng(0).permutation(len(expert) - 1)
        alike = of_moves.score(pairs(expert[:-1], expert[1:]))
        shuffled = of_moves.score(pairs(expert[:-1], expert[1:][order]))
        still = of_moves.score(pairs(expert[:-1], expert[:-1]))
        flailing = scores(of_moves, rollout(flail, seed=6))
        assert alike.mean() > 1.4
        assert shuffled.mean() < 0.3
        assert still.mean() < 1.0
        assert flailing.mean() < 1.2

    def test_so_it_does_where_some_of_the_reward_is_for_being_near(self, reward):
        expert = rollout(seed=5).observations
        order = np.random.default_rng(0).permutation(len(expert) - 1)
        alike = reward.score(pairs(expert[:-1], expert[1:]))
        assert wins(alike, reward.score(pairs(expert[:-1], expert[1:][order]))) > 0.8
        assert wins(alike, reward.score(pairs(expert[:-1], expert[:-1]))) > 0.8
        assert wins(alike, scores(reward, rollout(flail, seed=6))) > 0.7

    def test_steps_of_a_half_cheetah_that_were_not_fitted_outscore_what_is_not_the_experts(self):
        whole = demos.open("halfcheetah")[0]
        fitted_on = Demonstrations((cut(whole, 800, terminated=False),))
        held = whole.observations[801:]
        order = np.random.default_rng(0).permutation(len(held) - 1)
        random = rollouts.rollout(rollouts.random_policy(6, seed=0), "HalfCheetah-v5", 1)[0]

        def found(reward: Flow) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            others = {
                "shuffled": reward.score(pairs(held[:-1], held[1:][order])),
                "still": reward.score(pairs(held[:-1], held[:-1])),
                "random": scores(reward, random),
            }
            return reward.score(pairs(held[:-1], held[1:])), others

        alike, others = found(
            Flow(FlowOptions(updates=200, state_share=0.0, squash="rational", scale=2.0)).fit(fitted_on)
        )
        assert alike.median() > 1.4
        assert {name: float((other < alike.quantile(0.05)).float().mean()) for name, other in others.items()} == (
            pytest.approx({"shuffled": 1.0, "still": 1.0, "random": 1.0}, abs=0.05)
        )
        alike, others = found(Flow(FlowOptions(updates=200)).fit(fitted_on))
        assert alike.median() > 0.7 * 5.0
        assert min(wins(alike, other) for other in others.values()) > 0.9
        assert wins(alike, others["random"]) == 1.0

    def test_far_from_the_expert_there_is_still_a_nearer_and_a_further(self):
        reward, expert = fitted(), rollout().observations
        means = [float(reward.score(pairs(expert[:-1], expert[1:] + off)).mean()) for off in (0, 0.1, 0.2, 0.4, 0.6)]
        assert means == sorted(means, reverse=True)
        assert means[-1] > 0.0

    def test_a_jump_from_one_demonstration_to_the_next_is_nothing_that_the_expert_did(self):
        near = rollout(steps=60)
        far = dataclasses.replace(near, observations=near.observations + np.float32(5.0))
        reward = fitted(near, far)
        jump = reward.log_density(pairs(near.observations[-1:], far.observations[:1]))
        assert jump.max() < densities(reward, near, far).min() - 1.0

    def test_only_the_chosen_dimensions_count(self):
        reward = Flow(FlowOptions(updates=10), StateFeatures(FeatureOptions(dims=(0, 2)))).fit(demonstrations())
        other = rollout(seed=5)
        changed = other.observations.copy()
        changed[:, 1] += 3.0
        assert torch.equal(scores(reward, dataclasses.replace(other, observations=changed)), scores(reward, other))


def test_the_time_counts_to_the_end_of_a_long_demonstration():
    """In units of 20 steps, 900 steps are 45 standard deviations from their first to their last."""
    reach = Trajectory(np.linspace([0.0, 1.0], [1.0, 0.0], 901, dtype=np.float32))
    stops = Trajectory(np.concatenate([reach.observations[:601], np.repeat(reach.observations[600:601], 300, axis=0)]))
    options = FlowOptions(updates=100, hidden_dim=32, temperature=1.0, state_temperature=1.0)
    reward = Flow(options, StateFeatures(FeatureOptions(time=20.0))).fit(demonstrations(reach))
    expert, stopped = reward.score(Episodes.from_trajectories([reach, stops]))[:, 650:].mean(dim=1)
    assert expert > 1.2 * stopped
    restored = Flow()
    restored.load_state_dict(reward.state_dict())
    assert torch.equal(
        restored.score(Episodes.from_trajectories([stops])), reward.score(Episodes.from_trajectories([stops]))
    )
    old = reward.state_dict()
    del old["farthest_state"], old["farthest_move"]
    restored.load_state_dict(old)
    expert, stopped = restored.score(Episodes.from_trajectories([reach, stops]))[:, 650:].mean(dim=1)
    assert expert < stopped, "as earlier code scored it, whose runs go on as they began"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_expert_is_no_less_likely_where_its_time_is_far_from_the_middle(family):
    turns = np.arange(501) / 6
    expert = Trajectory(np.stack([np.sin(turns), np.cos(turns)], axis=1).astype(np.float32))
    options = FlowOptions(family=family, updates=100, temperature=1.0, state_temperature=1.0)
    reward = Flow(options, StateFeatures(FeatureOptions(time=20.0))).fit(demonstrations(expert))
    episodes = Episodes.from_trajectories([expert])
    first, middle, last = (float(part.mean()) for part in reward.score(episodes)[0].split([100, 300, 100]))
    assert min(first, last) > 0.5 * middle
    restored = Flow()
    restored.load_state_dict(reward.state_dict())
    assert torch.equal(restored.score(episodes), reward.score(episodes))


def test_a_spline_of_earlier_code_scores_as_it_did():
    """It brought nothing within its bounds."""
    reward = fitted(rollout(), family="spline")
    state = reward.state_dict()
    for part in ("flow", "states"):
        state[part] = {name: value for name, value in state[part].items() if not name.endswith(("._scale", "._shift"))}
        state[part] = {re.sub(r"_transforms\.(\d+)", _one_before, name): value for name, value in state[part].items()}
    restored = Flow()
    restored.load_state_dict(state)
    episodes = Episodes.from_trajectories([rollout()])
    assert torch.equal(restored.score(episodes), reward.score(episodes)), "all that it saw is within these bounds"


def _one_before(match: re.Match) -> str:
    return f"_transforms.{int(match[1]) - 1}"


@pytest.mark.parametrize("family", FAMILIES)
def test_one_block_cannot_tell_what_the_first_feature_was_before(family):
    with pytest.raises(InputError, match=r"blocks is 1, for 3 features: .* give 2 or more"):
        fitted(rollout(), family=family, blocks=1)
    line = Trajectory(np.linspace(0, 1, 60, dtype=np.float32)[:, None])
    assert fitted(line, family=family, blocks=1, updates=10).score(Episodes.from_trajectories([line])).isfinite().all()


class TestTheScale:
    @pytest.mark.parametrize(
        ("squash", "at"),
        [
            ("rational", lambda x: 1.0 / (1.0 + x)),
            ("exponential", lambda x: math.exp(-x)),
            ("clip", lambda x: max(1.0 - x, 0.0)),
        ],
    )
    def test_a_move_is_worth_all_at_the_median_and_its_share_at_the_low_quantile(self, squash, at):
        reward = fitted(updates=20, squash=squash)
        state = reward.state_dict()
        median, low = state["median"], state["low"]
        for x in (0.0, 0.5, 1.0, 3.0):
            found = float(reward.worth_of_moving(torch.tensor(median - x * (median - low))))
            assert found == pytest.approx(at(x), abs=1e-4)
        assert float(reward.worth_of_moving(torch.tensor(median + 5.0))) == 1.0

    def test_a_temperature_of_ones_own_takes_the_place_of_the_quantile(self):
        reward = fitted(updates=20, squash="exponential", temperature=0.5)
        median = reward.state_dict()["median"]
        assert float(reward.worth_of_moving(torch.tensor(median - 1.0))) == pytest.approx(math.exp(-2.0), abs=1e-4)

    def test_it_is_measured_on_what_was_not_fitted(self):
        reward = fitted(quantile=0.2, held_out=0.5)
        held = densities(reward, rollout())[0][held_out_slices(120, 0.5)]
        state = reward.state_dict()
        assert state["median"] == pytest.approx(float(held.median()), abs=1e-5)
        assert state["low"] == pytest.approx(min(float(held.quantile(0.2)), state["median"] - 0.1), abs=1e-5)

    def test_a_finer_unit_of_the_state_changes_nothing(self):
        def in_millis(trajectory: Trajectory) -> Trajectory:
            return dataclasses.replace(trajectory, observations=1000.0 * trajectory.observations)

        agent = rollout(flail, seed=6)
        ours, theirs = fitted(), fitted(in_millis(rollout()))
        torch.testing.assert_close(scores(theirs, in_millis(agent)), scores(ours, agent), atol=1e-2, rtol=1e-2)


class TestTheDensityOfStates:
    def test_the_reward_is_what_the_docstring_says(self, reward):
        options = reward.options
        episodes = Episodes.from_trajectories([rollout(flail, seed=6)])
        move = reward.worth_of_moving(reward.log_density(episodes))
        near = reward.worth_of_being_near(reward.state_log_density(episodes))
        assert near.shape == (*move.shape, 4)
        share = options.state_share
        expected = options.scale * ((1 - share) * near[..., 0] * move + share * near.mean(dim=-1))
        torch.testing.assert_close(reward.score(episodes), expected)

    def test_a_sharper_density_counts_for_no_more_than_the_more_blurred_ones(self):
        reward = fitted(updates=20, state_noise=(0.5, 1.0, 2.0), state_temperature=0.5)
        medians = reward.state_dict()["state_medians"]
        below = torch.tensor([[0.0, 0.25, 0.5], [1.0, 0.5, -3.0], [0.25, 1.0, 0.5]])
        counted = torch.tensor([[0.5, 0.5, 0.5], [1.0, 0.5, 0.0], [1.0, 1.0, 0.5]])
        torch.testing.assert_close(reward.worth_of_being_near(medians - below), torch.exp(-counted / 0.5))

    def test_at_every_level_it_is_the_density_under_that_noise(self):
        """Of a normal, whose density under noise is known."""
        drawn = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        density = StateDensity(2, (0.5, 1.0, 2.0), FlowModelOptions(updates=400, hidden_dim=32))
        density.fit(drawn, held_out_slices(len(drawn), 0.1))
        with torch.no_grad():
            found = density.log_density(drawn)
        for level, noise in enumerate((0.5, 1.0, 2.0)):
            known = torch.distributions.Normal(0.0, math.sqrt(1.0 + noise**2)).log_prob(drawn).sum(dim=1)
            assert float((found[:, level] - known).abs().mean()) < 0.1

    def test_standing_still_where_the_expert_never_was_does_not_pay(self):
        nowhere = np.full((50, 3), 3.0, np.float32)
        still = Trajectory(nowhere + rollout().observations.mean(axis=0))
        assert scores(fitted(updates=200), still).mean() < 0.1

    def test_afar_the_nearer_is_worth_more(self, reward):
        expert = rollout().observations
        means = [float(scores(reward, Trajectory(expert + np.float32(off))).mean()) for off in (0.0, 0.5, 1.0, 2.0)]
        assert means == sorted(means, reverse=True)
        assert means[-1] > 0.001

    def test_without_it_there_is_one_flow(self):
        reward = fitted(updates=20, state_share=0.0)
        assert reward.state_dict()["states"] == {}
        episodes = Episodes.from_trajectories([rollout(flail, seed=6)])
        assert reward.state_log_density(episodes).shape == (1, 120, 0)
        expected = reward.options.scale * reward.worth_of_moving(reward.log_density(episodes))
        torch.testing.assert_close(reward.score(episodes), expected)

    def test_both_flows_are_kept_and_both_fits_are_told_of(self):
        told = []
        reward = Flow(FlowOptions(updates=20, hidden_dim=8))
        reward.on_progress = lambda share, text: told.append(share)
        reward.fit(demonstrations())
        assert told[-1] == 1.0
        assert 0.5 in told
        fresh = Flow()
        fresh.load_state_dict(reward.state_dict())
        agent = rollout(flail, seed=6)
        assert torch.equal(scores(fresh, agent), scores(reward, agent))


class TestTheFlow:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_parameter_gets_a_gradient(self, family):
        flow = make_flow(4, FlowModelOptions(family=family))
        targets, contexts = torch.randn(2, 64, 4, generator=torch.Generator().manual_seed(0))
        flow.log_prob(targets, contexts).sum().backward()
        assert [name for name, weight in flow.named_parameters() if weight.grad is None or not weight.grad.any()] == []

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_log_density_agrees_with_autograds_jacobian(self, family):
        flow = make_flow(3, FlowModelOptions(family=family, hidden_dim=16)).double()
        generator = torch.Generator().manual_seed(0)
        for weight in flow.parameters():
            weight.data += 0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        targets, contexts = 2.0 * torch.randn(2, 20, 3, generator=generator, dtype=torch.float64)
        found = flow.log_prob(targets, contexts)
        for target, context, log_prob in zip(targets, contexts, found, strict=True):

            def noise_of(target: torch.Tensor, context: torch.Tensor = context) -> torch.Tensor:
                return flow.transform_to_noise(target[None], context[None])[0]

            jacobian = torch.autograd.functional.jacobian(noise_of, target)
            base = -0.5 * (noise_of(target).square() + math.log(2 * math.pi)).sum()
            torch.testing.assert_close(log_prob, base + jacobian.slogdet().logabsdet)
        assert found.std() > 0.1

    def test_it_learns_a_density_that_is_known(self):
        """A normal, whose mean and spread depend on the context; noise widens it by a known amount."""
        generator = torch.Generator().manual_seed(0)
        contexts, draws = torch.randn(2, 4000, 1, generator=generator)
        targets, spread = contexts + (0.5 + 0.3 * contexts.tanh()) * draws, 0.5 + 0.3 * contexts.tanh()
        options = FlowModelOptions(noise=0.1, context_noise=0.0, updates=300, hidden_dim=32)
        flow = make_flow(1, options)
        train_flow(flow, targets, contexts, held_out_slices(4000, 0.1), options)
        widened = (spread.square() + 0.1**2).sqrt()
        expected = torch.distributions.Normal(contexts, widened).log_prob(targets).mean()
        with torch.no_grad():
            assert float(flow.log_prob(targets, contexts).mean() - expected) == pytest.approx(0.0, abs=0.03)

    def test_the_weights_that_are_kept_are_the_best_and_a_hopeless_fit_ends_early(self):
        generator = torch.Generator().manual_seed(0)
        targets, contexts = torch.randn(2, 40, 3, generator=generator)
        options = FlowModelOptions(noise=0.01, context_noise=0.01, updates=600, patience=50)
        told: list[tuple[float, str]] = []
        flow, held_out = make_flow(3, options), held_out_slices(40, 0.25)
        train_flow(flow, targets, contexts, held_out, options, lambda *progress: told.append(progress))
        share, words = told[-1]
        best_update, best = int(words.split()[3]), float(words.split()[-1])
        assert share == 1.0
        assert best_update <= 150
        assert all(0 < share <= 1 for share, _ in told)
        with torch.no_grad():
            assert float(flow.log_prob(targets[held_out], contexts[held_out]).mean()) / 3 == pytest.approx(
                best, abs=5e-3
            )
            assert flow.log_prob(targets[~held_out], contexts[~held_out]).mean() / 3 < 1.0

    def test_a_fit_that_diverges_is_refused(self):
        with pytest.raises(InputError, match=r"diverged within \d+ updates at a learning_rate of 1e\+30: lower it"):
            fitted(learning_rate=1e30)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("count", [2, 3, 4, 7, 50, 1000])
def test_something_is_held_out_and_something_is_fitted(count, share):
    held_out = held_out_slices(count, share)
    assert held_out.shape == (count,)
    assert held_out.any()
    assert not held_out.all()
    assert float(held_out.float().mean()) == pytest.approx(share, abs=0.5 if count < 10 else 0.1)


@pytest.mark.parametrize("count", [50, 1000])
def test_a_tenth_is_held_out_as_the_middle_one_of_every_ten_slices_of_five(count):
    held_out = held_out_slices(count, 0.1)
    expected = [first + step for first in range(25, count, 50) for step in range(5)]
    assert held_out.nonzero().ravel().tolist() == expected


class TestPoorDemonstrations:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_constant_and_doubled_dimensions_give_no_nan(self, family):
        plain = rollout().observations
        states = np.concatenate([plain, plain[:, :1], np.full((121, 2), 7.0), plain[:, 2:]], axis=1, dtype=np.float32)
        reward = fitted(Trajectory(states), family=family)
        moved = states.copy()
        moved[:, 4] += np.linspace(0, 1, 121, dtype=np.float32)
        same, other = scores(reward, Trajectory(states), Trajectory(moved)).mean(dim=1)
        assert same > 1.0
        assert other < same - 0.3
        assert all(bool(weight.isfinite().all()) for weight in reward.state_dict()["flow"].values())

    def test_an_expert_that_never_moves_is_imitated_by_not_moving(self):
        frozen = Trajectory(np.ones((31, 3), np.float32))
        drifting = Trajectory(np.linspace([1.0] * 3, [2.0] * 3, 31, dtype=np.float32))
        still, drift = scores(fitted(frozen), frozen, drifting).mean(dim=1)
        assert still == pytest.approx(2.0, abs=1e-4)
        assert drift < 1.0

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_state_may_have_one_dimension(self, family):
        # A chaotic map: how well its last, held-out steps are predicted differs with the rounding of the machine. What
        # must hold is the margin over standing still.
        state = [0.3]
        for _ in range(60):
            state.append(1.0 - 1.7 * state[-1] ** 2)
        expert = np.array(state, np.float32)[:, None]
        reward = fitted(Trajectory(expert), family=family, updates=200)
        alike, still = scores(reward, *map(Trajectory, (expert, 0 * expert)))
        assert alike.mean() > still.mean() + 0.4
        assert still.mean() < 0.8

    def test_two_transitions_are_enough_and_one_is_not(self):
        assert scores(fitted(rollout(steps=2)), rollout()).isfinite().all()
        with pytest.raises(InputError, match="there is 1 transition; a density takes 2"):
            fitted(rollout(steps=1))


class TestState:
    def test_a_restored_copy_scores_the_same_bits(self, reward):
        file = io.BytesIO()
        torch.save(reward.state_dict(), file)
        file.seek(0)
        restored = Flow()
        restored.load_state_dict(torch.load(file, weights_only=True))
        agents = rollout(seed=5), rollout(flail, steps=40)
        assert torch.equal(scores(restored, *agents), scores(reward, *agents))
        assert restored.options == reward.options

    def test_a_reward_without_an_expert_has_a_state_too(self):
        restored = fitted(updates=10)
        restored.load_state_dict(Flow().state_dict())
        with pytest.raises(InputError, match="fit or load_state_dict"):
            scores(restored, rollout())

    def test_copies_are_independent(self):
        reward, agent = fitted(updates=10), rollout(seed=5)
        before = scores(reward, agent)
        twin = copy.deepcopy(reward)
        assert torch.equal(scores(twin, agent), before)
        twin.fit(demonstrations(rollout(flail)))
        assert not torch.equal(scores(twin, agent), before)
        assert torch.equal(scores(reward, agent), before)

    def test_the_seed_alone_decides(self):
        agent = rollout(seed=5)
        torch.manual_seed(1)
        first = scores(fitted(updates=20, seed=3), agent)
        torch.manual_seed(2)
        assert torch.equal(scores(fitted(updates=20, seed=3), agent), first)
        assert not torch.equal(scores(fitted(updates=20, seed=4), agent), first)

    def test_it_learns_where_gradients_are_switched_off(self):
        agent = rollout(seed=5)
        with torch.no_grad():
            there = scores(fitted(updates=20), agent)
        assert torch.equal(there, scores(fitted(updates=20), agent))

    def test_pytorchs_own_random_state_is_left_as_it_was(self):
        before = torch.get_rng_state()
        reward = fitted(updates=10)
        Flow().load_state_dict(reward.state_dict())
        assert torch.equal(torch.get_rng_state(), before)


class TestEpisodes:
    agents = (rollout(flail, steps=1), rollout(seed=2, steps=40, terminated=True), rollout(seed=3), rollout(flail))

    def test_a_batch_of_different_lengths_scores_as_one_by_one(self, reward):
        together = scores(reward, *self.agents)
        assert together.dtype == torch.float32
        for row, agent in enumerate(self.agents):
            torch.testing.assert_close(together[row, : len(agent)], scores(reward, agent)[0], atol=1e-4, rtol=1e-4)
            assert together[row, len(agent) :].eq(0.0).all()

    def test_a_step_on_its_own_scores_as_in_its_episode(self, reward):
        states = rollout(seed=5).observations
        alone = reward.score(pairs(states[:-1], states[1:]))[:, 0]
        torch.testing.assert_close(alone, scores(reward, rollout(seed=5))[0], atol=1e-4, rtol=1e-4)

    def test_what_stands_in_the_padding_is_never_seen(self, reward):
        episodes = Episodes.from_trajectories(self.agents)
        soiled = dataclasses.replace(episodes, observations=episodes.observations.clone())
        soiled.observations[1, 41:] = torch.nan
        assert torch.equal(reward.score(soiled), reward.score(episodes))

    def test_more_steps_than_are_scored_at_once(self):
        reward, agents = fitted(updates=10), [rollout(seed=seed, steps=1000) for seed in range(9)]
        torch.testing.assert_close(scores(reward, *agents)[8], scores(reward, agents[8])[0], atol=1e-4, rtol=1e-4)

    def test_single_precision_agrees_with_double(self, reward):
        single = Episodes.from_trajectories(self.agents)
        double = dataclasses.replace(single, observations=single.observations.double())
        assert reward.score(double).dtype == torch.float32
        torch.testing.assert_close(reward.score(single), reward.score(double), atol=2e-3, rtol=2e-3)

    @pytest.mark.parametrize("squash", ["rational", "exponential", "clip"])
    def test_every_finite_state_has_a_finite_reward(self, squash):
        reward = fitted(updates=20, squash=squash)
        sizes = np.geomspace(1e-12, 1e11, 40)[:, None] * np.random.default_rng(0).normal(size=(40, 3))
        found = scores(reward, Trajectory(sizes.astype(np.float32)))
        assert found.isfinite().all()
        assert found.min() >= 0.0
        assert found.max() <= 2.0

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
    def test_what_is_not_a_usable_number_is_refused_by_name(self, reward, value):
        episodes = Episodes.from_trajectories(self.agents)
        episodes.observations[2, 63, 2] = value
        with pytest.raises(InputError, match="Episode 2, step 63: dimension 2"):
            reward.score(episodes)

    def test_dying_never_pays(self, reward):
        died = Episodes.from_trajectories(self.agents)
        assert reward.absorbing_reward(died).eq(0.0).all()
        assert reward.score(died)[died.mask].min() >= 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "spine"}, "did you mean 'spline'"),
        ({"squash": "clipp"}, "did you mean 'clip'"),
        ({"blocks": 0}, "blocks is 0"),
        ({"updates": 0}, "updates is 0"),
        ({"bins": 1}, "bins is 1"),
        ({"noise": 0.0}, "noise is 0.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"context_noise": -1.0}, "context_noise is -1.0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"quantile": 0.5}, "quantile is 0.5"),
        ({"difference_floor": 0.0}, "difference_floor is 0.0"),
        ({"scale": -2.0}, "scale is -2.0"),
        ({"state_share": 1.5}, "state_share is 1.5"),
        ({"state_temperature": 0.0}, "state_temperature is 0.0"),
        ({"state_noise": ()}, "one or more numbers above 0"),
        ({"state_noise": (0.5, 0.5)}, "each above the one before"),
        ({"state_noise": (0.0, 1.0)}, "one or more numbers above 0"),
        ({"state_noise": (1.0, math.inf)}, "one or more numbers above 0"),
    ],
)
def test_impossible_options_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        FlowOptions(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_does_not_change_the_rewards(reward):
    agents = [rollout(flail, steps=50), rollout(seed=3, steps=70, terminated=True)]
    here, there = (Episodes.from_trajectories(agents, device) for device in ("cpu", "cuda"))
    assert reward.score(there).device.type == "cuda"
    torch.testing.assert_close(reward.score(there).cpu(), reward.score(here), atol=1e-3, rtol=1e-3)


def test_the_preset_il_flow_is_the_log_density_of_transitions_cut_off():
    options = parse_train(["--preset", "il-flow", "--env", "any", "--demo", "any"])[0].flow
    reward = Flow(dataclasses.replace(options, updates=100)).fit(demonstrations())
    episodes = Episodes.from_trajectories([rollout(seed=5), rollout(flail)])
    earned, density = reward.score(episodes).flatten(), reward.log_density(episodes).flatten()
    inside = (earned > 0) & (earned < options.scale)
    assert min(inside.sum(), (earned == 0).sum(), (earned == options.scale).sum()) > 5
    line = torch.stack([earned[inside], density[inside]])
    assert float(torch.corrcoef(line)[0, 1]) == pytest.approx(1, abs=1e-4)
    assert density[earned == 0].max() <= density[inside].min()
