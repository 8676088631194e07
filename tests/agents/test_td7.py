"""Each trap of TD7 as its authors' code has it, and all of it against textbook PyTorch."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from plain_td7 import PlainTD7
from random_batches import ACTIONS, OBSERVATIONS, moved, random_batch, stacked
from torch import Tensor

from ilfo._tools.errors import InputError
from ilfo.agents import Batch, make_agent
from ilfo.agents.many import Separate, load_states, states_of
from ilfo.agents.td7 import TD7, TD7Options

SEEDS = [3, 0, 7]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
SMALL = {"hidden_dim": 32, "embedding_dim": 24}


def make(seed=0, **options) -> TD7:
    return TD7(OBSERVATIONS, ACTIONS, TD7Options(**SMALL | options), seed=seed)


def train(agent: TD7, updates: int, first: int = 0, **batch) -> None:
    for number in range(first, first + updates):
        agent.update(random_batch(seed=number, **batch))


def weights(*modules) -> list[Tensor]:
    return [parameter.detach().clone() for module in modules for parameter in module.parameters()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def values(agent: TD7, batch: Batch) -> Tensor:
    """``(2, B)``, what the critics make of a batch through the fixed encoder."""
    states = agent.fixed_encoder.embed_states(batch.observations)
    pairs = agent.fixed_encoder.embed_pairs(states, batch.actions)
    return agent.critics(batch.observations, batch.actions, pairs, states).detach()


def test_the_default_options_are_the_authors():
    options = TD7Options()
    assert (options.discount, options.batch_size, options.hidden_dim, options.embedding_dim) == (0.99, 256, 256, 256)
    assert {options.encoder_learning_rate, options.actor_learning_rate, options.critic_learning_rate} == {3e-4}
    assert (options.target_noise, options.target_noise_clip, options.exploration_noise) == (0.2, 0.5, 0.1)
    assert options.initial_exploration_noise is None
    assert (options.policy_delay, options.target_update_every) == (2, 250)
    assert (options.priority_exponent, options.min_priority) == (0.4, 1.0)
    assert options.checkpoints
    assert (options.assessment_episodes, options.assess_more_after, options.reset_weight) == (20, 750_000, 0.9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, 0, "at least 1") for name in ("batch_size", "hidden_dim", "embedding_dim", "target_update_every")),
        *((name, 0, "at least 1") for name in ("policy_delay", "assessment_episodes")),
        *((f"{name}_learning_rate", -1e-3, "finite and at least 0") for name in ("encoder", "actor", "critic")),
        *((name, float("nan"), "finite and at least 0") for name in ("target_noise", "target_noise_clip")),
        ("exploration_noise", float("inf"), "finite and at least 0"),
        ("initial_exploration_noise", -0.1, "finite and at least 0"),
        ("exploration_decay", 0, "at least 1"),
        ("assess_more_after", -1, "finite and at least 0"),
        *((name, 1.1, "between 0 and 1") for name in ("discount", "priority_exponent", "reset_weight")),
        ("min_priority", 0.0, "above 0"),
    ],
)
def test_options_out_of_range_are_refused(name, value, message):
    with pytest.raises(InputError, match=f"^{name} is {value}: .*{message}"):
        TD7Options(**{name: value})


@pytest.fixture
def double_precision():
    """Rounding is far below any tolerance: what differs after many updates is another algorithm."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


OPTIONS = (
    {"target_update_every": 3, "policy_delay": 3, "discount": 0.9},
    {"target_update_every": 4, "target_noise": 1.0, "target_noise_clip": 0.8, "exploration_noise": 2.0},
    {"target_update_every": 5, "priority_exponent": 0.7, "min_priority": 0.1, "encoder_learning_rate": 1e-3},
    {"target_update_every": 6, "actor_learning_rate": 1e-2, "critic_learning_rate": 1e-3},
)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("updates", "options"),
    [(260, {}), (120, {"target_update_every": 40}), *((13, options) for options in OPTIONS)],
    ids=lambda given: str(given) if isinstance(given, int) else " ".join(given) or "defaults",
)
def test_it_computes_what_textbook_pytorch_does(updates, options):
    options = TD7Options(**SMALL, checkpoints=False, **options)
    fast, plain = TD7(OBSERVATIONS, ACTIONS, options, seed=3), PlainTD7(OBSERVATIONS, ACTIONS, options, seed=3)
    close = {"rtol": 1e-6, "atol": 1e-9}
    for number in range(updates):
        assert_same_update(fast, plain, random_batch(8, seed=number), close)
    assert_same_targets(fast, plain, close)


