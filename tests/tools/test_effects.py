"""Options that would have no effect are refused; what a preset or the defaults say, and what is used, is not."""

import dataclasses

import pytest

from ilfo._tools.effects import check_effects, check_groups
from ilfo._tools.errors import InputError
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.cloning import parse_clone
from ilfo.label import parse_label
from ilfo.plugins import find
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards import make_reward
from ilfo.rewards.flow import FlowOptions
from ilfo.rewards.keypoints import KeypointOptions
from ilfo.rewards.matching import MatchingOptions
from ilfo.rewards.scaling import ScalingOptions
from ilfo.training import make_config
from ilfo.training.flags import parse_train, presets

PLUGINS = [find(name, built_in, "plug-in") for built_in in (REWARDS, AGENTS) for name in built_in]
GROUPS = {plugin.Options for plugin in PLUGINS if plugin.Options} | {KeypointOptions, MatchingOptions, ScalingOptions}
EXACT, ENTROPIC = {"plan": "exact"}, {"plan": "entropic"}
BEST, RANDOM = {"aggregate": "best"}, {"aggregate": "random"}
LINEAR, EXPONENTIAL = {"squash": "none"}, {"squash": "exponential"}
QUIET, NOISY = {"target_noise": 0.0}, {"target_noise": 0.2}
NONE_KEPT, KEPT = {"checkpoints": False}, {"checkpoints": True}
FIXED, LEARNED = {"temperature": 0.1}, {"temperature": None}
ALONE, WITH_STATES = {"state_share": 0.0}, {"state_share": 0.2}
CHOSEN, SEARCHED = {"k": 4}, {"k": None}
MATCHING = [
    ({"temperature": 0.7}, LINEAR, EXPONENTIAL),
    ({"distance_per_sqrt_dim": False}, {"cost": "cosine"}, {"cost": "euclidean"}),
]
TRANSPORT = [
    *MATCHING,
    ({"workers": 2}, ENTROPIC, EXACT),
    ({"regularization": 0.1}, EXACT, ENTROPIC),
    ({"max_iterations": 50}, EXACT, ENTROPIC),
    ({"tolerance": 0.01}, EXACT, ENTROPIC),
    ({"seed": 3}, BEST, RANDOM),
]
CASES = {
    "MatchingOptions": MATCHING,
    "CoverageOptions": MATCHING,
    "PWILOptions": MATCHING,
    "SegmentOptions": MATCHING,
    "TransportOptions": TRANSPORT,
    "TemporalOptions": TRANSPORT,
    "FlowOptions": [
        ({"bins": 4}, {"family": "maf"}, {"family": "spline"}),
        ({"quantile": 0.2}, {"temperature": 0.7}, {"temperature": None}),
        ({"state_noise": (0.5, 1.0)}, ALONE, WITH_STATES),
        ({"state_temperature": 0.7}, ALONE, WITH_STATES),
    ],
    "ScalingOptions": [
        ({"factor": 5.0}, {"method": "none"}, {"method": "fixed"}),
        ({"discount": 0.5}, {"method": "fixed"}, {"method": "running"}),
    ],
    "TD3Options": [({"target_noise_clip": 0.3}, QUIET, NOISY)],
    "TD7Options": [
        ({"target_noise_clip": 0.3}, QUIET, NOISY),
        ({"exploration_decay": 99}, {"initial_exploration_noise": None}, {"initial_exploration_noise": 0.3}),
        ({"assessment_episodes": 5}, NONE_KEPT, KEPT),
        ({"assess_more_after": 99}, NONE_KEPT, KEPT),
        ({"reset_weight": 0.5}, NONE_KEPT, KEPT),
    ],
    "SACOptions": [
        ({"initial_temperature": 0.5}, FIXED, LEARNED),
        ({"target_entropy": -3.0}, FIXED, LEARNED),
        ({"temperature_learning_rate": 1e-3}, FIXED, LEARNED),
    ],
    "KeypointOptions": [
        ({"max_k": 9}, CHOSEN, SEARCHED),
        ({"elbow": 0.9}, CHOSEN, SEARCHED),
        ({"saliency_threshold": 0.2}, {"votes": 0.0}, {"votes": 0.5}),
        ({"backbone_weights": "weights.safetensors"}, {"pretrained": False}, {"pretrained": True}),
    ],
}
"""For each class of options: a value of one, what leaves it without effect, and what gives it one."""
EACH = [(name, *case) for name, cases in CASES.items() for case in cases]


