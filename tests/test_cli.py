"""The command line as a user types it: help, mistakes, hostile files, and a whole session."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_envs import LEDGE, expert

import ilfo
from ilfo import demos
from ilfo._progress import conclude
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.cli import main
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.runs import read_config, read_summary
from ilfo.training.configs import TrainConfig

VERBS = ("train", "evaluate", "report", "record", "demos")
SMALL = [
    *("--steps", "300", "--random-steps", "100", "--eval-every", "150", "--eval-episodes", "2", "--log-every", "100"),
    *("--threads", "1", "--td3.hidden-dim", "32", "--td3.batch-size", "64"),
]


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty folder to be in; what ``main`` changes in the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


SCRIPT = Path(sysconfig.get_path("scripts")) / "ilfo"


def started(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def installed(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the script that the installation made."""
    return started(SCRIPT, *words, cwd=cwd)


def refused(capsys, *words: str) -> str:
    """What is said of input that cannot be used: status 2, on the error stream alone, without a traceback."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("ilfo: ")
    assert "Traceback" not in said.err
    assert not said.out.strip()
    return said.err


def printed(capsys, *words: str) -> str:
    assert main(words) == 0
    return " ".join(capsys.readouterr().out.split())


class TestInstalledScript:
    def test_help_names_every_verb(self):
        result = installed("--help")
        assert (result.returncode, result.stderr) == (0, "")
        assert all(f"\n  {verb} " in result.stdout for verb in VERBS)

    def test_version(self):
        result = installed("--version")
        assert (result.returncode, result.stdout, result.stderr) == (0, f"{ilfo.__version__}\n", "")

    def test_nothing_is_a_mistake_that_shows_the_help(self):
        result = installed()
        assert result.returncode == 2
        assert "usage: ilfo VERB" in result.stdout

    def test_a_wrong_verb(self):
        result = installed("trian", "--env", LEDGE)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == "ilfo: there is no verb 'trian'; did you mean 'train'?\n"

    @pytest.mark.parametrize(
        ("verb", "flags"),
        [
            ("train", ("--env", "--demo", "--preset", "--dry-run", "--transport.cost", "--td3.tau")),
            ("evaluate", ("--episodes", "--video")),
            ("report", ("--no-video",)),
            ("record", ("--run", "--min-return", "--scripted")),
            ("demos", ("info", "validate", "list", "plot")),
        ],
    )
    def test_every_verb_has_its_help(self, verb, flags):
        result = installed(verb, "--help")
        assert (result.returncode, result.stderr) == (0, "")
        assert f"usage: ilfo {verb}" in result.stdout
        assert all(flag in result.stdout for flag in flags)

    def test_a_refusal_has_no_traceback_and_the_users_own_modules_are_found(self, workplace):
        """``small_envs`` stands in the working directory, as a user's own file would."""
        (workplace / "bad.hdf5").write_bytes(b"no demonstration")
        here = Path(__file__).parent
        out = workplace / "run"
        result = installed("train", "--env", LEDGE, "--demo", str(workplace / "bad.hdf5"), "--out", str(out), cwd=here)
        assert result.returncode == 2
        assert "bad.hdf5: is not HDF5" in result.stderr
        assert "Traceback" not in result.stderr
        assert not out.exists()


def truncated(path: Path) -> None:
    demos.write(path, expert())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def with_nan(path: Path) -> None:
    states = expert()[0].observations.copy()
    states[17, 1] = np.nan
    with h5py.File(path, "w") as file:
        file["episode_0/observations"] = states