def test_in_single_precision_it_does_too_within_rounding():
    options = TD7Options(target_update_every=3, checkpoints=False)
    fast, plain = TD7(OBSERVATIONS, ACTIONS, options, seed=3), PlainTD7(OBSERVATIONS, ACTIONS, options, seed=3)
    close = {"rtol": 1e-3, "atol": 1e-3}
    for number in range(7):
        assert_same_update(fast, plain, random_batch(64, seed=number), close)
    assert_same_targets(fast, plain, close)


def assert_same_update(fast: TD7, plain: PlainTD7, batch: Batch, close):
    seen = batch.observations.flip(0)
    torch.testing.assert_close(fast.act(seen, explore=True), plain.act(seen, explore=True), **close)
    found, expected = fast.update(batch), plain.update(batch)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], **close)
    torch.testing.assert_close(fast.priorities, plain.priorities, **close)


def assert_same_targets(fast: TD7, plain: PlainTD7, close):
    """What the targets are made of, which a metric shows only after one more of their updates."""
    batch = random_batch(seed=99)
    for own, other in ((fast.fixed_encoder, plain.fixed_encoder), (fast.encoder, plain.encoder)):
        torch.testing.assert_close(own.embed_states(batch.observations), other.zs(batch.observations), **close)
    states = plain.fixed_encoder_target.zs(batch.next_observations)
    pairs = plain.fixed_encoder_target.zsa(states, batch.actions)
    actions = plain.actor_target(batch.next_observations, states)
    expected = plain.critics_target(batch.next_observations, batch.actions, pairs, states).min(1).values
    own = fast.fixed_encoder_target.embed_states(batch.next_observations)
    torch.testing.assert_close(own, states, **close)
    torch.testing.assert_close(fast.actor_target(batch.next_observations, own), actions, **close)
    own_pairs = fast.fixed_encoder_target.embed_pairs(own, batch.actions)
    found = fast.critics_target(batch.next_observations, batch.actions, own_pairs, own).amin(0)
    torch.testing.assert_close(found, expected, **close)
    torch.testing.assert_close(fast._bounds, torch.tensor([plain.low, plain.high]), **close)


def target_values(agent: TD7, batch: Batch) -> Tensor:
    return agent._target_values(
        batch.rewards, batch.next_observations, batch.terminated, torch.zeros_like(batch.actions)
    )


def test_until_the_first_update_of_the_targets_they_are_the_rewards_alone():
    agent, batch = make(), random_batch(terminated=0.0)
    for number in range(250):
        torch.testing.assert_close(target_values(agent, batch), batch.rewards, rtol=0, atol=0)
        agent.update(random_batch(8, seed=number))
    assert not torch.allclose(target_values(agent, batch), batch.rewards, atol=1e-2)


def test_targets_are_clipped_to_the_range_of_all_before_and_not_to_that_of_the_values():
    agent = make(target_update_every=2, discount=1.0)
    for bias in (agent.critics.rest.bias2, agent.critics_target.rest.bias2):
        bias.data.fill_(1000.0)
    batches = [random_batch(seed=number, terminated=0.0) for number in range(2)]
    for batch in batches:
        agent.update(batch)
    rewards = torch.cat([batch.rewards for batch in batches])
    assert agent._bounds.tolist() == [rewards.min(), rewards.max()]
    probe = random_batch(seed=9, terminated=0.0)
    torch.testing.assert_close(target_values(agent, probe), probe.rewards + rewards.max())
    agent.critics_target.rest.bias2.data.fill_(-1000.0)
    torch.testing.assert_close(target_values(agent, probe), probe.rewards + rewards.min())


