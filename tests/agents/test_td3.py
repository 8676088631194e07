"""Each trap of TD3 as its authors' code has it; that it computes what plain PyTorch does, test_examples.py checks."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from random_batches import ACTIONS, OBSERVATIONS, moved, random_batch, stacked
from torch import Tensor

from ilfo.agents import Batch
from ilfo.agents._random_streams import RandomStreams
from ilfo.agents.td3 import TD3, TD3Options


def make_agent(**options) -> TD3:
    return TD3(OBSERVATIONS, ACTIONS, TD3Options(**options))


def noise_like(actions: Tensor) -> Tensor:
    """What a fresh agent of seed 0 draws first."""
    return RandomStreams(0, "cpu").normal(actions.shape)


def target_values(agent: TD3, batch: Batch) -> Tensor:
    noise = noise_like(batch.actions)
    return agent._target_values(batch.rewards, batch.next_observations, batch.terminated, noise)


def values(critics, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    q1, q2 = critics(torch.cat([observations, actions], -1)).squeeze(-1)
    return q1, q2


def copies(parameters) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_default_options_are_the_authors():
    options = TD3Options()
    assert (options.discount, options.tau, options.batch_size) == (0.99, 0.005, 256)
    assert (options.actor_learning_rate, options.critic_learning_rate) == (3e-4, 3e-4)
    assert (options.target_noise, options.target_noise_clip, options.policy_delay) == (0.2, 0.5, 2)
    assert options.exploration_noise == 0.1
    assert not options.layer_norm


def test_networks_have_two_hidden_layers_of_256_and_no_norm():
    agent = make_agent()
    for net, stack, inputs, outputs in (
        (agent.actor, (), OBSERVATIONS, ACTIONS),
        (agent.critics, (2,), OBSERVATIONS + ACTIONS, 1),
    ):
        shapes = {name: tuple(parameter.shape) for name, parameter in net.named_parameters()}
        assert shapes == {
            "weight0": (*stack, 256, inputs),
            "bias0": (*stack, 256),
            "weight1": (*stack, 256, 256),
            "bias1": (*stack, 256),
            "weight2": (*stack, outputs, 256),
            "bias2": (*stack, outputs),
        }


def test_the_norm_is_the_critics_alone():
    agent = make_agent(layer_norm=True)
    assert {name for name, _ in agent.critics.named_parameters() if name.startswith("gain")} == {"gain0", "gain1"}
    assert not any(name.startswith("gain") for name, _ in agent.actor.named_parameters())


def test_initial_weights_are_pytorchs_default():
    bound = 256**-0.5
    weight = make_agent().critics.weight1.detach()
    assert weight.abs().max() <= bound
    assert weight.std(dim=(1, 2)).tolist() == pytest.approx([bound / 3**0.5] * 2, rel=0.02)


def test_the_twin_critics_differ_and_share_one_adam():
    agent = make_agent()
    assert not torch.equal(*agent.critics.weight0)
    groups = agent._critic_descent.optimizer.param_groups
    held = {id(parameter) for group in groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in agent.critics.parameters()}


def test_targets_start_as_copies():
    agent = make_agent()
    assert same(agent.actor.parameters(), agent.actor_target.parameters())
    assert same(agent.critics.parameters(), agent.critics_target.parameters())
    owned = {parameter.data_ptr() for parameter in agent._online}
    assert owned.isdisjoint(parameter.data_ptr() for parameter in agent._targets)


@pytest.mark.parametrize(("clip", "at_the_bound"), [(0.5, 0), (2.0, 10)])
def test_the_target_is_the_smaller_twin_of_a_smoothed_clipped_action(clip, at_the_bound):
    agent, batch = make_agent(target_noise=3.0, target_noise_clip=clip), random_batch()
    noise = (3.0 * noise_like(batch.actions)).clamp(-clip, clip)
    smoothed = (torch.tanh(agent.actor_target(batch.next_observations)) + noise).clamp(-1, 1)
    q1, q2 = values(agent.critics_target, batch.next_observations, smoothed)
    expected = batch.rewards + (1 - batch.terminated) * 0.99 * torch.minimum(q1, q2)
    torch.testing.assert_close(target_values(agent, batch), expected)
    assert (q1 < q2).any(), "the draw must make the minimum matter in both directions"
    assert (q2 < q1).any()
    assert smoothed.abs().eq(1).sum() >= at_the_bound


def test_target_noise_is_drawn_for_every_action_and_row():
    agent, batch = make_agent(), random_batch(terminated=0.0)
    same_rows = Batch(
        batch.observations,
        batch.actions,
        torch.zeros(32),
        batch.next_observations[:1].expand(32, -1),
        batch.terminated,
    )
    expected = target_values(agent, same_rows)
    assert len(expected.unique()) == 32
    q1, q2 = values(agent.critics, batch.observations, batch.actions)
    loss = F.mse_loss(q1, expected) + F.mse_loss(q2, expected)
    torch.testing.assert_close(agent.update(same_rows)["critic_loss"], loss.detach())


def test_nothing_is_bootstrapped_past_a_termination():
    agent, batch = make_agent(), random_batch(terminated=1.0)
    torch.testing.assert_close(target_values(agent, batch), batch.rewards)


def test_the_critic_loss_is_the_sum_of_both_mean_squared_errors():
    agent, batch = make_agent(), random_batch()
    target = target_values(agent, batch)
    q1, q2 = values(agent.critics, batch.observations, batch.actions)
    expected = F.mse_loss(q1, target) + F.mse_loss(q2, target)
    metrics = agent.update(batch)
    torch.testing.assert_close(metrics["critic_loss"], expected.detach())
    torch.testing.assert_close(metrics["q"], q1.mean().detach())


def test_the_counter_comes_first_so_that_the_second_fourth_update_is_the_delayed_one():
    agent = make_agent()
    for update in range(1, 5):
        actor, targets = copies(agent.actor.parameters()), copies(agent._targets)
        metrics = agent.update(random_batch(seed=update))
        is_delayed = update % 2 == 0
        assert same(actor, agent.actor.parameters()) is not is_delayed
        assert same(targets, agent._targets) is not is_delayed
        assert ("actor_loss" in metrics) is is_delayed


def test_both_targets_move_by_tau_towards_the_updated_networks():
    agent = make_agent()
    agent.update(random_batch(seed=1))
    before = copies([*agent.actor_target.parameters(), *agent.critics_target.parameters()])
    agent.update(random_batch(seed=2))
    online = [*agent.actor.parameters(), *agent.critics.parameters()]
    targets = [*agent.actor_target.parameters(), *agent.critics_target.parameters()]
    for target, old, new in zip(targets, before, online, strict=True):
        torch.testing.assert_close(target, 0.005 * new.detach() + 0.995 * old)


def test_the_actor_climbs_the_first_critic_alone_and_leaves_the_critics_be():
    agent, batch = make_agent(), random_batch()
    q1, _ = values(agent.critics, batch.observations, torch.tanh(agent.actor(batch.observations)))
    gradients = torch.autograd.grad(-q1.mean(), list(agent.actor.parameters()))
    critics = copies(agent.critics.parameters())
    loss = agent._actor_descent(batch.observations)["actor_loss"]
    torch.testing.assert_close(loss, -q1.mean().detach())
    for parameter, gradient in zip(agent.actor.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert same(critics, agent.critics.parameters())
    assert all(parameter.grad is None for parameter in agent.critics.parameters())


def test_targets_carry_no_gradient():
    agent = make_agent()
    assert not any(parameter.requires_grad for parameter in agent._targets)
    assert not target_values(agent, random_batch()).requires_grad


def test_exploration_is_gaussian_for_every_row_and_clipped():
    agent = make_agent()
    observations = torch.zeros(4000, OBSERVATIONS)
    noise = agent.act(observations, explore=True) - agent.act(observations, explore=False)
    assert noise.std(dim=0).tolist() == pytest.approx([0.1, 0.1], rel=0.05)
    loud = make_agent(exploration_noise=5.0).act(observations, explore=True)
    assert loud.abs().max() == 1.0


def test_acting_without_exploration_is_deterministic_and_draws_nothing():
    agent = make_agent()
    state = agent.state_dict()["random"]
    observations = torch.ones(3, OBSERVATIONS)
    assert torch.equal(agent.act(observations, explore=False), agent.act(observations, explore=False))
    assert torch.equal(agent.state_dict()["random"], state)
    agent.act(observations, explore=True)
    assert not torch.equal(agent.state_dict()["random"], state)


def test_every_parameter_gets_a_gradient():
    agent = make_agent(layer_norm=True)
    for update in range(2):
        agent.update(random_batch(seed=update))
    assert len(agent._online) == 16
    for parameter in agent._online:
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_one_batch_can_be_overfitted():
    agent, batch = make_agent(), random_batch(terminated=1.0)
    losses = [float(agent.update(batch)["critic_loss"]) for _ in range(400)]
    assert losses[-1] < 0.02 * losses[0]


def test_a_seed_decides_everything_and_the_global_stream_is_left_alone():
    before = torch.random.get_rng_state()
    first, again, other = (TD3(OBSERVATIONS, ACTIONS, seed=seed) for seed in (1, 1, 2))
    for agent in (first, again, other):
        agent.update(random_batch())
        agent.act(torch.ones(3, OBSERVATIONS), explore=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(first.critics.parameters(), again.critics.parameters())
    assert not same(first.critics.parameters(), other.critics.parameters())


def test_a_state_has_a_name_for_each_part():
    assert list(make_agent().state_dict()) == [
        *("actor", "critics", "actor_target", "critics_target", "actor_descent", "critic_descent"),
        *("updates", "random"),
    ]


def test_a_restored_agent_goes_on_bit_for_bit(tmp_path):
    agent = make_agent()
    for update in range(3):
        agent.update(random_batch(seed=update))
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    restored = TD3(OBSERVATIONS, ACTIONS, seed=7)
    restored.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    for update in range(3, 6):
        agent.update(random_batch(seed=update))
        restored.update(random_batch(seed=update))
    assert same(agent._online, restored._online)
    assert same(agent._targets, restored._targets)
    observations = torch.ones(3, OBSERVATIONS)
    assert torch.equal(agent.act(observations, explore=True), restored.act(observations, explore=True))


@pytest.mark.skipif(not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="needs a C++ compiler")
def test_compiled_it_computes_what_it_does_without():
    """Warnings are errors: had the compiler failed, so would this test."""
    options = TD3Options(hidden_dim=32, layer_norm=True)
    eager, compiled = (TD3(OBSERVATIONS, ACTIONS, options, seed=[3, 0], compile=compile) for compile in (False, True))
    for number in range(4):
        batch = stacked([random_batch(seed=2 * number), random_batch(seed=2 * number + 1)])
        expected, found = eager.update(batch), compiled.update(batch)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    for one, other in zip(compiled._targets, eager._targets, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def batch_for(seed, number: int) -> Batch:
    own = [random_batch(seed=100 * number + each) for each in (seed if isinstance(seed, list) else [seed])]
    return moved(stacked(own) if isinstance(seed, list) else own[0], "cuda")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("seed", [3, [3, 0, 7]], ids=["one seed", "several"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_compiled_on_a_gpu_it_computes_what_it_does_without(seed, layer_norm):
    options, stack = TD3Options(hidden_dim=64, layer_norm=layer_norm), (3,) if isinstance(seed, list) else ()
    eager, compiled = (
        TD3(OBSERVATIONS, ACTIONS, options, device="cuda", seed=seed, compile=compile) for compile in (False, True)
    )
    seen = torch.randn(*stack, 4, OBSERVATIONS, device="cuda")
    close = {"rtol": 1e-3, "atol": 1e-3}
    for number in range(20):
        expected, found = (agent.update(batch_for(seed, number)) for agent in (eager, compiled))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert value.shape == stack
            torch.testing.assert_close(value, expected[name], **close)
        torch.testing.assert_close(compiled.act(seen, explore=True), eager.act(seen, explore=True), **close)
    for one, other in zip(compiled._targets, eager._targets, strict=True):
        torch.testing.assert_close(one, other, **close)


@pytest.mark.gpu
@on_gpu
def test_what_was_saved_without_a_gpu_goes_on_as_graphs_on_one():
    here = make_agent(hidden_dim=64)
    for number in range(4):
        here.update(random_batch(seed=number))
    options = TD3Options(hidden_dim=64)
    eager, compiled = (
        TD3(OBSERVATIONS, ACTIONS, options, device="cuda", seed=0, compile=compile) for compile in (False, True)
    )
    for number in range(10):
        compiled.update(batch_for(0, number))  # recordings that are out of date once the state is loaded
    state = here.state_dict() | {"random": eager.state_dict()["random"]}
    for agent in (eager, compiled):
        agent.load_state_dict(state)
    for number in range(10, 20):
        expected, found = (agent.update(batch_for(0, number)) for agent in (eager, compiled))
        torch.testing.assert_close(found["critic_loss"], expected["critic_loss"], rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@on_gpu
def test_a_compiled_update_does_not_wait_for_the_gpu():
    agent = TD3(OBSERVATIONS, ACTIONS, device="cuda", compile=True)
    batches = [batch_for(0, number) for number in range(30)]
    for batch in batches[:20]:
        agent.update(batch)
    before = copies(agent.actor.parameters())
    torch.cuda.set_sync_debug_mode("error")  # who waits, raises
    try:
        for batch in batches[20:]:
            agent.update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not same(before, agent.actor.parameters()), "the updates were real"
