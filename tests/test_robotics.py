"""Hands and arms of other libraries: how they are registered, what their seed decides, what they say of success."""

import importlib.util
import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gymnasium
import h5py
import mujoco
import numpy as np
import pytest
import torch

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.cli import main
from ilfo.demos import Demonstrations, Provenance
from ilfo.envs import describe, make_env, random_policy, rollout
from ilfo.runs import read_metrics
from ilfo.training.imitation import load


def beginning(env, seed, steps=20):
    """The first observations of an episode of random actions."""
    chance = np.random.default_rng(seed)
    observations = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        action = chance.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observations.append(env.step(action)[0])
    return np.array(observations)


def assert_obeys_its_seed(env_id):
    used, fresh = make_env(env_id), make_env(env_id)
    first = beginning(used, 5)
    assert np.abs(beginning(used, 6)[0] - first[0]).max() > 1e-3
    np.testing.assert_array_equal(beginning(used, 5), first)
    np.testing.assert_array_equal(beginning(fresh, 5), first)
    used.close()
    fresh.close()


@pytest.fixture(scope="module")
def robotics():
    pytest.importorskip("gymnasium_robotics", reason="needs the extra robotics")
    return importlib.import_module("ilfo.robotics")


@pytest.fixture(scope="module")
def robosuite():
    if importlib.util.find_spec("robosuite") is None or not hasattr(mujoco.MjData, "qM"):
        pytest.skip("needs the extra robosuite, and MuJoCo 3")
    return importlib.import_module("ilfo.robosuite")


@pytest.mark.usefixtures("robotics")
class TestGymnasiumRobotics:
    @pytest.mark.parametrize("name", ["FetchReach-v4", "FetchPush-v4", "AdroitHandDoor-v1"])
    def test_the_seed_of_the_reset_decides_the_episode(self, name):
        assert_obeys_its_seed(f"ilfo.robotics:{name}")

    def test_a_goal_is_part_of_the_observation_and_told_by_the_reset(self):
        env = make_env("ilfo.robotics:FetchPush-v4")
        observation, info = env.reset(seed=1)
        keys = describe("ilfo.robotics:FetchPush-v4").provenance.observation_keys
        assert keys == {"achieved_goal": 3, "desired_goal": 3, "observation": 25}
        np.testing.assert_array_equal(info["goal"], observation[3:6])

    def test_an_episode_keeps_goal_and_success(self):
        episodes = rollout(random_policy(4, seed=0), "ilfo.robotics:FetchReach-v4", 2)
        assert {episode.success for episode in episodes} == {True, False}
        for episode in episodes:
            hand, goal = episode.observations[:, :3], episode.observations[:, 3:6]
            np.testing.assert_allclose(episode.goal, goal[0], atol=1e-6)
            there = np.flatnonzero(np.linalg.norm(hand - goal, axis=1)[1:] < 0.05)
            assert episode.success_step == (there[0] + 1 if episode.success else None)
        assert not np.array_equal(episodes[0].goal, episodes[1].goal)

    def test_a_run_imitates_where_the_hand_was_whatever_the_goal(self, tmp_path):
        name, run = "ilfo.robotics:FetchReach-v4", tmp_path / "run"
        (episode,) = rollout(random_policy(4, seed=0), name, 1)
        file = demos.write(tmp_path / "reach.hdf5", Demonstrations((episode,), describe(name).provenance))
        flags = ["--env", name, "--demo", str(file), "--out", str(run), "--reward-keys", "achieved_goal"]
        short = ["--steps", "200", "--random-steps", "100", "--eval-every", "100", "--eval-episodes", "2"]
        small = ["--td3.hidden-dim", "16", "--td3.batch-size", "16", "--threads", "1"]
        assert main(["train", *flags, *short, *small]) == 0
        assert all(np.isfinite(row["eval_imitation_return"]) for row in read_metrics(run))
        hand = np.arange(16) < 3
        others = [replace(episode, observations=episode.observations * kept) for kept in (hand, ~hand)]
        with closing(load(run)) as trained:
            seen, hand_alone, no_hand = (trained.rewards_of([each]).scores for each in (episode, *others))
        assert torch.equal(seen, hand_alone)
        assert seen.sum() > no_hand.sum()
        assert main(["evaluate", str(run), "--episodes", "2"]) == 0
        goals = [each["goal"] for each in json.loads((run / "evaluation.json").read_text())["episodes"]]
        assert [len(goal) for goal in goals] == [3, 3]
        assert goals[0] != goals[1]

    @pytest.mark.parametrize(("task", "steps"), [("Door", 300), ("Hammer", 650), ("Pen", 200), ("Relocate", 550)])
    def test_what_humans_showed_has_time_enough(self, task, steps):
        name = f"AdroitHand{task}Human-v1"
        spec, original = gymnasium.spec(name), gymnasium.spec(f"AdroitHand{task}-v1")
        assert spec.max_episode_steps == steps >= original.max_episode_steps
        assert (spec.entry_point, spec.kwargs) == (original.entry_point, original.kwargs)

    def test_success_is_the_door_standing_open(self):
        env = make_env("ilfo.robotics:AdroitHandDoorHuman-v1")
        env.reset(seed=0)
        for angle, opened in ((1.3, False), (1.5, True)):
            state = env.unwrapped.get_env_state()
            state["qpos"][env.unwrapped.door_hinge_addrs] = angle
            env.unwrapped.set_env_state({name: state[name] for name in ("qpos", "qvel", "door_body_pos")})
            assert env.step(np.zeros(28, np.float32))[-1]["success"] == opened

    @pytest.mark.skipif(int(mujoco.__version__.partition(".")[0]) < 4, reason="nothing to mend before MuJoCo 4")
    def test_without_our_module_what_is_to_be_put_in_front_is_said(self):
        """In a process of its own: here ilfo.robotics is imported, which mends it for all."""
        code = "import sys; from ilfo.cli import main; sys.exit(main())"
        words = ["train", "--env", "gymnasium_robotics:FetchReach-v4@30-steps", "--reward", "environment", "--dry-run"]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "environment 'gymnasium_robotics:FetchReach-v4@30-steps' cannot be made" in done.stderr
        assert "mends that: ilfo.robotics:FetchReach-v4@30-steps\n" in done.stderr

    def test_a_demonstration_of_the_same_task_differs_in_nothing(self, tmp_path, capsys):
        (episode,) = rollout(random_policy(28, seed=0), "ilfo.robotics:AdroitHandDoor-v1", 1)
        file = tmp_path / "door.hdf5"
        demos.write(file, Demonstrations((episode,), Provenance(env_id="AdroitHandDoor-v1")))
        flags = ["--env", "ilfo.robotics:AdroitHandDoor-v1", "--demo", str(file), "--steps", "6000"]
        assert main(["train", *flags, "--dry-run"]) == 0
        said = capsys.readouterr()
        assert "time limit 200 steps" in said.out
        assert said.err == ""


