"""What a step of a training does beyond the plain case: time, keys, statistics of random steps, assessed episodes."""

import dataclasses
import warnings
from contextlib import closing

import h5py
import numpy as np
import pytest
import torch
from small_envs import expert, walk
from small_runs import NARROW_TD7, SMALL_OOPS, SMALL_TD7, assert_equal, configure, short

from ilfo import demos
from ilfo._tools.errors import InputError
from ilfo.agents.many import Separate
from ilfo.agents.td3 import TD3
from ilfo.training import Sources, Training

HORIZON = 40


@pytest.fixture
def begin(demo, tmp_path):
    """Makes trainings from flags, and closes them."""
    made = []

    def begin(*flags, demo=demo):
        made.append(Training.begin(Sources(configure(demo, tmp_path / "run", *flags))))
        return made[-1]

    yield begin
    for training in made:
        training.close()


def advance(training: Training, steps: int) -> None:
    """So many steps of the environments, with the updates that are due before and after them."""
    goal = training.step + steps * training.config.num_envs
    while training.step < goal or training.owes:
        training.advance()


def test_an_old_file_is_cut_by_the_time_limit_of_the_environment(begin, tmp_path):
    path = tmp_path / "old.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.concatenate([np.asarray(expert()[0].observations[:-1])] * 3)
    with pytest.warns(UserWarning, match="time limit, 40 steps, had ended"):
        training = begin(demo=path)
    assert [len(each) for each in training.demonstrations] == [HORIZON - 1] * 3


BETWEEN = ["--td3.train-between", "episodes", "--protocol", "fixed-horizon"]


def test_between_episodes_nothing_is_learned_while_one_is_under_way(begin):
    training = begin(*BETWEEN)
    advance(training, 120)  # the random steps end at 100, in the middle of the third episode
    assert training.agent.updates == 0
    advance(training, 39)
    assert training.agent.updates == 0, "the first episode of the policy is not over"
    training.advance()
    assert training.owes
    advance(training, 0)
    assert training.agent.updates == HORIZON


def test_an_episode_that_began_at_random_ends_at_random(begin):
    training, twin = begin(*BETWEEN), begin(*BETWEEN)
    advance(training, 100)
    advance(twin, 100)
    for parameter in twin.agent.actor.parameters():
        parameter.data.zero_()
    advance(training, 20)
    advance(twin, 20)
    assert training.step == 120
    actions = [one.replay.contents().actions for one in (training, twin)]
    assert torch.equal(*actions), "whatever the policy says"
    advance(training, 1)
    assert training.environments.ages.tolist() == [1]


def test_an_update_is_one_advance_so_that_a_run_can_stop_between_two(begin):
    training = begin(*BETWEEN)
    advance(training, 159)
    training.advance()
    before = training.step
    for count in range(1, 4):
        training.advance()
        assert (training.agent.updates, training.step) == (count, before)


def test_nobody_trains_before_the_statistics_of_its_inputs_are_known(begin):
    """Some seeds fall off the ledge long before others have an episode."""
    flags = ["--td3.train-between", "episodes", "--normalize-observations", "expert-and-random", "--random-steps", "10"]
    with pytest.warns(UserWarning, match="cannot stack"):
        training = begin(*flags, "--seeds", "0-9")

    def wait() -> None:
        while not training.inputs.fitted:
            assert not training.owes
            training.advance()

    with pytest.warns(UserWarning, match="all wait for the last one"):
        wait()
    assert training.step > 20, "they waited for the last one"
    advance(training, 2 * HORIZON)
    assert all(agent.updates for agent in training.agent.agents)


def test_each_seed_trains_after_its_own_episodes_as_it_would_alone(begin):
    with pytest.warns(UserWarning, match="cannot stack seeds under these options"):
        together = begin(*BETWEEN, "--seeds", "3,5")
    alone = begin(*BETWEEN, "--seed", "5")
    for one in (together, alone):
        advance(one, 200)
    assert isinstance(together.agent, Separate)
    assert alone.agent.updates == 2 * HORIZON
    mine, own = together.state_dicts()[1]["agent"], alone.state_dicts()[0]["agent"]
    assert mine["updates"] == own["updates"]
    assert all(torch.equal(mine["actor"][name], own["actor"][name]) for name in own["actor"])
    assert together.averages.read()[1] == alone.averages.read()[0]