def test_the_range_only_grows_and_counts_only_at_an_update_of_the_targets():
    agent = make(target_update_every=2)
    for number, (reward, bounds) in enumerate([(5.0, [0, 0]), (-3.0, [-3, 5]), (9.0, [-3, 5]), (1.0, [-3, 9])]):
        agent.update(replace(random_batch(seed=number, terminated=1.0), rewards=torch.full((32,), reward)))
        assert agent._bounds.tolist() == bounds


def test_nothing_is_bootstrapped_past_a_termination():
    agent = make(target_update_every=1)
    train(agent, 3)
    batch = random_batch(terminated=1.0)
    torch.testing.assert_close(target_values(agent, batch), batch.rewards, rtol=0, atol=0)


@pytest.mark.parametrize(("exponent", "least"), [(0.4, 1.0), (1.0, 0.2), (0.0, 1.0)])
def test_priorities_are_the_larger_error_of_both_critics(exponent, least):
    agent, batch = make(priority_exponent=exponent, min_priority=least), random_batch()
    batch = replace(batch, rewards=3 * batch.rewards)
    errors = (values(agent, batch) - batch.rewards).abs()
    agent.update(batch)
    expected = torch.maximum(*errors).clamp(min=least) ** exponent
    torch.testing.assert_close(agent.priorities, expected)
    assert agent.priorities.shape == (32,)
    assert not agent.priorities.requires_grad
    assert (errors.amax(0) > least).any(), "the draw must have errors on both sides"
    assert (errors.amax(0) < least).any()


def test_the_loss_is_huber_without_an_offset_summed_over_both_critics():
    agent, batch = make(), random_batch()
    errors = (values(agent, batch) - batch.rewards).abs()
    expected = torch.where(errors < 1, errors**2 / 2, errors).mean(1).sum()
    metrics = agent.update(batch)
    torch.testing.assert_close(metrics["critic_loss"], expected)
    torch.testing.assert_close(metrics["q"], values(make(), batch)[0].mean())


def test_the_replay_measures_its_largest_priority_anew_when_targets_are_updated():
    assert make().refresh_priorities_every == 250
    assert make(target_update_every=40).refresh_priorities_every == 40


def test_targets_are_copied_in_this_order_and_stand_still_in_between():
    agent = make(target_update_every=3, policy_delay=1)
    copies = (agent.actor_target, agent.critics_target, agent.fixed_encoder, agent.fixed_encoder_target)
    for number in range(1, 10):
        before, fixed = weights(*copies), weights(agent.fixed_encoder)
        agent.update(random_batch(seed=number))
        if number % 3:
            assert same(before, weights(*copies))
        else:
            assert same(weights(agent.actor), weights(agent.actor_target))
            assert same(weights(agent.critics), weights(agent.critics_target))
            assert same(fixed, weights(agent.fixed_encoder_target)), "the encoder before the one that is now fixed"
            assert same(weights(agent.encoder), weights(agent.fixed_encoder))
            assert not same(fixed, weights(agent.fixed_encoder))


def test_the_second_fourth_update_is_the_actors():
    agent = make()
    for number in range(1, 5):
        before = weights(agent.actor)
        metrics = agent.update(random_batch(seed=number))
        assert same(before, weights(agent.actor)) is (number % 2 == 1)
        assert ("actor_loss" in metrics) is (number % 2 == 0)


def test_every_parameter_gets_a_gradient_and_no_copy_does():
    agent = make()
    train(agent, 2)
    trained = [*agent.actor.parameters(), *agent.critics.parameters(), *agent.encoder.parameters()]
    assert len(trained) == 8 + 8 + 12
    for parameter in trained:
        assert parameter.grad.abs().sum() > 0
    for copy in (agent.fixed_encoder, agent.fixed_encoder_target, agent.actor_target, agent.critics_target):
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in copy.parameters())


