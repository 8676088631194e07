"""``ilfo label``: every transition gets the reward that the generator gives it, and the user is told the rest."""

import json
import tracemalloc
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch

import ilfo
from ilfo import demos
from ilfo._dataset_labeller import DatasetLabeller
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.demos.files import resolved
from ilfo.demos.logged import open_logged
from ilfo.label import LabelConfig, label, main, parse_label
from ilfo.rewards import Episodes, OptimalTransport, RewardGenerator, StateFeatures

COLUMNS = Provenance(observation_keys={"height": 1, "pace": 1})
HEIGHT = "own_plugins:Height"
TOLL = "own_plugins:Toll"


class Moving(RewardGenerator):
    """Learns from the agent."""

    needs = "transition"
    stationary = False

    def fit(self, demonstrations):
        return self

    def score(self, episodes):
        return torch.zeros_like(episodes.observations[:, 1:, 0])


class LearnsOfEpisodes(Moving):
    """Learns from the agent, and never scores an episode twice."""

    needs = "trajectory"
    stationary = True

    def observe(self, episodes):
        return {}


class Unsure(Moving):
    """Has no number for a state above 100."""

    stationary = True

    def score(self, episodes):
        states = episodes.observations[:, 1:, 0]
        return torch.where(states > 100, torch.nan, states) * episodes.mask


class Watched(Moving):
    """Every batch that it is asked for, and the height of the next state."""

    stationary = True
    batches: ClassVar[list[Episodes]] = []

    def score(self, episodes):
        assert not torch.is_grad_enabled()
        self.batches.append(episodes)
        return episodes.observations[:, 1:, 0] * episodes.mask


def walk(steps, number=0, **fields):
    """A random walk of two dimensions, whose first is the reward that Height gives for reaching a state."""
    generator = np.random.default_rng(number)
    states = generator.normal(size=(steps + 1, 2)).cumsum(axis=0).astype(np.float32)
    rewards = generator.normal(size=steps).astype(np.float32)
    return Trajectory(states, generator.normal(size=(steps, 1)).astype(np.float32), rewards, **fields)


def logged_file(path, lengths=(5, 8, 3, 8), terminated=(), layout="ilfo"):
    """A dataset of walks, and these."""
    walks = [
        walk(steps, number, terminated=number in terminated, truncated=number not in terminated)
        for number, steps in enumerate(lengths)
    ]
    demos.write(path, Demonstrations(tuple(walks), COLUMNS), layout)
    return walks


def flat_file(path, walks, following=False):
    """The walks in D4RL's flat layout, as others write it."""
    lengths = [len(each) for each in walks]
    last = np.isin(np.arange(sum(lengths)), np.cumsum(lengths) - 1)
    terminals = np.concatenate([[False] * (len(each) - 1) + [each.terminated] for each in walks])
    with h5py.File(path, "w") as file:
        file["observations"] = np.concatenate([each.observations[:-1] for each in walks])
        file["rewards"] = np.concatenate([each.env_rewards for each in walks])
        file["terminals"], file["timeouts"] = terminals, last & ~terminals
        if following:
            file["next_observations"] = np.concatenate([each.observations[1:] for each in walks])
    return path


def rewards_in(path):
    with h5py.File(path) as file:
        return file["rewards"][()]


def rewards_of_each(path):
    """What a learner finds as the rewards of each episode."""
    with open_logged(resolved(path)) as logged:
        return [logged.file[slot.group]["rewards"][slot.start : slot.stop] for slot in logged.slots]


@pytest.fixture
def expert(tmp_path):
    """A file with one walk, which is all that a reward of height needs."""
    return str(demos.write(tmp_path / "expert.hdf5", Demonstrations((walk(12, 99),), COLUMNS)))


