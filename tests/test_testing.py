"""Every plug-in that comes with the package keeps its contract, and one that breaks a clause is told which."""

import doctest
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import broken_plugins as broken
import numpy as np
import pytest
import torch

import ilfo.testing.agents
import ilfo.testing.rewards
from ilfo.agents import BUILT_IN as AGENTS
from ilfo.agents.sac import SAC, SACOptions
from ilfo.agents.td3 import TD3, TD3Options
from ilfo.demos import Demonstrations, Trajectory
from ilfo.plugins import find
from ilfo.rewards import BUILT_IN as REWARDS
from ilfo.rewards import FeatureOptions, OptimalTransport, ScalingOptions, TransportOptions, make_reward
from ilfo.testing import ContractError, check_agent, check_reward

EXAMPLES = Path(__file__).parents[1] / "examples"


def broken_by(check, *given) -> ContractError:
    with pytest.raises(ContractError) as caught:
        check(*given)
    return caught.value


def hurried(options):
    """The defaults of an options class, but for what takes long: no clause asks how good a fit is."""
    names = {field.name for field in fields(options)} if options else set()
    small = {name: value for name, value in {"updates": 60, "hidden_dim": 32}.items() if name in names}
    return options(**small) if options else None


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_of_the_package_keeps_the_contract(name):
    reward = find(name, REWARDS, "reward")
    summary = check_reward(reward, options=hurried(reward.Options))
    assert not [remark for remark in summary.remarks if "docstring" in remark]


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_of_the_package_keeps_the_contract(name):
    agent = find(name, AGENTS, "agent")
    assert check_agent(agent, hurried(agent.Options)) == ()


@pytest.mark.parametrize(
    "options",
    [SACOptions(hidden_dim=32, temperature=0.2), SACOptions(hidden_dim=32, layer_norm=True, target_entropy=-1.0)],
    ids=["fixed temperature", "layer norm"],
)
def test_so_does_sac_under_its_other_options(options):
    assert check_agent(SAC, options) == ()


def test_so_do_other_options_and_sums():
    entropic = TransportOptions(plan="entropic", squash="none", subtract_absorbing=True)
    assert check_reward(OptimalTransport, options=entropic).expert > -0.1
    check_reward(lambda options, features: make_reward("transport + 0.5*broken_plugins:Sound"))


@pytest.mark.parametrize("reward", [broken.Sound, broken.Learning, broken.Explaining])
def test_a_sound_reward_is_not_accused(reward):
    summary = check_reward(reward)
    assert summary.expert > max(summary.shuffled, summary.random_walk, summary.still)
    assert summary.remarks == ()


def test_a_reward_of_transitions_may_look_at_the_time():
    features = FeatureOptions(time=20.0)
    assert check_reward(lambda _, __: make_reward("nearest", features=features)).remarks == ()


@pytest.mark.parametrize("agent", [broken.SoundAgent, broken.EpisodicAgent])
def test_a_sound_agent_is_not_accused(agent):
    assert check_agent(agent) == ()


