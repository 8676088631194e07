"""TorchRL's replay buffers, collectors and environments with imitation rewards."""

import warnings
from itertools import pairwise

import gymnasium
import pytest
import torch
from ledge_rewards import Learning, Nearness, Passing, Waiting, three_columns, timed
from small_envs import LEDGE, expert

from ilfo._tools.errors import InputError
from ilfo.rewards import Episodes, NearestStep, OptimalTransport, ScalingOptions, SumReward, make_reward
from ilfo.rewards.distillation import DistillationOptions
from ilfo.rewards.labelling import imitation_rewards

pytest.importorskip("torchrl")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TorchRL's collectors warn of themselves.
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.data import LazyTensorStorage, ReplayBuffer, TensorDictReplayBuffer
    from torchrl.envs import (
        Compose,
        GymWrapper,
        MultiStepTransform,
        ObservationNorm,
        RewardSum,
        SerialEnv,
        TransformedEnv,
        check_env_specs,
    )

from ilfo.adapters.torchrl import ImitationReward

DISCOUNT = 0.95
REWARD, ENV_REWARD = ("next", "reward"), ("next", "env_reward")


def walking(speed=None):
    """A policy that walks at one speed, or at a random one, the same in every test."""
    stream = torch.Generator().manual_seed(0)

    def act(observation):
        one = observation[..., :1].float()
        return torch.rand(one.shape, generator=stream) * 0.4 - 0.2 if speed is None else torch.full_like(one, speed)

    return TensorDictModule(act, in_keys=["observation"], out_keys=["action"])


def make_env():
    return GymWrapper(gymnasium.make(LEDGE))


def transport(**settings):
    return ImitationReward(OptimalTransport().fit(expert()), discount=DISCOUNT, **settings)