def ragged(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["episode_0/observations"] = np.zeros((9, 2), np.float32)
        file["episode_1/observations"] = np.zeros((9, 3), np.float32)


def uneven(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["episode_0/observations"] = np.zeros((9, 2), np.float32)
        file["episode_0/rewards"] = np.zeros(4, np.float32)


def empty_episode(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["episode_0/observations"] = np.zeros((1, 2), np.float32)


def wrong_keys(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["states"] = np.zeros((9, 2), np.float32)


def pickled(path: Path) -> None:
    np.save(path.with_suffix(".npy"), np.array([{"observations": []}], object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)


def too_wide(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["episode_0/observations"] = np.zeros((9, 3), np.float32)


HOSTILE = [
    (truncated, ["truncated or damaged", "Copy or download it again"]),
    (with_nan, ["'episode_0'", "'observations'", "step 17, dimension 1 is nan", "leave that episode out"]),
    (ragged, ["'episode_1'", "width 3", "width 2", "split the file"]),
    (uneven, ["'episode_0'", "'rewards'", "has 4 rows, expected 8", "Cut the arrays"]),
    (empty_episode, ["'episode_0'", "expected at least 2", "leave it out"]),
    (wrong_keys, ["group '/'", "call 'states' 'observations'"]),
    (pickled, ["is not HDF5", "Pickles are never read"]),
    (too_wide, ["'observations'", "3 dimensions", f"{LEDGE} has 2", f"a demonstration of {LEDGE}"]),
]


@pytest.mark.parametrize(("spoil", "said"), HOSTILE, ids=[spoil.__name__ for spoil, _ in HOSTILE])
def test_a_hostile_file_is_refused_before_anything_starts(spoil, said, workplace, capsys):
    path = workplace / "expert.hdf5"
    spoil(path)
    before = sorted(workplace.rglob("*"))
    for words in (["train", "--env", LEDGE, "--demo", str(path)], ["demos", "validate", str(path), "--env", LEDGE]):
        error = refused(capsys, *words)
        for part in (str(path), *said):
            assert part in error
    assert sorted(workplace.rglob("*")) == before, "neither a run's folder nor anything else was left behind"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--preset", "quikstart"], "no preset 'quikstart'; did you mean 'quickstart'?"),
        (["--reward", "transprot"], "no reward is called 'transprot'; did you mean 'transport'?"),
        (["--agent", "td33"], "no agent is called 'td33'; did you mean 'td3'?"),
        (["--reward", "nowhere:Mine"], "there is no module 'nowhere'"),
        (["--demo", "nowhere.hdf5"], "nowhere.hdf5: no such file"),
        (["--config", "nowhere.toml"], "there is no configuration file nowhere.toml"),
        (["--reward", "transport"], "give --demo FILE"),
        (["--env", "Hoper-v5", "--demo", "expert.hdf5"], "environment 'Hoper-v5' cannot be made"),
        (["--env", "my_robots/arm.py:Arm-v0", "--demo", "expert.hdf5"], "not its file: my_robots.arm:Arm-v0"),
        (["--env", "CartPole-v1", "--reward", "environment"], "expected a continuous vector"),
        (
            ["--env", "small_envs:Endless-v0", "--reward", "environment", "--protocol", "fixed-horizon"],
            "has no time limit: give it one, small_envs:Endless-v0@1000-steps",
        ),
        (["--demo", "expert.hdf5", "--features.dims", "7"], "dims names column 7"),
        (["--demo", "expert.hdf5", "--steps", "50"], "nothing would be learned"),
        (["--demo", "expert.hdf5", "--reward", "broken_plugins:OneTooMany"], "ilfo.testing.check_reward(OneTooMany)"),
        (["--demo", "expert.hdf5", "--reward", "broken_plugins:OneTooMany", "--dry-run"], "expected (1, 16), a reward"),
        (["--demo", "expert.hdf5", "--reward", "nearest", "--flow.updates", "3"], "is an option of --reward flow"),
        (["--demo", "expert.hdf5", "--scaling.factor", "100"], "give --scaling.method fixed"),
        (["--demo", "expert.hdf5", "--seeds", "3-1"], "--seeds is '3-1'; each number may stand there once"),
        (["--demo", "expert.hdf5", "--out", "expert.hdf5"], "is a file; expected a folder"),
        (["--demo", "expert.hdf5", "--out", "."], "is not the folder of a run"),
        (["--demo", "expert.hdf5", "--out", "expert.hdf5/run"], "cannot be used: Not a directory; expected a folder"),
        (["--demo", "expert.hdf5", "--out", "/proc/ilfo/run"], "--out /proc/ilfo/run cannot be used: No such file"),
        (["--demo", "expert.hdf5", "--out", "long" * 99], "cannot be used: File name too long"),
        (["--demo", "expert.hdf5", "--config", "."], "the configuration . cannot be read: Is a directory"),
    ],
)
def test_a_mistake_is_named_with_its_remedy_and_starts_nothing(flags, said, workplace, capsys):
    demos.write("expert.hdf5", expert())
    assert said in refused(capsys, "train", "--env", LEDGE, *flags)
    assert [path.name for path in workplace.iterdir()] == ["expert.hdf5"]


def test_an_interpreter_runs_the_command_line_too(tmp_path):
    for words in (("demos", "list"), ("train", "--features", "pixels")):
        found, wanted = started(sys.executable, "-m", "ilfo", *words, cwd=tmp_path), installed(*words, cwd=tmp_path)
        assert (found.returncode, found.stdout, found.stderr) == (wanted.returncode, wanted.stdout, wanted.stderr)
        assert found.stdout or "ilfo train: error" in found.stderr


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "--env", LEDGE, "--stepz", "5"], "--stepz"),
        (["train", "--env", LEDGE, "--steps", "many"], "many"),
        (["train", "--env", LEDGE, "--reward", "environment", "--features.std-floor", "0"], "std_floor is 0.0"),
        (["train", "--reward", "environment"], "--env"),
        (["evaluate"], "Required options"),
        (["record", "--episodes", "1.5", "out.hdf5"], "1.5"),
        (["demos", "show", "expert.hdf5"], "show"),
    ],
)
def test_a_wrong_flag_exits_with_2_and_points_to_the_help(words, part, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert part in said
    assert f"ilfo {words[0]}" in said
    assert "Traceback" not in said


def test_a_session_with_several_seeds(workplace, capsys):
    """Train three side by side, look at all of them, and go on with the best."""
    demos.write("expert.hdf5", expert())
    command = ["train", "--env", LEDGE, "--demo", "expert.hdf5", "--out", "runs/many", "--seeds", "0-2", *SMALL]
    assert "seeds 0-2: 3 at once" in printed(capsys, *command, "--dry-run")
    assert not Path("runs").exists()
    said = printed(capsys, *command)
    summary = read_summary("runs/many")
    assert summary["seeds"] == [0, 1, 2]
    for each in summary["each"]:
        assert f"│ {each['seed']} │ {each['policy_return']:.1f} │ {each['random_return']:.1f} │" in said
    assert f"score {summary['score_iqm']:.3f}, 95 % interval" in said
    assert f"policy's return {summary['policy_return']:.1f}, the mean over 3 seeds" in said

    said = printed(capsys, "evaluate", "runs/many", "--episodes", "2")
    assert "3 seeds, after 300 steps" in said
    said = printed(capsys, "report", "runs/many", "--episodes", "1", "--no-video")
    assert said == "report runs/many/report/index.html"
    assert "give the folder of one, seed_0" in refused(capsys, "record", "out.hdf5", "--run", "runs/many")
    printed(capsys, "record", "out.hdf5", "--run", "runs/many/seed_2")
    assert "seeds was '0-2' and is now '0-3'" in refused(capsys, *command, "--seeds", "0-3")
    assert printed(capsys, *command).startswith("The run in runs/many is finished; nothing is left to train.")


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_a_folder_that_is_no_run_is_refused(verb, workplace, capsys):
    assert "it has no config.json" in refused(capsys, verb, str(workplace))
    assert "runs/none is not the folder of a run: it does not exist" in refused(capsys, verb, "runs/none")
    assert not list(workplace.iterdir())
    Path("notes").touch()
    assert "it is a file" in refused(capsys, verb, "notes")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"architectures": ["BertModel"], "hidden_size": 768}', "its config.json says nothing of a 'config'"),
        ('{"config": "resnet"}', "its config.json says nothing of a 'config'"),
        ("[1, 2]", "config.json holds a list; expected what a run writes there"),
        ("env = 3", "config.json is not valid JSON"),
    ],
)
def test_a_folder_with_the_configuration_of_something_else_is_refused_and_left_alone(content, said, workplace, capsys):
    demos.write("expert.hdf5", expert())
    Path("model").mkdir()
    Path("model/config.json").write_text(content)
    Path("model/weights.bin").touch()
    for words in (("evaluate", "model"), ("report", "model"), ("record", "o.hdf5", "--run", "model")):
        assert said in refused(capsys, *words)
    for verb in ("train", "clone"):
        assert said in refused(capsys, verb, "--env", LEDGE, "--demo", "expert.hdf5", "--out", "model")
    assert sorted(path.name for path in Path("model").iterdir()) == ["config.json", "weights.bin"]
    assert Path("model/config.json").read_text() == content