def test_the_examples_keep_the_contract(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    from own_agent import PlainTD3
    from own_episode_reward import AlignedReward
    from own_reward import NearestReward

    assert check_reward(NearestReward).remarks == ()
    assert check_reward(AlignedReward).remarks == ()
    check_agent(PlainTD3)


@pytest.mark.parametrize(
    ("reward", "clauses", "sentence"),
    [
        (broken.NoReward, "constructor", "it is a NoReward"),
        (broken.OneArgument, "constructor", "called with options and features: too many positional arguments"),
        (broken.NoSuper, "constructor", "call super().__init__(options, features)"),
        (broken.Undecided, "needs", "needs is 'episode'"),
        (broken.Unclear, "needs", "stationary is None"),
        (broken.MovingWhole, "needs", 'stationary is False and needs is "trajectory"'),
        (broken.Melted, "options", "MeltedOptions can be changed after it was made"),
        (broken.NoDataclass, "options", "Options is <class 'dict'>"),
        (broken.Bare, "options", "BareOptions has no default for width"),
        (broken.Odd, "options", "cannot be written to a run's config.json"),
        (broken.FitsForNothing, "fit", "fit returned None"),
        (broken.FitsInPlace, "fit", "fit changed the observations of the demonstrations"),
        (broken.FitsNot, "fit", "raised KeyError: 'velocity'"),
        (broken.OneTooMany, "score", "its shape is (6, 61) for 6 episodes of at most 60 steps"),
        (broken.Double, "score", "score returned torch.float64"),
        (broken.Array, "score", "score returned a ndarray"),
        (broken.NoNumber, "score", "step 0 of episode 0 gets nan"),
        (broken.Gradient, "score", "the rewards carry a gradient"),
        (broken.Unmasked, "lengths", "step 40 of episode 1, which has 40, gets"),
        (broken.Padded, "padding batch", "with other numbers beyond the ends of episodes, step"),
        (broken.Batched, "batch", "which it gets alone"),
        (broken.InPlace, "input", "score changed the observations of the episodes"),
        (broken.Exploding, "finite", "score is not finite for the episodes times 1000"),
        (broken.Remembering, "transition", "which it gets on its own"),
        (broken.AbsorbingEveryStep, "absorbing_reward", "absorbing_reward returned torch.float32 of shape (6, 60)"),
        (broken.AbsorbingNumber, "absorbing_reward", "absorbing_reward returned float for 6 episodes"),
        (broken.Negative, "absorbing_reward", "that is the last step alone"),
        (broken.NegativeUnless, "absorbing_reward", "it is 0 after some step, and a step can get -"),
        (broken.ObservesTensors, "observe", "observe returned {'mean': tensor"),
        (broken.ObservesNothing, "observe", "observe returned None"),
        (broken.SecretlyLearning, "observe", "stationary is True, and after observe step"),
        (broken.BadlySummed, "terms", "in the sum of the terms step"),
        (broken.ExplainsNobody, "explain", "explain returned Explanation(demonstration=7"),
        (broken.ExplainsTooMuch, "explain", "explain's costs has the shape (61,)"),
        (broken.ExplainsBeyond, "explain", "explain matches steps that the demonstration does not have"),
        (broken.Forgetful, "state", "in a fresh object that loaded the state, step"),
        (broken.ForgetsWhatItObserves, "state", "once both have observed another episode, in a fresh object"),
        (broken.NeverSavesWhatItObserved, "state", "in a fresh object that loaded the state, step"),
        (broken.SavesArrays, "state", "torch.load(weights_only=True) refuses its state_dict"),
        (broken.Uncopied, "copy", "raised TypeError: cannot pickle 'generator' object"),
        (broken.Shallow, "copy", "a deep copy shares tensors with the original"),
        (broken.Shared, "copy", "once a deep copy observed an episode, step"),
        (broken.Unseeded, "seed", "fitted a second time, step"),
        (broken.SeedsPyTorch, "random state", "that of PyTorch moved while this was checked: fit."),
        (broken.SeedsNumPy, "random state", "that of NumPy moved while this was checked: input"),
        (broken.Percent, "progress", "on_progress was called with 50 and 'half'"),
        (broken.Wordless, "width", "of observations wider than the expert's, score raised RuntimeError"),
    ],
    ids=lambda given: given.__name__ if isinstance(given, type) else "",
)
def test_a_reward_that_breaks_a_clause_is_told_which(reward, clauses, sentence):
    error = broken_by(check_reward, reward)
    assert sentence in str(error)
    assert " ".join(error.broken) == clauses


@pytest.mark.parametrize(
    ("agent", "clauses", "sentence"),
    [
        (broken.NoReward, "constructor", "broken_plugins.NoReward'> does not derive from it"),
        (broken.NoSeed, "constructor", "got an unexpected keyword argument 'seed'"),
        (broken.MeltedAgent, "options", "Melting can be changed after it was made"),
        (broken.NoBatch, "attributes update", "batch_size is 16.5"),
        (broken.Impatient, "attributes", "discount is 1.5"),
        (broken.Deaf, "attributes", "discount is 0.99, and its options say 0.95"),
        (broken.Maybe, "attributes", "compiles is None"),
        (broken.StacksNot, "attributes stack", "can_stack says True, of an agent that does not stack"),
        (broken.Squeezed, "act", "act((1, D), explore=False) returned (2,)"),
        (broken.DoubleAgent, "act", "returned torch.float64 on cpu"),
        (broken.Unbounded, "range", "with explore=False an action is"),
        (broken.Restless, "explore", "asked twice, it did two things"),
        (broken.Numbers, "update", "loss is a float, or has a gradient"),
        (broken.Rows, "update", "rewards is of shape (16,)"),
        (broken.NotANumber, "update", "spread is nan at update 1"),
        (broken.Silent, "update", "update returned a NoneType"),
        (broken.Rescaling, "batch", "update changed rewards"),
        (broken.Idle, "learning heed", "after 50 updates it does what it did before"),
        (broken.Unpaid, "heed", "with other rewards it learns the same, for 300 updates.\n   Do: learn from"),
        (broken.Endless, "heed", "with other terminated it learns the same, for 300 updates"),
        (broken.AlwaysTheSame, "seed", "agents of two seeds do the same"),
        (broken.NeverTheSame, "seed", "two agents of one seed differ after 0 updates"),
        (broken.LosesItsOptimiser, "state", "loss differ at update 2 after a state was loaded"),
        (broken.LosesItsNoise, "state", "with explore=True it acts otherwise after a state was loaded"),
        (broken.LosesItsDecay, "state", "with explore=True it acts otherwise after a state was loaded"),
        (broken.SavesArraysToo, "state", "torch.load(weights_only=True) refuses its state_dict"),
        (broken.NoPriorities, "priorities", "has no attribute 'priorities'"),
        (broken.ZeroPriorities, "priorities", "a priority is 0"),
        (broken.OnePriority, "priorities", "priorities are of shape ()"),
        (broken.NeverEnding, "episodes", "raised NotImplementedError: NeverEnding trains at every step"),
        (broken.Undue, "episodes", "end_episode returned None"),
        (broken.SeedsTheWorld, "random state", "that of PyTorch moved while this was checked: constructor"),
    ],
    ids=lambda given: given.__name__ if isinstance(given, type) else "",
)
def test_an_agent_that_breaks_a_clause_is_told_which(agent, clauses, sentence):
    error = broken_by(check_agent, agent)
    assert sentence in str(error)
    assert " ".join(error.broken) == clauses


def test_seeds_that_learn_of_each_other_are_found_out():
    error = broken_by(check_agent, broken.Mixing, TD3Options(hidden_dim=16))
    assert error.broken == ("stack",)
    assert "critic_loss of 3 agents together are not those of each alone" in str(error)


def test_noise_that_seeds_share_is_found_out_where_each_alone_has_its_own():
    class Alike(broken.SharesItsNoise):
        def act(self, observations, explore):
            alone = observations.dim() == 2
            return TD3.act(self, observations, explore) if alone else super().act(observations, explore)

    error = broken_by(check_agent, Alike, TD3Options(hidden_dim=16))
    assert error.broken == ("stack",)
    assert "with explore=True, actions of 3 agents together are not those of each alone" in str(error)


def test_the_message_is_a_list_of_what_was_wanted_found_and_to_be_done():
    class Twice(broken.AbsorbingNumber):
        def observe(self, episodes):
            return None

    lines = str(broken_by(check_reward, Twice)).splitlines()
    assert lines[0].endswith("Twice breaks 2 clauses of the contract of a reward (ilfo.rewards.RewardGenerator).")
    assert lines[1:] == [
        "",
        "1. absorbing_reward: absorbing_reward(episodes) is a number for each.",
        "   Found: absorbing_reward returned float for 6 episodes.",
        "   Do: return floats (6,).",
        "",
        "2. observe: observe(episodes) returns numbers to log, and changes no stationary reward.",
        "   Found: observe returned None.",
        "   Do: return a dictionary of names and floats; {} for nothing to log.",
    ]


def test_an_exception_is_said_with_its_place_and_what_it_keeps_from_being_checked():
    error = broken_by(check_reward, broken.FitsNot)
    assert re.search(r"Found: fit \(broken_plugins\.py, line \d+\) raised KeyError: 'velocity'\n", str(error))
    assert isinstance(error.__cause__, KeyError)
    assert re.search(r"What comes after, \d\d more, can be checked once this is mended\.$", str(error))
    assert isinstance(error, AssertionError)


def test_what_is_said_once_is_not_said_again():
    class Fragile(broken.Sound):
        def absorbing_reward(self, episodes):
            raise IndexError("no last step")

    error = broken_by(check_reward, Fragile)
    assert error.broken == ("input", "finite", "absorbing_reward")
    assert str(error).count("IndexError: no last step") == 1
    assert str(error).count("Found: the same as above.") == 2


def test_what_keeps_the_contract_and_is_odd_is_remarked():
    class Backwards(broken.Sound):
        Options = broken.ShyOptions

        def rewards(self, episodes):
            return 1 - super().rewards(episodes)

    class Shy(broken.SoundAgent):
        Options = broken.ShyOptions

    summary = check_reward(Backwards)
    assert summary.expert < summary.shuffled
    *ranks, bare = summary.remarks
    assert [remark.partition(" gets ")[0] for remark in ranks] == ["shuffled", "random_walk"]
    assert bare == "No docstring under learning_rate, depth of ShyOptions: it would be their help."
    assert check_agent(Shy) == (bare,)


def test_ones_own_demonstrations_are_taken_and_left_as_they_are():
    times = np.linspace(0, 30, 300, dtype=np.float32)
    walk = Trajectory(np.stack([times, np.sin(times)], axis=1), terminated=True, truncated=False)
    demonstrations = Demonstrations((walk, Trajectory(walk.observations[:2])))
    before = demonstrations.sha256
    summary = check_reward(broken.Sound, demonstrations)
    assert summary.expert == pytest.approx(1.0, abs=1e-2)
    assert summary.expert > summary.shuffled
    assert demonstrations.sha256 == before


def test_the_random_state_is_not_moved_by_the_check():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 -- looked at alone
    check_reward(broken.Learning)
    check_agent(broken.EpisodicAgent)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("module", [ilfo.testing.rewards, ilfo.testing.agents])
def test_the_examples_in_the_docstrings_run(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_it_needs_neither_pytest_nor_gymnasium():
    code = "import sys, ilfo.testing; print(*sorted({'pytest', 'gymnasium', '_pytest'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_a_reward_that_looks_past_its_features_is_remarked_upon():
    class Looking(broken.Sound):
        def pairs(self, observations):
            return torch.cat([observations[..., :-1, :1], observations[..., 1:, :1]], dim=-1)

        def fit(self, demonstrations):
            self.expert = torch.cat([self.pairs(torch.from_numpy(one.observations)) for one in demonstrations])
            return self

    (remark,) = check_reward(Looking).remarks
    assert remark.startswith("fit never fits self.features: --reward-keys and the flags --features.*")
    assert check_reward(lambda *_: make_reward("nearest + broken_plugins:Sound")).remarks == ()
    assert check_reward(lambda *_: make_reward("nearest", scaling=ScalingOptions(method="expert-range"))).remarks == ()


def test_where_nothing_counts_that_follows_terminations_need_not_be_heeded():
    assert check_agent(TD3, TD3Options(discount=0.0, hidden_dim=16)) == ()