def test_the_agent_hears_the_return_with_the_absorbing_steps_in_it(begin):
    training = begin(*BETWEEN, "--protocol", "standard", "--transport.squash", "none")
    heard = []
    training.agent.end_episode = lambda return_to_limit, steps: heard.append((return_to_limit, steps)) or 0
    fall, good = walk(-0.2), walk(0.1)
    training._at_random[:] = False
    for trajectory in (fall, good):
        actions = np.zeros((len(trajectory), 1), np.float32)
        training._take_in(dataclasses.replace(trajectory, actions=actions), trajectory.observations, 0, 0)
    (fell, steps), (stayed, _) = heard
    labels = training.rewards_of([fall])
    assert steps == len(fall) < HORIZON
    assert fell < float(labels.scores.sum()) - 1, "what follows a fall is counted"
    assert fell < stayed


def test_a_stack_that_would_train_between_episodes_is_refused(begin, monkeypatch):
    monkeypatch.setattr(TD3, "can_stack", classmethod(lambda cls, options: True))
    with pytest.raises(InputError, match="can_stack has to return False"):
        begin(*BETWEEN, "--seeds", "0-1")


@pytest.mark.parametrize("reward", ["transport", "nearest"], ids=["episodes are kept", "steps are kept"])
def test_a_policy_that_is_shown_the_time_sees_it_everywhere(begin, reward):
    training = begin("--reward", reward, "--time-aware", "--protocol", "fixed-horizon")
    seen = []
    act = training.agent.act
    training.agent.act = lambda observations, explore: seen.append(observations) or act(observations, explore)
    advance(training, 121)
    assert seen[-1][0, -1] == pytest.approx(1.0), "at the first step of the fourth episode"
    assert seen[-2][0, -1] == pytest.approx(1 / HORIZON)
    seen.clear()
    training.evaluate_all(2)
    assert [round(float(rows[0, -1]) * HORIZON) for rows in seen] == list(range(HORIZON, 0, -1))
    held = training.replay.contents()
    assert held.observations.shape[1] == 3
    passes = held.observations[:, -1] - held.next_observations[:, -1]
    torch.testing.assert_close(passes, torch.full_like(passes, 1 / HORIZON))
    assert torch.equal(held.terminated > 0, held.next_observations[:, -1] == 0)


@pytest.mark.filterwarnings("ignore:.* cannot stack seeds under these options")
@pytest.mark.parametrize("flags", [[], BETWEEN], ids=["together", "in turn"])
def test_the_agent_sees_both_ends_of_a_transition_in_the_statistics_of_its_seed(begin, flags):
    training = begin("--normalize-observations", "random", "--seeds", "0-1", *flags)
    drawn, given = [], []
    sample = training.replay.sample

    def drawing(size, member):
        drawn.append((sample(size, member), member))
        return drawn[-1][0]

    def spied(agent):
        update = agent.update
        agent.update = lambda batch: given.append(batch) or update(batch)

    training.replay.sample = drawing
    for agent in getattr(training.agent, "agents", [training.agent]):
        spied(agent)
    while len(given) < 2:
        training.advance()
    assert [member for _, member in drawn] == ([0, 1] if flags else [None, None])
    for (batch, member), seen in zip(drawn, given, strict=True):
        for name in ("observations", "next_observations"):
            raw = getattr(batch, name)
            assert torch.equal(getattr(seen, name), training.inputs(raw, member)), name
            assert not torch.equal(getattr(seen, name), raw)
        assert not torch.equal(batch.observations, batch.next_observations)
    state = torch.zeros(1, 2)
    assert not torch.equal(training.inputs(state, 0), training.inputs(state, 1)), "each seed has its own"


def test_absorbing_states_need_a_discount_below_1(begin):
    with pytest.raises(InputError, match=r"discount is 1\.0; absorbing states need one below 1"):
        begin("--td3.discount", "1")
    for flags in (["--no-absorbing"], ["--protocol", "fixed-horizon"], ["--reward", "environment"]):
        assert begin("--td3.discount", "1", *flags).agent.discount == 1


@pytest.mark.parametrize("reward", ["transport", "environment"])
def test_the_time_limit_is_an_end_for_who_sees_it_coming(begin, reward):
    ends = {
        flag: begin("--reward", reward, *flag.split(), "--protocol", "fixed-horizon") for flag in ("", "--time-aware")
    }
    for training in ends.values():
        advance(training, 80)
    assert ends[""].replay.contents().terminated.sum() == 0
    assert ends["--time-aware"].replay.contents().terminated.nonzero().ravel().tolist() == [39, 79]


