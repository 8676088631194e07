"""Stable-Baselines3's own algorithms learn from imitation rewards alone."""

import gymnasium
import numpy as np
import pytest
import torch
from ledge_rewards import Learning, Nearness, Passing, three_columns, timed
from small_envs import LEDGE, expert

from ilfo._tools.errors import InputError
from ilfo.rewards import Episodes, NearestStep, OptimalTransport, SumReward
from ilfo.rewards.labelling import imitation_rewards

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.buffers import ReplayBuffer  # noqa: E402
from stable_baselines3.common.logger import KVWriter, Logger  # noqa: E402
from stable_baselines3.common.noise import NormalActionNoise  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

from ilfo.adapters.labeller import EpisodeLabeller, Transition  # noqa: E402
from ilfo.adapters.stable_baselines3 import ImitationCallback, ImitationReplayBuffer  # noqa: E402

DISCOUNT = 0.95


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Lying(gymnasium.Wrapper):
    """The same environment, that pays what it likes."""

    def __init__(self, env, payments):
        super().__init__(env)
        self.payments = payments

    def step(self, action):
        observation, _, *rest = self.env.step(action)
        return observation, self.payments(), *rest


def make_env(payments=lambda: 0.0):
    return Lying(gymnasium.make(LEDGE), payments)


def make_model(kind=None, env=None, reward=None, discount=DISCOUNT, buffer=None, **settings):
    noise = {} if kind in (None, sb3.SAC) else {"action_noise": NormalActionNoise(np.zeros(1), np.full(1, 0.3))}
    settings = {"learning_starts": 200, "batch_size": 64, "learning_rate": 2e-3, "seed": 0} | noise | settings
    return (kind or sb3.SAC)(
        "MlpPolicy",
        make_env() if env is None else env,
        gamma=DISCOUNT,
        policy_kwargs={"net_arch": [32, 32]},
        device="cpu",
        replay_buffer_class=ImitationReplayBuffer,
        replay_buffer_kwargs={
            "reward": OptimalTransport().fit(expert()) if reward is None else reward,
            "discount": discount,
            **(buffer or {}),
        },
        **settings,
    )


def imitation_return(policy, episodes=5):
    """Mean return of a policy by the reward that it was trained on, without absorbing states."""
    reward, env, returns = OptimalTransport().fit(expert()), gymnasium.make(LEDGE), []
    for seed in range(episodes):
        observation, _ = env.reset(seed=100 + seed)
        states, over = [observation], False
        while not over:
            observation, _, terminated, truncated, _ = env.step(policy(observation))
            states.append(observation)
            over = terminated or truncated
        states = torch.from_numpy(np.array(states, np.float32))
        played = Episodes(states[None], torch.tensor([len(states) - 1]), torch.tensor([terminated]))
        returns.append(float(reward.score(played).sum()))
    return np.mean(returns)


@pytest.mark.parametrize(("name", "steps"), [("SAC", 1000), ("TD3", 800), ("DDPG", 800)])
def test_it_learns(name, steps, one_thread):
    rng = np.random.default_rng(0)
    of_random = imitation_return(lambda _: rng.uniform(-0.2, 0.2, 1).astype(np.float32))
    model = make_model(getattr(sb3, name)).learn(steps)
    learned = imitation_return(lambda observation: model.predict(observation, deterministic=True)[0])
    assert of_random < 10
    assert learned > 30, "the expert gets 80"


@pytest.mark.parametrize("kind", [OptimalTransport, Nearness])
def test_what_the_environment_pays_has_no_influence(kind, one_thread):
    rng = np.random.default_rng()
    weights = []
    for payments in (lambda: 0.0, lambda: float("nan"), rng.normal):
        model = make_model(env=make_env(payments), reward=kind().fit(expert()), learning_starts=60).learn(110)
        weights.append(torch.cat([weight.flatten() for weight in model.policy.parameters()]))
        assert torch.isfinite(weights[-1]).all()
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_normalised_environments_do_not_scale_imitation_rewards(one_thread):
    """Were the environment's scale applied, what it pays would have a say."""
    rng = np.random.default_rng(0)
    env = VecNormalize(DummyVecEnv([lambda: make_env(lambda: 1000 * rng.normal())]), norm_obs=True, norm_reward=True)
    model = make_model(env=env, reward=Nearness().fit(expert()), learning_starts=60).learn(80)
    buffer = model.replay_buffer
    batch = buffer.sample(500, env=env)
    assert set(batch.rewards[:, 0].tolist()) <= set(buffer.rewards[: buffer.pos, 0].tolist())
    assert float(batch.observations.abs().max()) > float(np.abs(buffer.observations).max()), "observations are"
    assert np.abs(buffer.observations[0, 0, 0]) <= 0.1, "stored raw"