def collect(frames, env=None, batches=4, speed=0.1, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = Collector(
            env or make_env(), walking(speed), frames_per_batch=frames, total_frames=frames * batches, **settings
        )
        yield from (batch.clone() for batch in collector)
        collector.shutdown()


def wanted(reward, steps, absorbing=True):
    """Rewards of a trajectory, computed without any adapter."""
    observations = torch.cat([steps["observation"], steps["next", "observation"][-1:]]).float()
    terminated = steps["next", "terminated"][-1]
    episodes = Episodes(observations[None], torch.tensor([len(steps)]), terminated)
    return imitation_rewards(reward, episodes, discount=DISCOUNT, absorbing=absorbing).rewards[0, :, None]


def trajectories(data):
    """Stretches of flat data that end when they are done; nothing may be left over."""
    ends = [0, *(data["next", "done"][:, 0].nonzero()[:, 0] + 1).tolist()]
    assert ends[-1] == len(data)
    return [data[start:stop] for start, stop in pairwise(ends)]


@pytest.mark.parametrize("kind", [ReplayBuffer, TensorDictReplayBuffer])
def test_a_replay_buffer_gets_whole_trajectories_that_span_batches(kind):
    transform = transport()
    replay = kind(storage=LazyTensorStorage(1000), batch_size=32)
    replay.append_transform(transform)
    sizes = []
    for batch in collect(30, batches=5):
        replay.extend(batch)
        sizes.append(len(replay))
    assert sizes == [0, 40, 80, 120, 120]
    data = replay[:]
    for steps in trajectories(data):
        assert torch.equal(steps["observation"][1:], steps["next", "observation"][:-1])
        torch.testing.assert_close(steps[REWARD], wanted(transform.reward, steps))
        torch.testing.assert_close(steps[ENV_REWARD], torch.ones(40, 1), atol=1e-5, rtol=0)
    drawn = set(replay.sample()[REWARD][:, 0].tolist())
    assert 1 < len(drawn) == len(drawn & set(data[REWARD][:, 0].tolist()))
    rest = transform.flush()
    assert len(rest) == 30
    torch.testing.assert_close(rest[REWARD], wanted(transform.reward, rest))
    assert transform.flush() is None


@pytest.mark.parametrize("kind", [ReplayBuffer, TensorDictReplayBuffer])
@pytest.mark.parametrize("environments", [1, 2])
def test_a_collector_may_fill_the_buffer_by_itself(kind, environments):
    transform = transport()
    replay = kind(storage=LazyTensorStorage(1000), batch_size=32)
    replay.append_transform(transform)
    env = make_env() if environments == 1 else SerialEnv(environments, make_env)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = Collector(env, walking(0.1), frames_per_batch=30, total_frames=180, replay_buffer=replay)
        for _ in collector:
            pass
        collector.shutdown()
    found = trajectories(replay[:])
    assert len(found) == 4
    for steps in found:
        torch.testing.assert_close(steps[REWARD], wanted(transform.reward, steps))


@pytest.mark.parametrize("split", [False, True])
def test_after_a_collector_of_several_environments(split):
    transform = transport()
    env = SerialEnv(2, make_env)
    batches = list(collect(60, env, speed=None, postproc=transform, split_trajs=split))
    data = torch.cat([batch for batch in batches if len(batch)])
    found = trajectories(data)
    assert len(found) >= 4
    assert any(bool(steps["next", "terminated"].any()) for steps in found)
    for steps in found:
        assert 0 < abs(float(steps["observation"][0, 0])) < 0.1, "it begins where the environment begins"
        assert len(steps["collector", "traj_ids"].unique()) == 1
        assert torch.equal(steps["observation"][1:], steps["next", "observation"][:-1])
        torch.testing.assert_close(steps[REWARD], wanted(transform.reward, steps))


@pytest.mark.parametrize("absorbing", [True, False])
def test_rollouts_and_padded_batches_need_no_ids(absorbing):
    transform = transport(absorbing=absorbing)
    torch.manual_seed(0)
    long, short = (make_env().rollout(40, walking(speed)) for speed in (0.1, -0.15))
    assert len(short) < len(long) == 40
    padded = torch.zeros((2, *long.shape), dtype=torch.bool)
    padded[0], padded[1, : len(short)] = True, True
    filler = TensorDict.from_dict(long[len(short) :].to_dict(), batch_size=[40 - len(short)]).fill_("done", True)
    both = torch.stack([long, torch.cat([short, filler])]).set("mask", padded)
    one, other = trajectories(transform(both))
    for steps, whole in ((one, long), (other, short)):
        torch.testing.assert_close(steps["observation"], whole["observation"])
        torch.testing.assert_close(steps[REWARD], wanted(transform.reward, whole, absorbing))
    torch.testing.assert_close(transform(long)[REWARD], wanted(transform.reward, long, absorbing))


def test_what_is_not_complete_and_has_no_id_is_refused():
    with pytest.raises(InputError, match=r"trajectory of 10 steps is not done in its last one.*traj_ids"):
        transport()(make_env().rollout(10, walking(0.1)))
    with pytest.raises(InputError, match="a single step is no trajectory"):
        transport()(make_env().rollout(10, walking(0.1))[0])


def test_data_without_rewards_may_be_held_back_too():
    transform = transport()
    batch = next(collect(30, batches=1))
    del batch["next", "reward"]
    assert len(transform(batch)) == 0
    assert len(transform.flush()) == 30


def test_a_trajectory_that_somebody_reset_ends_there():
    transform = transport()
    batch = next(collect(30, batches=1))
    begun, again = batch.clone(), next(collect(40, batches=1))
    assert len(transform(begun)) == 0
    assert begun["collector", "traj_ids"][0] == again["collector", "traj_ids"][0] == 0, "ids of two collectors"
    data = transform(again)
    assert len(data) == 70
    torch.testing.assert_close(data[:30][REWARD], wanted(transform.reward, batch))
    torch.testing.assert_close(data[30:][REWARD], wanted(transform.reward, again))


def test_data_that_are_labelled_are_not_labelled_again():
    transform = transport()
    data = transform(make_env().rollout(40, walking(0.1)))
    torch.testing.assert_close(transform(data[5:9].clone())[REWARD], data[5:9][REWARD])
    replay = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=16)
    replay.append_transform(transform)
    replay.extend(data)
    torch.testing.assert_close(replay[:][REWARD], data[REWARD])


def test_transitions_are_labelled_in_their_own_shape():
    reward = Nearness().fit(expert())
    transform = ImitationReward(reward, discount=DISCOUNT)
    data = SerialEnv(2, make_env).rollout(7, walking(0.03))
    labelled = transform(data)
    assert labelled.shape == (2, 7)
    for row in range(2):
        for step in range(7):
            one = data[row, step : step + 1]
            torch.testing.assert_close(labelled[REWARD][row, step], wanted(reward, one)[0])
    torch.testing.assert_close(labelled[ENV_REWARD], data[REWARD])
    del data["next", "reward"]
    assert transform(data)[ENV_REWARD].isnan().all(), "nobody said what the environment pays"


