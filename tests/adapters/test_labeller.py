"""A plain loop gets the rewards that whole episodes have, whatever its environments do at an end."""

import importlib
import io
import pickle
import sys
import threading
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from ledge_rewards import VELOCITIES, Learning, Nearness, Waiting, episodes_of, three_columns, timed
from small_envs import LEDGE, expert, walk

from ilfo._tools.errors import InputError
from ilfo.adapters.labeller import EpisodeLabeller, Transitions
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import (
    EnvironmentReward,
    Episodes,
    OptimalTransport,
    ScaledReward,
    ScalingOptions,
    SumReward,
    TransportOptions,
    make_reward,
)
from ilfo.rewards.labelling import imitation_rewards, without_terminations
from ilfo.training.scorer import Scorer

DISCOUNT = 0.95
COLUMNS = ("observations", "next_observations", "actions", "rewards", "terminated", "ended")
ACTIONS = np.array(VELOCITIES, np.float32)[:, None]


class TwoTerms(SumReward):
    def __init__(self):
        super().__init__({"one": Nearness(), "other": Nearness()}, {"one": 1.0, "other": 0.5})


@pytest.fixture(scope="module", params=[OptimalTransport, Nearness, lambda: timed(Nearness)])
def reward(request):
    return request.param().fit(expert())


def make_envs(mode):
    return gymnasium.make_vec(
        LEDGE, num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode(mode)}
    )


def play(labeller, mode, steps, seed=0):
    """What the labeller gives back of a loop over three environments, in turn."""
    envs = make_envs(mode)
    observations, _ = envs.reset(seed=seed)
    for _ in range(steps):
        following, _, terminated, truncated, infos = envs.step(ACTIONS)
        yield labeller.label(observations, ACTIONS, following, terminated, truncated, infos)
        observations = following
        ended = terminated | truncated
        if mode == "Disabled" and ended.any():
            observations, _ = envs.reset(options={"reset_mask": ended})


def labels_of(reward, observations, terminated, absorbing=True, start=0):
    length, ends = torch.tensor([len(observations) - 1]), torch.tensor([terminated])
    episodes = Episodes(torch.from_numpy(observations)[None], length, ends, starts=torch.tensor([start]))
    return imitation_rewards(reward, episodes, discount=DISCOUNT, absorbing=absorbing)


def expected(reward, done, absorbing=True):
    """Transitions of episodes, and their rewards, computed without any adapter."""
    rows = []
    for observations, actions, terminated in done:
        if reward.needs == "trajectory":
            rewards = labels_of(reward, observations, terminated, absorbing).rewards[0]
        else:
            pairs = np.stack([observations[:-1], observations[1:]], axis=1)
            ends = [terminated and step == len(actions) - 1 for step in range(len(actions))]
            rewards = torch.cat(
                [
                    labels_of(reward, pair, end, absorbing, step).rewards[0]
                    for step, (pair, end) in enumerate(zip(pairs, ends, strict=True))
                ]
            )
        marks = np.arange(len(actions)) == len(actions) - 1
        rows.append(
            Transitions(observations[:-1], observations[1:], actions, rewards.numpy(), marks & terminated, marks)
        )
    return Transitions.join(rows)


def assert_same(found, wanted):
    for name in COLUMNS[:3] + COLUMNS[4:]:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    np.testing.assert_allclose(found.rewards, wanted.rewards, rtol=1e-5, atol=1e-6)


def of_env(transitions, row):
    """The transitions that one environment made, told by its action."""
    mine = transitions.actions[:, 0] == ACTIONS[row, 0]
    return Transitions(*(getattr(transitions, name)[mine] for name in COLUMNS))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("absorbing", [True, False])
def test_every_way_of_going_on_after_an_end_gives_the_transitions_of_the_episodes(reward, mode, absorbing):
    labeller = EpisodeLabeller(reward, 3, discount=DISCOUNT, absorbing=absorbing, autoreset=mode)
    found = Transitions.join(list(play(labeller, mode, 90)))
    for row in range(3):
        mine, wanted = of_env(found, row), expected(reward, episodes_of(row, 90), absorbing)
        whole = min(len(wanted), len(mine))  # An open episode is on neither side, or on one.
        assert whole > 60
        assert_same(*(Transitions(*(getattr(part, name)[:whole] for name in COLUMNS)) for part in (mine, wanted)))


