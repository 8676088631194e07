"""What is refused, and what is not, of an environment's numbers."""

import numpy as np
import pytest
from small_envs import LEDGE

from ilfo._tools.errors import InputError
from ilfo.envs import Environments
from ilfo.envs.copies import Copies


def copies(env_id: str, count: int = 1) -> Copies:
    made = Copies()
    made.make(env_id, "standard", [(9, index) for index in range(count)])
    return made


def rightwards(count: int = 1) -> np.ndarray:
    return np.full((count, 1), 1, np.float32)


def test_a_diverging_simulation_is_named():
    diverging = copies("Exploding-v0", 2)
    for _ in range(10):
        diverging.step(rightwards(2))
    with pytest.raises(InputError, match=r"step 10 of the episode with seed \d+: the simulation is unstable"):
        diverging.step(rightwards(2))


def test_a_reward_that_is_not_a_number_is_refused():
    costly = copies("Costly-v0")
    for _ in range(5):
        costly.step(0.9 * rightwards())
    with pytest.raises(InputError, match="NaN or an infinity at step 5"):
        costly.step(rightwards())


def test_large_numbers_are_not_taken_for_infinite_ones():
    vast = copies("Vast-v0")
    for _ in range(5):
        moves = vast.step(rightwards())
    assert moves.next_observations[0, 0] > 1e29
    assert float(np.finfo(np.float32).max) < 1e29**2, "its square is beyond float32"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_episode_knows_its_goal_and_its_first_success(workers):
    environments = Environments("small_envs:Signposted-v0", 2, workers=workers)
    pushes = np.array([[0.5], [-0.1]], np.float32)
    finished = {}
    while len(finished) < 2:
        finished |= dict(environments.step(pushes).finished)
    environments.close()
    there, nowhere = finished[0], finished[1]
    np.testing.assert_array_equal(there.goal, [1.0])
    assert there.success
    positions = there.observations[:, 0]
    assert positions[there.success_step - 1] <= 1 < positions[there.success_step]
    assert (nowhere.success, nowhere.success_step) == (False, None)


def test_episodes_are_recorded_step_by_step():
    ledge = copies(LEDGE, 2)
    seen = [ledge.restart()]
    while True:
        moves = ledge.step(np.array([[-1.0], [0.5]], np.float32))
        seen.append(moves.next_observations)
        if moves.finished:
            break
    ((row, episode),) = moves.finished
    assert row == 0
    np.testing.assert_array_equal(episode.observations, np.array(seen)[:, 0])
    np.testing.assert_array_equal(episode.actions, np.full((len(seen) - 1, 1), -1))
    np.testing.assert_array_equal(moves.observations[1], moves.next_observations[1])
    assert moves.observations[0, 1] == 0, "the next episode's first"
    assert ledge.states()[0] == (1, [])
    assert len(ledge.states()[1][1]) == len(seen) - 1


@pytest.mark.parametrize("steps", [0, 3])
def test_an_episode_goes_on_for_so_many_steps_after_its_first_success(steps):
    stopping, whole = Copies(), Copies()
    stopping.make("small_envs:Signposted-v0", "standard", [(9, 0)], stop_after_success=steps)
    whole.make("small_envs:Signposted-v0", "standard", [(9, 0)])
    finished = []
    for copies in (stopping, whole):
        ended: tuple = ()
        while not ended:
            ended = copies.step(np.array([[0.5]], np.float32)).finished
        finished.append(ended[0][1])
    short, long = finished
    assert len(short) == long.success_step + steps < len(long)
    assert (short.success, short.success_step, short.truncated) == (True, long.success_step, True)
    np.testing.assert_array_equal(short.observations, long.observations[: len(short) + 1])


def test_an_episode_that_begins_with_no_number_is_named():
    stillborn = copies("Stillborn-v0")
    for _ in range(39):
        stillborn.step(rightwards())
    with pytest.raises(InputError, match=r"Stillborn-v0 returned a NaN .* first observation of the episode with seed"):
        stillborn.step(rightwards())
