"""Names on the command line: what is said of those that name nothing, and of flags that belong to another."""

import re

import pytest
from own_plugins import Height

from ilfo._tools.errors import InputError
from ilfo.plugins import check_chosen, check_tables, find, resolve
from ilfo.rewards import BUILT_IN, RewardGenerator

AGENTS = ["sac", "sb3-sac", "td3"]


def test_ones_own_is_found_without_registration():
    assert resolve("own_plugins:Height", BUILT_IN, "reward", RewardGenerator) is Height


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_plugins.py:Height", "no module 'own_plugins.py' in "),
        ("own_plugins.py:Height", "packages; name the module, not its file: own_plugins:Height"),
        ("./own_plugins.py:Height", "'./own_plugins.py:Height'; name the module, not its file: own_plugins:Height"),
        ("rewards/of/mine.py:Height", "name the module, not its file: rewards.of.mine:Height"),
        ("rewards/mine:Height", "name the module, not its file: rewards.mine:Height"),
        ("/somewhere/mine.py:Height", "not its file: mine:Height, and run this in /somewhere"),
        ("../mine.py:Height", "not its file: mine:Height, and run this in .."),
    ],
)
def test_a_file_in_place_of_its_module_is_put_right(name, said):
    with pytest.raises(InputError, match=re.escape(said) + "($|.*name the module)"):
        find(name, BUILT_IN, "reward")


@pytest.mark.parametrize("built_in", [BUILT_IN, {}])
def test_a_module_that_is_not_there_is_no_file(built_in):
    with pytest.raises(InputError, match=r"there is no module 'nowhere' in .* or among the installed packages$"):
        find("nowhere:Mine", built_in, "reward")


@pytest.mark.parametrize(
    ("name", "built_in", "said"),
    [
        ("transprot", BUILT_IN, "'transprot'; did you mean 'transport'? Your own is named 'module:Class'"),
        ("x", dict.fromkeys(AGENTS, ""), "'x'; known: sac, sb3-sac, td3; your own is named 'module:Class'"),
        ("walk", {}, "'walk'; name it 'module:name'"),
        ("mine.py:", BUILT_IN, "'mine.py:'; known: coverage"),
    ],
)
def test_a_name_that_is_none_gets_a_sentence(name, built_in, said):
    with pytest.raises(InputError, match=re.escape(said)):
        find(name, built_in, "thing")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "--sac.tau",
            "--sac.tau is an option of --agent sac, and --agent is td3: leave it out, or give --a",
        ),
        ("--sac.tau=0.1", "--sac.tau is an option of --agent sac"),
        ("--sb3-sac.tau", "--sb3-sac.tau is an option of --agent sb3-sac"),
        ("--sb3_sac.no-tau", "--sb3_sac.no-tau is an option of --agent sb3-sac"),
    ],
)
def test_flags_of_a_built_in_that_was_not_chosen_are_refused(word, said):
    with pytest.raises(InputError, match=said):
        check_chosen(["--steps", "5", word, "3"], {"td3", "steps"}, "agent", "td3", AGENTS)


def test_tables_of_a_built_in_that_was_not_chosen_are_refused():
    check_tables({"td3": {}, "steps": 5, "features": {}}, {"td3", "features"}, "agent", "td3", AGENTS, "my.toml")
    said = "my.toml: sb3-sac holds options of --agent sb3-sac, and --agent is td3: leave them out, or give"
    with pytest.raises(InputError, match=said):
        check_tables({"sb3-sac": {"tau": 1}}, {"td3"}, "agent", "td3", AGENTS, "my.toml")


@pytest.mark.parametrize("word", ["--td3.tau", "--sca.tau", "--sac", "sac.tau", "--features.dims", "--sac."])
def test_all_others_are_left_to_the_parser(word):
    check_chosen([word], {"td3", "features"}, "agent", "td3", AGENTS)
