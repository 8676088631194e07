"""What the reward looks at."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pendulum_system import demonstrations, rollout

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.rewards import Episodes, FeatureOptions, StateFeatures


def expert_states(demos: Demonstrations) -> np.ndarray:
    return np.concatenate([trajectory.observations for trajectory in demos]).astype(np.float64)


def test_the_expert_has_mean_zero_and_deviation_one():
    demos = demonstrations(rollout(seed=0), rollout(seed=1, steps=70))
    z = StateFeatures().fit(demos)(torch.from_numpy(expert_states(demos)))
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(z.std(dim=0), torch.ones(3, dtype=torch.float64))


def test_the_floor_comes_before_the_divisor():
    demos = demonstrations()
    states = expert_states(demos)
    floor = float(np.median(states.std(axis=0, ddof=1)))
    features = StateFeatures(FeatureOptions(std_floor=floor, divisor=3.0)).fit(demos)
    expected = (states - states.mean(axis=0)) / (3.0 * np.maximum(states.std(axis=0, ddof=1), floor))
    np.testing.assert_allclose(features(torch.from_numpy(states)).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_constant_dimension_is_kept_and_divided_by_the_floor():
    states = np.stack([np.arange(5.0), np.full(5, 7.0)], axis=1).astype(np.float32)
    features = StateFeatures(FeatureOptions(std_floor=0.25)).fit(Demonstrations((Trajectory(states),)))
    assert features.width == 2
    torch.testing.assert_close(features(torch.tensor([2.0, 8.0])), torch.tensor([0.0, 4.0]))


@pytest.mark.parametrize(("constant_std", "expected"), [(1.0, 2.0), (0.1, 8.0)])
def test_a_constant_dimension_may_be_given_a_deviation_and_the_floor_comes_after_it(constant_std, expected):
    states = np.stack([np.arange(5.0), np.full(5, 0.1), [0.0, 0.0, 0.0, 0.0, 1e-6]], axis=1).astype(np.float32)
    options = FeatureOptions(std_floor=0.25, constant_std=constant_std)
    features = StateFeatures(options).fit(Demonstrations((Trajectory(states),)))
    # The last dimension hardly moves, and still it moves: it is divided by the floor.
    torch.testing.assert_close(features(torch.tensor([2.0, 2.1, 2.0])), torch.tensor([0.0, expected, 8.0]))


def test_the_last_observations_of_each_demonstration_can_be_left_out_of_the_statistics():
    whole = [rollout(seed=0), rollout(seed=1, steps=70)]
    shorter = [Trajectory(trajectory.observations[:-2]) for trajectory in whole]
    states = torch.from_numpy(expert_states(demonstrations(*whole)))
    left_out = StateFeatures(FeatureOptions(leave_out=2)).fit(demonstrations(*whole))
    assert torch.equal(left_out(states), StateFeatures().fit(demonstrations(*shorter))(states))
    assert not torch.equal(left_out(states), StateFeatures().fit(demonstrations(*whole))(states))


def test_a_demonstration_of_which_too_little_is_left_is_refused():
    demos = demonstrations(rollout(), rollout(steps=4))
    StateFeatures(FeatureOptions(leave_out=3)).fit(demos)
    with pytest.raises(InputError, match=r"trajectory 1: 5 observations, .* leave_out=4.* longer demonstration"):
        StateFeatures(FeatureOptions(leave_out=4)).fit(demos)


def test_statistics_of_a_large_offset_are_taken_in_double():
    states = (1e4 + np.array([[0.0], [1.0], [2.0]])).astype(np.float32)
    features = StateFeatures().fit(Demonstrations((Trajectory(states),)))
    torch.testing.assert_close(features(torch.from_numpy(states)), torch.tensor([[-1.0], [0.0], [1.0]]))


@pytest.mark.parametrize(
    ("keys", "dims", "columns"),
    [
        ((), (), [0, 1, 2]),
        (("speed",), (), [2]),
        (("speed", "angle"), (), [2, 0, 1]),
        ((), (2, 0), [2, 0]),
        (("angle",), (1,), [1]),
    ],
)
def test_keys_and_dims_choose_columns(keys, dims, columns):
    demos = demonstrations()
    states = torch.from_numpy(expert_states(demos))
    chosen = StateFeatures(FeatureOptions(dims=dims), keys).fit(demos)
    assert chosen.width == len(columns)
    torch.testing.assert_close(chosen(states), StateFeatures().fit(demos)(states)[:, columns])


@pytest.mark.parametrize(
    ("keys", "dims", "message"),
    [
        (("sped",), (), "did you mean 'speed'"),
        ((), (0, 3), "column 3.*columns 0 to 2"),
        ((), (-1,), "column -1"),
        (("speed",), (0,), "column 0.*none of the keys speed"),
    ],
)
def test_what_the_demonstrations_do_not_have_is_refused(keys, dims, message):
    with pytest.raises(InputError, match=message):
        StateFeatures(FeatureOptions(dims=dims), keys).fit(demonstrations())


@pytest.mark.parametrize(
    ("keys", "dims", "columns"),
    [((), (), []), (("speed",), (), [2]), ((), (1,), [1]), (("speed", "angle"), (0,), [0])],
)
def test_differences_come_after_what_is_chosen_besides(keys, dims, columns):
    demos = demonstrations()
    states = expert_states(demos)
    features = StateFeatures(FeatureOptions(dims=dims, std_floor=0.01, relative=("0-1:1-2", "2:0")), keys).fit(demos)
    differences = np.stack([states[:, 0] - states[:, 1], states[:, 1] - states[:, 2], states[:, 2] - states[:, 0]], 1)
    raw = np.concatenate([states[:, columns], differences], axis=1)
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0, ddof=1)
    assert features.width == len(columns) + 3
    shown = torch.from_numpy(states)
    np.testing.assert_allclose(features(shown).numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(shown.numpy(), states, "the states themselves are left alone")
    restored = StateFeatures()
    restored.load_state_dict(features.state_dict())
    assert torch.equal(restored(shown), features(shown))


def test_relative_features_are_the_same_wherever_the_goal_is():
    path = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
    here, there = (np.concatenate([path + goal, np.full_like(path, goal)], axis=1) for goal in (0.0, 5.0))
    features = StateFeatures(FeatureOptions(relative=("0:1",))).fit(Demonstrations((Trajectory(here),)))
    torch.testing.assert_close(features(torch.from_numpy(there)), features(torch.from_numpy(here)))


@pytest.mark.parametrize(
    ("relative", "message"),
    [
        ("0-1", "relative names '0-1'; expected as many columns"),
        ("0-1:2", "relative names '0-1:2'; expected as many columns"),
        ("0:1:2", "relative names '0:1:2'"),
        (":", "relative names ':'"),
        ("hand:goal", "relative 'hand:goal' is 'hand'; expected numbers"),
        ("1:0", "relative names 1:0 more than once"),
        ("0:3", "relative names column 3, and the observations have columns 0 to 2"),
    ],
)
def test_differences_that_mean_nothing_are_refused(relative, message):
    with pytest.raises(InputError, match=message):
        StateFeatures(FeatureOptions(relative=("1:0", relative))).fit(demonstrations())


def timed(steps: float = 4.0) -> StateFeatures:
    return StateFeatures(FeatureOptions(dims=(1,), time=steps)).fit(demonstrations(rollout(seed=0, steps=10)))


def test_the_time_since_an_episode_began_is_the_last_column_in_units_of_so_many_steps():
    demos = demonstrations(rollout(seed=0, steps=10))
    untimed = StateFeatures(FeatureOptions(dims=(1,))).fit(demos)
    (found,) = timed().of_demonstrations(demos)
    assert timed().width == found.shape[1] == 2
    assert torch.equal(found[:, :1], *untimed.of_demonstrations(demos))
    torch.testing.assert_close(found[:, 1], (torch.arange(11.0) - 5) / 4)


def test_the_time_is_divided_as_all_columns_are():
    demos = demonstrations(rollout(seed=0, steps=10))
    features = StateFeatures(FeatureOptions(time=4.0, divisor=3.0)).fit(demos)
    torch.testing.assert_close(features.of_demonstrations(demos)[0][:, -1], (torch.arange(11.0) - 5) / 12)


def test_a_part_of_an_episode_has_the_time_of_the_whole():
    features, whole = timed(), Episodes.from_trajectories([rollout(seed=1, steps=12), rollout(seed=2, steps=12)])
    part = replace(whole, observations=whole.observations[:, 3:6], lengths=torch.tensor([2, 2]))
    part = replace(part, starts=torch.tensor([3, 3]))
    assert torch.equal(features.of_episodes(part), features.of_episodes(whole)[:, 3:6])
    assert torch.equal(features.of_episodes(part.rows(1, 2)), features.of_episodes(whole)[1:, 3:6])


def test_a_time_that_nobody_knows_is_refused_where_it_matters():
    whole = Episodes.from_trajectories([rollout(seed=1, steps=12)])
    unknown = replace(whole, starts=torch.tensor([-1]))
    StateFeatures().fit(demonstrations()).of_episodes(unknown)
    with pytest.raises(InputError, match=r"which step of their episode they are: leave out features\.time"):
        timed().of_episodes(unknown)
    with pytest.raises(InputError, match="were not told it"):
        timed()(whole.observations)


def test_keys_need_a_file_that_names_them():
    nameless = Demonstrations((rollout(),), Provenance())
    with pytest.raises(InputError, match=r"do not say what their 3 columns are called.*with dims instead"):
        StateFeatures(keys=("speed",)).fit(nameless)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std_floor": 0.0}, "std_floor is 0.0"),
        ({"divisor": float("nan")}, "divisor is nan"),
        ({"constant_std": 0.0}, "constant_std is 0.0"),
        ({"leave_out": -1}, "leave_out is -1"),
        ({"time": 0.0}, "time is 0.0: it is a number of steps above 0"),
        ({"time": float("inf")}, "time is inf"),
        ({"dims": (1, 1)}, "names 1 more than once"),
    ],
)
def test_impossible_options_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        FeatureOptions(**settings)


def test_a_key_that_is_named_twice_is_refused():
    with pytest.raises(InputError, match="keys names a more than once"):
        StateFeatures(keys=("a", "b", "a"))


def test_unusable_demonstrations_are_refused():
    broken = rollout().observations.copy()
    broken[17, 2] = np.nan
    for trajectories, message in [
        ((), "no trajectory"),
        ((rollout(), Trajectory(broken)), "trajectory 1, step 17: dimension 2 is nan"),
        ((rollout(), Trajectory(broken[:, :2])), r"trajectory 1: .*\(121, 2\)"),
        ((Trajectory(broken[:1]),), "trajectory 0"),
    ]:
        with pytest.raises(InputError, match=message):
            StateFeatures().fit(Demonstrations(trajectories))


def test_features_need_an_expert_and_its_width():
    with pytest.raises(InputError, match="fit or load_state_dict"):
        StateFeatures()(torch.zeros(4, 3))
    with pytest.raises(InputError, match="have 4 dimensions and the demonstrations 3"):
        StateFeatures().fit(demonstrations())(torch.zeros(5, 4))


def test_a_restored_copy_computes_the_same_bits():
    fitted = StateFeatures(FeatureOptions(divisor=3.0), keys=("angle",)).fit(demonstrations())
    restored = StateFeatures()
    restored.load_state_dict(fitted.state_dict())
    states = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert (restored.options, restored.keys) == (fitted.options, ("angle",))
    assert torch.equal(restored(states), fitted(states))


def test_a_restored_copy_looks_at_the_time_too():
    fitted, restored, episodes = timed(), StateFeatures(), Episodes.from_trajectories([rollout(seed=3)])
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored.of_episodes(episodes), fitted.of_episodes(episodes))