def test_a_path_that_the_system_refuses_is_named_without_a_traceback(workplace, capsys):
    Path("suite.toml").write_text(f'[[tasks]]\nname = "walk"\nenv = "{LEDGE}"\ndemo = "walk"')
    said = refused(capsys, "evaluate", "suite.toml", "--show", "--out", "suite.toml/kept")
    assert said == "ilfo: suite.toml/kept: Not a directory. Name another path, or change its permissions\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_named(workplace, capsys):
    demos.write("expert.hdf5", expert())
    Path("locked").mkdir(0o500)
    said = refused(capsys, "train", "--env", LEDGE, "--demo", "expert.hdf5", "--out", "locked/run")
    assert "--out locked/run cannot be used: Permission denied; expected a folder" in said
    said = refused(capsys, "record", "--env", LEDGE, "--policy", "no_such_module:act", "locked/new.hdf5")
    assert "locked/new.hdf5: the folder locked cannot be written to" in said


def test_recording_needs_exactly_one_expert(workplace, capsys):
    assert "--policy MODULE:CALLABLE or --scripted" in refused(capsys, "record", "out.hdf5")
    assert "no scripted expert" in refused(capsys, "record", "--env", LEDGE, "--scripted", "out.hdf5")
    assert not list(workplace.iterdir())


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_configuration_file_says_what_flags_would(suffix, workplace, capsys):
    demos.write("expert.hdf5", expert())
    file = workplace / f"run.{suffix}"
    values = {"env": LEDGE, "demo": "expert.hdf5", "steps": 700, "random_steps": 30, "td3": {"batch_size": 99}}
    text = 'env = "{env}"\ndemo = "{demo}"\nsteps = {steps}\nrandom_steps = 30\n[td3]\nbatch_size = 99\n'
    file.write_text(json.dumps(values) if suffix == "json" else text.format(**values))
    plan = printed(capsys, "train", "--config", file.name, "--steps", "650", "--dry-run")
    assert "batch 99" in plan
    assert "650, the first 30 random" in plan
    assert sorted(path.name for path in workplace.iterdir()) == sorted(["expert.hdf5", file.name])