def robomimic_file(path: Path, **changed) -> Path:
    given = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}} | changed
    with h5py.File(path, "w") as file:
        file["data/demo_0/obs/object"] = np.zeros((3, 10), np.float32)
        file["data"].attrs["env_args"] = json.dumps(given)
    return path


@pytest.mark.usefixtures("robosuite")
class TestRobosuite:
    def test_the_seed_of_the_reset_decides_the_episode(self):
        assert_obeys_its_seed("ilfo.robosuite:robosuite/Lift-Panda-v1")

    def test_is_seen_as_robomimic_sees_it(self):
        provenance = describe("ilfo.robosuite:robosuite/Lift-Panda-v1").provenance
        keys = provenance.observation_keys
        widths = {"object": 10, "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
        assert widths.items() <= keys.items()
        assert not [key for key in keys if key.endswith("-state")]
        assert (provenance.time_step, provenance.action_repeat) == (0.05, 25)
        assert provenance.versions["robosuite"]

    def test_success_is_the_task_s_own(self):
        env = make_env("ilfo.robosuite:robosuite/Lift-Panda-v1")
        env.reset(seed=0)
        assert env.step(np.zeros(7, np.float32))[-1] == {"success": False}
        task = env.unwrapped._task
        task.sim.data.set_joint_qpos(task.cube.joints[0], [0, 0, 1.2, 1, 0, 0, 0])
        assert env.step(np.zeros(7, np.float32))[-1] == {"success": True}

    def test_a_file_names_its_environment(self, robosuite, tmp_path):
        file = robomimic_file(tmp_path / "lift.hdf5")
        assert robosuite.environment_of(file) == "ilfo.robosuite:robosuite/Lift-Panda-v1"

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"env_name": "Lifted"}, "names 'Lifted', which robosuite"),
            ({"type": 2}, "which robosuite"),
            ({"env_kwargs": {"robots": ["Baxter"]}}, "its robots are Baxter; expected one of Panda"),
            ({"env_kwargs": {"robots": ["Panda"], "control_freq": 10}}, "control_freq is 10; expected 20"),
        ],
    )
    def test_a_file_of_another_kind_is_refused(self, robosuite, tmp_path, changed, message):
        with pytest.raises(InputError, match=message):
            robosuite.environment_of(robomimic_file(tmp_path / "file.hdf5", **changed))