def test_the_encoder_learns_from_the_dynamics_alone():
    """Whatever the rewards, its gradient and its path are the same."""
    agents = [make(target_update_every=2) for _ in range(2)]
    for number in range(6):
        batch = random_batch(seed=number)
        agents[0].update(batch)
        agents[1].update(replace(batch, rewards=100 * batch.rewards - 7, terminated=1 - batch.terminated))
    assert same(weights(agents[0].encoder), weights(agents[1].encoder))
    assert not same(weights(agents[0].critics), weights(agents[1].critics))


def test_the_encoder_foresees_an_embedding_that_has_no_gradient():
    agent, batch = make(), random_batch()
    encoder = agent.encoder
    goal = encoder.embed_states(batch.next_observations).detach()
    foreseen = encoder.embed_pairs(encoder.embed_states(batch.observations), batch.actions)
    expected = torch.nn.functional.mse_loss(foreseen, goal)
    gradients = torch.autograd.grad(expected, list(encoder.parameters()))
    metrics = agent.update(batch)
    torch.testing.assert_close(metrics["encoder_loss"], expected.detach())
    for parameter, gradient in zip(encoder.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_actor_climbs_both_critics_also_through_the_embedding_of_its_action():
    agent, batch = make(), random_batch()
    states = agent.fixed_encoder.embed_states(batch.observations)

    def gradients(through_embedding: bool) -> list[Tensor]:
        actions = agent.actor(batch.observations, states)
        embedded = agent.fixed_encoder.embed_pairs(states, actions if through_embedding else actions.detach())
        loss = -agent.critics(batch.observations, actions, embedded, states).mean()
        return list(torch.autograd.grad(loss, list(agent.actor.parameters())))

    expected, cut = gradients(True), gradients(False)
    critics = weights(agent.critics)
    agent._actor_descent(batch.observations, states)
    found = [parameter.grad for parameter in agent.actor.parameters()]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    assert not all(torch.allclose(one, other, rtol=1e-2) for one, other in zip(found, cut, strict=True))
    assert same(critics, weights(agent.critics))


def test_target_noise_is_clipped_and_so_is_the_action():
    agent = make(target_update_every=1)
    train(agent, 2)
    agent._bounds.copy_(torch.tensor([-1e3, 1e3]))
    agent.actor_target.rest.bias2.data.copy_(torch.tensor([-0.5, 1.0]))
    batch = random_batch(terminated=0.0)
    states = agent.fixed_encoder_target.embed_states(batch.next_observations)
    actions = (agent.actor_target(batch.next_observations, states) + 0.5).clamp(-1, 1)
    assert 0 < (actions == 1).sum() < actions.numel()
    pairs = agent.fixed_encoder_target.embed_pairs(states, actions)
    smaller = agent.critics_target(batch.next_observations, actions, pairs, states).amin(0)
    noise = torch.full_like(batch.actions, 1e3)
    found = agent._target_values(batch.rewards, batch.next_observations, batch.terminated, noise)
    torch.testing.assert_close(found, batch.rewards + 0.99 * smaller)


def test_exploration_is_gaussian_for_every_row_and_clipped():
    agent, observations = make(), torch.zeros(4000, OBSERVATIONS)
    noise = agent.act(observations, explore=True) - agent.act(observations, explore=False)
    assert noise.std(dim=0).tolist() == pytest.approx([0.1, 0.1], rel=0.05)
    loud = make(exploration_noise=5.0).act(observations, explore=True)
    assert loud.abs().max() == 1.0


def test_exploration_falls_in_a_line_from_what_it_is_at_first():
    agent, observations = make(initial_exploration_noise=0.3, exploration_decay=40), torch.zeros(4000, OBSERVATIONS)
    for updates, expected in ((0, 0.3), (20, 0.2), (40, 0.1), (1000, 0.1)):
        agent.updates = updates
        noise = agent.act(observations, explore=True) - agent.act(observations, explore=False)
        assert agent.exploration_noise == pytest.approx(expected)
        assert noise.std(dim=0).tolist() == pytest.approx([expected, expected], rel=0.05)


def test_acting_without_exploration_draws_nothing():
    agent, observations = make(), torch.ones(3, OBSERVATIONS)
    state = agent.state_dict()["random"]
    assert torch.equal(agent.act(observations, explore=False), agent.act(observations, explore=False))
    assert torch.equal(agent.state_dict()["random"], state)


def present_policy(agent: TD7, observations: Tensor) -> Tensor:
    with torch.no_grad():
        return agent.actor(observations, agent.fixed_encoder.embed_states(observations))


def test_the_policy_is_evaluated_as_it_was_at_its_checkpoint():
    agent, seen = make(target_update_every=4), torch.randn(20, OBSERVATIONS)
    initial = agent.act(seen, explore=False)
    torch.testing.assert_close(initial, present_policy(agent, seen), rtol=0, atol=0)
    train(agent, 6)
    assert torch.equal(agent.act(seen, explore=False), initial), "no episode yet, no checkpoint"
    kept = present_policy(agent, seen)
    assert agent.end_episode(10.0, 6) == 6
    train(agent, 6, first=6)
    assert torch.equal(agent.act(seen, explore=False), kept), "actor and encoder alike"
    assert not torch.allclose(present_policy(agent, seen), kept, atol=1e-4)
    assert agent.end_episode(9.0, 5) == 5
    assert torch.equal(agent.act(seen, explore=False), kept), "it was worse"
    better = present_policy(agent, seen)
    assert agent.end_episode(11.0, 3) == 3
    assert torch.equal(agent.act(seen, explore=False), better)


def test_exploring_takes_the_present_policy():
    agent, seen = make(exploration_noise=0.0), torch.randn(20, OBSERVATIONS)
    train(agent, 4)
    torch.testing.assert_close(agent.act(seen, explore=True), present_policy(agent, seen), rtol=0, atol=0)
    assert not torch.equal(agent.act(seen, explore=False), present_policy(agent, seen))


def test_after_so_many_updates_more_episodes_are_wanted():
    agent = make(assess_more_after=5, assessment_episodes=3, reset_weight=0.5)
    assert agent.end_episode(8.0, 5) == 5
    train(agent, 5)
    assert agent._assessment.best == 8.0
    assert agent.end_episode(9.0, 2) == 2, "five were made, and the sixth is the one before which it changes"
    train(agent, 2)
    assert (agent._assessment.wanted, agent._assessment.best) == (3, 4.5)
    assert [agent.end_episode(*episode) for episode in [(5.0, 2), (7.0, 3), (6.0, 4)]] == [0, 0, 9]
    assert agent._assessment.best == 5.0
    train(agent, 9)
    assert [agent.end_episode(*episode) for episode in [(9.0, 2), (4.0, 3)]] == [0, 5]
    assert (agent._assessment.wanted, agent._assessment.best) == (3, 5.0), "it changes once"


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_return_that_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=f"imitation return is {value}: the reward must be finite"):
        make().end_episode(value, 10)


