"""What the reward of a run says of steps, of episodes and of batches."""

import warnings

import numpy as np
import pytest
import torch
from broken_plugins import AbsorbingEveryStep, OneTooMany, Uncopied

from ilfo._tools.errors import InputError
from ilfo.agents import Batch
from ilfo.demos import Demonstrations, Trajectory
from ilfo.rewards import EnvironmentReward, Episodes, NearestStep, OptimalTransport, RewardGenerator, TransportOptions
from ilfo.training.scorer import Scorer

DISCOUNT = 0.9


class Learning(RewardGenerator):
    """A step is worth as much as episodes have been seen, a state after a termination -1."""

    needs = "transition"
    stationary = False

    def __init__(self):
        super().__init__()
        self.seen, self.ends, self.paid = 0, [], []

    def fit(self, demonstrations):
        self.ends = [trajectory.terminated for trajectory in demonstrations]
        if self.on_progress is not None:
            self.on_progress(1.0, "learned")
        return self

    def score(self, episodes):
        return float(self.seen) * episodes.mask

    def absorbing_reward(self, episodes):
        return -torch.ones(len(episodes.lengths))

    def observe(self, episodes):
        self.seen += 1 + 10 * int(episodes.terminated.any())
        self.paid.append(episodes.env_rewards)
        return {"seen": float(self.seen)}

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Steady(Learning):
    stationary = True


def scorer(reward=None, members=1, absorbing=True, time_aware=False, demonstrations=None) -> Scorer:
    made = Scorer(
        reward or Learning(),
        members,
        discount=DISCOUNT,
        absorbing=absorbing,
        horizon=10,
        time_aware=time_aware,
        device=torch.device("cpu"),
    )
    made.fit(demonstrations or Demonstrations((episode(terminated=True),)))
    return made


def episode(steps: int = 4, terminated: bool = False) -> Trajectory:
    states = np.arange(steps + 1, dtype=np.float32)[:, None]
    return Trajectory(states, env_rewards=np.ones(steps, np.float32), terminated=terminated, truncated=not terminated)


def batch(*shape: int, terminated=(False, False), left=None) -> Batch:
    states = torch.zeros(*shape, len(terminated), 1 if left is None else 2)
    if left is not None:
        states[..., 1] = torch.tensor(left)
    ended = torch.tensor(terminated).float().expand(states.shape[:-1])
    return Batch(states, states, torch.full(states.shape[:-1], 7.0), states, ended)


@pytest.mark.parametrize("absorbing", [True, False])
def test_without_absorbing_states_nobody_hears_of_terminations(absorbing):
    made = scorer(absorbing=absorbing)
    assert made.reward.ends == [absorbing]
    assert made.of_finished(episode(terminated=True), 0)[1] == {"seen": 11.0 if absorbing else 1.0}


def test_fitting_is_told_of_once():
    told, made = [], scorer()
    made.fit(Demonstrations((episode(),)), lambda *said: told.append(said))
    assert told == [(1.0, "learned")]
    assert made.reward.on_progress is None


class Undefined(Steady):
    """A step is worth no number."""

    def score(self, episodes):
        return super().score(episodes) * torch.nan


@pytest.mark.parametrize("kind", [OneTooMany, Undefined, AbsorbingEveryStep])
def test_a_reward_that_breaks_its_contract_is_refused_before_the_first_episode(kind):
    with pytest.raises(InputError, match=rf"{kind.__name__}.*ilfo.testing.check_reward\({kind.__name__}\)"):
        scorer(kind())


def test_a_reward_that_needs_neither_steps_nor_episodes_is_refused():
    reward = Steady()
    reward.needs = "episode"
    with pytest.raises(InputError, match=r"Steady\.needs is 'episode'; expected 'transition' or 'trajectory'"):
        scorer(reward)


def test_without_absorbing_states_nobody_asks_what_they_are_worth():
    assert scorer(AbsorbingEveryStep(), absorbing=False).of_episodes([episode()]).scores.shape == (1, 4)


def test_trying_it_leaves_no_trace():
    class Drawing(Steady):
        def score(self, episodes):
            self.seen += 1
            return super().score(episodes)

    assert scorer(Drawing()).reward.seen == 0


def test_what_cannot_be_copied_is_not_tried():
    with pytest.warns(UserWarning, match=r"Uncopied cannot be copied \(.*check_reward\(Uncopied\) says more"):
        assert scorer(Uncopied()).of_episodes([episode()]).scores.shape == (1, 4)


def test_what_cannot_be_copied_is_said_once():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        made = scorer(Uncopied())
        for _ in range(2):
            made.of_episodes([episode()])
    assert len(told) == 1