@pytest.mark.parametrize("layout", ["ilfo", "d4rl", "robomimic", "minari"])
def test_every_transition_gets_its_own_reward(tmp_path, expert, layout):
    data, out = (tmp_path / (name + ("-v0" if layout == "minari" else ".hdf5")) for name in ("data", "out"))
    lengths = (5, 8, 3, 8)
    walks = [walk(steps, number) for number, steps in enumerate(lengths)]
    clipped = [Trajectory(each.observations, np.clip(each.actions, -1, 1), each.env_rewards) for each in walks]
    demos.write(data, Demonstrations(tuple(clipped), Provenance(env_id="Walk-v0")), layout)
    counts = []
    labelled = label(LabelConfig(str(data), out, expert, reward=HEIGHT), progress=lambda *done: counts.append(done))
    found = rewards_of_each(out)
    for truth, rewards in zip(walks, found, strict=True):
        assert rewards.tolist() == truth.observations[1:, 0].tolist()
    assert (labelled.episodes, labelled.transitions) == (4, 24)
    assert labelled.mean_reward == pytest.approx(np.concatenate(found).mean())
    assert (labelled.continued, labelled.averaged, labelled.terminated) == (0, 0, 0)
    assert counts[-1] == (24, 24)


def test_the_rewards_are_those_of_the_generator_alone(tmp_path, expert):
    walks = logged_file(tmp_path / "data.hdf5", (5, 8, 3, 8, 1), terminated=(0, 3))
    label(LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert))
    reward = OptimalTransport(features=StateFeatures()).fit(demos.open(expert))
    for truth, rewards in zip(walks, rewards_of_each(tmp_path / "out.hdf5"), strict=True):
        alone = Episodes.from_trajectories([Trajectory(truth.observations, terminated=False)])
        assert rewards.tolist() == reward.score(alone)[0].tolist()


def test_a_large_dataset_is_read_by_parts_and_scored_by_length(tmp_path, expert):
    lengths = [30, 200, 70] * 150
    walks = [walk(steps, number) for number, steps in enumerate(lengths)]
    flat_file(tmp_path / "data.hdf5", walks, following=True)
    Watched.batches.clear()
    config = LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert, reward="test_label:Watched")
    labelled = label(config)
    expected = np.concatenate([each.observations[1:, 0] for each in walks])
    np.testing.assert_array_equal(rewards_in(tmp_path / "out.hdf5"), expected)
    assert labelled.transitions == sum(lengths) > 32_768
    padded = sum(each.observations.shape[0] * (each.observations.shape[1] - 1) for each in Watched.batches)
    assert len(Watched.batches) < 20
    assert padded < 2.5 * sum(lengths)