def test_without_checkpoints_it_trains_at_every_step_and_is_evaluated_as_it_is():
    agent, seen = make(checkpoints=False), torch.randn(20, OBSERVATIONS)
    train(agent, 4)
    assert torch.equal(agent.act(seen, explore=False), present_policy(agent, seen))
    assert not agent.trains_between_episodes
    assert not agent.plays_best
    assert make().trains_between_episodes
    assert make().plays_best
    with pytest.raises(NotImplementedError, match="TD7 trains at every step"):
        agent.end_episode(1.0, 10)


@pytest.mark.parametrize("checkpoints", [True, False])
def test_a_restored_agent_goes_on_bit_for_bit(checkpoints, tmp_path):
    options = {"target_update_every": 3, "assess_more_after": 5, "assessment_episodes": 2, "checkpoints": checkpoints}
    agent, restored = make(**options), make(seed=7, **options)

    def go_on(agent: TD7, first: int) -> list:
        due = [agent.end_episode(*episode) for episode in [(3.0, 4), (5.0 + first, 5)]] if checkpoints else []
        train(agent, 4, first=first)
        seen = torch.ones(3, OBSERVATIONS)
        return [due, agent.act(seen, explore=False).tolist(), agent.act(seen, explore=True).tolist()]

    agent.update(replace(random_batch(terminated=1.0), rewards=torch.full((32,), 50.0)))
    go_on(agent, 0)
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    restored.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    for first in (4, 8):
        assert go_on(agent, first) == go_on(restored, first)
    saved, found = agent.state_dict(), restored.state_dict()
    for name in ("actor", "critics", "encoder", "critics_target", "fixed_encoder_target", "checkpoint_encoder"):
        assert same(saved[name].values(), found[name].values())
    assert torch.equal(saved["bounds"], found["bounds"])
    assert found["bounds"][1] == 50.0, "the range remembers what came before"
    assert saved["assessment"] == found["assessment"]