@pytest.mark.parametrize(
    ("expression", "scaling"),
    [
        ("2*nearest", None),
        ("nearest + 0.5*random-expert-distillation", None),
        ("nearest", ScalingOptions("fixed", 3.0)),
        ("nearest + 0.5*random-expert-distillation", ScalingOptions("fixed", 3.0)),
    ],
)
def test_sums_and_scaled_rewards_of_transitions_are_labelled_at_once(expression, scaling):
    quick = {"random-expert-distillation": DistillationOptions(updates=50)} if "distillation" in expression else {}
    transform = ImitationReward(make_reward(expression, quick, scaling=scaling).fit(expert()), discount=DISCOUNT)
    replay = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=16)
    replay.append_transform(transform)
    rollout = make_env().rollout(20, walking(0.1))
    assert not rollout["next", "done"].any()
    replay.extend(rollout)
    assert len(replay) == 20
    torch.testing.assert_close(replay[:][REWARD], wanted(transform.reward, rollout))


@pytest.mark.parametrize("method", ["first-episode", "running"])
def test_a_scale_that_is_measured_on_episodes_waits_for_their_ends(method):
    reward = make_reward("nearest", scaling=ScalingOptions(method)).fit(expert())
    transform = ImitationReward(reward, discount=DISCOUNT)
    assert len(transform(next(collect(30, batches=1)))) == 0
    assert reward.scaling.multiplier == 1.0
    transform.flush()
    assert reward.scaling.multiplier != 1.0
    assert transform.read_metrics()["reward_multiplier"] == reward.scaling.multiplier


def test_a_users_own_that_observes_is_shown_every_episode():
    reward = Passing().fit(expert())
    transform = ImitationReward(reward, discount=DISCOUNT)
    for batch in collect(30, batches=3):
        transform(batch)
    assert reward.inner.ends == [(40, False)] * 2


def a_sum(**generators):
    return SumReward(generators, dict.fromkeys(generators, 0.5)).fit(expert())


@pytest.mark.parametrize("other", [OptimalTransport, Nearness])
def test_what_there_is_to_log_are_means_over_trajectories_since_the_last_reading(other):
    """Of a reward of transitions, too, whose steps are labelled before their trajectory is over."""
    reward = a_sum(near=Nearness(), other=other())
    transform = ImitationReward(reward, discount=DISCOUNT)
    replay = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
    replay.append_transform(transform)
    assert transform.read_metrics() == {}
    found = {}
    batches = list(collect(60, SerialEnv(2, make_env), speed=None, batches=5))
    for batch in batches:
        replay.extend(batch)
        numbers, ended = transform.read_metrics(), int(batch["next", "done"].sum())
        assert bool(numbers) is (ended > 0)
        assert transform.read_metrics() == {}
        for name, mean in numbers.items():
            found[name] = found.get(name, 0.0) + ended * mean
    data = torch.cat(batches, dim=1).reshape(-1)
    ids = data["collector", "traj_ids"]
    whole = [steps for steps in (data[ids == number] for number in ids.unique()) if steps["next", "done"][-1]]
    assert len(whole) > 6
    for name, part in {"": reward, "/near": reward.generators["near"], "/other": reward.generators["other"]}.items():
        total = sum(score_of(part, steps) * (0.5 if name else 1.0) for steps in whole)
        assert found[f"imitation_return{name}"] == pytest.approx(total, rel=1e-4)


def score_of(reward, steps):
    observations = torch.cat([steps["observation"], steps["next", "observation"][-1:]]).float()
    terminated = steps["next", "terminated"][-1]
    return float(reward.score(Episodes(observations[None], torch.tensor([len(steps)]), terminated)).sum())


def test_what_a_reward_has_learned_is_there_to_log():
    transform = ImitationReward(a_sum(near=Nearness(), learned=Learning()), discount=DISCOUNT)
    for batch in collect(40, batches=3):
        transform(batch)
    numbers = transform.read_metrics()
    assert numbers["learned/steps_seen"] == (40 + 80 + 120) / 3
    assert numbers["imitation_return/learned"] > 41 * numbers["imitation_return/near"], "each after it was seen"
    total = numbers["imitation_return/learned"] + numbers["imitation_return/near"]
    assert numbers["imitation_return"] == pytest.approx(total, rel=1e-5)