def test_the_statistics_of_the_random_steps_are_taken_when_these_are_over(begin):
    training = begin("--normalize-observations", "expert-and-random", "--protocol", "fixed-horizon")
    advance(training, 100)
    assert not training.inputs.fitted
    advance(training, 1)
    assert training.inputs.fitted
    states = training.replay.contents().observations[:80]
    torch.testing.assert_close(training.inputs(states).mean(dim=0), torch.zeros(2), atol=1e-4, rtol=0)


def test_reward_and_policy_look_at_the_keys_that_each_is_told(begin, tmp_path):
    """The demonstration has its parts in another order, one too many, and lacks one that neither looks at."""
    states = walk(0.1).observations  # position, velocity
    source = demos.Provenance(observation_keys={"position": 1, "velocity": 1, "colour": 1})
    seen = np.concatenate([states, np.full((len(states), 1), 7, np.float32)], axis=1)
    path = demos.write(tmp_path / "d.hdf5", demos.Demonstrations((demos.Trajectory(seen),), source))
    mixed = ["--env", "small_envs:MixedLedge-v0"]
    with pytest.warns(UserWarning, match="colour"), pytest.warns(UserWarning, match="quarter"):
        training = begin(*mixed, "--reward-keys", "velocity", "--policy-keys", "velocity", "position", demo=path)
    assert training.inputs.width == 2
    assert training.reward.features.width == 1
    advance(training, 130)
    assert training.agent.updates == 31
    with pytest.raises(InputError, match="--reward-keys"):
        begin(*mixed, demo=path)


def test_a_run_without_time_or_keys_shows_the_policy_all_of_the_observation(begin):
    training = begin()
    assert training.inputs.width == training.environments.observation_dim == 2


