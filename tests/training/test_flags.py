"""Defaults < preset < file < flags, and nothing is taken in silence."""

import dataclasses
import re
from dataclasses import replace

import pytest
from own_plugins import Still

from ilfo._tools.errors import InputError
from ilfo.label import parse_label
from ilfo.training.flags import make_config, parse_train, presets


def parse(*flags: str):
    return parse_train(["--env", "Hopper-v5", *flags])[0]


def test_defaults():
    config = parse("--reward", "environment")
    assert (config.agent, config.seed, config.protocol, config.absorbing) == ("td3", 0, "standard", True)
    assert config.td3.layer_norm is False


def test_a_demonstration_brings_the_imitation_preset_and_a_flag_overrides_it():
    assert parse("--demo", "d.hdf5").td3.layer_norm is True
    assert parse("--demo", "d.hdf5", "--td3.no-layer-norm").td3.layer_norm is False
    assert parse("--demo", "d.hdf5", "--preset", "td3").td3.layer_norm is False
    assert parse("--demo", "d.hdf5", "--agent", "td7").td7.initial_exploration_noise == 0.3
    assert parse("--demo", "d.hdf5", "--agent", "td7", "--preset", "td7").td7.initial_exploration_noise is None


def test_each_layer_overrides_the_one_below(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("random_steps = 7\nsteps = 50\n[td3]\ndiscount = 0.9\n")
    config = parse("--preset", "td3", "--config", str(file), "--steps", "60")
    assert config.reward == "environment"
    assert (config.random_steps, config.steps, config.td3.discount) == (7, 60, 0.9)
    assert config.td3.tau == 0.005


def test_presets_are_read_whole():
    for name in presets():
        config, _ = parse_train(["--preset", name, "--env", "Hopper-v5", "--demo", "d.hdf5"])
        assert config.steps > config.random_steps


@pytest.mark.parametrize("name", ["quickstart", "il-flow", "manipulation"])
def test_whatever_agent_imitates_has_what_imitation_gives_it(name):
    for agent in ("td3", "td7", "sac"):
        flags = ["--env", "Hopper-v5", "--demo", "d.hdf5", "--agent", agent]
        plain, preset = (getattr(parse_train([*flags, "--preset", each])[0], agent) for each in ("imitation", name))
        assert preset == replace(plain, exploration_noise=0.3) if (name, agent) == ("manipulation", "td3") else plain


def test_a_preset_for_one_agent_does_not_disturb_another():
    config = parse("--demo", "d.hdf5", "--agent", "own_plugins:Still")
    assert not hasattr(config, "td3")
    assert config.still.level == 0.0


def test_options_of_the_users_own_classes_become_flags():
    config = parse("--demo", "d.hdf5", "--reward", "own_plugins:Height", "--height.column", "1")
    assert config.height.column == 1


@pytest.mark.parametrize("table", ["policy_features", "policy-features"])
def test_a_table_of_a_file_leaves_the_rest_as_flags_do(tmp_path, table):
    """Policy inputs have a floor of their own, which is not that of other features, and presets may have another."""
    file = tmp_path / "mine.toml"
    file.write_text(f'demo = "d.hdf5"\n[{table}]\ndims = [0, 1]\n')
    by_file, by_flag = parse("--config", str(file)), parse("--demo", "d.hdf5", "--policy-features.dims", "0", "1")
    assert dataclasses.asdict(by_file) == dataclasses.asdict(by_flag)
    assert by_file.policy_features.std_floor == 0.1
    assert parse("--config", str(file), "--preset", "oops").policy_features.std_floor == 0.33


@pytest.mark.parametrize(
    ("settings", "flags", "preset"),
    [
        ({"demo": "d.hdf5"}, ["--demo", "d.hdf5"], None),
        ({"reward": "environment", "demo": None}, ["--reward", "environment"], None),
        ({"demo": "d.hdf5"}, ["--demo", "d.hdf5", "--preset", "oops"], "oops"),
        (
            {"demo": "d.hdf5", "td3": {"discount": 0.9}, "scaling": {"method": "running"}},
            ["--demo", "d.hdf5", "--td3.discount", "0.9", "--scaling.method", "running"],
            None,
        ),
        (
            {"demo": "d.hdf5", "sees": "keypoints", "keypoints": {"k": 9}, "policy-features": {"std-floor": 0.2}},
            ["--demo", "d.hdf5", "--features", "keypoints", "--keypoints.k", "9", "--policy-features.std-floor", "0.2"],
            None,
        ),
    ],
)
def test_settings_from_python_come_to_what_the_same_flags_come_to(settings, flags, preset):
    made = make_config({"env": "Hopper-v5", **settings}, preset)
    assert dataclasses.asdict(made) == dataclasses.asdict(parse(*flags))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "the settings: env is missing"),
        ({"env": "Hopper-v5", "stepz": 9}, "the settings: unknown key 'stepz'; did you mean 'steps'?"),
        ({"env": "Hopper-v5", "agent": ["td3"]}, "the settings: agent is ['td3']; expected str"),
        ({"env": "Hopper-v5", "steps": 1000}, "--random-steps is 5000 and --steps 1000: nothing would be learned"),
        ({"env": "Hopper-v5", "td7": {}}, "the settings: td7 holds options of --agent td7, and --agent is td3"),
    ],
)
def test_settings_from_python_are_checked_as_flags_are(settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_config(settings)


def test_columns_may_be_ranges():
    columns = ["--features.dims", "0-2", "7", "9-10", "--policy-features.dims", "4-5", "--seeds", "0-2"]
    config = parse("--demo", "d.hdf5", *columns)
    assert config.features.dims == (0, 1, 2, 7, 9, 10)
    assert config.policy_features.dims == (4, 5)
    assert parse("--demo", "d.hdf5", "--features.dims=3-4").features.dims == (3, 4)
    assert config.seeds == "0-2"
    assert parse_label(["in", "out", "--demo", "d.hdf5", "--features.dims", "1-3"]).features.dims == (1, 2, 3)
    with pytest.raises(InputError, match=r"--features\.dims is '3-1'; each number may stand there once"):
        parse("--demo", "d.hdf5", "--features.dims", "3-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 5", "did you mean 'steps'"),
        ("[td3]\ndiscont = 0.9", "'td3.discont'; did you mean 'discount'"),
        ('steps = "many"', "steps is 'many'; expected int"),
        ("steps = true", "steps is True; expected int"),
        ('protocol = "endless"', "expected one of 'standard', 'fixed-horizon'"),
        ("td3 = 3", "expected a table"),
        ("[keypoints]\nk = 5", "keypoints holds options of --features keypoints, and --features is states"),
        ("[td7]\ndiscount = 0.9", "td7 holds options of --agent td7, and --agent is td3"),
        ("[features]\ndims = 3", "expected a list"),
        ("steps = ", "not valid TOML"),
        ('agent = ["td3"]', "run.toml: agent is ['td3']; expected str"),
        ("reward = 3", "run.toml: reward is 3; expected str"),
        ("sees = false", "run.toml: sees is False; expected str"),
    ],
)
def test_a_wrong_file_is_refused_with_the_remedy(tmp_path, text, message):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        parse("--config", str(file))