def test_a_state_is_loaded_in_place():
    """A recorded graph remembers addresses."""
    agent, other = make(), make(seed=1)
    places = [agent._bounds.data_ptr(), *(value.data_ptr() for value in agent.critics_target.parameters())]
    train(other, 2)
    agent.load_state_dict(other.state_dict())
    assert [agent._bounds.data_ptr(), *(value.data_ptr() for value in agent.critics_target.parameters())] == places
    assert agent._bounds.data_ptr() != other._bounds.data_ptr()


def test_seeds_are_stacked_unless_each_has_checkpoints_of_its_own():
    assert isinstance(make_agent(TD7, OBSERVATIONS, ACTIONS, TD7Options(checkpoints=False), seed=SEEDS), TD7)
    with pytest.warns(UserWarning, match="TD7 cannot stack seeds"):
        agent = make_agent(TD7, OBSERVATIONS, ACTIONS, TD7Options(**SMALL), seed=SEEDS)
    assert isinstance(agent, Separate)
    assert not TD7.can_stack(None)
    with pytest.raises(InputError, match="seed is a sequence and checkpoints is True"):
        make(seed=SEEDS)


def batches(number: int, size: int = 32) -> list[Batch]:
    """Of each seed its own."""
    return [random_batch(size, seed=100 * number + seed) for seed in SEEDS]


def assert_same_as_alone(many: TD7, singles: list[TD7], number: int, size: int = 32):
    own = batches(number, size)
    found, expected = many.update(stacked(own)), [agent.update(each) for agent, each in zip(singles, own, strict=True)]
    assert found.keys() == expected[0].keys()
    for name, value in found.items():
        assert value.shape == (len(SEEDS),)
        torch.testing.assert_close(value, torch.stack([metrics[name] for metrics in expected]), **CLOSE)
    torch.testing.assert_close(many.priorities, torch.stack([agent.priorities for agent in singles]), **CLOSE)
    seen = torch.randn(len(SEEDS), 4, OBSERVATIONS)
    actions = [agent.act(each, explore=True) for agent, each in zip(singles, seen, strict=True)]
    torch.testing.assert_close(many.act(seen, explore=True), torch.stack(actions), **CLOSE)


@pytest.mark.parametrize("size", [8, 32])
def test_agents_together_are_what_each_is_alone(size):
    options = {"checkpoints": False, "target_update_every": 3}
    many, singles = make(SEEDS, **options), [make(seed, **options) for seed in SEEDS]
    for number in range(8):
        assert_same_as_alone(many, singles, number, size)
    torch.testing.assert_close(many._bounds, torch.stack([agent._bounds for agent in singles]), **CLOSE)


def test_members_go_on_alone_and_together_again():
    options = {"checkpoints": False, "target_update_every": 3}
    many, singles, again = make(SEEDS, **options), [make(99, **options) for _ in SEEDS], make(SEEDS, **options)
    for number in range(4):
        many.update(stacked(batches(number)))
    for single, state in zip(singles, states_of(many, len(SEEDS)), strict=True):
        load_states(single, [state], None)
    load_states(again, [state for single in singles for state in states_of(single, None)], len(SEEDS))
    for number in range(4, 8):
        found, expected = again.update(stacked(batches(number))), many.update(stacked(batches(number)))
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
    for number in range(4, 8):
        for single, own in zip(singles, batches(number), strict=True):
            single.update(own)
    assert_same_as_alone(many, singles, 8)