@pytest.mark.parametrize(("name", "option", "off", "on"), EACH, ids=[f"{name}-{next(iter(o))}" for name, o, *_ in EACH])
def test_what_takes_no_effect_is_refused_and_what_does_is_not(name, option, off, on):
    made = next(each for each in GROUPS if each.__name__ == name)
    flag, other = (next(iter(each)).replace("_", "-") for each in (option, off))
    with pytest.raises(InputError, match=f"--group.{flag} is .* and --group.{other} .* no effect"):
        check_effects("group", made(**option, **off))
    check_effects("group", made(**option, **on))
    check_effects("group", made(**off))


def test_every_option_in_a_table_is_tried():
    for options in GROUPS:
        tried = {next(iter(option)): next(iter(off)) for option, off, _ in CASES.get(options.__name__, [])}
        table = getattr(options, "TAKES_EFFECT", {})
        assert tried == {option: condition.other for option, condition in table.items()}


@pytest.mark.parametrize("value", [(0.5, 1.0), [0.5, 1.0]])
def test_what_a_preset_says_passes_as_a_tuple_or_a_list(value):
    check_effects("flow", FlowOptions(state_noise=(0.5, 1.0), state_share=0.0), {"state_noise": value})


def test_the_message_says_what_to_give():
    with pytest.raises(InputError, match=r"leave it out, or give --transport.plan entropic"):
        parse_train(["--env", "Hopper-v5", "--demo", "hopper", "--transport.regularization", "0.1"])
    with pytest.raises(InputError, match=r"--scaling.factor is 5.*fixed, expert-range, first-episode or running"):
        make_config({"env": "Hopper-v5", "demo": "hopper", "scaling": {"factor": 5.0}})
    with pytest.raises(InputError, match=r"--scaling.factor is 5"):
        make_reward("transport", scaling=ScalingOptions(factor=5.0))
    with pytest.raises(InputError, match=r"--flow.bins is 4 and --flow.family maf"):
        parse_label(["data.hdf5", "out.hdf5", "--demo", "hopper", "--reward", "flow", "--flow.bins", "4"])
    flags = ["--sees", "keypoints", "--keypoints.k", "5", "--keypoints.max-k", "9"]
    with pytest.raises(InputError, match=r"--keypoints.max-k is 9 and --keypoints.k 5"):
        parse_clone(["--env", "Reacher-v5", "--demo", "d.hdf5", *flags])


def test_saliency_counts_where_votes_do_and_they_depend_on_the_backbone():
    check_effects("keypoints", KeypointOptions(saliency_threshold=0.2, backbone="vit_small_patch8_224.dino"))
    check_effects("keypoints", KeypointOptions(saliency_threshold=0.2, votes=0.5))
    with pytest.raises(InputError, match=r"--keypoints.votes more than 0"):
        check_effects("keypoints", KeypointOptions(saliency_threshold=0.2))


@pytest.mark.parametrize("preset", presets())
def test_what_a_preset_says_is_nobodys_mistake(preset):
    given = {"env": "Hopper-v5", "demo": "hopper"}
    reward = make_config(given, preset).reward
    if reward == "transport":
        given["transport"] = {"plan": "exact", "squash": "none", "aggregate": "best"}
    if reward == "flow":
        given["flow"] = {"state_share": 0.0}
    config = make_config({**given, "agent": "td7", "td7": {"checkpoints": False}}, preset)
    assert not config.td7.checkpoints
    asked = {"transport": ("plan", "exact"), "flow": ("state_share", 0.0)}
    if reward in asked:
        option, value = asked[reward]
        assert getattr(getattr(config, reward), option) == value
    if preset == "oops":
        assert config.transport.max_iterations == 10_000


def test_what_is_given_above_a_preset_is_compared_with_what_it_says():
    given = {"env": "Hopper-v5", "demo": "hopper", "reward": "flow", "flow": {"quantile": 0.2}}
    make_config(given)
    with pytest.raises(InputError, match=r"--flow.quantile is 0.2 and --flow.temperature 1,"):
        make_config(given, "manipulation")


def test_options_without_a_table_pass():
    @dataclasses.dataclass
    class Own:
        number: float = 1.0

    @dataclasses.dataclass
    class Config:
        own: Own
        count: int = 1

    config = Config(Own(2.0), 3)
    check_groups(config)
    with pytest.raises(InputError, match=r"--own.bins is 4 and --own.family maf"):
        check_groups(dataclasses.replace(config, own=FlowOptions(bins=4)))
