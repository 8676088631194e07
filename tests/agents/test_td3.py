"""Each trap of TD3 as its authors' code has it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ilfo.agents import Batch
from ilfo.agents._linear import Linear
from ilfo.agents.td3 import TD3, TD3Options

OBSERVATIONS, ACTIONS = 5, 2


def make_batch(size: int = 32, seed: int = 0, terminated: float | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    ended = (torch.rand(size, generator=generator) < 0.3).float()
    return Batch(
        observations=torch.randn(size, OBSERVATIONS, generator=generator),
        actions=torch.rand(size, ACTIONS, generator=generator) * 2 - 1,
        rewards=torch.randn(size, generator=generator),
        next_observations=torch.randn(size, OBSERVATIONS, generator=generator),
        terminated=ended if terminated is None else torch.full((size,), terminated),
    )


def make_agent(**options) -> TD3:
    return TD3(OBSERVATIONS, ACTIONS, TD3Options(**options))


def copies(parameters) -> list[torch.Tensor]:
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


def test_networks_have_two_hidden_layers_of_256_with_relu_and_no_norm():
    agent = make_agent()
    for net, inputs, outputs in (
        (agent.actor.net, OBSERVATIONS, ACTIONS),
        (agent.critic.q1, OBSERVATIONS + ACTIONS, 1),
        (agent.critic.q2, OBSERVATIONS + ACTIONS, 1),
    ):
        assert [type(layer) for layer in net] == [Linear, nn.ReLU, Linear, nn.ReLU, Linear]
        linears = [layer for layer in net if isinstance(layer, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in linears] == [
            (inputs, 256),
            (256, 256),
            (256, outputs),
        ]


def test_initial_weights_are_pytorchs_default():
    bound = 256**-0.5
    weight = make_agent().critic.q1[2].weight.detach()
    assert weight.abs().max() <= bound
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


def test_the_twin_critics_differ_and_share_one_adam():
    agent = make_agent()
    assert not torch.equal(agent.critic.q1[0].weight, agent.critic.q2[0].weight)
    held = {id(parameter) for group in agent.critic_optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in agent.critic.parameters()}


def test_targets_start_as_copies():
    agent = make_agent()
    assert same(agent.actor.parameters(), agent.actor_target.parameters())
    assert same(agent.critic.parameters(), agent.critic_target.parameters())


def test_the_target_is_the_smaller_twin_of_a_smoothed_clipped_action():
    agent, batch = make_agent(target_noise=3.0), make_batch()
    state = agent.state_dict()["generator"]
    target = agent._target_values(batch)
    noise = torch.randn(batch.actions.shape, generator=torch.Generator().manual_seed(0).set_state(state))
    smoothed = (agent.actor_target(batch.next_observations) + (3.0 * noise).clamp(-0.5, 0.5)).clamp(-1, 1)
    q1, q2 = agent.critic_target(batch.next_observations, smoothed)
    expected = batch.rewards + (1 - batch.terminated) * 0.99 * torch.minimum(q1, q2)
    torch.testing.assert_close(target, expected)
    assert (q1 < q2).any(), "the draw must make the minimum matter in both directions"
    assert (q2 < q1).any()


def test_target_noise_is_drawn_for_every_action_and_row():
    agent, batch = make_agent(), make_batch(terminated=0.0)
    same_rows = Batch(
        batch.observations,
        batch.actions,
        torch.zeros(32),
        batch.next_observations[:1].expand(32, -1),
        batch.terminated,
    )
    assert len(agent._target_values(same_rows).unique()) == 32


def test_nothing_is_bootstrapped_past_a_termination():
    agent, batch = make_agent(), make_batch(terminated=1.0)
    torch.testing.assert_close(agent._target_values(batch), batch.rewards)


def test_the_critic_loss_is_the_sum_of_both_mean_squared_errors():
    agent, twin, batch = make_agent(), make_agent(), make_batch()
    target = twin._target_values(batch)
    q1, q2 = twin.critic(batch.observations, batch.actions)
    expected = F.mse_loss(q1, target) + F.mse_loss(q2, target)
    torch.testing.assert_close(agent.update(batch)["critic_loss"], expected.detach())


def test_the_counter_comes_first_so_that_the_second_fourth_update_is_the_delayed_one():
    agent = make_agent()
    for update in range(1, 5):
        actor, targets = copies(agent.actor.parameters()), copies(agent._targets)
        metrics = agent.update(make_batch(seed=update))
        is_delayed = update % 2 == 0
        assert same(actor, agent.actor.parameters()) is not is_delayed
        assert same(targets, agent._targets) is not is_delayed
        assert ("actor_loss" in metrics) is is_delayed


def test_both_targets_move_by_tau_towards_the_updated_networks():
    agent = make_agent()
    agent.update(make_batch(seed=1))
    before = copies(agent._targets)
    agent.update(make_batch(seed=2))
    online = [*agent.actor.parameters(), *agent.critic.parameters()]
    for target, old, new in zip(agent._targets, before, online, strict=True):
        torch.testing.assert_close(target, 0.005 * new + 0.995 * old)


def test_the_actor_climbs_the_first_critic_alone_and_leaves_the_critics_be():
    agent, batch = make_agent(), make_batch()
    expected = -agent.critic.q1(torch.cat([batch.observations, agent.actor(batch.observations)], -1)).mean()
    gradients = torch.autograd.grad(expected, list(agent.actor.parameters()))
    critic = copies(agent.critic.parameters())
    agent.critic_optimizer.zero_grad()
    loss = agent._update_actor(batch)["actor_loss"]
    torch.testing.assert_close(loss, expected.detach())
    for parameter, gradient in zip(agent.actor.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert same(critic, agent.critic.parameters())
    assert all(parameter.grad is None for parameter in agent.critic.parameters())


def test_targets_carry_no_gradient():
    assert not any(parameter.requires_grad for parameter in make_agent()._targets)


def test_exploration_is_gaussian_for_every_row_and_clipped():
    agent = make_agent()
    observations = torch.zeros(4000, OBSERVATIONS)
    noise = agent.act(observations, explore=True) - agent.act(observations, explore=False)
    assert noise.std(dim=0).tolist() == pytest.approx([0.1, 0.1], rel=0.05)
    loud = make_agent(exploration_noise=5.0).act(observations, explore=True)
    assert loud.abs().max() == 1.0


def test_acting_without_exploration_is_deterministic_and_draws_nothing():
    agent = make_agent()
    state = agent.state_dict()["generator"]
    observations = torch.ones(3, OBSERVATIONS)
    assert torch.equal(agent.act(observations, explore=False), agent.act(observations, explore=False))
    assert torch.equal(agent.state_dict()["generator"], state)


def test_every_parameter_gets_a_gradient():
    agent = make_agent(layer_norm=True)
    for update in range(2):
        agent.update(make_batch(seed=update))
    for parameter in (*agent.actor.parameters(), *agent.critic.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_one_batch_can_be_overfitted():
    agent, batch = make_agent(), make_batch(terminated=1.0)
    losses = [float(agent.update(batch)["critic_loss"]) for _ in range(400)]
    assert losses[-1] < 0.02 * losses[0]


def test_a_seed_decides_everything_and_the_global_stream_is_left_alone():
    before = torch.random.get_rng_state()
    first, again, other = (TD3(OBSERVATIONS, ACTIONS, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for agent in (first, again, other):
        agent.update(make_batch())
    assert same(first.critic.parameters(), again.critic.parameters())
    assert not same(first.critic.parameters(), other.critic.parameters())


def test_a_restored_agent_goes_on_bit_for_bit(tmp_path):
    agent = make_agent()
    for update in range(3):
        agent.update(make_batch(seed=update))
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    restored = TD3(OBSERVATIONS, ACTIONS, seed=7)
    restored.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    for update in range(3, 6):
        agent.update(make_batch(seed=update))
        restored.update(make_batch(seed=update))
    assert same(agent.actor.parameters(), restored.actor.parameters())
    assert same(agent.critic.parameters(), restored.critic.parameters())
    assert same(agent._targets, restored._targets)
    observations = torch.ones(3, OBSERVATIONS)
    assert torch.equal(agent.act(observations, explore=True), restored.act(observations, explore=True))