def test_rewards_of_a_trajectory_come_when_it_ends_and_those_of_transitions_at_once():
    waiting = EpisodeLabeller(OptimalTransport().fit(expert()), 3, discount=DISCOUNT)
    at_once = EpisodeLabeller(Nearness().fit(expert()), 3, discount=DISCOUNT)
    lengths = [len(part) for part in play(waiting, "NextStep", 41)]
    assert lengths[0] == 0
    assert lengths[39] == 80, "both that do not fall meet their time limit"
    assert lengths[40] == 0, "the reset is no transition"
    counts = [len(part) for part in play(at_once, "NextStep", 41)]
    assert counts[0] == 3
    assert counts[40] in (0, 1), "a reset of two, and the one that fell may be at its own"


def test_stored_transitions_do_not_tell_the_time():
    labeller = EpisodeLabeller(timed(Nearness).fit(expert()), discount=DISCOUNT)
    with pytest.raises(InputError, match="nobody knows which step of their episode"):
        labeller.rescore(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2))


def test_finished_episodes_say_what_there_is_to_log():
    reward = Learning().fit(expert())
    labeller = EpisodeLabeller(reward, 3, discount=DISCOUNT)
    episodes = [episode for part in play(labeller, "NextStep", 45) for episode in part.episodes]
    assert [episode.length for episode in episodes if episode.env > 0] == [40, 40]
    falls = [episode for episode in episodes if episode.env == 0]
    assert len(falls) > 5
    assert all(episode.terminated and episode.length < 5 for episode in falls)
    assert not any(episode.terminated for episode in episodes if episode.env > 0)
    assert reward.ends == [(episode.length, episode.terminated) for episode in episodes], "each was shown once"
    assert episodes[-1].metrics == {"steps_seen": float(sum(episode.length for episode in episodes))}
    fresh = Nearness().fit(expert())
    first = next(iter(EpisodeLabeller(fresh, 3, discount=DISCOUNT).cut().episodes), None)
    assert first is None, "nothing to cut before the first step"
    logged = [e for part in play(EpisodeLabeller(fresh, 3, discount=0.5), "NextStep", 40) for e in part.episodes]
    observations, _, _ = episodes_of(1, 40)[0]
    score = float(labels_of(fresh, observations, False).scores.sum())
    assert [e.imitation_return for e in logged if e.env == 1] == [pytest.approx(score, rel=1e-5)]


def plain_sum(**weights):
    kinds = {"transport": OptimalTransport, "nearness": Nearness, "learning": Learning}
    return SumReward({name: kinds[name]() for name in weights}, weights).fit(expert())


@pytest.mark.parametrize(
    "weights", [{"transport": 1.0, "nearness": -0.5}, {"nearness": 2.0}, {"nearness": 1.0, "learning": 0.5}]
)
@pytest.mark.parametrize("absorbing", [True, False])
def test_an_episodes_numbers_are_those_of_ilfos_own_loop(weights, absorbing):
    """The walk and the first fall; a reward that learns has seen nothing before the fall but its own steps."""
    labeller = EpisodeLabeller(plain_sum(**weights), 3, discount=DISCOUNT, absorbing=absorbing)
    episodes = [episode for part in play(labeller, "NextStep", 41) for episode in part.episodes]
    scorer = Scorer(
        plain_sum(**weights),
        1,
        discount=DISCOUNT,
        absorbing=absorbing,
        horizon=40,
        time_aware=False,
        device=torch.device("cpu"),
    )
    for env in (0,) if "learning" in weights else (0, 1, 2):
        observations, _, terminated = episodes_of(env, 41)[0]
        played = Trajectory(observations, terminated=terminated, truncated=not terminated)
        labels, wanted = scorer.of_finished(played, 0)
        found = next(episode for episode in episodes if episode.env == env)
        assert found.terms.keys() == weights.keys()
        if "learning" in weights:  # Steps were scored when they were made, before it had seen the episode.
            assert found.metrics == {"learning/steps_seen": float(len(played))}
            assert found.terms["nearness"] == pytest.approx(wanted["imitation_return/nearness"], rel=1e-5)
            assert found.terms["learning"] == pytest.approx(found.terms["nearness"] / 2, rel=1e-5)
            assert found.numbers.keys() == {"imitation_return", *wanted}
        else:
            wanted["imitation_return"] = float(labels.scores.sum())
            assert found.numbers == pytest.approx(wanted, rel=1e-4)