def test_memory_does_not_grow_with_the_dataset(tmp_path, expert):
    """Arrays of a file four times as long take as much at the peak, but for a few bytes a row."""
    peaks, rows = [], (40_000, 160_000)
    for number, count in enumerate(rows):
        data = tmp_path / f"data{number}.hdf5"
        with h5py.File(data, "w") as file:
            states = np.random.default_rng(0).normal(size=(100, 2)).repeat(count // 100, axis=0).astype(np.float32)
            file["observations"], file["rewards"] = states, np.zeros(count, np.float32)
            file["infos/pictures"] = np.zeros((count, 60), np.float32)
            file["terminals"], file["timeouts"] = np.zeros(count, bool), np.arange(1, count + 1) % 100 == 0
        del states
        tracemalloc.start()
        label(LabelConfig(str(data), tmp_path / f"out{number}.hdf5", expert, reward=HEIGHT))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    added = (peaks[1] - peaks[0]) / (rows[1] - rows[0])
    assert added < 6, f"{added:.0f} bytes a row, of which the file has 257"


def test_a_long_demonstration_keeps_batches_small(tmp_path, expert):
    logged_file(tmp_path / "data.hdf5", (40,) * 20)
    with open_logged(tmp_path / "data.hdf5") as logged:
        Watched.batches.clear()
        DatasetLabeller(logged, Watched(), expert_steps=2**24 // 100).write(Sink(), None)
    assert [each.observations.shape[:2] for each in Watched.batches] == [(2, 41)] * 10


class Sink:
    """Takes rewards and forgets them."""

    def write(self, slot, rewards):
        assert len(slot) == len(rewards)


class TestWithoutSuccessors:
    def test_the_last_step_repeats_the_one_before_it(self, tmp_path, expert):
        walks = [walk(5, 0), walk(7, 1), walk(4, 2)]
        labelled = label(
            LabelConfig(str(flat_file(tmp_path / "x.hdf5", walks)), tmp_path / "out.hdf5", expert, reward=HEIGHT)
        )
        expected = [np.append(each.observations[1:-1, 0], each.observations[-2, 0]) for each in walks]
        np.testing.assert_array_equal(rewards_in(tmp_path / "out.hdf5"), np.concatenate(expected))
        assert (labelled.continued, labelled.averaged) == (3, 0)
        assert labelled.mean_reward == pytest.approx(np.concatenate(expected).mean())

    def test_a_row_on_its_own_gets_the_mean(self, tmp_path, expert, capsys):
        walks = [walk(5, 0), walk(1, 1), walk(4, 2)]
        data = flat_file(tmp_path / "x.hdf5", walks)
        main([str(data), str(tmp_path / "out.hdf5"), "--demo", expert, "--reward", HEIGHT])
        found = rewards_in(tmp_path / "out.hdf5")
        assert found[5] == pytest.approx(np.delete(found, 5).mean())
        printed = capsys.readouterr().out
        assert "3 transitions without a known successor: the reward of the step before stands there" in printed
        assert "the mean of all stands in 1, which none precedes" in printed

    def test_that_mean_is_of_steps_without_what_is_folded_into_some(self, tmp_path, expert):
        walks = [walk(5, 4, terminated=True, truncated=False), walk(1, 1), walk(4, 2)]
        data = flat_file(tmp_path / "x.hdf5", walks)
        label(LabelConfig(str(data), tmp_path / "out.hdf5", expert, reward=HEIGHT, fold_absorbing=0.9))
        found = rewards_in(tmp_path / "out.hdf5")
        own = np.concatenate([np.append(each.observations[1:-1, 0], each.observations[-2, 0]) for each in walks[::2]])
        assert found[5] == pytest.approx(own.mean(), rel=1e-5)
        assert found[4] < own[4] - 1

    def test_where_none_is_known_there_is_nothing_to_write(self, tmp_path, expert):
        data = flat_file(tmp_path / "x.hdf5", [walk(1, number) for number in range(3)])
        with pytest.raises(InputError, match="no transition has a known successor"):
            label(LabelConfig(str(data), tmp_path / "out.hdf5", expert, reward=HEIGHT))
        assert not (tmp_path / "out.hdf5").exists()

    def test_the_value_of_being_dead_belongs_to_the_last_of_them(self, tmp_path, expert):
        walks = [walk(5, 4, terminated=True, truncated=False), walk(4, 1)]
        data = flat_file(tmp_path / "x.hdf5", walks)
        label(LabelConfig(str(data), tmp_path / "out.hdf5", expert, reward=HEIGHT, fold_absorbing=0.5))
        own = walks[0].observations[1:-1, 0]
        expected = [*own, own[-1] - 9]
        np.testing.assert_allclose(rewards_in(tmp_path / "out.hdf5")[:5], expected, rtol=1e-6)


class TestTerminations:
    def test_what_follows_is_folded_only_where_it_is_asked_for(self, tmp_path, expert):
        walks = logged_file(tmp_path / "data.hdf5", (6, 6), terminated=(1,))
        folded = label(
            LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert, reward=HEIGHT, fold_absorbing=0.9)
        )
        own = [each.observations[1:, 0] for each in walks]
        found = rewards_of_each(tmp_path / "out.hdf5")
        np.testing.assert_array_equal(found[0], own[0])
        np.testing.assert_array_equal(found[1][:-1], own[1][:-1])
        assert found[1][-1] == pytest.approx(own[1][-1] + 9 * -9, rel=1e-5)
        plain = label(LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "plain.hdf5", expert, reward=HEIGHT))
        assert plain.terminated == folded.terminated == 1
        assert plain.rank_correlation == folded.rank_correlation

    def test_an_expert_that_terminated_counts_as_cut_off_too_unless_what_follows_is_folded(self, tmp_path):
        logged_file(tmp_path / "data.hdf5", (20, 20), terminated=(1,))
        found = {}
        for ends in (True, False):
            name = str(tmp_path / f"{ends}.hdf5")
            demos.write(name, Demonstrations((walk(12, 99, terminated=ends, truncated=not ends),), COLUMNS))
            for discount in (None, 0.9):
                out = tmp_path / f"{ends}-{discount}.hdf5"
                label(LabelConfig(str(tmp_path / "data.hdf5"), out, name, fold_absorbing=discount))
                found[ends, discount] = np.concatenate(rewards_of_each(out))
        assert found[True, None].tolist() == found[False, None].tolist()
        assert found[True, 0.9].tolist() != found[False, 0.9].tolist()

    def test_rewards_below_zero_are_warned_of(self, tmp_path, expert):
        logged_file(tmp_path / "data.hdf5", terminated=(1, 2))
        config = LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert, reward=TOLL)
        with pytest.warns(UserWarning, match="below 0 on average, and 2 episodes terminated.*--fold-absorbing"):
            label(config)
        logged_file(tmp_path / "data.hdf5")
        label(LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "other.hdf5", expert, reward=TOLL))

    def test_nothing_to_fold_is_said(self, tmp_path, expert):
        logged_file(tmp_path / "data.hdf5")
        config = LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert, fold_absorbing=0.99)
        with pytest.warns(UserWarning, match="marks no episode as terminated"):
            label(config)

    @pytest.mark.parametrize("discount", [1.0, -0.1, float("nan")])
    def test_a_discount_that_sums_to_no_value_is_refused(self, discount):
        with pytest.raises(InputError, match="--fold-absorbing is"):
            LabelConfig("data.hdf5", "out.hdf5", "expert.hdf5", fold_absorbing=discount)