@pytest.mark.parametrize(("text", "found"), [("[1, 2]", "list"), ("3", "int"), ("null", "NoneType"), ('"x"', "str")])
def test_a_file_of_json_that_holds_no_settings_is_refused(tmp_path, text, found):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=rf"run\.json holds a {found}; expected settings by name"):
        parse("--config", str(tmp_path / "run.json"))


def test_a_table_where_a_preset_has_a_number_is_refused(tmp_path):
    (tmp_path / "run.toml").write_text("[random_steps]\nall = 5")
    with pytest.raises(InputError, match=r"random_steps is {'all': 5}; expected int"):
        parse("--preset", "td3", "--config", str(tmp_path / "run.toml"))


def test_what_is_no_file_is_refused_as_a_configuration(tmp_path):
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "file" / "run.toml", "Not a directory")):
        with pytest.raises(InputError, match=f"the configuration {path} cannot be read: {reason}; expected a TOML"):
            parse("--config", str(path))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "quikstart"], "no preset 'quikstart'"),
        (["--config", "nowhere.toml"], "no configuration file"),
        (["--reward", "transprot"], "did you mean 'transport'"),
        (["--agent", "tdd3"], "did you mean 'td3'"),
        (["--reward", "no_module:Mine"], "no module 'no_module'"),
        (["--reward", "own_plugins:Hight"], "did you mean 'Height'"),
        (["--reward", "own_plugins:Still"], "not a subclass"),
        (["--steps", "10"], "nothing would be learned"),
        (["--seeds", "0-2", "--seed", "3"], "--seed is 3 and --seeds '0-2': give one of them"),
        (["--reward", "own_plugins.py:Height"], "name the module, not its file: own_plugins:Height"),
        (["--agent", "own_plugins.py:Still"], "name the module, not its file: own_plugins:Still"),
        (["--reward", "transport + 0.5flow"], "'0.5flow' lacks a '\\*': write 0.5\\*flow"),
        (["--reward", "transport + 0.5*flwo"], "did you mean 'flow'\\? Your own is named 'module:Class'"),
        (["--scaling.factor", "100"], "--scaling.factor is 100 and --scaling.method none"),
        (
            ["--scaling.method", "fixed", "--scaling.discount", "0.9"],
            "--scaling.method fixed, with which it has no effect",
        ),
        (
            ["--reward", "nearest", "--flow.updates", "3"],
            "an option of --reward flow, and --reward is nearest",
        ),
        (["--reward", "nearest + pwil", "--flow.updatez=3"], "and --reward is nearest \\+ pwil: leave it out"),
        (["--agent", "td3", "--sac.tau", "1"], "--sac.tau is an option of --agent sac, .* or give --agent sac"),
        (["--keypoints.k", "5"], "--features keypoints, and --features is states: .* or give --features keypoints"),
        (["--td7.tau", "1"], "--td7.tau is an option of --agent td7, and --agent is td3"),
    ],
)
def test_wrong_flags_are_refused_with_the_remedy(flags, message):
    with pytest.raises(InputError, match=message):
        parse(*flags)


