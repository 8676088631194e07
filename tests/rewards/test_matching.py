"""What every reward that matches steps with the expert's must do."""

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from pendulum_ladder import absorbing, scores, shuffled, still
from pendulum_system import cut, demonstrations, flail, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import Episodes, FeatureOptions, StateFeatures
from ilfo.rewards.coverage import CoverageOptions, OrderedCoverage
from ilfo.rewards.labelling import imitation_rewards
from ilfo.rewards.matching import MatchingOptions
from ilfo.rewards.nearest import NearestStep, SegmentMatch, SegmentOptions
from ilfo.rewards.pwil import PWIL, PWILOptions
from ilfo.rewards.step_matching import StepMatching
from ilfo.rewards.temporal import TemporalOptions, TemporalTransport
from ilfo.rewards.transport import OptimalTransport, TransportOptions

OPTIONS = {
    OptimalTransport: TransportOptions,
    NearestStep: MatchingOptions,
    SegmentMatch: SegmentOptions,
    PWIL: PWILOptions,
    TemporalTransport: TemporalOptions,
    OrderedCoverage: CoverageOptions,
}
ENTROPIC = {"plan": "entropic", "max_iterations": 3000}
KINDS = [
    pytest.param(kind, {"squash": squash, "atoms": atoms} | extra, id=f"{kind.__name__}-{atoms}-{squash}-{len(extra)}")
    for kind in OPTIONS
    for squash in ("exponential", "none")
    for atoms in ("transitions", "states")
    for extra in ([{}, ENTROPIC] if kind in (OptimalTransport, TemporalTransport) else [{}])
]
every_kind = pytest.mark.parametrize(("kind", "settings"), KINDS)
every_class = pytest.mark.parametrize("kind", OPTIONS)


def fitted(kind, *experts: Trajectory, **settings):
    return kind(OPTIONS[kind](**settings)).fit(demonstrations(*experts))


@every_kind
def test_the_expert_is_matched_at_no_cost(kind, settings):
    reward = fitted(kind, **settings)
    mine = scores(reward, rollout())
    best = reward.reward_of(torch.zeros(()))
    if kind is OrderedCoverage:
        assert mine[0, -1] == best == mine.max()
        assert (mine.diff() >= 0).all()
    elif "plan" in settings:
        torch.testing.assert_close(mine, best.expand_as(mine), atol=0.25 * reward.options.scale, rtol=0)
    else:
        assert mine.eq(best).all()


@every_kind
def test_the_expert_outscores_its_like_and_that_outscores_the_rest(kind, settings):
    """But for what a reward cannot know: see the tests of each."""
    expert, again = rollout(), rollout(seed=5)
    rest = {"shuffled": shuffled(expert), "still": still(expert), "random": rollout(flail)}
    blind = {
        (NearestStep, "transitions"): ["still"],
        (NearestStep, "states"): ["still", "shuffled"],
        (OptimalTransport, "states"): ["shuffled"],
        (PWIL, "states"): ["shuffled"],
        (OrderedCoverage, "states"): ["shuffled"],
        (OrderedCoverage, "none"): ["shuffled"],
    }
    unknown = {
        name for (who, what), names in blind.items() if who is kind and what in settings.values() for name in names
    }
    for name in unknown:
        del rest[name]
    mean = scores(fitted(kind, **settings), expert, again, *rest.values()).mean(dim=1)
    if (kind, settings["squash"]) != (OrderedCoverage, "none"):
        assert mean[0] > mean[1]
    assert mean[1] > mean[2:].max()