@pytest.mark.filterwarnings("ignore:.* cannot stack seeds under these options")
@pytest.mark.parametrize(
    "flags",
    [[*SMALL_TD7, "--time-aware", "--num-envs", "2"], SMALL_OOPS, [*SMALL_OOPS, "--td3.checkpoints"]],
    ids=["td7", "oops", "oops with checkpoints"],
)
def test_a_training_goes_on_bit_for_bit_from_amid_the_updates_between_episodes(demo, tmp_path, flags):
    config = short(demo, tmp_path, *flags, "--seeds", "4,2")
    training = Training.begin(Sources(config))
    advance(training, 140 // config.num_envs)
    while not training.owes:
        training.advance()
    for _ in range(9):
        training.advance()
    assert training.owes
    torch.save(training.state_dicts(), tmp_path / "state.pt")
    restored = Training.resume(Sources(config), torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (training, restored):
        for _ in range(150):
            one.advance()
    assert training.step > 200
    assert_equal(training.state_dicts(), restored.state_dicts())
    for one in (training, restored):
        one.close()


def test_what_the_agent_is_wrong_about_gets_a_larger_priority_in_the_replay(demo, tmp_path):
    flags = [*NARROW_TD7, "--td7.no-checkpoints", "--td7.min-priority", "1e-6"]
    training = Training.begin(Sources(short(demo, tmp_path, *flags)))
    advance(training, 180)
    (state,) = training.state_dicts()
    kept = state["replay"]["priorities"]["values"]
    found = torch.isin(training.agent.priorities, kept)
    assert found.float().mean() > 0.5, "but for transitions that were drawn twice"
    assert len(kept.unique()) > 10
    training.close()


@pytest.mark.parametrize(
    "flags", [["--td3.hidden-dim", "16"], ["--num-envs", "2"], SMALL_OOPS, SMALL_TD7], ids=["td3", "two", "oops", "td7"]
)
def test_an_agent_makes_so_many_updates_a_step(demo, tmp_path, flags):
    counts = []
    for ratio in ("1", "3"):
        training = Training.begin(Sources(short(demo, tmp_path, *flags, "--updates-per-step", ratio)))
        # Until the first updates: what is done before does not depend on how many there are.
        while not training.agent.updates:
            training.advance()
        while training.owes:
            training.advance()
        counts.append(training.agent.updates)
        training.close()
    assert counts[1] == 3 * counts[0]
    if not training.agent.trains_between_episodes:
        assert counts[0] == training.config.num_envs, "one for the step of each copy"


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        (["--reward", "discriminator"], True),
        (["--scaling.method", "running"], True),
        (["--scaling.method", "first-episode"], False),
        (["--reward", "nearest"], False),
        (["--reward", "discriminator", "--td7.no-checkpoints"], False),
    ],
)
def test_checkpoints_under_a_reward_that_changes_are_warned_of(demo, tmp_path, flags, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Training.begin(Sources(short(demo, tmp_path, *NARROW_TD7, *flags))).close()
    told = ["give --td7.no-checkpoints" in str(each.message) for each in caught]
    assert told == [True] * warned


@pytest.mark.parametrize("name", ["Keeper", "KeeperSomewhere", "KeeperWithout"])
def test_an_agent_of_ones_own_is_not_told_of_a_flag_that_it_lacks(demo, tmp_path, name):
    told = rf"--agent own_plugins:{name} has no option 'checkpoints: bool' .* or set plays_best = False"
    with pytest.warns(UserWarning, match=told) as warned:
        Training.begin(
            Sources(short(demo, tmp_path, "--reward", "discriminator", "--agent", f"own_plugins:{name}"))
        ).close()
    assert not any("no-checkpoints" in str(each.message) for each in warned)


def test_a_filter_key_chooses_what_is_learned_from(begin, demo, tmp_path):
    short, long = walk(-0.2), walk(0.1)
    path = tmp_path / "robomimic.hdf5"
    with h5py.File(path, "w") as file:
        for number, trajectory in enumerate((short, long)):
            file[f"data/demo_{number}/obs/observation"] = trajectory.observations[:-1]
            file[f"data/demo_{number}/next_obs/observation"] = trajectory.observations[1:]
        file["mask/good"] = np.array(["demo_1"], dtype="S")
    chosen = begin("--filter-key", "good", demo=path).demonstrations
    assert [len(each) for each in chosen] == [len(long)]
    np.testing.assert_array_equal(chosen[0].observations, long.observations)
    with pytest.raises(InputError, match="no filter key 'god'; did you mean 'good'"):
        begin("--filter-key", "god", demo=path)


def cut_short(demo, folder, steps=15):
    """The walk's first steps, as a recording that stops when it is done, and where it goes on standing still."""
    whole = demos.open(demo)
    one = dataclasses.replace(
        whole[0], observations=whole[0].observations[: steps + 1], env_rewards=whole[0].env_rewards[:steps]
    )
    return demos.write(folder / "short.hdf5", dataclasses.replace(whole, trajectories=(one,)))


def test_an_expert_that_is_done_stands_still_until_the_time_limit(begin, demo, tmp_path):
    short = cut_short(demo, tmp_path)
    held, plain = begin("--hold-end", demo=short), begin(demo=short)
    recorded = held.demonstrations[0]
    assert len(recorded) == 15
    assert held.expert_return == plain.expert_return
    states = recorded.observations
    stays = dataclasses.replace(
        recorded, env_rewards=None, observations=np.concatenate([states, np.repeat(states[-1:], 25, 0)])
    )
    loiters = dataclasses.replace(
        recorded, env_rewards=None, observations=np.concatenate([states[:9], np.repeat(states[8:9], 32, 0)])
    )  # never gets to where the expert is done

    def worth(training, episode):
        return float(training.rewards_of([episode]).scores.mean())

    assert worth(held, stays) == pytest.approx(2.0, abs=1e-4)
    assert worth(held, stays) > worth(held, loiters) + 0.2
    assert worth(plain, stays) < worth(plain, loiters), "compared with the recording alone, it pays to dawdle"
    assert_equal(held.inputs.state_dicts(), plain.inputs.state_dicts())  # the policy is shown what was recorded


def test_one_that_goes_on_as_long_is_not_held(begin):
    held, plain = begin("--hold-end"), begin()
    assert_equal(held.scorer.state_dicts(), plain.scorer.state_dicts())


def test_each_of_several_seeds_logs_what_it_has_to_say(demo, tmp_path):
    config = short(demo, tmp_path / "run", "--agent", "own_plugins:Talkative", "--seeds", "0-2")
    with pytest.warns(UserWarning, match="cannot stack seeds"):
        training = Training.begin(Sources(config))
    with closing(training):
        advance(training, 150)
        for found in training.averages.read():
            assert (found["always"], found["sometimes"]) == (1, 2)