def test_a_misspelt_key_of_a_configuration_file_is_refused(workplace, capsys):
    (workplace / "run.toml").write_text("[td3]\nbatch_sise = 9\n")
    said = refused(capsys, "train", "--env", LEDGE, "--demo", "expert.hdf5", "--config", "run.toml")
    assert "run.toml: unknown key 'td3.batch_sise'; did you mean 'batch_size'?" in said


def test_a_whole_session(workplace, capsys):
    """Train, evaluate, report, record; look at the recording; train on it."""
    demos.write("expert.hdf5", expert())
    first = ["train", "--env", LEDGE, "--demo", "expert.hdf5", "--out", "runs/first", *SMALL]
    said = printed(capsys, *first)
    summary = read_summary("runs/first")
    assert summary["demo_sha256"] == demos.open("expert.hdf5").sha256
    assert "expert's return 40.0" in said
    assert f"ratio {summary['ratio']:.3f}" in said

    said = printed(capsys, *first)
    assert "is finished; nothing is left to train" in said
    assert read_summary("runs/first") == summary
    assert main([*first, "--seed", "1"]) == 2
    assert "seed was 0 and is now 1" in capsys.readouterr().err
    assert read_summary("runs/first") == summary

    said = printed(capsys, "evaluate", "runs/first", "--episodes", "3")
    assert f"policy {LEDGE} after 300 steps" in said
    assert "of the expert's 40.0" in said
    assert "episodes 3, protocol standard" in said

    said = printed(capsys, "report", "runs/first", "--episodes", "2", "--no-video")
    assert said == "report runs/first/report/index.html"
    page = (workplace / "runs/first/report/index.html").read_text()
    assert summary["demo_sha256"] in page
    assert "<video" not in page

    kept = ["--episodes", "2", "--min-return", "-1", "recorded.hdf5"]
    said = printed(capsys, "record", "--env", LEDGE, "--run", "runs/first", *kept)
    assert "recorded.hdf5: 2 episodes" in said
    assert "without actions" in said
    recorded = demos.open("recorded.hdf5")

    said = printed(capsys, "demos", "info", "recorded.hdf5")
    for part in (recorded.sha256, f"environment {LEDGE}", "actions no", "ilfo record", "--run runs/first"):
        assert part in said
    steps = sum(len(trajectory) for trajectory in recorded)
    said = printed(capsys, "demos", "validate", "recorded.hdf5", "--env", LEDGE)
    assert said == f"OK 2 episodes, {steps} steps, 2 dimensions, fits {LEDGE}"

    printed(capsys, "train", "--env", LEDGE, "--demo", "recorded.hdf5", "--out", "runs/second", *SMALL)
    assert read_config("runs/second")["demo_sha256"] == recorded.sha256
    assert read_summary("runs/second")["expert_return"] == pytest.approx(recorded.expert_return)
    assert not list(workplace.glob("*.png"))


