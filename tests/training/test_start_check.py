"""An expert that begins where no episode does is remarked upon; one that begins near them is not."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ilfo import demos
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.envs import describe, random_policy, rollout
from ilfo.training.start_check import remark_on_starts

RANDOM = np.random.default_rng(0)
KEYS = {"angle": 2, "speed": 1}


def beginning(*states: list[float]) -> list[Trajectory]:
    """Episodes of a random walk from these states."""
    walk = np.concatenate([np.zeros((1, len(states[0]))), RANDOM.normal(size=(20, len(states[0]))).cumsum(axis=0)])
    return [Trajectory((walk + state).astype(np.float32)) for state in states]


def experts(*states: list[float]) -> Demonstrations:
    return Demonstrations(tuple(beginning(*states)), Provenance(observation_keys=KEYS))


HERE = beginning([0.1, 1.0, 0.0], [0.2, 1.1, 0.0], [0.15, 1.0, 0.0])


@pytest.mark.parametrize("state", [[0.1, 1.0, 0.0], [0.9, 0.5, 0.0], [0.15, 1.0, 0.005]])
def test_a_start_near_the_others_is_none_to_speak_of(state):
    assert remark_on_starts(experts(state), HERE) is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([9.0, 1.0, 0.0], r"dimension 0 \(angle\[0\]\) is 9 .*, and 0\.1 to 0\.2 in those of 3 episodes\. If"),
        ([0.1, 1.0, 0.9], r"dimension 2 \(speed\[0\]\) is 0\.9 .*, and 0 to 0 in those"),
        ([0.1, 57.0, 9.0], r"dimension 1 \(angle\[1\]\) is 57 .*episodes, and 1 other column likewise\. If"),
    ],
)
def test_a_start_elsewhere_is_named(state, said):
    remark = remark_on_starts(experts(state, [value + 1 for value in state]), HERE)
    assert remark is not None
    assert re.search(said, remark), remark


def test_one_demonstration_that_begins_there_is_enough():
    assert remark_on_starts(experts([9.0, 1.0, 0.0], [0.1, 1.0, 0.0]), HERE) is None


def test_columns_that_the_file_lacks_are_not_looked_at():
    blank = replace(HERE[0], observations=HERE[0].observations * np.float32([1, 0, 1]))
    assert remark_on_starts(Demonstrations((blank,)), HERE) is None


def test_choices_and_signs_are_not_judged():
    drawn = beginning([1.0, 0.0, 0.5], [1.0, 0.0, 0.6])
    goals = [replace(one, observations=np.tile(one.observations[:1], (21, 1))) for one in drawn]
    other = np.float32([[0, 1, -0.5]] * 21)
    assert remark_on_starts(Demonstrations((Trajectory(other),)), goals) is None


@pytest.mark.filterwarnings("error")
def test_columns_that_are_nothing_but_zeros_disturb_nobody():
    here = [Trajectory(np.float32([[value, 0, 0], [9, 0, 0]])) for value in (0.1, 0.2)]
    assert "dimension 0 is 9" in remark_on_starts(
        Demonstrations((Trajectory(np.float32([[9, 0, 0], [8, 0, 0]])),)), here
    )


def test_films_without_states_begin_nowhere():
    film = Trajectory(np.zeros((5, 0), np.float32), frames=np.zeros((5, 2, 2, 3), np.uint8))
    assert remark_on_starts(Demonstrations((film,)), HERE) is None


def test_degrees_and_a_wrong_order_of_a_real_robot_are_found():
    expert = demos.open("hopper")
    episodes = rollout(random_policy(describe("Hopper-v5").action_dim, seed=0), "Hopper-v5", 5, seed=1)

    def with_states(change) -> Demonstrations:
        return replace(
            expert, trajectories=tuple(replace(one, observations=change(one.observations)) for one in expert)
        )

    assert remark_on_starts(expert, episodes) is None
    degrees = with_states(lambda states: states * np.float32([1, *[57.3] * 4, *[1] * 6]))
    assert "begins where episodes do not" in remark_on_starts(degrees, episodes)
    backwards = with_states(lambda states: states[:, ::-1])
    assert "dimension 10 is 1.25" in remark_on_starts(backwards, episodes)
