"""How steps enter the replay: what is remembered of each, and what follows it."""

import numpy as np
import torch
from small_envs import walk

from ilfo._tools.averages import Averages
from ilfo.envs import Steps
from ilfo.rewards import ColumnOptions, RewardGenerator
from ilfo.training.policy_inputs import PolicyInputs
from ilfo.training.replay import Replay
from ilfo.training.replay_writer import ReplayWriter
from ilfo.training.scorer import Scorer

HORIZON, DISCOUNT, CPU = 10, 0.9, torch.device("cpu")


class Falling(RewardGenerator):
    """A step is worth 2, a state after a termination -1."""

    needs = "transition"

    def fit(self, demonstrations):
        return self

    def score(self, episodes):
        return 2.0 * episodes.mask

    def absorbing_reward(self, episodes):
        return -torch.ones(len(episodes.lengths))


class Careless(Falling):
    """Takes gradients and forgets to leave them out, and halves the observations that it is shown."""

    weight = torch.tensor(2.0, requires_grad=True)

    def score(self, episodes):
        episodes.observations.mul_(0.5)
        (slope,) = torch.autograd.grad(self.weight**2, self.weight)
        return slope / 2 * self.weight / 2 * episodes.mask


def remember(time_aware: bool, ages: list[int], terminated: list[bool], reward: RewardGenerator | None = None):
    """The replay after one step of as many environments, which had lived so many steps before."""
    states = np.arange(4 * len(ages), dtype=np.float32).reshape(2, len(ages), 2)
    inputs = PolicyInputs(2, range(2), "none", ColumnOptions(), HORIZON if time_aware else None)
    replay = Replay(20, inputs.width, 1, streams=len(ages))
    scorer = Scorer(
        *(reward or Falling(), 1), discount=DISCOUNT, absorbing=True, horizon=HORIZON, time_aware=time_aware, device=CPU
    )
    writer = ReplayWriter(replay, scorer, inputs, Averages(), horizon=HORIZON, device=CPU)
    ended = [row for row, age in enumerate(ages) if terminated[row] or age == HORIZON - 1]
    writer.write_steps(
        Steps(
            observations=states[0],
            actions=np.zeros((len(ages), 1), np.float32),
            env_rewards=np.zeros(len(ages), np.float32),
            next_observations=states[1],
            terminated=np.array(terminated),
            ages=np.array(ages),
            finished=tuple((row, walk(0.1)) for row in ended),
            shown=(),
        )
    )
    return replay.contents(), states


def test_a_fall_is_worth_what_follows_until_the_time_limit_that_is_seen_coming():
    kept, (before, after) = remember(True, ages=[6, 6, 9], terminated=[True, False, False])
    falls = 2 - (0.9 + 0.9**2 + 0.9**3)
    torch.testing.assert_close(kept.rewards, torch.tensor([falls, 2.0, 2.0]))
    assert kept.terminated.tolist() == [1, 0, 1], "a fall and the time limit"
    torch.testing.assert_close(kept.observations, with_column(before, [0.4, 0.4, 0.1]))
    torch.testing.assert_close(kept.next_observations, with_column(after, [0.3, 0.3, 0.0]))


def test_it_is_worth_what_follows_for_ever_where_nobody_is_shown_the_time():
    kept, (before, after) = remember(False, ages=[6, 6, 9], terminated=[True, False, False])
    torch.testing.assert_close(kept.rewards, torch.tensor([2 - 0.9 / 0.1, 2.0, 2.0]))
    assert kept.terminated.tolist() == [1, 0, 0]
    torch.testing.assert_close(kept.observations, torch.from_numpy(before))
    torch.testing.assert_close(kept.next_observations, torch.from_numpy(after))


def test_a_careless_reward_reaches_the_replay_with_neither_gradients_nor_other_observations():
    kept, _ = remember(False, ages=[6, 6], terminated=[False, False], reward=Careless())
    assert not kept.rewards.requires_grad
    torch.testing.assert_close(kept.rewards, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(kept.observations, torch.arange(4.0).reshape(2, 2))
    torch.testing.assert_close(kept.next_observations, torch.arange(4.0, 8.0).reshape(2, 2))


def with_column(states: np.ndarray, last: list[float]) -> torch.Tensor:
    return torch.cat([torch.from_numpy(states), torch.tensor(last)[:, None]], dim=1)