def test_a_sum_is_scored_once_a_step():
    class Counting(Nearness):
        asked = 0

        def score(self, episodes):
            self.asked += 1
            return super().score(episodes)

    reward = SumReward({"one": Counting(), "other": Nearness()}, {"one": 1.0, "other": 1.0}).fit(expert())
    labeller = EpisodeLabeller(reward, discount=DISCOUNT, absorbing=False, autoreset="Disabled")
    states = np.linspace([[0.0, 0.1]], [[1.0, 0.1]], 6)
    for step in range(5):
        labeller.label(states[step], np.zeros((1, 1)), states[step + 1], [step == 4], [False], {})
    assert reward.generators["one"].asked == 5


def test_without_absorbing_states_a_reward_is_shown_no_termination():
    reward = Learning().fit(expert())
    list(play(EpisodeLabeller(reward, 3, discount=1.0, absorbing=False), "NextStep", 10))
    assert reward.ends
    assert not any(terminated for _, terminated in reward.ends)


def test_the_worth_of_the_absorbing_state_is_in_the_last_reward():
    """Where every reward is negative, dying pays unless the end costs as much for ever."""
    reward = OptimalTransport(TransportOptions(squash="none")).fit(expert())
    found = {}
    for absorbing in (True, False):
        labeller = EpisodeLabeller(reward, 3, discount=DISCOUNT, absorbing=absorbing)
        found[absorbing] = of_env(Transitions.join(list(play(labeller, "NextStep", 20))), 0)
    observations, _, _ = episodes_of(0, 20)[0]
    labels = labels_of(reward, observations, True)
    length = len(observations) - 1
    assert found[True].rewards[length - 1] == pytest.approx(float(labels.rewards[0, -1]), rel=1e-5)
    assert labels.rewards[0, -1] < 5 * labels.scores[0, -1] < 0
    cut = labels_of(reward, observations, False)
    np.testing.assert_allclose(found[False].rewards[:length], cut.scores[0], rtol=1e-5)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("kind", [OptimalTransport, Nearness, TwoTerms])
def test_saved_in_the_middle_of_episodes_it_goes_on_bit_for_bit(kind, mode):
    labeller = EpisodeLabeller(kind().fit(expert()), 3, discount=DISCOUNT, autoreset=mode)
    envs = make_envs(mode)
    observations, _ = envs.reset(seed=3)
    twin = EpisodeLabeller(kind(), 3, discount=DISCOUNT, autoreset=mode)
    pairs = []
    for step in range(60):
        following, _, terminated, truncated, infos = envs.step(ACTIONS)
        arguments = observations, ACTIONS, following, terminated, truncated, infos
        found = labeller.label(*arguments)
        if step > 27:
            pairs.append((found, twin.label(*arguments)))
        if step == 27:
            file = io.BytesIO()
            torch.save(labeller.state_dict(), file)
            file.seek(0)
            twin.load_state_dict(torch.load(file, weights_only=True))
        observations = following
    pairs.append((labeller.cut(), twin.cut()))
    assert sum(len(found) for found, _ in pairs) > 80
    for found, twins in pairs:
        assert found.episodes == twins.episodes
        for name in COLUMNS:
            assert getattr(found, name).tobytes() == getattr(twins, name).tobytes()