def test_steps_that_make_no_trajectory_count_for_none():
    transform = ImitationReward(Nearness().fit(expert()), discount=DISCOUNT)
    walk = make_env().rollout(40, walking(0.1))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    rest = walk.clone()
    del rest["next", "done"]
    padding = walk.clone().set("mask", torch.zeros(40, dtype=torch.bool))
    for data in (walk[:20], walk[order], walk[-1], walk[-1:], rest, padding):
        labelled = transform(data)
        assert labelled.shape == data.shape
        assert labelled[REWARD].shape == (*data.shape, 1)
    assert transform.read_metrics() == {}
    transform(walk)
    assert transform.read_metrics() == pytest.approx({"imitation_return": score_of(transform.reward, walk)})


def test_a_trajectory_that_somebody_reset_counts_as_far_as_it_came():
    transform = ImitationReward(Nearness().fit(expert()), discount=DISCOUNT)
    begun, again = next(collect(30, batches=1)), next(collect(40, batches=1))
    transform(begun)
    assert transform.read_metrics() == {}
    transform(again)
    returns = [score_of(transform.reward, steps) for steps in (begun, again)]
    assert transform.read_metrics() == pytest.approx({"imitation_return": sum(returns) / 2}, rel=1e-5)


def test_a_reward_that_changes_is_asked_again_when_batches_are_sampled():
    reward = Learning().fit(expert())
    replay = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=16)
    replay.append_transform(ImitationReward(reward, discount=DISCOUNT))
    for batch in collect(30, batches=2):
        replay.extend(batch)
    assert reward.ends == [(40, False)]
    first = replay[:]
    assert len(first) == 40
    reward.steps = 81
    torch.testing.assert_close(replay[:][REWARD], 2 * first[REWARD])


def test_in_an_environment_every_step_is_rewarded():
    reward = Nearness().fit(expert())
    env = TransformedEnv(make_env(), Compose(ImitationReward(reward, discount=DISCOUNT), RewardSum()))
    check_env_specs(env, break_when_any_done="both")
    for speed in (0.1, -0.2):
        data = env.rollout(40, walking(speed))
        labels = torch.cat([wanted(reward, data[step : step + 1]) for step in range(len(data))])
        torch.testing.assert_close(data[REWARD], labels)
        torch.testing.assert_close(data["next", "episode_reward"][-1], labels.sum(dim=0))
    assert float(data[REWARD][0]) < 1.5, "falling is not what the expert does"


def test_environments_side_by_side_and_cut_short():
    reward = Learning().fit(expert())
    env = TransformedEnv(SerialEnv(2, make_env), ImitationReward(reward, discount=DISCOUNT))
    env.rollout(10, walking(0.1))
    data = env.rollout(40, walking(0.1))
    assert data.shape == (2, 40)
    assert reward.ends == [(10, False)] * 2 + [(40, False)] * 2
    numbers, got = env.transform.read_metrics(), data[REWARD].sum() + 20 * 2
    assert numbers["steps_seen"] == (10 + 20 + 60 + 100) / 4
    assert numbers["imitation_return"] == pytest.approx(float(got) / 4, rel=0.05), "of the ten steps almost 2 each"
    assert data[REWARD].shape == (2, 40, 1)
    assert float(data[REWARD].min()) > 21, "21 times nearly 2: after the first episodes of 20 steps"


def test_an_observation_that_another_transform_changes_in_place_is_said():
    reward = Nearness().fit(expert())
    norm = ObservationNorm(loc=0.3, scale=2.0, in_keys=["observation"])
    env = TransformedEnv(make_env(), Compose(ImitationReward(reward, discount=DISCOUNT), norm))
    with pytest.warns(UserWarning, match="a step starts from another observation than the one that the step before it"):
        env.rollout(5, walking(0.1))
    aside = ObservationNorm(loc=0.3, scale=2.0, in_keys=["observation"], out_keys=["scaled"])
    env = TransformedEnv(make_env(), Compose(ImitationReward(reward, discount=DISCOUNT), aside))
    assert float(env.rollout(5, walking(0.1))[REWARD].min()) > 1.5


