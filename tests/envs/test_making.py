"""One environment: protocols, spaces, descriptions, and what is refused."""

import re
import sys
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from small_envs import LEDGE, DictLedge

from ilfo._tools.errors import InputError
from ilfo.envs import Environments, FixedHorizon, describe, goal_of, make_env, rollout, success_of


def leftwards(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
    return np.full((len(observations), 1), -1, np.float32)


def test_actions_are_rescaled_from_minus_one_to_one():
    environments = Environments(LEDGE)
    steps = environments.step(np.array([[0.5]], np.float32))
    assert steps.next_observations[0, 1] == pytest.approx(0.1)


def test_fixed_horizon_never_terminates_and_counts_nothing_after_the_first_end():
    (standard,) = rollout(leftwards, LEDGE, 1)

    def and_back(observations: np.ndarray, ages: np.ndarray) -> np.ndarray:
        return np.where(observations[:, :1] < -1, 0.5, -1)

    (fixed,) = rollout(and_back, LEDGE, 1, protocol="fixed-horizon")
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


class Late(gymnasium.Env):
    """Ends at its second step, and succeeds at its third."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return (
            np.zeros(1, np.float32),
            1.0,
            self.steps == 2,
            False,
            {"is_success": self.steps == 3, "steps": self.steps},
        )


def test_fixed_horizon_counts_no_success_after_the_end():
    env = FixedHorizon(Late())
    env.reset()
    found = [env.step(np.zeros(1, np.float32)) for _ in range(3)]
    assert [reward for _, reward, *_ in found] == [1, 1, 0]
    assert [success_of(info) for *_, info in found] == [False] * 3
    assert found[-1][-1]["steps"] == 3


@pytest.mark.parametrize("protocol", ["standard", "fixed-horizon"])
def test_an_environment_without_a_time_limit_is_refused(protocol):
    with pytest.raises(InputError, match=r"no time limit: give it one, .*@1000-steps"):
        make_env("Endless-v0", protocol)


def test_an_id_may_give_a_time_limit_of_its_own():
    assert rollout_length("HalfCheetah-v5@7-steps") == 7
    assert make_env("Endless-v0@30-steps", "fixed-horizon").spec.max_episode_steps == 30
    assert make_env("HalfCheetah-v5").spec.max_episode_steps == 1000


def rollout_length(env_id):
    env = make_env(env_id)
    env.reset(seed=0)
    for step in range(1, 2000):
        *_, terminated, truncated, _ = env.step(np.zeros(6, np.float32))
        if terminated or truncated:
            return step
    raise AssertionError("it never ends")


def test_an_id_may_let_all_episodes_begin_alike():
    free, bound = make_env("HalfCheetah-v5"), make_env("HalfCheetah-v5@seed-3@7-steps", "fixed-horizon")
    beginning, _ = free.reset(seed=3)
    for seed in (0, None, 1):
        np.testing.assert_array_equal(bound.reset(seed=seed)[0], beginning)
    assert not np.array_equal(free.reset(seed=0)[0], beginning)
    assert bound.spec.max_episode_steps == 7


@pytest.mark.parametrize("protocol", ["standard", "fixed-horizon"])
@pytest.mark.parametrize("action", [0.5, -1.0])
def test_an_id_may_let_actions_last(protocol, action):
    """Pushed hard to the left, the walker falls off the ledge at its third step."""
    plain, lasting = make_env("Ledge-v0@31-steps", protocol), make_env("Ledge-v0@31-steps@repeat-4", protocol)
    assert lasting.spec.max_episode_steps == 8
    assert plain.spec.max_episode_steps == 31
    action = np.array([action], np.float32)
    alone, together, ended = [], [], False
    for env, found in ((plain, alone), (lasting, together)):
        env.reset(seed=0)
        ended = False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(action)
            found.append((observation, reward, info["success"]))
            ended = terminated or truncated
        found.append(terminated)
    assert alone.pop() == together.pop()
    assert len(together) == -(-len(alone) // 4)
    for index, (observation, reward, success) in enumerate(together):
        four = alone[4 * index : 4 * index + 4]
        np.testing.assert_array_equal(observation, four[-1][0])
        assert reward == pytest.approx(sum(each[1] for each in four))
        assert success == any(each[2] for each in four)


def test_actions_that_last_are_described():
    plain, lasting = describe("HalfCheetah-v5"), describe("HalfCheetah-v5@repeat-4")
    assert lasting.horizon == plain.horizon / 4
    assert lasting.provenance.time_step == 4 * plain.provenance.time_step
    assert lasting.provenance.action_repeat == 4 * plain.provenance.action_repeat
    assert make_env("HalfCheetah-v5@repeat-4", render=True).metadata["render_fps"] == 5


def test_an_id_may_do_without_shadows():
    plain, flat = make_env("HalfCheetah-v5"), make_env("HalfCheetah-v5@no-shadows")
    assert plain.unwrapped.model.light_castshadow.any()
    assert not flat.unwrapped.model.light_castshadow.any()
    assert plain.unwrapped.model.mat_reflectance.any()
    assert not flat.unwrapped.model.mat_reflectance.any()
    played = []
    for env in (plain, flat):
        env.reset(seed=0)
        played.append([env.step(np.full(6, 0.5, np.float32))[0] for _ in range(20)])
    np.testing.assert_array_equal(*played)
    with pytest.raises(InputError, match=r"'Endless-v0@30-steps@no-shadows' is not drawn by .*: leave out @no-shadows"):
        make_env("Endless-v0@30-steps@no-shadows")


@pytest.mark.parametrize(
    "marks",
    ["@0-steps", "@repeat-0", "@repeat-2@repeat-2", "@5-steps@6-steps", "@seed-1@seed-1", "@no-shadows@no-shadows"],
)
def test_a_mark_is_given_once_and_a_time_limit_is_positive(marks):
    with pytest.raises(
        InputError, match=r"one time limit of at least 1 step, like HalfCheetah-v5@200-steps, actions done"
    ):
        make_env(f"HalfCheetah-v5{marks}")


def test_dict_observations_are_flattened_in_the_order_that_is_described():
    provenance, low, high, *_ = describe("DictLedge-v0")
    assert provenance.observation_keys == {"position": 1, "velocity": 1}
    assert (low.tolist(), high.tolist()) == ([-99, -1], [99, 1])
    environments = Environments("DictLedge-v0")
    steps = environments.step(np.array([[0.5]], np.float32))
    assert steps.next_observations[0, 1] == pytest.approx(0.1)


class Seen(DictLedge):
    """One that is shown a picture too."""

    observation_space = gymnasium.spaces.Dict(
        {"wrist": gymnasium.spaces.Dict({"image": gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)})}
        | DictLedge.observation_space.spaces
    )


def test_a_picture_among_the_observations_is_refused():
    gymnasium.register("Seen-v0", Seen, max_episode_steps=40)
    try:
        with pytest.raises(InputError, match=r"pictures \(8, 8, 3\) .* 'wrist/image'.*FilterObservation"):
            make_env("Seen-v0")
    finally:
        del gymnasium.registry["Seen-v0"]


def test_a_matrix_among_the_observations_is_a_vector_by_its_rows():
    class Arms(DictLedge):
        observation_space = gymnasium.spaces.Dict(
            {"arms": gymnasium.spaces.Box(-1, 1, (2, 3), np.float64)} | DictLedge.observation_space.spaces
        )

    gymnasium.register("Arms-v0", Arms, max_episode_steps=40)
    try:
        assert make_env("Arms-v0").observation_space.shape == (8,)
    finally:
        del gymnasium.registry["Arms-v0"]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (gymnasium.spaces.Box(-1, 1, (2,), np.int8), "actions of whole numbers, .* register it with a Box of float32"),
        (
            gymnasium.spaces.Box(np.array([-2, 3], np.float32), np.array([2, 3], np.float32)),
            "dimension 1 can only be 3; expected bounds that differ: leave that dimension out",
        ),
        (gymnasium.spaces.Box(-np.inf, 1, (1,), np.float32), "unbounded actions .* give its action space finite ones"),
    ],
)
def test_actions_that_cannot_be_scaled_are_refused(actions, message):
    gymnasium.register("Odd-v0", type("Odd", (Late,), {"action_space": actions}), max_episode_steps=40)
    try:
        with pytest.raises(InputError, match=message):
            make_env("Odd-v0")
    finally:
        del gymnasium.registry["Odd-v0"]


@pytest.mark.parametrize("bounds", [(-0.1, 0.5), (0.1, 0.3), (0.5, 5.0)])
def test_rescaled_actions_stay_within_the_bounds_to_the_last_bit(bounds):
    class Strict(Late):
        action_space = gymnasium.spaces.Box(*bounds, (1,), np.float32)

        def step(self, action):
            assert self.action_space.contains(action), action
            return super().step(action)

    gymnasium.register("Strict-v0", Strict, max_episode_steps=40)
    try:
        env = make_env("Strict-v0")
        env.reset(seed=0)
        for action in (-1.0, 1.0, 0.0):
            env.step(np.array([action], np.float32))
    finally:
        del gymnasium.registry["Strict-v0"]


class Sent(DictLedge):
    """The same, sent to a goal that is part of what it sees."""

    observation_space = gymnasium.spaces.Dict(
        {"desired_goal": gymnasium.spaces.Box(-9, 9, (2,), np.float64), **DictLedge.observation_space.spaces}
    )
    told: ClassVar[dict] = {}

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation | {"desired_goal": np.array([3.0, -3.0])}, self.told


class Telling(Sent):
    """The same, and tells the goal in its own way."""

    told: ClassVar[dict] = {"goal": np.array([7.0])}


@pytest.mark.parametrize(("kind", "goal"), [(Sent, [3, -3]), (Telling, [7])])
def test_a_goal_that_is_part_of_the_observation_is_told_by_the_reset(kind, goal):
    gymnasium.register("Goal-v0", kind, max_episode_steps=40)
    try:
        observation, info = make_env("Goal-v0").reset(seed=0)
    finally:
        del gymnasium.registry["Goal-v0"]
    assert goal_of(info).tolist() == goal
    assert observation[:2].tolist() == [3, -3], "the first key of the dict"


def test_keys_are_described_in_the_order_and_width_of_the_flat_columns():
    provenance, low, high, *_ = describe("MixedLedge-v0")
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
    provenance, low, *_ = describe("Hopper-v5")
    assert provenance.time_step == pytest.approx(0.008)
    assert provenance.observation_keys == {"observation": 11}
    assert provenance.versions["mujoco"]
    assert low.shape == (11,)


def test_describe_says_how_long_an_action_lasts():
    assert describe("Hopper-v5").provenance.action_repeat == 4
    assert describe("small_envs:Signposted-v0").provenance.action_repeat == 4
    assert describe(LEDGE).provenance.action_repeat is None


def test_describe_says_the_version_of_the_library_that_brings_the_environment(tmp_path, monkeypatch):
    metadata = tmp_path / "small_envs-1.2.3.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: small-envs\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert describe(LEDGE).provenance.versions["small_envs"] == "1.2.3"


def test_a_module_that_was_not_installed_has_no_version():
    assert "small_envs" not in describe(LEDGE).provenance.versions


@pytest.mark.parametrize(
    ("info", "success"),
    [({}, None), ({"success": 1.0}, True), ({"success": np.False_}, False), ({"is_success": True}, True)],
)
def test_success_is_found_under_either_name(info, success):
    assert success_of(info) is success


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


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("env_id", ["Hopper-v2", "Ant-v3@30-steps"])
def test_the_successor_of_an_environment_that_gymnasium_gave_away_is_named(env_id):
    later = env_id.partition("-")[0] + "-v5"
    with pytest.raises(InputError, match=f"'{env_id}' cannot be made: .*; {later} is the same robot"):
        make_env(env_id)


def test_the_camera_follows_a_robot_that_runs_away():
    env = make_env("HalfCheetah-v5", render=True).unwrapped
    assert env.model.camera(env.mujoco_renderer.camera_id).name == "track"
    assert make_env("InvertedPendulum-v5", render=True).unwrapped.mujoco_renderer.camera_id == -1, "it has none"


@pytest.mark.parametrize(
    ("env_id", "remedy"),
    [
        ("FetchUnheardOf-v4@30-steps", "ilfo.robotics:FetchUnheardOf-v4@30-steps (pip install 'ilfo[robotics]')"),
        ("MetaWorld/unheard-of-v3", "ilfo.metaworld:MetaWorld/unheard-of-v3 (pip install 'ilfo[metaworld]')"),
        ("robosuite/Lift-Yumi-v1", "ilfo.robosuite:robosuite/Lift-Yumi-v1 (pip install 'ilfo[robosuite]')"),
    ],
)
def test_the_module_that_registers_an_id_is_named_where_it_lacks(monkeypatch, env_id, remedy):
    module = remedy.partition(":")[0]
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(InputError, match=f"cannot be made: .* in front, {re.escape(remedy)}"):
        make_env(env_id)
    monkeypatch.setitem(sys.modules, module, re)
    with pytest.raises(InputError) as refusal:
        make_env(env_id)
    assert "in front" not in str(refusal.value), "it is there, and has no such id"


def test_no_module_is_named_for_an_id_that_none_of_ours_registers():
    with pytest.raises(InputError) as refusal:
        make_env("Hoper-v5")
    assert "in front" not in str(refusal.value)
