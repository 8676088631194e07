"""Stable-Baselines3's algorithms in ilfo's loop."""

import sys

import numpy as np
import pytest
import torch
from small_envs import LEDGE

from ilfo._tools.errors import InputError
from ilfo.adapters.stable_baselines3_agents import SB3SAC, SB3TD3, SB3Options
from ilfo.agents import Batch
from ilfo.train import train
from ilfo.training.flags import parse_train

BOTH = pytest.mark.parametrize("kind", [SB3SAC, SB3TD3])


def batch(size: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(2, size, 3, generator=generator)
    actions, rewards = torch.rand(size, 2, generator=generator) * 2 - 1, torch.randn(size, generator=generator)
    return Batch(states[0], actions, rewards, states[1], torch.zeros(size))


def own_weights(model) -> list[torch.Tensor]:
    return [value.clone() for value in model.policy.state_dict().values()]


@BOTH
def test_an_update_is_the_librarys_own(kind):
    """The same as its ``train`` on a buffer of its own that can only draw the one batch there is."""
    from stable_baselines3.common.buffers import ReplayBuffer

    agent, other, given = kind(3, 2, seed=1), kind(3, 2, seed=1), batch(1)
    twin = other.model
    twin.replay_buffer = ReplayBuffer(1, twin.observation_space, twin.action_space, device="cpu")
    columns = (given.observations, given.next_observations, given.actions, given.rewards, given.terminated)
    twin.replay_buffer.add(*(column.numpy() for column in columns), infos=[{}])
    with other._own_randomness():
        twin.train(gradient_steps=3, batch_size=1)
    for _ in range(3):
        agent.update(given)
    for ours, theirs in zip(own_weights(agent.model), own_weights(twin), strict=True):
        torch.testing.assert_close(ours, theirs)


@BOTH
def test_it_explores_and_it_does_not(kind):
    agent, states = kind(3, 2, seed=1), torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(agent.act(states, explore=False), agent.act(states, explore=False))
    first, second = agent.act(states, explore=True), agent.act(states, explore=True)
    assert not torch.equal(first, second)
    assert first.abs().max() <= 1


@BOTH
def test_what_was_trained_on_a_gpu_acts_on_a_cpu(kind):
    """The state of a GPU's generator has 16 bytes, which are nothing to a CPU's."""
    trained, loaded, states = kind(3, 2, seed=1), kind(3, 2, seed=2), torch.randn(8, 3)
    loaded.load_state_dict(trained.state_dict() | {"random": torch.zeros(16, dtype=torch.uint8)})
    assert torch.equal(loaded.act(states, explore=False), trained.act(states, explore=False))
    assert loaded.act(states, explore=True).shape == (8, 2)


@BOTH
def test_what_it_logs_is_what_the_library_logs(kind):
    agent = kind(3, 2)
    agent.update(batch())
    metrics = agent.update(batch())
    assert {"actor_loss", "critic_loss"} <= metrics.keys()
    assert ("ent_coef" in metrics) is (kind is SB3SAC)


@BOTH
def test_it_leaves_everybody_elses_random_numbers_alone(kind):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(2), np.random.rand(2)  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    agent = kind(3, 2, seed=5)
    agent.update(batch())
    agent.act(batch().observations, explore=True)
    assert torch.equal(torch.rand(2), expected[0])
    assert np.array_equal(np.random.rand(2), expected[1])  # noqa: NPY002


def test_sizes_are_the_librarys_own_unless_they_are_given():
    assert [layer.out_features for layer in SB3TD3(3, 2).model.actor.mu if hasattr(layer, "out_features")] == [
        400,
        300,
        2,
    ]
    small = SB3SAC(3, 2, SB3Options(hidden_dims=(8,), learning_rate=0.5))
    assert [layer.out_features for layer in small.model.actor.latent_pi if hasattr(layer, "out_features")] == [8]
    assert small.model.actor.optimizer.param_groups[0]["lr"] == 0.5
    assert small.model.target_entropy == -2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"hidden_dims": (8, 0)}, "every layer needs at least 1 unit"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"exploration_noise": -1.0}, "exploration_noise is -1.0"),
        ({"tau": 2.0}, "tau is 2.0: it must lie between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SB3Options(**options)


def test_noise_for_actions_that_are_drawn_is_refused():
    SB3TD3(3, 2, SB3Options(exploration_noise=0.3))
    with pytest.raises(InputError, match="sb3-sac adds no noise"):
        SB3SAC(3, 2, SB3Options(exploration_noise=0.3))


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(InputError, match=r'pip install "ilfo\[sb3\]"'):
        SB3SAC(3, 2)


def test_it_learns_from_one_demonstration_in_our_loop(demo, tmp_path):
    given = ["--env", LEDGE, "--demo", str(demo), "--out", str(tmp_path / "run"), "--agent", "sb3-sac"]
    steps = ["--steps", "1500", "--random-steps", "100", "--eval-every", "1500", "--eval-episodes", "3"]
    config, _ = parse_train([*given, *steps, "--sb3-sac.hidden-dims", "32", "32", "--sb3-sac.batch-size", "64"])
    summary = train(config)
    assert summary["policy_return"] > summary["random_return"] + 8