def test_the_file_says_where_its_rewards_come_from(tmp_path, expert):
    logged_file(tmp_path / "data.hdf5")
    flags = ["--demo", expert, "--transport.scale", "5", "--features.std-floor", "0.1", "--reward-keys", "pace"]
    with pytest.warns(UserWarning, match="the dataset marks no episode"):
        label(parse_label([str(tmp_path / "data.hdf5"), str(tmp_path / "out.hdf5"), *flags, "--fold-absorbing", "0.9"]))
    with h5py.File(tmp_path / "out.hdf5") as file:
        stated = json.loads(file.attrs["ilfo_label"])
    assert stated["reward"] == "transport"
    assert stated["options"]["transport"]["scale"] == 5
    assert stated["features"]["std_floor"] == 0.1
    assert stated["reward_keys"] == ["pace"]
    assert stated["fold_absorbing"] == 0.9
    assert stated["demo"] == "expert.hdf5"
    assert stated["demo_sha256"] == demos.open(expert).sha256
    assert stated["ilfo_version"] == ilfo.__version__


def test_the_command_prints_one_line_and_the_rank_correlation(tmp_path, expert, capsys):
    walks = logged_file(tmp_path / "data.hdf5", (5, 8, 3, 8, 20, 4))
    assert main([str(tmp_path / "data.hdf5"), str(tmp_path / "out.hdf5"), "--demo", expert, "--reward", HEIGHT]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path}/out.hdf5: 6 episodes, 48 transitions, mean reward ")
    assert first.endswith(" s")
    stats = pytest.importorskip("scipy.stats")
    new, old = (
        [values.sum() for values in kind]
        for kind in zip(*[(w.observations[1:, 0], w.env_rewards) for w in walks], strict=True)
    )
    expected = stats.spearmanr(new, old).statistic
    assert f"rank correlation {expected:.3f} of the episodes' returns" in second
    assert "env_rewards" in second


