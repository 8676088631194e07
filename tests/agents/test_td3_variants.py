"""TD3 as OOPS runs it, and its other options: losses, clipped gradients, drawn times, training between episodes."""

import copy
from dataclasses import replace

import pytest
import torch
from random_batches import ACTIONS, OBSERVATIONS, random_batch, stacked

from ilfo._tools.errors import InputError
from ilfo.agents import make_agent
from ilfo.agents.lap import huber_loss, lap_priorities, pal_loss
from ilfo.agents.many import Separate
from ilfo.agents.td3 import TD3, TD3Options

HORIZON = 20


def make(seed=0, horizon=None, **options) -> TD3:
    return TD3(OBSERVATIONS, ACTIONS, TD3Options(hidden_dim=16, **options), seed=seed, horizon=horizon)


def timed_batch(size: int = 4000):
    """Transitions at every time of an episode; the last observation column is the share of the horizon left."""
    batch = random_batch(size)
    left = torch.arange(size) % HORIZON + 1
    seen, following = batch.observations.clone(), batch.next_observations.clone()
    seen[:, -1], following[:, -1] = left / HORIZON, (left - 1) / HORIZON
    fell = batch.terminated * (left > 1)
    return replace(batch, observations=seen, next_observations=following, terminated=fell.maximum((left == 1).float()))


def errors_of(agent: TD3, batch) -> torch.Tensor:
    """Differences of the critics' values and the target, with the noise that the agent is going to draw."""
    noise = copy.deepcopy(agent._random).normal(batch.actions.shape)
    target = agent._target_values(batch.rewards, batch.next_observations, batch.terminated, noise)
    values = agent.critics(torch.cat([batch.observations, batch.actions], -1)).squeeze(-1)
    return (values - target).detach()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("squared", lambda errors: errors.square().mean(-1).sum(-1)),
        ("pal", pal_loss),
        ("lap", lambda errors: huber_loss(errors).mean(-1).sum(-1)),
    ],
)
def test_the_loss_is_the_one_that_was_asked_for(name, expected):
    agent, batch = make(critic_loss=name), random_batch()
    batch = replace(batch, rewards=5 * batch.rewards)
    errors = errors_of(agent, batch)
    torch.testing.assert_close(agent.update(batch)["critic_loss"], expected(errors))


def test_lap_leaves_the_priorities_of_the_batch_and_the_others_none():
    agent, batch = make(critic_loss="lap"), random_batch()
    expected = lap_priorities(errors_of(agent, batch))
    metrics = agent.update(batch)
    assert agent.refresh_priorities_every == 250
    torch.testing.assert_close(agent.priorities, expected)
    assert "priorities" not in metrics
    assert make().refresh_priorities_every == 0


def test_priorities_of_a_stack_are_those_of_its_members():
    batches = [random_batch(seed=seed) for seed in (1, 2)]
    together = make(seed=[3, 4], critic_loss="lap")
    together.update(stacked(batches))
    for member, (seed, batch) in enumerate(zip((3, 4), batches, strict=True)):
        alone = make(seed=seed, critic_loss="lap")
        alone.update(batch)
        torch.testing.assert_close(together.priorities[member], alone.priorities)


@pytest.mark.parametrize("seed", [0, [3, 4]])
def test_a_long_gradient_is_shortened_for_every_seed_on_its_own(seed):
    batch = replace(random_batch(), rewards=torch.full((32,), 1000.0))
    short = replace(random_batch(), rewards=torch.zeros(32))
    batch = stacked([batch, short]) if isinstance(seed, list) else batch
    free, clipped = make(seed=seed), make(seed=seed, critic_gradient_clip=25.0)
    for agent in (free, clipped):
        agent.update(batch)
    pairs = [(a.grad, b.grad) for a, b in zip(free.critics.parameters(), clipped.critics.parameters(), strict=True)]
    if isinstance(seed, int):
        pairs = [(a[None], b[None]) for a, b in pairs]
    norms = [torch.cat([gradient[0].flatten() for gradient in side]).norm() for side in zip(*pairs, strict=True)]
    assert norms[0] > 1000
    torch.testing.assert_close(norms[1], torch.tensor(25.0))
    if isinstance(seed, list):
        for a, b in pairs:
            torch.testing.assert_close(a[1], b[1], msg="the other seed's was short enough")


def test_critics_may_be_wider_than_the_actor():
    agent = make(critic_hidden_dim=48)
    assert agent.actor.weight0.shape == (16, OBSERVATIONS)
    assert agent.critics.weight1.shape == (2, 48, 48)


def test_times_are_drawn_from_1_to_the_horizon_and_all_else_stays():
    agent, batch = make(horizon=HORIZON, resample_time=True), timed_batch()
    drawn = agent._at_another_time(batch)
    left = (drawn.observations[:, -1] * HORIZON).round()
    assert sorted(set(left.tolist())) == list(range(1, HORIZON + 1))
    assert left.unique(return_counts=True)[1].float().std() < 40, "as often one as the other"
    torch.testing.assert_close(drawn.next_observations[:, -1], (left - 1) / HORIZON)
    for name in ("observations", "next_observations"):
        assert torch.equal(getattr(drawn, name)[:, :-1], getattr(batch, name)[:, :-1])
    assert torch.equal(drawn.rewards, batch.rewards)