@pytest.mark.parametrize(
    "flag",
    [
        *("--steps", "--num-envs", "--updates-per-step", "--threads", "--replay-size"),
        *("--eval-every", "--eval-episodes", "--log-every", "--demo-every"),
    ],
)
def test_what_has_to_be_at_least_one_is_not_none(flag):
    with pytest.raises(InputError, match=f"^{flag} is 0; expected at least 1"):
        parse(flag, "0")


@pytest.mark.parametrize("flag", ["--seed", "--env-workers", "--random-steps", "--checkpoint-seconds"])
def test_what_may_be_none_is_not_negative(flag):
    with pytest.raises(InputError, match=rf"^{flag} is -1(\.0)?; it cannot be negative"):
        parse(flag, "-1")


@pytest.mark.parametrize(("flag", "meant"), [("--stepz", "--steps"), ("--flwo.updates", "--flow.updates")])
def test_a_misspelt_flag_exits_with_2(flag, meant, capsys):
    with pytest.raises(SystemExit) as error:
        parse("--demo", "d.hdf5", "--reward", "flow", flag, "5")
    assert error.value.code == 2
    assert meant in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "value"), [("--demo-every", "2"), ("--filter-key", "train")])
def test_what_is_taken_of_a_demonstration_needs_one(flag, value):
    with pytest.raises(InputError, match=f"^{flag} is {value}, and there is no --demo"):
        parse("--reward", "environment", flag, value)


def test_ones_own_may_be_called_like_a_built_in_that_was_not_chosen():
    config = parse("--demo", "d.hdf5", "--reward", "own_plugins:TD3", "--agent", "sac", "--td3.column", "1")
    assert config.td3.column == 1


def test_a_file_may_give_the_factor_and_a_flag_the_method(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[scaling]\nfactor = 5.0\n")
    config = parse("--demo", "d.hdf5", "--config", str(file), "--scaling.method", "fixed")
    assert (config.scaling.method, config.scaling.factor) == ("fixed", 5.0)
    with pytest.raises(InputError, match=r"--scaling\.factor is 5 and --scaling\.method none"):
        parse("--demo", "d.hdf5", "--config", str(file))


@pytest.mark.parametrize(
    ("flags", "discount"),
    [
        ([], 0.99),
        (["--scaling.method", "running"], 0.99),
        (["--scaling.method", "running", "--td3.discount", "0.9"], 0.9),
        (["--scaling.method", "running", "--td3.discount", "0.9", "--scaling.discount", "0.5"], 0.5),
        (["--scaling.method", "running", "--agent", "td7", "--td7.discount", "0.8"], 0.8),
        (["--scaling.method", "running", "--agent", "test_flags:Hasty"], 0.7),
    ],
)
def test_the_discount_of_running_returns_is_the_agents(flags, discount):
    assert parse("--demo", "d.hdf5", *flags).scaling.discount == discount


class Hasty(Still):
    """Has no option that is called discount."""

    discount = 0.7


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("own_plugins:TD3", "other flags are already called --td3 or begin with it"),
        ("own_plugins:Scaling", "other flags are already called --scaling or begin with it"),
        ("transport + own_plugins:Transport", "two terms take flags that begin with --transport"),
    ],
)
def test_flags_that_would_be_called_like_others_are_refused(reward, message):
    with pytest.raises(InputError, match=message):
        parse("--demo", "d.hdf5", "--reward", reward, "--agent", "td3")


def test_the_preset_for_manipulation_gives_each_reward_its_own():
    chosen = parse("--preset", "manipulation", "--demo", "d.hdf5", "--reward", "flow")
    assert chosen.hold_end
    assert chosen.time_aware
    assert chosen.features.time == 20
    assert chosen.flow.temperature == 1.0
    assert not hasattr(chosen, "transport")
    chosen = parse("--preset", "manipulation", "--demo", "d.hdf5", "--reward", "transport")
    assert chosen.transport.temperature == 0.5
    assert not hasattr(chosen, "flow")


def test_the_help_says_how_many_updates_a_step_brings(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "each step brings --updates-per-step updates for every copy" in said


@pytest.mark.parametrize("rest", [[], ["--agent", "td7"]])
def test_a_sum_that_is_not_quoted_is_told_to_be(rest):
    with pytest.raises(InputError, match=r"a sum of rewards is one word; quote it, .*'transport \+ 0\.5\*flow'"):
        parse_train(["--env", "Hopper-v5", "--reward", "transport", "+", "flow", *rest])