@every_kind
def test_a_batch_of_different_lengths_scores_as_one_by_one(kind, settings):
    reward = fitted(kind, rollout(), rollout(seed=1, steps=80, terminated=True), **settings)
    agents = [
        rollout(flail, steps=1),
        rollout(seed=2, steps=40, terminated=True),
        rollout(flail, steps=150),
        rollout(seed=3, steps=120, terminated=True),
    ]
    together, ends = scores(reward, *agents), absorbing(reward, *agents)
    assert together.dtype == ends.dtype == torch.float32
    for row, agent in enumerate(agents):
        torch.testing.assert_close(together[row, : len(agent)], scores(reward, agent)[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ends[row], absorbing(reward, agent)[0], atol=1e-5, rtol=1e-4)
        assert together[row, len(agent) :].eq(0.0).all()


@every_kind
def test_what_stands_in_the_padding_is_never_seen(kind, settings):
    reward = fitted(kind, **settings)
    episodes = Episodes.from_trajectories([rollout(seed=2, steps=40, terminated=True), rollout(seed=3)])
    soiled = dataclasses.replace(episodes, observations=episodes.observations.clone())
    soiled.observations[0, 41:] = torch.nan
    assert torch.equal(reward.score(soiled), reward.score(episodes))
    assert torch.equal(reward.absorbing_reward(soiled), reward.absorbing_reward(episodes))


@every_kind
def test_dying_early_is_never_better_than_living_on_like_the_expert(kind, settings):
    reward = fitted(kind, **settings)
    died = [cut(rollout(), steps, terminated=True) for steps in (1, 30, 60, 119)]
    alive, again = rollout(), rollout(seed=5)
    ends = absorbing(reward, *died)
    episodes = Episodes.from_trajectories(died)
    worst = reward.score(episodes).masked_fill(~episodes.mask, torch.inf).amin(dim=1)
    assert (ends <= worst + 1e-5).all()
    if issubclass(kind, StepMatching):
        assert (ends <= 0).all()
    episodes = Episodes.from_trajectories([*died, alive, again])
    remaining = 120 - episodes.lengths
    returns = imitation_rewards(reward, episodes, discount=0.99, absorbing=True, remaining=remaining).returns_to_limit
    assert (returns[:4] < returns[4] - 1e-4).all()
    assert (returns[:3] < returns[5]).all()


@pytest.mark.parametrize("cost", ["euclidean", "sqrt_euclidean", "squared_euclidean", "cosine"])
@pytest.mark.parametrize("atoms", ["transitions", "states"])
def test_being_dead_costs_the_largest_cost_between_atoms_of_any_demonstrations(cost, atoms):
    experts = rollout(), rollout(flail, seed=7, steps=40), rollout(seed=4, steps=90)
    reward = fitted(NearestStep, *experts, cost=cost, atoms=atoms)
    every = torch.cat(
        [reward.atoms_of(features) for features in reward.features.of_demonstrations(demonstrations(*experts))]
    )
    assert reward.state_dict()["absorbing_cost"] == pytest.approx(float(reward.cost_matrix(every, every).max()))


@pytest.mark.filterwarnings("ignore:all steps of the demonstrations are alike")
def test_an_expert_whose_steps_are_all_alike_does_not_make_being_dead_cheap():
    still = Trajectory(np.zeros((9, 2), np.float32))
    assert fitted(NearestStep, still).state_dict()["absorbing_cost"] == 1.0
    assert fitted(NearestStep, still, absorbing_cost=0.0).state_dict()["absorbing_cost"] == 0.0


@every_class
def test_far_from_the_expert_being_dead_is_no_better_than_the_worst_step(kind):
    reward = fitted(kind, squash="none")
    states = cut(rollout(), 5, terminated=True).observations + np.linspace(0, 50, 6, dtype=np.float32)[:, None]
    far = Trajectory(states, terminated=True)
    worst = scores(reward, far).amin()
    assert worst < -reward.options.scale * reward.state_dict()["absorbing_cost"]
    assert absorbing(reward, far)[0] <= worst + 1e-4 * worst.abs()


@pytest.mark.parametrize("kind", [OptimalTransport, TemporalTransport, NearestStep, SegmentMatch])
def test_the_demonstration_that_is_matched_is_one_that_ended_as_the_episode_did(kind):
    """Though another is nearer step by step: that one went on, and the state after the end counts."""

    def swaying(steps, terminated, shift=0.0):
        places = (np.arange(steps + 1) % 2 + shift).astype(np.float32)[:, None]
        return Trajectory(places, terminated=terminated, truncated=not terminated)

    experts = Demonstrations((swaying(20, False), swaying(8, True, shift=0.1)))
    reward = kind(OPTIONS[kind]()).fit(experts)
    assert reward.explain(swaying(8, False)).demonstration == 0
    assert reward.explain(swaying(8, True)).demonstration == 1


@every_class
@pytest.mark.parametrize("squash", ["exponential", "none"])
def test_an_end_like_the_experts_is_worth_what_the_expert_gets(kind, squash):
    short = cut(rollout(), 50, terminated=True)
    reward = fitted(kind, short, squash=squash)
    assert absorbing(reward, short)[0] == reward.reward_of(torch.zeros(()))
    sooner = cut(rollout(), 25, terminated=True)
    assert absorbing(reward, sooner)[0] < absorbing(reward, short)[0]


@every_class
def test_a_truncated_episode_has_no_absorbing_state(kind):
    reward, dearer = (fitted(kind, absorbing_cost=cost) for cost in (1.0, 50.0))
    episodes = Episodes.from_trajectories([cut(rollout(seed=2), 40, terminated=False)])
    assert reward.absorbing_reward(episodes).tolist() == [0.0]
    assert torch.equal(reward.score(episodes), dearer.score(episodes))


@every_kind
def test_what_is_computed_grows_with_what_the_experts_did_and_not_with_the_longest(kind, settings):
    class Counting(kind):
        computed = 0

        def cost_matrix(self, x, y):
            found = super().cost_matrix(x, y)
            self.computed += found.numel()
            return found

    shorts = [rollout(seed=seed, steps=10) for seed in range(1, 20)]
    reward = Counting(OPTIONS[kind](**settings)).fit(demonstrations(*shorts[:10], rollout(steps=200), *shorts[10:]))
    scores(reward, rollout(flail, steps=30))
    assert reward.computed <= 30 * (200 + 19 * 10)


@every_kind
def test_single_precision_agrees_with_double(kind, settings):
    reward = fitted(kind, **settings)
    single = Episodes.from_trajectories([rollout(flail, steps=50), rollout(seed=3)])
    double = dataclasses.replace(single, observations=single.observations.double())
    assert reward.score(single).dtype == reward.score(double).dtype == torch.float32
    torch.testing.assert_close(reward.score(single), reward.score(double), atol=2e-3, rtol=2e-3)


@every_class
@pytest.mark.parametrize("squash", ["exponential", "none"])
@pytest.mark.parametrize("cost", ["squared_euclidean", "cosine"])
def test_every_finite_state_has_a_finite_reward(kind, squash, cost):
    reward = fitted(kind, squash=squash, cost=cost)
    wild = rollout(flail, steps=130).observations * np.float32(1e11)
    episodes = Episodes.from_trajectories([Trajectory(wild, terminated=True), still(rollout())])
    assert reward.score(episodes).isfinite().all()
    assert reward.absorbing_reward(episodes).isfinite().all()


@every_class
def test_an_expert_that_stands_still_is_scored(kind):
    frozen = Trajectory(np.ones((31, 3), np.float32))
    with pytest.warns(UserWarning, match="what the state after a termination costs: it is taken as 1"):
        reward = fitted(kind, frozen)
    best = reward.options.scale
    assert scores(reward, frozen, frozen).eq(best).all()
    assert scores(reward, Trajectory(np.full((11, 3), 1.02, np.float32))).mean() < best


@every_class
def test_a_restored_copy_scores_the_same_bits(kind):
    experts = rollout(), rollout(seed=1, steps=90, terminated=True), rollout(flail)
    features = StateFeatures(FeatureOptions(std_floor=0.1), keys=("speed",))
    reward = kind(OPTIONS[kind](scale=3.0, cost="sqrt_euclidean"), features).fit(demonstrations(*experts))
    episodes = Episodes.from_trajectories([rollout(seed=5, steps=60, terminated=True), rollout(flail, seed=6)])
    reward.score(episodes)

    file = io.BytesIO()
    torch.save(reward.state_dict(), file)
    file.seek(0)
    restored = kind()
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(restored.score(episodes), reward.score(episodes))
    assert torch.equal(restored.absorbing_reward(episodes), reward.absorbing_reward(episodes))


@every_class
def test_a_copy_is_independent(kind):
    reward = fitted(kind)
    agent = rollout(seed=5)
    before = scores(reward, agent)
    twin = copy.deepcopy(reward)
    twin.load_state_dict(fitted(kind, rollout(flail)).state_dict())
    assert not torch.equal(scores(twin, agent), before)
    assert torch.equal(scores(reward, agent), before)


@every_class
@pytest.mark.parametrize("how", ["fitted", "loaded"])
def test_what_is_fitted_or_loaded_takes_the_place_of_what_was_known(kind, how):
    """Even of episodes that it has just scored."""
    again = rollout(flail, seed=3, steps=60)
    reward, other = fitted(kind, squash="none"), fitted(kind, again, squash="none")
    agents = Episodes.from_trajectories([rollout(seed=5), rollout(seed=2, steps=40, terminated=True)])
    before = reward.score(agents), reward.absorbing_reward(agents)
    if how == "fitted":
        reward.fit(demonstrations(again))
    else:
        reward.load_state_dict(other.state_dict())
    after = reward.score(agents), reward.absorbing_reward(agents)
    expected = other.score(agents), other.absorbing_reward(agents)
    for known, found, right in zip(before, after, expected, strict=True):
        assert torch.equal(found, right)
        assert not torch.equal(found, known)


@every_class
def test_episodes_that_cannot_be_scored_are_refused(kind):
    with pytest.raises(InputError, match="fit or load_state_dict"):
        scores(kind(), rollout())
    broken = rollout()
    broken.observations[63, 2] = np.nan
    with pytest.raises(InputError, match="Episode 0, step 63: dimension 2"):
        scores(fitted(kind), broken)
    with pytest.raises(InputError, match=r"5 dimensions .* 3"):
        scores(fitted(kind), Trajectory(np.zeros((4, 5), np.float32)))


@every_class
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"atoms": "pairs"}, "atoms is 'pairs'"),
        ({"cost": "euclidian"}, "did you mean 'euclidean'"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"absorbing_cost": -1.0}, "absorbing_cost is -1.0"),
    ],
)
def test_impossible_options_are_refused(kind, settings, message):
    with pytest.raises(InputError, match=message):
        OPTIONS[kind](**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_kind
def test_the_device_does_not_change_the_rewards(kind, settings):
    reward = fitted(kind, rollout(), rollout(seed=1, steps=80, terminated=True), **settings)
    agents = [rollout(flail, steps=50), rollout(seed=3, steps=70, terminated=True)]
    here, there = (Episodes.from_trajectories(agents, device) for device in ("cpu", "cuda"))
    for found, expected in (
        (reward.score(there), reward.score(here)),
        (reward.absorbing_reward(there), reward.absorbing_reward(here)),
    ):
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)