def test_the_end_moves_with_the_time_and_a_fall_stays_one():
    agent, batch = make(horizon=HORIZON, resample_time=True), timed_batch()
    drawn = agent._at_another_time(batch)
    last = drawn.observations[:, -1] < 1.5 / HORIZON
    fell = (batch.terminated > 0) & (batch.next_observations[:, -1] > 0)
    assert torch.equal(drawn.terminated > 0, last | fell)
    assert (batch.terminated[~last & ~fell] > 0).any(), "the time limit of the true time is none any more"


def test_critics_learn_at_drawn_times_and_the_actor_at_the_true_ones():
    agent, batch = make(horizon=HORIZON, resample_time=True, policy_delay=1), timed_batch(64)
    twin = make(horizon=HORIZON, resample_time=True, policy_delay=1)
    twin._random.normal(batch.actions.shape)
    drawn = twin._at_another_time(batch)
    seen = {}

    class Spy(type(agent._critic_descent)):
        def __call__(self, *tensors):
            seen[id(self)] = tensors
            return super().__call__(*tensors)

    for descent in (agent._critic_descent, agent._actor_descent):
        descent.__class__ = Spy
    agent.update(batch)
    assert torch.equal(seen[id(agent._critic_descent)][0], drawn.observations)
    assert torch.equal(seen[id(agent._critic_descent)][4], drawn.terminated)
    assert torch.equal(seen[id(agent._actor_descent)][0], batch.observations)


def test_times_that_nobody_shows_cannot_be_drawn():
    with pytest.raises(InputError, match="add --time-aware"):
        make(resample_time=True)


def test_between_episodes_as_many_updates_are_due_as_the_episode_had_steps():
    agent = make(train_between="episodes")
    assert agent.trains_between_episodes
    assert agent.end_episode(-3.0, 17) == 17
    assert not make().trains_between_episodes


def test_the_checkpoint_is_the_policy_of_the_best_episode():
    agent, seen = make(checkpoints=True, policy_delay=1), random_batch().observations
    assert agent.trains_between_episodes
    kept = []
    for episode_return in (3.0, 1.0, 7.0, 6.0):
        present = torch.tanh(agent.actor(seen)).detach()
        assert agent.end_episode(episode_return, 9) == 9
        kept = present if episode_return in (3.0, 7.0) else kept
        torch.testing.assert_close(agent.act(seen, explore=False), kept)
        agent.update(random_batch())
        torch.testing.assert_close(agent.act(seen, explore=False), kept, msg="training does not move it")
    restored = make(seed=1, checkpoints=True)
    restored.load_state_dict(copy.deepcopy(agent.state_dict()))
    restored.end_episode(6.9, 9)
    torch.testing.assert_close(restored.act(seen, explore=False), kept)


def test_without_checkpoints_the_present_policy_is_the_one_that_is_evaluated():
    agent, seen = make(train_between="episodes"), random_batch().observations
    agent.end_episode(1.0, 9)
    agent.update(random_batch())
    agent.update(random_batch())
    torch.testing.assert_close(agent.act(seen, explore=False), torch.tanh(agent.actor(seen)).detach())


def test_checkpoints_need_returns_that_are_numbers():
    with pytest.raises(InputError, match="imitation return is nan"):
        make(checkpoints=True).end_episode(float("nan"), 9)
    assert make(train_between="episodes").end_episode(float("nan"), 9) == 9, "nobody compares them"


def test_seeds_that_train_between_episodes_are_not_stacked():
    options = TD3Options(hidden_dim=16, train_between="episodes")
    with pytest.warns(UserWarning, match="TD3 cannot stack seeds under these options"):
        agent = make_agent(TD3, OBSERVATIONS, ACTIONS, options, seed=[0, 1])
    assert isinstance(agent, Separate)
    assert agent.trains_between_episodes


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, 0, "at least 1") for name in ("batch_size", "hidden_dim", "critic_hidden_dim", "policy_delay")),
        *((f"{name}_learning_rate", -1e-3, "finite and at least 0") for name in ("actor", "critic")),
        *((name, float("nan"), "finite and at least 0") for name in ("target_noise", "target_noise_clip")),
        ("exploration_noise", float("inf"), "finite and at least 0"),
        ("critic_gradient_clip", 0.0, "above 0"),
        *((name, 1.1, "between 0 and 1") for name in ("discount", "tau")),
        ("critic_loss", "pall", "did you mean 'pal'"),
        ("train_between", "episode", "did you mean 'episodes'"),
    ],
)
def test_options_that_make_no_sense_are_refused(name, value, message):
    with pytest.raises(InputError, match=f"^{name} is {value!r}[:,] .*{message}"):
        TD3Options(**{name: value})
