"""Protocols, seeds, and what an ended episode hands over."""

import gymnasium
import numpy as np
import pytest
from small_envs import LEDGE

from ilfo._errors import InputError
from ilfo.envs import Environments, FixedHorizon, describe, make_env, random_policy, rollout


def play(environments: Environments, steps: int, seed: int = 0):
    policy = random_policy(environments.action_dim, seed)
    return [environments.step(policy(environments.observations)) for _ in range(steps)]


def leftwards(observations: np.ndarray) -> np.ndarray:
    return np.full((len(observations), 1), -1, np.float32)


def test_actions_are_rescaled_from_minus_one_to_one():
    environments = Environments(LEDGE)
    steps = environments.step(np.array([[0.5]], np.float32))
    assert steps.next_observations[0, 1] == pytest.approx(0.1)


def test_the_observation_after_an_end_is_the_final_one_and_the_next_episode_starts_fresh():
    environments = Environments(LEDGE)
    while True:
        steps = environments.step(leftwards(environments.observations))
        if steps.finished:
            break
    (trajectory,) = steps.finished
    assert steps.terminated[0]
    assert trajectory.terminated
    assert not trajectory.truncated
    assert steps.next_observations[0, 0] < -0.5, "the final observation, not the reset's"
    np.testing.assert_array_equal(trajectory.observations[-1], steps.next_observations[0])
    assert len(trajectory.observations) == len(trajectory.actions) + 1 == len(trajectory.env_rewards) + 1
    assert abs(environments.observations[0, 0]) <= 0.1


def test_a_time_limit_truncates_and_does_not_terminate():
    environments = Environments(LEDGE)
    for _ in range(40):
        steps = environments.step(np.array([[0.5]], np.float32))
    (trajectory,) = steps.finished
    assert len(trajectory) == 40
    assert trajectory.truncated
    assert not trajectory.terminated
    assert not steps.terminated[0]
    assert trajectory.success is True


def test_no_transition_joins_two_episodes():
    steps = play(Environments(LEDGE, num_envs=3), 200)
    jumps = np.concatenate([np.abs(s.next_observations[:, 0] - s.observations[:, 0]) for s in steps])
    assert jumps.max() <= 0.2 + 1e-6
    assert sum(len(s.finished) for s in steps) > 3


def test_fixed_horizon_never_terminates_and_counts_nothing_after_the_first_end():
    (standard,) = rollout(leftwards, LEDGE, 1)
    (fixed,) = rollout(lambda o: -leftwards(o) * np.where(o[:, :1] < -1, 0.5, -1), LEDGE, 1, protocol="fixed-horizon")
    assert standard.terminated
    assert len(fixed) == 40
    assert not fixed.terminated
    assert fixed.env_rewards[len(standard) :].sum() == 0
    assert fixed.env_return == standard.env_return


def test_fixed_horizon_counts_the_step_that_ends_as_the_standard_does():
    env = FixedHorizon(gymnasium.make("Hopper-v5"))
    plain = gymnasium.make("Hopper-v5")
    env.reset(seed=1)
    plain.reset(seed=1)
    total = expected = 0.0
    terminated = False
    for _ in range(100):
        action = np.ones(3, np.float32)
        total += env.step(action)[1]
        if not terminated:
            _, reward, terminated, _, _ = plain.step(action)
            expected += reward
    assert terminated
    assert total == pytest.approx(expected)


@pytest.mark.parametrize("protocol", ["standard", "fixed-horizon"])
def test_an_environment_without_a_time_limit_is_refused(protocol):
    with pytest.raises(InputError, match="no time limit: register it with max_episode_steps"):
        make_env("Endless-v0", protocol)


def test_a_buffer_that_the_environment_writes_to_again_is_copied():
    (reusing,), (plain,) = (rollout(lambda o: -0.5 * leftwards(o), env, 1) for env in ("Reusing-v0", LEDGE))
    assert len(np.unique(reusing.observations[:, 0])) == len(reusing) + 1 == 41
    np.testing.assert_array_equal(reusing.observations, plain.observations)
    environments = Environments("Reusing-v0")
    steps = environments.step(np.array([[0.5]], np.float32))
    assert steps.observations[0, 1] == 0
    assert steps.next_observations[0, 1] == pytest.approx(0.1)