def test_equal_returns_share_their_place(tmp_path, expert):
    walks = [walk(4, number % 3) for number in range(7)]
    data = flat_file(tmp_path / "x.hdf5", walks, following=True)
    labelled = label(LabelConfig(str(data), tmp_path / "out.hdf5", expert, reward=HEIGHT))
    stats = pytest.importorskip("scipy.stats")
    new, old = [each.observations[1:, 0].sum() for each in walks], [each.env_return for each in walks]
    assert labelled.rank_correlation == pytest.approx(stats.spearmanr(new, old).statistic)


def test_one_episode_has_no_rank(tmp_path, expert):
    logged_file(tmp_path / "data.hdf5", (9,))
    config = LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert, reward=HEIGHT)
    assert label(config).rank_correlation is None


def test_a_sum_of_rewards_is_weighed_and_scaled(tmp_path, expert):
    walks = logged_file(tmp_path / "data.hdf5")
    flags = ["--reward", f"{HEIGHT} + 0.5*test_label:Watched", "--scaling.method", "fixed", "--scaling.factor", "2"]
    label(parse_label([str(tmp_path / "data.hdf5"), str(tmp_path / "out.hdf5"), "--demo", expert, *flags]))
    for truth, found in zip(walks, rewards_of_each(tmp_path / "out.hdf5"), strict=True):
        np.testing.assert_allclose(found, 3 * truth.observations[1:, 0], rtol=1e-6)