def drawing() -> Scorer:
    """Two seeds of a reward that draws one of three demonstrations for every episode."""
    walks = tuple(Trajectory(np.linspace([0.0], [far], 9, dtype=np.float32)) for far in (1.0, 5.0, 25.0))
    reward = OptimalTransport(TransportOptions(aggregate="random"))
    return scorer(reward, members=2, demonstrations=Demonstrations(walks))


@pytest.mark.parametrize("member", [0, 1])
def test_what_is_scored_between_episodes_of_training_changes_none_of_them(member):
    watched, alone = drawing(), drawing()
    of_training = []
    for made in (watched, alone):
        found = []
        for steps in range(3, 15):
            if made is watched:
                made.of_episodes([episode(), episode()], member)
                made.explain(episode())
            found.append(made.of_finished(episode(steps), member)[0].scores)
        of_training.append(torch.cat(found, dim=1))
    assert torch.equal(*of_training)


class Noting(Learning):
    """One that takes note of whom it explained."""

    def explain(self, trajectory):
        self.seen += 1


def test_an_explanation_leaves_no_trace():
    made = scorer(Noting())
    made.explain(episode())
    assert made.reward.seen == 0


class Timed(Steady):
    """A step is worth the time that its episode had lasted before it."""

    def __init__(self, **changes):
        super().__init__()
        self.__dict__.update(changes)

    def score(self, episodes):
        return episodes.steps[:, :-1].float() * episodes.mask


def test_steps_alone_are_scored_at_their_time():
    pairs, once = torch.zeros(3, 2, 1), torch.ones(3, dtype=torch.int64)
    steps = Episodes(pairs, once, once > 1, starts=torch.tensor([0, 7, 3]))
    assert scorer(Timed()).of_steps(steps, 9 - steps.starts).tolist() == [0.0, 7.0, 3.0]
    assert scorer(Timed(), members=3).of_steps(steps, 9 - steps.starts).tolist() == [0.0, 7.0, 3.0]