def test_the_help_names_every_reward_and_agent_that_comes_along(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"Learner: {', '.join(AGENTS)}, or 'module:Class'" in said
    assert set(re.search(r"Reward generator: (.*?), or 'module:Class'", said)[1].split(", ")) == set(REWARDS)


def test_warnings_are_printed_without_the_colours_of_others(workplace, capsys, monkeypatch):
    """Gymnasium colours its own, also where nobody sees a colour."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    Path("loud.py").write_text("import gymnasium\ngymnasium.logger.warn('mind the step')\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        said = refused(capsys, "record", "x.hdf5", "--env", "Hopper-v5", "--policy", "loud:nobody")
    assert said.splitlines()[0] == "ilfo: warning: mind the step"
    assert "known: gymnasium\n" in said, "names that Python adds to a module are none to choose from"


def test_a_ratio_to_a_return_below_zero_is_said_to_be_none(capsys):
    config = TrainConfig(env="Pendulum-v1")
    summary = {
        "expert_return": -150.0,
        "ratio": None,
        "success": None,
        "policy_return": -200.0,
        "random_return": -900.0,
    }
    conclude(config, summary)
    assert "ratio             none, for the expert's return is not above 0\n" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:TD3 cannot stack seeds under these options")
def test_the_plan_says_where_seeds_are_not_one_computation(workplace, capsys):
    demos.write("expert.hdf5", expert())
    command = ["train", "--env", LEDGE, "--demo", "expert.hdf5", "--seeds", "0-2", "--dry-run", *SMALL]
    assert "seeds 0-2: 3 updated in turn" in printed(capsys, *command, "--td3.checkpoints")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["demos", "list"]])
def test_output_that_nobody_reads_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([sys.executable, "-m", "ilfo", *words], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_another_broken_pipe_is_an_error(monkeypatch):
    def broken(words):
        raise BrokenPipeError("a worker")

    monkeypatch.setattr("ilfo.train.main", broken)
    with pytest.raises(BrokenPipeError, match="a worker"):
        main(["train"])


def test_output_may_be_closed():
    ended = subprocess.run(
        [sys.executable, "-m", "ilfo", "demos", "list"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.close(1),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