def test_the_demonstration_is_brought_into_the_datasets_order(tmp_path):
    walks = logged_file(tmp_path / "data.hdf5")
    turned = Trajectory(np.ascontiguousarray(walks[0].observations[:, ::-1]))
    keys = {"pace": 1, "height": 1}
    expert = demos.write(tmp_path / "expert.hdf5", Demonstrations((turned,), Provenance(observation_keys=keys)))
    label(LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", str(expert)))
    assert rewards_of_each(tmp_path / "out.hdf5")[0].tolist() == [2.0] * 5


def test_a_filter_key_chooses_the_experts_and_not_what_is_labelled(tmp_path):
    logged_file(tmp_path / "data.hdf5")
    clipped = [Trajectory(w.observations, np.zeros((len(w), 1)), w.env_rewards) for w in (walk(5, 0), walk(5, 1))]
    data = tmp_path / "both.hdf5"
    with pytest.warns(UserWarning, match="names no environment"):
        demos.write(data, Demonstrations(tuple(clipped)), "robomimic")
    with h5py.File(data, "r+") as file:
        file["mask/good"] = np.array(["demo_1"], dtype="S")
    label(LabelConfig(str(data), tmp_path / "out.hdf5", str(data), filter_key="good"))
    first, second = rewards_of_each(tmp_path / "out.hdf5")
    assert second.tolist() == [2.0] * 5
    assert first.max() < 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reward", "environment"], "passes the environment's rewards through"),
        (["--reward", "test_label:Moving"], "learns from the agent's own episodes.*trained against this dataset"),
        (["--reward", "test_label:LearnsOfEpisodes"], "learns from the agent's own episodes"),
        (["--reward", "own_plugins:Scaling"], "other flags are already called --scaling or begin with it"),
        (["--scaling.method", "running"], "--scaling.method running is measured on an agent's episodes"),
        (["--scaling.method", "first-episode"], "choose none, fixed or expert-range"),
        (["--reward", "transpot"], "did you mean 'transport'"),
        (["--max-episode-steps", "5"], "layout ilfo says where its episodes end"),
        (["--filter-key", "good"], "no filter keys"),
        (["--reward-keys", "speed"], "speed"),
        (
            ["--reward", "test_label:Unsure"],
            r"'episode_2', step 1: the reward of Unsure is nan; expected a finite number",
        ),
        (["--reward", "2*test_label:Unsure"], r"'episode_2', step 1: the reward of Unsure is nan; expected a finite"),
        (["--reward", "broken_plugins:OneTooMany"], r"OneTooMany.score returned .*\(4, 9\); expected \(4, 8\)"),
        (["--reward", "nearest", "--flow.updates", "3"], "--flow.updates is an option of --reward flow"),
        (["--scaling.factor", "3"], "--scaling.factor is 3 and --scaling.method none"),
        (["--scaling.discount", "0.9"], "--scaling.discount is 0.9 and --scaling.method none"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_written(tmp_path, flags, message):
    data = tmp_path / "data.hdf5"
    walks = [walk(5, 0), walk(8, 1), walk(3, 2), walk(8, 3)]
    walks[2].observations[2, 0] = 101
    keys = Provenance(observation_keys={"height": 1, "pace": 1})
    demos.write(data, Demonstrations(tuple(walks), keys))
    there = list(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        main([str(data), str(tmp_path / "out.hdf5"), "--demo", str(data), *flags])
    assert list(tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--transport.scale", "-1"], "scale is -1.0"),
        (["--fold-absorbing", "1"], "--fold-absorbing is 1.0"),
        (["--td3.batch-size", "1"], "--td3.batch-size"),
    ],
)
def test_a_wrong_flag_ends_with_status_2(flags, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["data.hdf5", "out.hdf5", "--demo", "expert.hdf5", *flags])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_demonstration_of_another_width_is_refused_before_anything_is_scored(tmp_path):
    expert = demos.write(tmp_path / "expert.hdf5", Demonstrations((Trajectory(np.zeros((5, 3), np.float32)),)))
    data = flat_file(tmp_path / "x.hdf5", [walk(5)], following=True)
    with pytest.raises(InputError, match=r"expert.hdf5: its states have 3 dimensions, but those of .*x.hdf5 have 2"):
        label(LabelConfig(str(data), tmp_path / "out.hdf5", str(expert)))


def test_a_diverged_episode_is_refused_by_name(tmp_path, expert):
    walks = [walk(5, 0), walk(6, 1)]
    walks[1].observations[3, 1] = 1e13
    data = flat_file(tmp_path / "x.hdf5", walks, following=True)
    with pytest.raises(InputError, match=r"x.hdf5, episode 1 \(rows 5 to 10\), step 3: dimension 1 .* is 1e\+13"):
        label(LabelConfig(str(data), tmp_path / "out.hdf5", expert))


def test_neither_dataset_nor_demonstration_is_overwritten(tmp_path, expert):
    logged_file(tmp_path / "data.hdf5")
    data = str(tmp_path / "data.hdf5")
    for out, overwrite, message in (
        (data, True, "is what is read"),
        (expert, True, "is what is read"),
        (expert, False, "is there already"),
    ):
        with pytest.raises(InputError, match=message):
            label(LabelConfig(data, Path(out), expert, reward=HEIGHT, overwrite=overwrite))


def test_ctrl_c_leaves_the_older_file_and_nothing_else(tmp_path, expert):
    logged_file(tmp_path / "data.hdf5")
    config = LabelConfig(str(tmp_path / "data.hdf5"), tmp_path / "out.hdf5", expert, reward=HEIGHT, overwrite=True)
    label(config)
    before, there = (tmp_path / "out.hdf5").read_bytes(), sorted(tmp_path.iterdir())

    def interrupt(done, everything):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(config, progress=interrupt)
    assert sorted(tmp_path.iterdir()) == there
    assert (tmp_path / "out.hdf5").read_bytes() == before


def test_a_folder_of_another_layout_is_refused(tmp_path, expert):
    with pytest.raises(InputError, match="neither a Minari nor a LeRobot"):
        label(LabelConfig(str(tmp_path), tmp_path / "out", expert))
    (tmp_path / "metadata.json").write_text('{"data_format": "arrow"}')
    with pytest.raises(
        InputError, match=r"stored as 'arrow', and only Minari datasets in HDF5 .*demos convert .* --to mi"
    ):
        label(LabelConfig(str(tmp_path), tmp_path / "out", expert))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("{}")
    with pytest.raises(InputError, match=r"LeRobot datasets cannot be labelled.*ilfo demos convert"):
        label(LabelConfig(str(tmp_path), tmp_path / "out", expert))