def test_a_single_environment_needs_no_first_dimension():
    reward = Nearness().fit(expert())
    labeller = EpisodeLabeller(reward, discount=DISCOUNT, autoreset="Disabled")
    done = episodes_of(0, 8)
    steps = []
    for observations, actions, terminated in done:
        for step, action in enumerate(actions):
            ends = bool(terminated and step == len(actions) - 1)
            steps += labeller.label(observations[step], action, observations[step + 1], ends, False, {})
    wanted = expected(reward, done)
    assert len(steps) == len(wanted) > 4
    for step, other in zip(steps, wanted, strict=True):
        assert step.observation.shape == (2,)
        assert step.action.shape == (1,)
        for mine, theirs in zip(step, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_what_it_gives_back_does_not_change_with_the_buffers_that_it_was_given():
    labeller = EpisodeLabeller(OptimalTransport().fit(expert()), discount=DISCOUNT, autoreset="Disabled")
    buffer, action = np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32)
    for step in range(5):
        before = buffer.copy()
        buffer[:], action[:] = step + 1, step
        labelled = labeller.label(before, action, buffer, [False], [step == 4], {})
    buffer[:], action[:] = 99, 99
    assert labelled.next_observations[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert labelled.actions[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_stored_transitions_get_todays_rewards():
    reward = Learning().fit(expert())
    labeller = EpisodeLabeller(reward, 3, discount=DISCOUNT)
    assert labeller.changes
    first, *_, last = play(labeller, "NextStep", 30)
    assert reward.steps > 0
    tensors = [torch.from_numpy(part) for part in (first.observations, first.next_observations, first.terminated)]
    todays = labeller.rescore(*tensors)
    torch.testing.assert_close(todays, (1 + reward.steps) * torch.from_numpy(first.rewards))
    assert (todays > torch.from_numpy(first.rewards)).all()
    wide = labeller.rescore(tensors[0].double(), tensors[1].double(), tensors[2][:, None].float())
    assert wide.shape == (3, 1)
    torch.testing.assert_close(wide[:, 0], todays)
    assert len(last) == 3


def test_a_termination_is_scored_again_with_its_absorbing_state():
    class Falling(Nearness):
        def absorbing_reward(self, episodes):
            return torch.full((len(episodes.lengths),), -1.0)

    labeller = EpisodeLabeller(Falling().fit(expert()), discount=DISCOUNT)
    states = torch.zeros(2, 2)
    rewards = labeller.rescore(states, states, torch.tensor([False, True]))
    assert float(rewards[0] - rewards[1]) == pytest.approx(DISCOUNT / (1 - DISCOUNT), rel=1e-5)


def test_a_reward_of_whole_episodes_cannot_score_transitions_again():
    labeller = EpisodeLabeller(OptimalTransport().fit(expert()), discount=DISCOUNT)
    assert not labeller.changes
    with pytest.raises(InputError, match=r"OptimalTransport needs whole episodes.*EpisodeLabeller"):
        labeller.rescore(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2))


def test_cut_ends_the_episodes_that_somebody_resets():
    reward = OptimalTransport().fit(expert())
    labeller = EpisodeLabeller(reward, 3, discount=DISCOUNT)
    assert not any(len(of_env(part, 1)) for part in play(labeller, "NextStep", 10))
    cut = labeller.cut([1])
    assert len(cut) == cut.episodes[0].length == 10
    assert cut.ended.tolist() == [False] * 9 + [True]
    assert not cut.terminated.any()
    observations = np.concatenate([cut.observations, cut.next_observations[-1:]])
    np.testing.assert_allclose(cut.rewards, labels_of(reward, observations, False).rewards[0], rtol=1e-5)
    rest = labeller.cut()
    assert {episode.env for episode in rest.episodes} >= {2}
    assert sum(len(part) for part in play(labeller, "NextStep", 40, seed=9)) > 80, "a fresh start"


@pytest.mark.parametrize("loaded", [False, True])
def test_cut_gives_no_transitions_of_the_same_columns_where_all_have_their_rewards(loaded):
    labeller = EpisodeLabeller(Nearness().fit(expert()), 3, discount=DISCOUNT)
    *_, last = play(labeller, "NextStep", 5)
    state = labeller.state_dict()
    if loaded:
        labeller = EpisodeLabeller(Nearness().fit(expert()), 3, discount=DISCOUNT)
        labeller.load_state_dict(state)
    cut = labeller.cut()
    assert len(cut) == 0
    assert [episode.length for episode in cut.episodes if episode.env > 0] == [5, 5]
    for name in COLUMNS:
        empty, full = getattr(cut, name), getattr(last, name)
        assert (empty.shape[1:], empty.dtype) == (full.shape[1:], full.dtype), name


def test_the_wrong_mode_is_told_apart():
    reward = Nearness().fit(expert())
    with pytest.raises(InputError, match=r"infos holds final_obs.*'NextStep'.*autoreset_mode"):
        list(play(EpisodeLabeller(reward, 3, discount=DISCOUNT), "SameStep", 10))
    with pytest.raises(InputError, match=r"infos holds no final_obs"):
        list(play(EpisodeLabeller(reward, 3, discount=DISCOUNT, autoreset="SameStep"), "NextStep", 10))
    with pytest.raises(InputError, match=r"environment 0, step 0 of its episode.*'Disabled' where the loop resets"):
        list(play(EpisodeLabeller(reward, 3, discount=DISCOUNT), "Disabled", 10))
    with pytest.raises(InputError, match=r"autoreset is 'same-step'.*SameStep"):
        EpisodeLabeller(reward, discount=DISCOUNT, autoreset="same-step")


def test_an_observation_that_does_not_follow_is_refused():
    labeller = EpisodeLabeller(Nearness().fit(expert()), 3, discount=DISCOUNT)
    list(play(labeller, "NextStep", 3))
    states = np.full((3, 2), 0.25)
    with pytest.raises(InputError, match=r"environment 0, step \d of its episode: .*cut\(\)"):
        labeller.label(states, ACTIONS, states, [False] * 3, [False] * 3, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": {"position": [0.0]}}, "parts position.*FlattenObservation"),
        ({"observations": np.zeros((2, 2))}, r"shape \(2, 2\); expected \(3, D\)"),
        ({"next_observations": np.zeros((3, 4))}, "do not make a step of 3"),
        ({"terminated": np.zeros(2, bool)}, "do not make a step of 3"),
        ({"actions": np.zeros((2, 1))}, "do not make a step of 3"),
        ({"next_observations": np.full((3, 2), np.nan)}, "step 1: dimension 0 of the observation is nan"),
    ],
)
def test_a_step_that_is_none_is_refused(change, message):
    labeller = EpisodeLabeller(Nearness().fit(expert()), 3, discount=DISCOUNT)
    step = {
        "observations": np.zeros((3, 2)),
        "actions": ACTIONS,
        "next_observations": np.zeros((3, 2)),
        "terminated": np.zeros(3, bool),
        "truncated": np.zeros(3, bool),
        "infos": {},
    }
    with pytest.raises(InputError, match=message):
        labeller.label(**(step | change))


