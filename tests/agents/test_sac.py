"""Each trap of SAC, and all of it against textbook PyTorch."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from plain_sac import PlainSAC
from random_batches import ACTIONS, OBSERVATIONS, moved, random_batch, stacked
from torch import Tensor
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from ilfo._tools.errors import InputError
from ilfo.agents import Batch
from ilfo.agents._random_streams import RandomStreams
from ilfo.agents.many import load_states, states_of
from ilfo.agents.sac import SAC, SACOptions

SEEDS = [3, 0, 7]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def make(seed=0, **options) -> SAC:
    return SAC(OBSERVATIONS, ACTIONS, SACOptions(**{"hidden_dim": 32} | options), seed=seed)


def train(agent: SAC, updates: int, first: int = 0) -> None:
    for number in range(first, first + updates):
        agent.update(random_batch(seed=number))


def weights(*modules) -> list[Tensor]:
    return [parameter.detach().clone() for module in modules for parameter in module.parameters()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def noises(seed: int = 0, size: int = 32) -> tuple[Tensor, Tensor]:
    """What a fresh agent's first update draws: for the target's actions, and for the actor's."""
    streams = RandomStreams(seed, "cpu")
    return streams.normal((size, ACTIONS)), streams.normal((size, ACTIONS))


def test_the_default_options_are_the_papers():
    options = SACOptions()
    assert (options.discount, options.tau, options.batch_size, options.hidden_dim) == (0.99, 0.005, 256, 256)
    assert {options.actor_learning_rate, options.critic_learning_rate, options.temperature_learning_rate} == {3e-4}
    assert options.temperature is None
    assert options.initial_temperature == 1.0
    assert not options.layer_norm
    assert SAC(OBSERVATIONS, ACTIONS)._target_entropy == -ACTIONS


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, 0, "at least 1") for name in ("batch_size", "hidden_dim")),
        *((f"{name}_learning_rate", -1e-3, "finite and at least 0") for name in ("actor", "critic", "temperature")),
        ("temperature", -0.1, "finite and at least 0"),
        ("temperature", math.inf, "finite and at least 0"),
        ("initial_temperature", 0.0, "finite number above 0"),
        ("target_entropy", math.nan, "finite"),
        *((name, 1.1, "between 0 and 1") for name in ("discount", "tau")),
    ],
)
def test_options_out_of_range_are_refused(name, value, message):
    with pytest.raises(InputError, match=f"^{name} is {value}: .*{message}"):
        SACOptions(**{name: value})


def test_networks_have_two_hidden_layers_and_the_norm_is_the_critics_alone():
    agent = make(layer_norm=True, hidden_dim=48)
    assert agent.actor.weight1.shape == (48, 48)
    assert agent.actor.weight2.shape == (2 * ACTIONS, 48)
    assert agent.critics.weight1.shape == (2, 48, 48)
    assert not torch.equal(*agent.critics.weight0)
    normed = {name for name, _ in agent._networks.named_parameters() if "gain" in name}
    assert normed == {"critics.gain0", "critics.gain1"}
    assert not any("gain" in name for name, _ in make()._networks.named_parameters())