def test_one_batch_can_be_overfitted():
    agent, batch = make(target_update_every=1000, critic_learning_rate=3e-3), random_batch(terminated=1.0)
    losses = [float(agent.update(batch)["critic_loss"]) for _ in range(100)]
    assert losses[-1] < 0.05 * losses[0]


def test_it_learns_what_is_rewarded():
    """The best action moves with the state, and only actions taken at random are ever seen."""
    agent = make(checkpoints=False, target_update_every=25, critic_learning_rate=3e-3)
    seen = random_batch(200, seed=999).observations

    def best(observations: Tensor) -> Tensor:
        return torch.tanh(observations[:, :ACTIONS]) / 2

    def miss() -> float:
        return float((agent.act(seen, explore=False) - best(seen)).abs().mean())

    before = miss()
    for number in range(300):
        batch = random_batch(64, seed=number, terminated=1.0)
        agent.update(replace(batch, rewards=-3 * (batch.actions - best(batch.observations)).square().sum(-1)))
    assert before > 0.25
    assert miss() < 0.15


def test_compiled_it_computes_what_it_does_without(monkeypatch):
    """Each loss is one graph, which PyTorch runs as it is; machine code of TD7 would take a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    options = TD7Options(**SMALL, checkpoints=False, target_update_every=2)
    eager, compiled = (TD7(OBSERVATIONS, ACTIONS, options, seed=[3, 0], compile=compile) for compile in (False, True))
    for number in range(4):
        batch = stacked([random_batch(seed=2 * number), random_batch(seed=2 * number + 1)])
        expected, found = eager.update(batch), compiled.update(batch)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(compiled.priorities, eager.priorities, rtol=1e-4, atol=1e-4)
    for one, other in zip(weights(compiled.critics_target), weights(eager.critics_target), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(compiled._bounds, eager._bounds, rtol=1e-4, atol=1e-4)


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("seed", [3, SEEDS], ids=["one seed", "several"])
def test_compiled_on_a_gpu_it_computes_what_it_does_without(seed):
    several = isinstance(seed, list)
    options = TD7Options(**SMALL, checkpoints=not several, target_update_every=5)
    eager, compiled = (
        TD7(OBSERVATIONS, ACTIONS, options, device="cuda", seed=seed, compile=compile) for compile in (False, True)
    )
    seen = torch.randn(*([3] if several else []), 4, OBSERVATIONS, device="cuda")
    close = {"rtol": 1e-3, "atol": 1e-3}
    for number in range(20):
        batch = moved(stacked(batches(number)) if several else random_batch(seed=number), "cuda")
        expected, found = (agent.update(batch) for agent in (eager, compiled))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], **close)
        torch.testing.assert_close(compiled.priorities, eager.priorities, **close)
        torch.testing.assert_close(compiled._bounds, eager._bounds, **close)
        if not several:
            assert eager.end_episode(float(number), 1) == compiled.end_episode(float(number), 1)
        for explore in (True, False):
            torch.testing.assert_close(compiled.act(seen, explore), eager.act(seen, explore), **close)


@pytest.mark.gpu
@on_gpu
def test_a_compiled_update_does_not_wait_for_the_gpu():
    agent = TD7(OBSERVATIONS, ACTIONS, TD7Options(target_update_every=4), device="cuda", compile=True)
    given = [moved(random_batch(seed=number), "cuda") for number in range(30)]
    for batch in given[:20]:
        agent.update(batch)
    before = weights(agent.actor)
    torch.cuda.set_sync_debug_mode("error")  # who waits, raises
    try:
        for batch in given[20:]:
            agent.update(batch)
            agent.end_episode(1.0, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not same(before, weights(agent.actor)), "the updates were real"