class Counting(NearestStep):
    """One that takes note of how many episodes it was asked of at a time."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def score(self, episodes):
        self.asked.append(len(episodes.lengths))
        return super().score(episodes)


class CountingLearner(Counting):
    def observe(self, episodes):
        return {}


@pytest.mark.parametrize("kind", [Counting, CountingLearner])
def test_seeds_whose_rewards_never_part_ask_one_for_all(kind):
    made, seeds, rows = scorer(kind(), members=3, time_aware=True), 3, 2
    made.reward.asked.clear()
    pairs = torch.linspace(0.0, 3.0, 2 * seeds * rows).reshape(seeds * rows, 2, 1)
    once = torch.ones(seeds * rows, dtype=torch.int64)
    steps = Episodes(pairs, once, torch.tensor([False, True] * seeds), starts=torch.arange(seeds * rows))
    found = made.of_steps(steps, 9 - steps.starts)
    assert made.reward.asked[0] == (seeds * rows if kind is Counting else rows)
    alone = []
    for member in range(seeds):
        own = slice(member * rows, (member + 1) * rows)
        alone.append(scorer(kind(), time_aware=True).of_steps(steps.rows(own.start, own.stop), 9 - steps.starts[own]))
    torch.testing.assert_close(found, torch.cat(alone))
    assert len(found.unique()) == seeds * rows


def test_a_batch_tells_the_time_where_the_policy_is_shown_it():
    made = scorer(Timed(stationary=False), time_aware=True)
    given = batch(left=[0.9, 0.2])
    assert made.of_batch(given).rewards.tolist() == [0.0, 7.0]


def test_a_reward_that_wants_the_time_of_batches_that_have_none_is_refused_before_the_first_episode():
    with pytest.raises(InputError, match=r"leave out features\.time, or .* \(--time-aware\) helps too"):
        scorer(Timed(stationary=False))
    scorer(Timed())


def test_a_reward_that_never_changes_leaves_the_batch_alone():
    given = batch()
    assert scorer(Steady()).of_batch(given) is given


def test_a_reward_that_needs_whole_episodes_keeps_what_it_said_of_them():
    class Whole(Learning):
        needs = "trajectory"

    given = batch()
    assert scorer(Whole()).of_batch(given) is given


def test_a_sampled_batch_gets_the_rewards_of_today():
    made = scorer()
    made.of_finished(episode(), 0)
    made.of_finished(episode(), 0)
    assert made.of_batch(batch()).rewards.tolist() == [2.0, 2.0]


def test_the_end_of_an_episode_carries_what_follows_in_a_sampled_batch_as_in_an_episode():
    made = scorer()
    made.of_finished(episode(), 0)
    follows = -DISCOUNT / (1 - DISCOUNT)
    assert made.of_batch(batch(terminated=(False, True))).rewards.tolist() == pytest.approx([1.0, 1.0 + follows])
    assert float(made.of_episodes([episode(terminated=True)]).rewards[0, -1]) == pytest.approx(1.0 + follows)


@pytest.mark.parametrize("time_aware", [False, True])
def test_the_return_goes_on_in_the_absorbing_state_until_the_time_limit_without_discount(time_aware):
    made, ended = scorer(time_aware=time_aware), episode(steps=4, terminated=True)
    labels = made.of_episodes([ended, episode(steps=4), episode(steps=2, terminated=True)])
    assert (labels.returns_to_limit - labels.scores.sum(dim=1)).tolist() == [-6.0, 0.0, -8.0]
    (labels, _) = made.of_finished(ended, 0)
    assert labels.scores.sum() == 44, "it has seen an end"
    assert labels.returns_to_limit.tolist() == [44.0 - 6.0]


def test_an_episode_is_learned_from_before_it_is_judged():
    labels, _ = scorer().of_finished(episode(), 0)
    assert labels.scores.tolist() == [[1.0] * 4]


def test_where_the_time_limit_is_the_end_the_absorbing_state_lasts_until_then():
    made = scorer(time_aware=True)
    rewards = made.of_batch(batch(terminated=(True, True), left=[0.2, 0.0])).rewards
    assert rewards.tolist() == pytest.approx([-(DISCOUNT + DISCOUNT**2), 0.0])


def test_the_time_limit_of_a_sampled_batch_is_no_termination():
    class Ending(Learning):
        def score(self, episodes):
            return episodes.terminated[:, None] * episodes.mask.float()

    given = batch(terminated=(True, True, False), left=[0.2, 0.0, 0.0])
    follows = -(DISCOUNT + DISCOUNT**2)
    assert scorer(Ending(), time_aware=True).of_batch(given).rewards.tolist() == pytest.approx([1 + follows, 0, 0])


def test_every_seed_has_a_reward_of_its_own():
    made = scorer(members=2)
    made.of_finished(episode(), 1)
    assert made.of_batch(batch(2)).rewards.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert made.of_batch(batch(), member=1).rewards.tolist() == [1.0, 1.0]
    steps = Episodes(torch.zeros(4, 2, 1), torch.ones(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool))
    assert made.of_steps(steps, torch.full((4,), 5)).tolist() == [0.0, 0.0, 1.0, 1.0]
    fresh = Scorer(
        Learning(),
        2,
        discount=DISCOUNT,
        absorbing=True,
        horizon=10,
        time_aware=False,
        device=torch.device("cpu"),
    )
    fresh.load_state_dicts(made.state_dicts())
    assert fresh.of_batch(batch(2)).rewards.tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_the_terms_of_a_sum_are_named():
    class Sum(Steady):
        def terms(self, episodes):
            return {"low": 1.0 * episodes.mask, "high": 2.0 * episodes.mask}

    found = scorer(Sum()).of_finished(episode(steps=4), 0)[1]
    assert found == {"seen": 1.0, "imitation_return/low": 4.0, "imitation_return/high": 8.0}


@pytest.mark.parametrize("absorbing", [True, False])
def test_terms_are_asked_of_the_episode_that_is_scored(absorbing):
    """With absorbing states or without, they add up to what is logged of the whole."""

    class Ending(Steady):
        def score(self, episodes):
            return (1.0 + episodes.terminated[:, None]) * episodes.mask

        def terms(self, episodes):
            return {"all": self.score(episodes)}

    made, ended = scorer(Ending(), absorbing=absorbing), episode(terminated=True)
    labels, numbers = made.of_finished(ended, 0)
    whole = float(labels.scores.sum())
    assert numbers["imitation_return/all"] == whole
    assert whole == (8.0 if absorbing else 4.0)


def test_a_reward_that_imitates_is_never_shown_the_environments():
    made = scorer()
    made.of_finished(episode(), 0)
    assert made.reward.paid == [None]


def test_a_reward_that_needs_no_demonstrations_serves_every_seed():
    made = Scorer(
        EnvironmentReward(),
        2,
        discount=DISCOUNT,
        absorbing=True,
        horizon=10,
        time_aware=False,
        device=torch.device("cpu"),
    )
    once, paid = torch.ones(2, dtype=torch.int64), torch.tensor([[3.0], [4.0]])
    steps = Episodes(torch.zeros(2, 2, 1), once, torch.tensor([True, False]), paid)
    assert made.of_steps(steps, torch.full((2,), 5)).tolist() == [3.0, 4.0]
    assert made.of_finished(episode(), 1)[1] == {}