def test_what_cannot_be_learned_with_is_refused_before_the_first_step():
    reward = Nearness().fit(expert())
    with pytest.raises(InputError, match="passes on the environment's own reward"):
        EpisodeLabeller(EnvironmentReward(), discount=DISCOUNT)
    with pytest.raises(InputError, match=r"discount is 1; .*below 1, because absorbing states"):
        EpisodeLabeller(reward, discount=1)
    with pytest.raises(InputError, match=r"discount is 1.5; expected the learner's, between 0 and 1$"):
        EpisodeLabeller(reward, discount=1.5)
    with pytest.raises(InputError, match="num_envs is 0"):
        EpisodeLabeller(reward, 0, discount=DISCOUNT)
    labeller = EpisodeLabeller(reward, 2, discount=DISCOUNT)
    with pytest.raises(InputError, match="the episodes of 1 environments, and this one of 2"):
        labeller.load_state_dict(EpisodeLabeller(reward, discount=DISCOUNT).state_dict())


def scaled_sum():
    return make_reward("nearest + 0.5*transport", scaling=ScalingOptions("fixed", 3.0))


def half_fitted():
    return SumReward({"one": OptimalTransport().fit(expert()), "other": OptimalTransport()}, {"one": 1.0, "other": 1.0})


@pytest.mark.parametrize("kind", [OptimalTransport, scaled_sum, half_fitted])
def test_a_reward_that_is_not_fitted_is_refused_at_the_first_step_and_not_after_an_episode(kind):
    with pytest.raises(InputError, match=r"knows no expert yet.*call fit or load_state_dict"):
        EpisodeLabeller(kind(), discount=DISCOUNT).label([0.0, 0.1], [0.0], [0.1, 0.1], False, False, {})