def test_it_trains_in_vector_environments(one_thread):
    model = make_model(env=DummyVecEnv([make_env, make_env]), learning_starts=100, gradient_steps=2)
    before = [weight.clone() for weight in model.policy.parameters()]
    model.learn(200)
    assert model.num_timesteps == 200
    assert model._n_updates == 100, "two after every step of both, once it has begun"
    after = list(model.policy.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(torch.isfinite(weight).all() for weight in after)

    buffer = model.replay_buffer
    observations, following, _, rewards, ends = steps_of(buffer)
    stops = np.flatnonzero(buffer.dones[: buffer.pos, 0]) + 1
    assert stops[-1] == len(rewards) >= 120
    starts = [0, *stops[:-1]]
    assert len({float(observations[start, 0]) for start in starts}) == len(starts) >= 4, "both begin elsewhere"
    for start, stop in zip(starts, stops, strict=True):
        np.testing.assert_array_equal(observations[start + 1 : stop], following[start : stop - 1])
        states = torch.from_numpy(np.concatenate([observations[start:stop], following[stop - 1 : stop]])).float()
        episode = Episodes(states[None], torch.tensor([stop - start]), torch.tensor([bool(ends[stop - 1])]))
        labels = imitation_rewards(buffer.reward, episode, discount=DISCOUNT, absorbing=True)
        np.testing.assert_allclose(rewards[start:stop], labels.rewards[0], rtol=1e-5, atol=1e-6)


class Written(KVWriter):
    """Keeps what a logger writes."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))


def written(model, steps, **settings):
    """What is logged while a model learns."""
    output = Written()
    model.set_logger(Logger(None, [output]))
    model.learn(steps, callback=ImitationCallback(), **settings)
    return output.rows


def two_terms(**generators):
    generators = generators or {"near": Nearness(), "nearer": Nearness()}
    return SumReward(generators, dict(zip(generators, (1.0, 2.0), strict=True))).fit(expert())


@pytest.mark.parametrize("interval", [1, 3])
def test_the_log_has_the_imitation_return_and_each_terms(interval, one_thread):
    """Means over the episodes since the last row, the one that has just ended included."""
    model = make_model(reward=two_terms(), learning_starts=1000)
    rows = written(model, 300, log_interval=interval)
    _, _, _, rewards, _ = steps_of(model.replay_buffer)
    stops = np.flatnonzero(model.replay_buffer.dones[: model.replay_buffer.pos, 0]) + 1
    returns = [part.sum() for part in np.split(rewards, stops)[:-1]]
    assert len(returns) >= 6
    assert len(rows) == len(returns) // interval
    wanted = [np.mean(returns[row * interval : (row + 1) * interval]) for row in range(len(rows))]
    assert [row["imitation/imitation_return"] for row in rows] == pytest.approx(wanted, rel=1e-4)
    for row in rows:
        near, nearer = (row[f"imitation/imitation_return/{name}"] for name in ("near", "nearer"))
        assert nearer == pytest.approx(2 * near, rel=1e-5)
        assert near + nearer == pytest.approx(row["imitation/imitation_return"], rel=1e-5)


def test_the_log_has_what_a_reward_has_learned(one_thread):
    model = make_model(reward=Learning().fit(expert()), learning_starts=1000)
    rows = written(model, 150, log_interval=1)
    lengths = [length for length, _ in model.replay_buffer.reward.ends]
    assert [row["imitation/steps_seen"] for row in rows] == np.cumsum(lengths).tolist()


def test_long_names_that_begin_alike_are_printed_whole(one_thread, capsys):
    """As the library prints them, they would be cut, be the same, and stop the training."""
    names = ["my_own_rewards_in_a_long_file:MyFirst", "my_own_rewards_in_a_long_file:MySecond"]
    model = make_model(reward=two_terms(**{name: Nearness() for name in names}), learning_starts=1000, verbose=1)
    model.learn(100, callback=ImitationCallback(), log_interval=1)
    printed = capsys.readouterr().out
    assert all(f"imitation_return/{name} " in printed for name in names)


def test_a_discount_that_is_not_the_algorithms_is_refused_before_the_first_step():
    model = make_model(discount=0.99)
    with pytest.raises(
        InputError, match=r"SAC's gamma is 0.95, and the discount of its replay buffer 0.99.*gamma=0.99"
    ):
        model.learn(10, callback=ImitationCallback())
    assert model.num_timesteps == 0


def test_it_takes_the_place_of_a_users_own_hook_while_it_logs(one_thread):
    heard = []
    model = make_model(learning_starts=1000)
    model.replay_buffer.on_episode = heard.append
    rows = written(model, 90, log_interval=1)
    assert rows
    assert heard == []
    model.learn(90, reset_num_timesteps=False)
    assert len(heard) >= 2


def test_what_has_no_imitation_rewards_is_told():
    with pytest.raises(InputError, match=r"SAC has a ReplayBuffer.*replay_buffer_class=ImitationReplayBuffer"):
        sb3.SAC("MlpPolicy", make_env(), buffer_size=10, device="cpu").learn(10, callback=ImitationCallback())
    with pytest.raises(InputError, match=r"PPO has no replay buffer"):
        sb3.PPO("MlpPolicy", make_env(), n_steps=8, batch_size=8, device="cpu").learn(10, callback=ImitationCallback())


def steps_of(buffer):
    """What is stored, oldest first: observations, next ones, actions, rewards, ends as the learner sees them."""
    order = np.roll(np.arange(buffer.buffer_size), -buffer.pos) if buffer.full else np.arange(buffer.pos)
    ends = buffer.dones * (1 - buffer.timeouts)
    columns = buffer.observations, buffer.next_observations, buffer.actions, buffer.rewards, ends
    return [column[order, 0] for column in columns]


def drive(buffer, velocities, steps, seed=0):
    """Walks at constant speeds in vector environments, as an algorithm would store them."""
    env = DummyVecEnv([make_env for _ in velocities])
    env.seed(seed)
    observations = env.reset()
    actions = np.array(velocities, np.float32)[:, None]
    for _ in range(steps):
        following, rewards, dones, infos = env.step(actions)
        stored = following.copy()
        for row in np.flatnonzero(dones):
            stored[row] = infos[row]["terminal_observation"]
        buffer.add(observations, stored, actions, rewards, dones, infos)
        observations = following


def make_buffer(reward=None, size=1000, n_envs=1, **settings):
    spaces = gymnasium.make(LEDGE)
    return ImitationReplayBuffer(
        size,
        spaces.observation_space,
        spaces.action_space,
        device="cpu",
        n_envs=n_envs,
        reward=OptimalTransport().fit(expert()) if reward is None else reward,
        discount=DISCOUNT,
        **settings,
    )


def test_episodes_of_several_environments_enter_whole_when_they_end():
    buffer = make_buffer(n_envs=2)
    drive(buffer, (-0.2, 0.1), 39)
    falls = buffer.size()
    assert (buffer.actions[:falls] < 0).all(), "the walk is held back"
    drive_on = make_buffer(n_envs=2)
    drive(drive_on, (-0.2, 0.1), 40)
    observations, following, actions, rewards, ends = steps_of(drive_on)
    walk = actions[:, 0] > 0
    assert walk.sum() == 40
    np.testing.assert_array_equal(observations[walk][1:], following[walk][:-1])
    assert not ends[walk].any(), "a time limit is no end"
    labels = imitation_rewards(
        drive_on.reward,
        Episodes(
            torch.from_numpy(np.concatenate([observations[walk], following[walk][-1:]])).float()[None],
            torch.tensor([40]),
            torch.tensor([False]),
        ),
        discount=DISCOUNT,
        absorbing=True,
    )
    np.testing.assert_allclose(rewards[walk], labels.rewards[0], rtol=1e-5)
    fallen = following[~walk, 0] < -0.5
    np.testing.assert_array_equal(ends[~walk] > 0, fallen)
    assert fallen.sum() > 8


def test_without_timeout_handling_a_time_limit_is_learned_as_an_end():
    buffer = make_buffer(handle_timeout_termination=False)
    drive(buffer, (0.1,), 40)
    *_, rewards, ends = steps_of(buffer)
    assert ends.tolist() == [0.0] * 39 + [1.0]
    assert rewards[-1] > 0, "yet nothing absorbs"


@pytest.mark.parametrize("size", [25, 60])
def test_the_oldest_give_way(size):
    small, large = make_buffer(size=size), make_buffer()
    for buffer in (small, large):
        drive(buffer, (0.1,), 130)
    assert small.full
    assert small.size() == size
    for mine, theirs in zip(steps_of(small), steps_of(large), strict=True):
        np.testing.assert_array_equal(mine, theirs[-size:])


@pytest.mark.parametrize("kind", [OptimalTransport, NearestStep])
def test_an_episode_that_somebody_reset_counts_as_truncated(kind):
    buffer, heard = make_buffer(kind().fit(expert())), []
    buffer.on_episode = heard.append
    drive(buffer, (0.1,), 10)
    assert buffer.size() == (10 if kind is NearestStep else 0)
    drive(buffer, (0.1,), 40, seed=1)
    assert buffer.size() == 50
    observations, following, _, _, ends = steps_of(buffer)
    joins = np.flatnonzero((observations[1:] != following[:-1]).any(axis=1))
    assert joins.tolist() == [9], "each in itself a walk"
    assert not ends.any()
    assert [(episode.length, episode.terminated) for episode in heard] == [(10, False), (40, False)]


@pytest.mark.parametrize("kind", [OptimalTransport, NearestStep, Learning])
def test_saved_and_loaded_by_its_own_calls_it_goes_on_the_same(kind, tmp_path, one_thread):
    model = make_model(reward=kind().fit(expert()), learning_starts=60).learn(110)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay")
    loaded = sb3.SAC.load(tmp_path / "model", env=make_env(), device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    mine, theirs = model.replay_buffer, loaded.replay_buffer
    assert theirs.reward is not mine.reward
    assert mine.size() == theirs.size() > 0
    assert theirs.labeller.state_dict()["lengths"] == mine.labeller.state_dict()["lengths"]
    for buffer in (mine, theirs):
        drive(buffer, (0.1,), 45)
    for one, other in zip(steps_of(mine), steps_of(theirs), strict=True):
        assert one.tobytes() == other.tobytes()
    loaded.learn(60, reset_num_timesteps=False)
    assert theirs.size() > mine.size(), "the episode that was under way is there too"
    assert loaded.num_timesteps == 170


def test_what_is_saved_holds_nobody_to_call_back(tmp_path):
    buffer = make_buffer()
    buffer.reward.on_progress = lambda share, text: None
    buffer.on_episode = lambda episode: None
    model = make_model()
    model.replay_buffer = buffer
    model.save_replay_buffer(tmp_path / "replay")
    model.load_replay_buffer(tmp_path / "replay")
    assert model.replay_buffer.reward.on_progress is model.replay_buffer.on_episode is None
    assert buffer.reward.on_progress is not None
    assert buffer.on_episode is not None


def test_a_loaded_buffer_logs_again(tmp_path, one_thread):
    model = make_model(reward=two_terms(), learning_starts=1000)
    written(model, 90, log_interval=1)
    model.save_replay_buffer(tmp_path / "replay")
    model.load_replay_buffer(tmp_path / "replay")
    rows = written(model, 90, log_interval=1, reset_num_timesteps=False)
    assert rows
    assert all("imitation/imitation_return/nearer" in row for row in rows)


def test_a_reward_that_changes_is_asked_again_for_every_batch():
    reward = Learning().fit(expert())
    buffer = make_buffer(reward)
    drive(buffer, (0.1,), 45)
    assert reward.steps == 40
    np.random.seed(0)  # noqa: NPY002 Stable-Baselines3 draws from NumPy's global state.
    first = buffer.sample(100)
    reward.steps = 81
    np.random.seed(0)  # noqa: NPY002
    second = buffer.sample(100)
    torch.testing.assert_close(second.observations, first.observations, rtol=0, atol=0)
    torch.testing.assert_close(second.rewards, 2 * first.rewards)
    model = make_model(reward=Learning().fit(expert()), learning_starts=50).learn(90)
    assert model.replay_buffer.reward.steps > 0


def test_nothing_to_sample_is_told_with_what_to_do(one_thread):
    with pytest.raises(InputError, match=r"empty after 2\d steps: OptimalTransport .* set learning_starts to at least"):
        make_model(env=gymnasium.make("Endless-v0"), learning_starts=20).learn(60)


def test_a_reward_that_the_environment_does_not_fit_is_refused_before_the_first_step():
    """One of whole episodes would else be asked when the first is over."""
    wide = three_columns()
    for reward in (OptimalTransport(), two_terms(near=NearestStep(), whole=OptimalTransport()), Nearness(), Passing()):
        with pytest.raises(InputError, match=r"ha(s|ve) 2 dimensions.*\b3\b.*use a demonstration of this environment"):
            make_buffer(reward.fit(wide))
    for reward in (OptimalTransport(), Nearness()):
        with pytest.raises(InputError, match=r"no expert yet.*call fit or load_state_dict"):
            make_model(reward=reward)


def test_the_time_cannot_be_looked_at_by_what_is_scored_again_and_that_is_said_before_the_first_step():
    with pytest.raises(InputError, match=r"nobody knows which step of their episode.*leave out features.time"):
        make_buffer(timed(Learning).fit(expert()))
    for kind in (NearestStep, OptimalTransport):
        buffer = make_buffer(timed(kind).fit(expert()))
        drive(buffer, (0.1,), 40)
        assert buffer.size() == 40


def test_that_librarys_own_replay_takes_what_the_labeller_gives_back():
    """As the descriptions say: with infos that are empty, and of one environment however many there are."""
    for described in (EpisodeLabeller, Transition):
        assert "replay.add(*step, [{}])" in described.__doc__
        assert "n_envs=1" in described.__doc__
    envs = gymnasium.make_vec(LEDGE, num_envs=2, vectorization_mode="sync")
    replay = ReplayBuffer(200, envs.single_observation_space, envs.single_action_space, device="cpu", n_envs=1)
    labeller = EpisodeLabeller(OptimalTransport().fit(expert()), 2, discount=DISCOUNT)
    actions, found = np.array([[-0.2], [0.1]], np.float32), []
    observations, _ = envs.reset(seed=0)
    for _ in range(41):
        following, _, terminated, truncated, infos = envs.step(actions)
        for step in labeller.label(observations, actions, following, terminated, truncated, infos):
            replay.add(*step, [{}])
            found.append(step)
        observations = following
    assert replay.size() == len(found) > 60
    for stored, given in zip(steps_of(replay), zip(*found, strict=True), strict=False):
        np.testing.assert_array_equal(stored, np.stack(given) if stored.ndim > 1 else np.array(given))


def test_what_cannot_be_stored_is_refused_at_once():
    with pytest.raises(InputError, match="optimize_memory_usage=True"):
        make_model(optimize_memory_usage=True, buffer={"handle_timeout_termination": False})
    with pytest.raises(InputError, match=r"observation space is Dict.*FlattenObservation"):
        ImitationReplayBuffer(
            10,
            gymnasium.make("small_envs:DictLedge-v0").observation_space,
            gymnasium.make(LEDGE).action_space,
            reward=OptimalTransport().fit(expert()),
            discount=DISCOUNT,
        )
    with pytest.raises(InputError, match="discount is 1"):
        make_model(discount=1.0)