def test_episodes_depend_on_seed_copy_and_number_alone():
    one, three = Environments(LEDGE, 1, seed=5), Environments(LEDGE, 3, seed=5)
    np.testing.assert_array_equal(one.observations[0], three.observations[0])
    assert len(np.unique(three.observations[:, 0])) == 3
    assert not np.array_equal(one.observations, Environments(LEDGE, 1, seed=6).observations)


@pytest.mark.parametrize("env_id", [LEDGE, "Hopper-v5"])
def test_restored_environments_go_on_where_they_were(env_id):
    environments = Environments(env_id, 2, seed=3)
    play(environments, 57)
    restored = Environments(env_id, 2, seed=3)
    restored.load_state_dict(environments.state_dict())
    for expected, found in zip(play(environments, 60, seed=1), play(restored, 60, seed=1), strict=True):
        np.testing.assert_array_equal(expected.next_observations, found.next_observations)
        assert [len(t) for t in expected.finished] == [len(t) for t in found.finished]
        for a, b in zip(expected.finished, found.finished, strict=True):
            np.testing.assert_array_equal(a.observations, b.observations)
            np.testing.assert_array_equal(a.env_rewards, b.env_rewards)


def test_an_environment_that_is_not_deterministic_is_not_restored_in_silence():
    environments = Environments("Unsteady-v0")
    play(environments, 5)
    with pytest.raises(InputError, match="not deterministic"):
        Environments("Unsteady-v0").load_state_dict(environments.state_dict())


def test_a_diverging_simulation_is_named():
    with pytest.raises(InputError, match="step 10"):
        play(Environments("Exploding-v0"), 12)


def test_a_rollout_depends_on_its_seed_alone():
    def lengths(num_envs, seed):
        return [len(t) for t in rollout(leftwards, LEDGE, 7, seed=seed, num_envs=num_envs)]

    assert lengths(3, 1) == lengths(3, 1)
    assert len(lengths(3, 1)) == 7
    seeds = {t.seed for t in rollout(leftwards, LEDGE, 7, num_envs=3)}
    assert len(seeds) == 7


def test_dict_observations_are_flattened_in_the_order_that_is_described():
    provenance, low, high = describe("DictLedge-v0")
    assert provenance.observation_keys == {"position": 1, "velocity": 1}
    assert (low.tolist(), high.tolist()) == ([-99, -1], [99, 1])
    environments = Environments("DictLedge-v0")
    steps = environments.step(np.array([[0.5]], np.float32))
    assert steps.next_observations[0, 1] == pytest.approx(0.1)


def test_keys_are_described_in_the_order_and_width_of_the_flat_columns():
    provenance, low, high = describe("MixedLedge-v0")
    assert list(provenance.observation_keys.items()) == [("velocity", 1), ("quarter", 4), ("position", 1)]
    assert (low.tolist(), high.tolist()) == ([-1, 0, 0, 0, 0, -99], [1, 1, 1, 1, 1, 99])
    environments = Environments("MixedLedge-v0")
    for _ in range(16):
        steps = environments.step(np.array([[0.5]], np.float32))
    velocity, *quarter, position = steps.next_observations[0]
    assert velocity == pytest.approx(0.1)
    assert quarter == [0, 1, 0, 0]
    assert 1.4 < position < 1.8


def test_describe_says_time_step_and_versions():
    provenance, low, _ = describe("Hopper-v5")
    assert provenance.time_step == pytest.approx(0.008)
    assert provenance.observation_keys == {"observation": 11}
    assert provenance.versions["mujoco"]
    assert low.shape == (11,)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("Hoper-v5", "Hoper"),
        ("no_such_module:Walk-v0", "no_such_module"),
        ("CartPole-v1", "Discrete"),
        ("FrozenLake-v1", "Discrete"),
    ],
)
def test_environments_that_cannot_be_used_are_refused(env_id, message):
    with pytest.raises(InputError, match=message):
        make_env(env_id)


def test_the_camera_follows_a_robot_that_runs_away():
    env = make_env("HalfCheetah-v5", render=True).unwrapped
    assert env.model.camera(env.mujoco_renderer.camera_id).name == "track"
    assert make_env("InvertedPendulum-v5", render=True).unwrapped.mujoco_renderer.camera_id == -1, "it has none"