class WholeNearness(Nearness):
    needs = "trajectory"


@pytest.mark.parametrize("kind", [OptimalTransport, scaled_sum, WholeNearness, Waiting])
def test_observations_of_another_width_are_refused_at_the_first_step_and_not_after_an_episode(kind):
    reward = kind().fit(three_columns())
    labeller = EpisodeLabeller(reward, 3, discount=DISCOUNT)
    with pytest.raises(InputError, match=r"ha(s|ve) 2 dimensions.*\b3\b.*use a demonstration of this environment"):
        next(play(labeller, "NextStep", 1))
    twin = EpisodeLabeller(reward, 3, discount=DISCOUNT)
    with pytest.raises(InputError, match=r"ha(s|ve) 2 dimensions"):
        twin.try_on(2)
    twin.try_on(3)


@pytest.mark.parametrize("kind", [lambda: timed(Learning), lambda: scaled(timed(Nearness))])
def test_a_loop_that_scores_again_can_ask_before_whether_it_can(kind):
    """One that does not, of an on-policy learner, can do with such a reward."""
    labeller = EpisodeLabeller(kind().fit(expert()), 3, discount=DISCOUNT)
    assert labeller.changes
    labeller.try_on(2)
    assert sum(len(part) for part in play(labeller, "NextStep", 41)) > 80
    with pytest.raises(InputError, match="nobody knows which step of their episode"):
        labeller.try_on(2, rescored=True)
    EpisodeLabeller(timed(Nearness).fit(expert()), discount=DISCOUNT).try_on(2, rescored=True)


def scaled(reward):
    return ScaledReward(reward, ScalingOptions("running"))


class Noisy(Nearness):
    """It draws from a stream of its own whenever it is asked, and counts."""

    def __init__(self, options=None, features=None):
        super().__init__(options, features)
        self.stream, self.asked = torch.Generator().manual_seed(0), 0

    def score(self, episodes):
        self.asked += 1
        scores = super().score(episodes)
        return scores + torch.rand(scores.shape, generator=self.stream) * episodes.mask


class WholeNoisy(Noisy):
    needs = "trajectory"


@pytest.mark.parametrize("kind", [Noisy, WholeNoisy])
def test_trying_a_reward_changes_nothing_of_it(kind):
    reward = kind().fit(expert())
    before = reward.stream.get_state()
    total = SumReward({"one": reward, "other": Nearness().fit(expert())}, {"one": 1.0, "other": 1.0})
    for one in (reward, total):
        EpisodeLabeller(one, 3, discount=DISCOUNT).try_on(2, rescored=True)
    assert reward.asked == 0
    assert torch.equal(reward.stream.get_state(), before)


def test_it_is_no_mistake_that_a_reward_knows_nothing_to_say_of_standing_still_at_zero():
    class Directed(Nearness):
        def score(self, episodes):
            moved = episodes.observations.diff(dim=1)
            return (moved[..., 0] / moved.norm(dim=-1)) * episodes.mask

        def absorbing_reward(self, episodes):
            return -torch.ones(len(episodes.lengths))

    labeller = EpisodeLabeller(Directed().fit(expert()), discount=DISCOUNT)
    assert labeller.label([0.0, 0.1], [0.0], [0.1, 0.1], False, False, {}).rewards.tolist() == [1.0]