def test_steps_that_stand_for_several_are_refused():
    replay = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=16)
    replay.append_transform(ImitationReward(Nearness().fit(expert()), discount=DISCOUNT))
    replay.append_transform(MultiStepTransform(3, DISCOUNT))
    with pytest.raises(InputError, match="Append ImitationReward after MultiStepTransform"):
        replay.extend(make_env().rollout(20, walking(0.1)))


def test_rewards_come_before_n_step_returns():
    reward = Nearness().fit(expert())
    replay = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=16)
    replay.append_transform(MultiStepTransform(3, DISCOUNT))
    replay.append_transform(ImitationReward(reward, discount=DISCOUNT))
    data = make_env().rollout(20, walking(0.1))
    replay.extend(data)
    single = torch.cat([wanted(reward, data[step : step + 1]) for step in range(3)]).squeeze()
    torch.testing.assert_close(replay[:][REWARD][0, 0], (single * DISCOUNT ** torch.arange(3)).sum())


def test_an_environment_cannot_wait_for_the_end():
    with pytest.raises(InputError, match=r"OptimalTransport needs whole episodes.*TorchRL replay buffer"):
        TransformedEnv(make_env(), transport()).rollout(3)


def test_what_is_not_there_is_told():
    data = make_env().rollout(5, walking(0.1))
    with pytest.raises(InputError, match=r"no \('pixels',\).*Is observation_key right"):
        ImitationReward(Nearness().fit(expert()), discount=DISCOUNT, observation_key="pixels")(data)
    data["pixels"], data["next", "pixels"] = torch.zeros(2, 5, 4, 4)
    with pytest.raises(InputError, match=r"pixels has the shape \(4, 4\) at each step"):
        ImitationReward(Nearness().fit(expert()), discount=DISCOUNT, observation_key="pixels")(data)


def test_a_reward_that_is_not_fitted_is_refused_at_the_first_data():
    data = make_env().rollout(5, walking(0.15))
    unfitted = SumReward({"one": NearestStep(), "other": OptimalTransport()}, {"one": 1.0, "other": 1.0})
    for reward in (OptimalTransport(), unfitted):
        with pytest.raises(InputError, match=r"knows no expert yet.*call fit or load_state_dict"):
            ImitationReward(reward, discount=DISCOUNT)(data)


@pytest.mark.parametrize("kind", [OptimalTransport, Waiting, Passing, Nearness])
def test_observations_of_another_width_are_refused_before_they_are_held_back(kind):
    transform = ImitationReward(kind().fit(three_columns()), discount=DISCOUNT)
    batch = next(collect(30, batches=1))
    replay = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
    replay.append_transform(transform)
    for labels in (transform, replay.extend):
        with pytest.raises(InputError, match=r"ha(s|ve) 2 dimensions.*\b3\b.*use a demonstration of this environment"):
            labels(batch)


def test_the_time_cannot_be_looked_at_by_what_is_scored_again_and_that_is_said_with_the_first_data():
    """Where it is not scored again, after a collector or in an environment, it can."""
    batch = next(collect(30, batches=1))
    replay = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
    replay.append_transform(ImitationReward(timed(Learning).fit(expert()), discount=DISCOUNT))
    with pytest.raises(InputError, match=r"nobody knows which step of their episode.*leave out features.time"):
        replay.extend(batch)
    after = ImitationReward(timed(Learning).fit(expert()), discount=DISCOUNT)
    assert len(after(make_env().rollout(40, walking(0.1)))) == 40
    inside = ImitationReward(timed(Learning).fit(expert()), discount=DISCOUNT)
    assert float(TransformedEnv(make_env(), inside).rollout(40, walking(0.1))[REWARD].min()) > 1.5


def test_another_key_may_hold_what_the_reward_sees():
    data = make_env().rollout(40, walking(0.1))
    rewards = transport()(data)[REWARD]
    moved = data.rename_key_("observation", ("agent", "state"))
    moved["next"].rename_key_("observation", ("agent", "state"))
    torch.testing.assert_close(transport(observation_key=("agent", "state"))(moved)[REWARD], rewards)


def test_its_state_is_the_rewards(tmp_path):
    data = make_env().rollout(40, walking(0.15))
    one, other = transport(), ImitationReward(OptimalTransport(), discount=DISCOUNT)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(one(data)[REWARD], other(data)[REWARD])
    assert one(data)[REWARD].isfinite().all()