@pytest.fixture
def double_precision():
    """Rounding is far below any tolerance: what differs after many updates is another algorithm."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


OPTIONS = (
    {"tau": 0.5, "discount": 0.9, "layer_norm": True},
    {"temperature": 0.2, "actor_learning_rate": 1e-2},
    {"temperature": 0.0, "critic_learning_rate": 1e-3},
    {"initial_temperature": 0.1, "target_entropy": -0.5, "temperature_learning_rate": 1e-2},
)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("updates", "options"),
    [(200, {}), *((40, options) for options in OPTIONS)],
    ids=lambda given: str(given) if isinstance(given, int) else " ".join(given) or "defaults",
)
def test_it_computes_what_textbook_pytorch_does(updates, options):
    options = SACOptions(hidden_dim=32, **options)
    fast, plain = SAC(OBSERVATIONS, ACTIONS, options, seed=3), PlainSAC(OBSERVATIONS, ACTIONS, options, seed=3)
    for number in range(updates):
        assert_same_update(fast, plain, random_batch(8, seed=number), {"rtol": 1e-6, "atol": 1e-9})
    seen = torch.randn(8, OBSERVATIONS + ACTIONS)
    expected = torch.stack([plain.q1_target(seen), plain.q2_target(seen)])
    torch.testing.assert_close(fast.critics_target(seen), expected, rtol=1e-6, atol=1e-9)


def test_in_single_precision_it_does_too_within_rounding():
    options = SACOptions(layer_norm=True)
    fast, plain = SAC(OBSERVATIONS, ACTIONS, options, seed=3), PlainSAC(OBSERVATIONS, ACTIONS, options, seed=3)
    for number in range(10):
        assert_same_update(fast, plain, random_batch(64, seed=number), {"rtol": 1e-3, "atol": 1e-3})


def assert_same_update(fast: SAC, plain: PlainSAC, batch: Batch, close):
    seen = batch.observations.flip(0)
    for explore in (True, False):
        torch.testing.assert_close(fast.act(seen, explore), plain.act(seen, explore), **close)
    found, expected = fast.update(batch), plain.update(batch)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], **close)


def test_log_densities_are_those_of_pytorchs_distributions():
    agent, observations = make(), 3 * torch.randn(500, OBSERVATIONS)
    noise = torch.randn(500, ACTIONS)
    mean, log_std = agent.actor(observations).chunk(2, dim=-1)
    gaussian = mean + log_std.exp() * noise
    squash = TanhTransform(cache_size=1)
    expected = TransformedDistribution(Independent(Normal(mean, log_std.exp()), 1), [squash])
    actions, found = agent._sample(observations, noise)
    torch.testing.assert_close(actions, torch.tanh(gaussian))
    torch.testing.assert_close(found, expected.log_prob(squash(gaussian)))


def test_the_density_integrates_to_one():
    agent, steps = SAC(OBSERVATIONS, 1), 4001
    observations = torch.randn(1, OBSERVATIONS).expand(steps, -1)
    with torch.no_grad():
        actions, log_densities = agent._sample(observations, torch.linspace(-8, 8, steps).unsqueeze(-1))
    area = torch.trapezoid(log_densities.exp().double(), actions.squeeze(-1).double())
    assert float(area) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("far", [-30.0, 30.0])
def test_density_and_gradient_stay_finite_where_tanh_is_one(far):
    agent = make()
    with torch.no_grad():
        agent.actor.bias2[:ACTIONS] = far
    actions, log_densities = agent._sample(torch.randn(32, OBSERVATIONS), torch.randn(32, ACTIONS))
    assert actions.abs().eq(1).all()
    assert log_densities.isfinite().all()
    assert (log_densities > 10).all(), "so much mass so close to the bound is dense"
    gradients = torch.autograd.grad(log_densities.sum(), list(agent.actor.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("said", "taken"), [(50.0, 2.0), (-50.0, -20.0)])
def test_the_gaussian_is_never_wider_or_narrower_than_its_bounds(said, taken):
    agent, noise = make(), torch.full((4, ACTIONS), 0.01)
    with torch.no_grad():
        agent.actor.bias2[ACTIONS:] = said
    observations = torch.zeros(4, OBSERVATIONS)
    mean = agent.actor(observations)[:, :ACTIONS]
    torch.testing.assert_close(agent._sample(observations, noise)[0], torch.tanh(mean + 0.01 * math.exp(taken)))


def test_the_target_is_the_smaller_twin_and_the_worth_of_the_entropy():
    agent, batch = make(initial_temperature=0.3, discount=0.9), random_batch()
    with torch.no_grad():  # else the twins hardly differ
        agent.critics_target.bias2[0] += batch.rewards.mean()
    noise = noises()[0]
    actions, log_densities = agent._sample(batch.next_observations, noise)
    pairs = torch.cat([batch.next_observations, actions], -1)
    q1, q2 = agent.critics_target(pairs).squeeze(-1)
    expected = batch.rewards + (1 - batch.terminated) * 0.9 * (torch.minimum(q1, q2) - 0.3 * log_densities)
    found = agent._target_values(batch.rewards, batch.next_observations, batch.terminated, noise)
    torch.testing.assert_close(found, expected)
    assert (q1 < q2).any()
    assert (q2 < q1).any()
    assert not found.requires_grad


def test_nothing_not_even_entropy_is_counted_past_a_termination():
    agent, batch = make(), random_batch(terminated=1.0)
    found = agent._target_values(batch.rewards, batch.next_observations, batch.terminated, noises()[0])
    torch.testing.assert_close(found, batch.rewards)


def test_the_actor_climbs_the_smaller_critic_and_leaves_critics_and_temperature_be():
    agent, batch, noise = make(initial_temperature=0.5), random_batch(), noises()[1]
    actions, log_densities = agent._sample(batch.observations, noise)
    values = agent.critics(torch.cat([batch.observations, actions], -1)).squeeze(-1)
    loss = (0.5 * log_densities - values.amin(0)).mean()
    gradients = torch.autograd.grad(loss, list(agent.actor.parameters()))
    before = weights(agent.critics)
    metrics = agent._actor_descent(batch.observations, noise)
    torch.testing.assert_close(metrics["actor_loss"], loss.detach())
    torch.testing.assert_close(metrics["entropy"], -log_densities.mean().detach())
    for parameter, gradient in zip(agent.actor.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert same(before, agent.critics.parameters())
    assert agent._networks.log_temperature.grad is None
    assert all(parameter.grad is None for parameter in agent.critics.parameters())


@pytest.mark.parametrize(("target", "rises"), [(-50.0, False), (50.0, True)])
def test_the_temperature_rises_where_the_policy_is_too_sure_and_falls_where_it_is_not(target, rises):
    agent = make(target_entropy=target)
    before = float(agent.temperature)
    found = [float(agent.update(random_batch(seed=number))["temperature"]) for number in range(20)]
    assert found[0] == before == 1.0
    assert found == sorted(found, reverse=not rises)
    assert float(agent.temperature) == pytest.approx(math.exp((20 if rises else -20) * 3e-4), rel=1e-5)


@pytest.mark.parametrize("target", [0.5, -0.5])
def test_the_policy_comes_to_the_entropy_that_it_is_held_at(target):
    """Small actions are rewarded, and the temperature finds what it takes to keep the policy from them."""
    fast = {f"{name}_learning_rate": 1e-2 for name in ("actor", "critic", "temperature")}
    agent, entropies = make(target_entropy=target, initial_temperature=0.5, **fast), []
    for number in range(300):
        batch = random_batch(32, seed=number, terminated=1.0)
        metrics = agent.update(replace(batch, rewards=-5 * batch.actions.square().sum(-1)))
        entropies.append(float(metrics["entropy"]))
    assert sum(entropies[-50:]) / 50 == pytest.approx(target, abs=0.2)


def test_a_fixed_temperature_stays():
    agent = make(temperature=0.2)
    train(agent, 5)
    assert float(agent.temperature) == pytest.approx(0.2)
    assert agent._networks.log_temperature.tolist() == [0.0]
    assert "temperature" not in agent.update(random_batch())


def test_only_the_critics_have_targets_and_these_move_by_tau_at_every_update():
    agent = make(tau=0.1)
    for number in range(3):
        before = weights(agent.critics_target)
        agent.update(random_batch(seed=number))
        for target, old, new in zip(agent.critics_target.parameters(), before, weights(agent.critics), strict=True):
            torch.testing.assert_close(target, 0.1 * new + 0.9 * old)
    assert not any(parameter.requires_grad for parameter in agent.critics_target.parameters())
    assert not hasattr(agent, "actor_target")


def test_every_parameter_gets_a_gradient():
    agent = make(layer_norm=True)
    agent.update(random_batch())
    parameters = dict(agent._networks.named_parameters())
    assert len(parameters) == 17
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_exploring_draws_from_the_policy_and_else_its_mean_is_taken():
    agent = make()
    observations = torch.ones(1, OBSERVATIONS).expand(4000, -1)
    mean, log_std = agent.actor(observations[:1]).detach().chunk(2, dim=-1)
    drawn = torch.atanh(agent.act(observations, explore=True))
    torch.testing.assert_close(drawn.mean(dim=0), mean[0], rtol=0, atol=0.06)
    torch.testing.assert_close(drawn.std(dim=0), log_std[0].exp(), rtol=0.05, atol=0)
    state = agent.state_dict()["random"]
    torch.testing.assert_close(agent.act(observations, explore=False)[:1], torch.tanh(mean))
    assert torch.equal(agent.state_dict()["random"], state), "nothing is drawn for it"


def test_a_seed_decides_everything_and_the_global_stream_is_left_alone():
    before = torch.random.get_rng_state()
    first, again, other = (make(seed) for seed in (1, 1, 2))
    for agent in (first, again, other):
        train(agent, 2)
        agent.act(torch.ones(3, OBSERVATIONS), explore=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(weights(first._networks), weights(again._networks))
    assert not same(weights(first._networks), weights(other._networks))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.2}], ids=["learned", "fixed"])
@pytest.mark.parametrize("seed", [0, SEEDS], ids=["one seed", "several"])
def test_a_restored_agent_goes_on_bit_for_bit(seed, options, tmp_path):
    stack = (3,) if isinstance(seed, list) else ()
    agent = make(seed, **options)
    given = [stacked(batches(number)) if stack else random_batch(seed=number) for number in range(6)]
    for batch in given[:3]:
        agent.update(batch)
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    restored = make([9, 8, 6] if stack else 9, **options)
    restored.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    for batch in given[3:]:
        found, expected = restored.update(batch), agent.update(batch)
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert same(weights(restored._networks, restored.critics_target), weights(agent._networks, agent.critics_target))
    seen = torch.ones(*stack, 3, OBSERVATIONS)
    assert torch.equal(agent.act(seen, explore=True), restored.act(seen, explore=True))


def batches(number: int, size: int = 32) -> list[Batch]:
    """Of each seed its own."""
    return [random_batch(size, seed=100 * number + seed) for seed in SEEDS]


def assert_same_as_alone(many: SAC, singles: list[SAC], number: int, size: int = 32):
    own = batches(number, size)
    found, expected = many.update(stacked(own)), [agent.update(each) for agent, each in zip(singles, own, strict=True)]
    assert found.keys() == expected[0].keys()
    for name, value in found.items():
        assert value.shape == (len(SEEDS),)
        torch.testing.assert_close(value, torch.stack([metrics[name] for metrics in expected]), **CLOSE)
    seen = torch.randn(len(SEEDS), 4, OBSERVATIONS)
    for explore in (True, False):
        actions = [agent.act(each, explore) for agent, each in zip(singles, seen, strict=True)]
        torch.testing.assert_close(many.act(seen, explore), torch.stack(actions), **CLOSE)


@pytest.mark.parametrize("options", [{}, {"layer_norm": True, "temperature": 0.3}], ids=["learned", "fixed"])
@pytest.mark.parametrize("size", [8, 32])
def test_agents_together_are_what_each_is_alone(size, options):
    many, singles = make(SEEDS, **options), [make(seed, **options) for seed in SEEDS]
    for number in range(8):
        assert_same_as_alone(many, singles, number, size)


def test_members_go_on_alone_and_together_again():
    fast = {"temperature_learning_rate": 0.1}
    many, singles, again = make(SEEDS, **fast), [make(99, **fast) for _ in SEEDS], make(SEEDS, **fast)
    for number in range(4):
        many.update(stacked(batches(number)))
    assert len(many.temperature.unique()) == 3, "each seed has a temperature of its own"
    for single, state in zip(singles, states_of(many, len(SEEDS)), strict=True):
        load_states(single, [state], None)
    load_states(again, [state for single in singles for state in states_of(single, None)], len(SEEDS))
    for number in range(4, 8):
        found, expected = again.update(stacked(batches(number))), many.update(stacked(batches(number)))
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
        for single, own in zip(singles, batches(number), strict=True):
            single.update(own)
    assert_same_as_alone(many, singles, 8)


def test_one_batch_can_be_overfitted():
    agent, batch = make(critic_learning_rate=3e-3), random_batch(terminated=1.0)
    losses = [float(agent.update(batch)["critic_loss"]) for _ in range(300)]
    assert losses[-1] < 0.05 * losses[0]


def test_it_learns_what_is_rewarded():
    """The best action moves with the state, and only actions taken at random are ever seen."""
    agent = make(actor_learning_rate=3e-3, critic_learning_rate=3e-3, initial_temperature=0.1)
    seen = random_batch(200, seed=999).observations

    def best(observations: Tensor) -> Tensor:
        return torch.tanh(observations[:, :ACTIONS]) / 2

    def miss() -> float:
        return float((agent.act(seen, explore=False) - best(seen)).abs().mean())

    before = miss()
    for number in range(400):
        batch = random_batch(64, seed=number, terminated=1.0)
        agent.update(replace(batch, rewards=-3 * (batch.actions - best(batch.observations)).square().sum(-1)))
    assert before > 0.25
    assert miss() < 0.15


def test_compiled_it_computes_what_it_does_without(monkeypatch):
    """Each loss is one graph, which PyTorch runs as it is; machine code would take most of a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    options = SACOptions(hidden_dim=32, layer_norm=True)
    eager, compiled = (SAC(OBSERVATIONS, ACTIONS, options, seed=[3, 0], compile=compile) for compile in (False, True))
    for number in range(4):
        batch = stacked([random_batch(seed=2 * number), random_batch(seed=2 * number + 1)])
        expected, found = eager.update(batch), compiled.update(batch)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)
    for one, other in zip(
        weights(compiled._networks, compiled.critics_target),
        weights(eager._networks, eager.critics_target),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("seed", [3, SEEDS], ids=["one seed", "several"])
def test_compiled_on_a_gpu_it_computes_what_it_does_without(seed):
    several = isinstance(seed, list)
    options = SACOptions(hidden_dim=64, layer_norm=several)
    eager, compiled = (
        SAC(OBSERVATIONS, ACTIONS, options, device="cuda", seed=seed, compile=compile) for compile in (False, True)
    )
    seen = torch.randn(*([3] if several else []), 4, OBSERVATIONS, device="cuda")
    close = {"rtol": 1e-3, "atol": 1e-3}
    for number in range(20):
        batch = moved(stacked(batches(number)) if several else random_batch(seed=number), "cuda")
        expected, found = (agent.update(batch) for agent in (eager, compiled))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], **close)
        for explore in (True, False):
            torch.testing.assert_close(compiled.act(seen, explore), eager.act(seen, explore), **close)


@pytest.mark.gpu
@on_gpu
def test_a_compiled_update_does_not_wait_for_the_gpu():
    agent = SAC(OBSERVATIONS, ACTIONS, device="cuda", compile=True)
    given = [moved(random_batch(seed=number), "cuda") for number in range(30)]
    for batch in given[:20]:
        agent.update(batch)
    before = weights(agent.actor)
    torch.cuda.set_sync_debug_mode("error")  # who waits, raises
    try:
        for batch in given[20:]:
            agent.update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not same(before, weights(agent.actor)), "the updates were real"