def test_a_reward_that_cannot_be_copied_is_not_tried_and_it_is_said():
    class Locked(Nearness):
        def __init__(self, options=None, features=None):
            super().__init__(options, features)
            self.lock = threading.Lock()

    labeller = EpisodeLabeller(Locked().fit(expert()), discount=DISCOUNT)
    with pytest.warns(UserWarning, match=r"Locked cannot be copied .*check_reward"):
        assert len(labeller.label([0.0, 0.1], [0.0], [0.1, 0.1], False, False, {})) == 1


def test_one_that_earlier_code_pickled_goes_on():
    labeller = EpisodeLabeller(OptimalTransport().fit(expert()), discount=DISCOUNT, autoreset="Disabled")
    labeller.label([0.0, 0.1], [0.1], [0.1, 0.1], False, False, {})
    del labeller._no_actions, labeller._scoring._tried
    again = pickle.loads(pickle.dumps(labeller))
    assert len(again.label([0.1, 0.1], [0.1], [0.2, 0.1], False, True, {})) == 2


def test_a_reward_of_ones_own_that_zeros_upset_is_said_and_used():
    class Dividing(Nearness):
        def score(self, episodes):
            if not episodes.observations.any():
                raise ZeroDivisionError("no direction")
            return super().score(episodes)

    labeller = EpisodeLabeller(Dividing().fit(expert()), discount=DISCOUNT)
    with pytest.warns(UserWarning, match=r"Dividing was tried on steps of zeros and raised ZeroDivisionError"):
        assert len(labeller.label([0.0, 0.1], [0.0], [0.1, 0.1], False, False, {})) == 1


def test_a_reward_of_ones_own_may_look_at_fewer_numbers_than_there_are():
    class Embedding(Nearness):
        def fit(self, demonstrations):
            narrow = [replace(each, observations=each.observations[:, :1]) for each in demonstrations]
            return super().fit(Demonstrations(tuple(narrow)))

        def score(self, episodes):
            return super().score(replace(episodes, observations=episodes.observations[..., :1]))

    labeller = EpisodeLabeller(Embedding().fit(expert()), discount=DISCOUNT)
    assert len(labeller.label([0.0, 0.1], [0.0], [0.1, 0.1], False, False, {})) == 1


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("labeller", "EpisodeLabeller"),
        ("stable_baselines3", "ImitationReplayBuffer"),
        ("torchrl", "ImitationReward"),
        ("gymnasium", "ImitationRewardWrapper"),
    ],
)
def test_every_adapter_says_what_to_fit_a_reward_on_where_nothing_absorbs(module, name):
    if module in ("stable_baselines3", "torchrl"):
        pytest.importorskip(module)
    adapter = getattr(importlib.import_module(f"ilfo.adapters.{module}"), name)
    assert "ilfo.rewards.without_terminations(demonstrations)" in adapter.__doc__


def test_where_nothing_absorbs_an_expert_that_ended_is_matched_by_its_own_episode():
    """As it is recorded, the rest of its time is in an absorbing state, to which no episode has anything like it."""
    recorded = Demonstrations((walk(0.1), walk(-0.1)))
    fallen, total = recorded[1], {}
    assert fallen.terminated
    for name, demonstrations in {"as recorded": recorded, "without": without_terminations(recorded)}.items():
        reward = OptimalTransport().fit(demonstrations)
        labeller = EpisodeLabeller(reward, discount=DISCOUNT, absorbing=False, autoreset="Disabled")
        states = fallen.observations
        for step in range(len(fallen)):
            ends = step == len(fallen) - 1
            found = labeller.label(states[step], [0.0], states[step + 1], ends, False, {})
        total[name] = found.rewards.mean()
    assert total["without"] == pytest.approx(2.0, rel=1e-3)
    assert total["as recorded"] < 0.3


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("stable_baselines3", "stable_baselines3.common.buffers", "sb3"), ("torchrl", "torchrl.data", "torchrl")],
)
def test_a_missing_library_is_told_with_its_extra(module, library, extra, monkeypatch):
    monkeypatch.delitem(sys.modules, f"ilfo.adapters.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=f"pip install 'ilfo.{extra}.'"):
        importlib.import_module(f"ilfo.adapters.{module}")
