"""The contract of :mod:`ilfo.agents.base`, clause by clause."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ilfo.agents import Agent, Batch
from ilfo.agents.many import load_states, states_of
from ilfo.testing._agent_trial import AgentTrial
from ilfo.testing._contract import Breach, Clause
from ilfo.testing._options import check_options

__all__ = ["CLAUSES"]

PATIENCE = 50
"""Updates after which a policy must have changed: targets and actors are often updated only every few updates."""
LONG_PATIENCE = 300
"""Updates after which a batch's every part must have had a say: TD7's critics learn from the rewards alone for 250."""
TOLERANCE = 1e-4
"""How far agents together may differ from each alone: matrix products of other shapes round differently."""


def _is_made(trial: AgentTrial) -> Iterator[Breach]:
    if not (isinstance(trial.kind, type) and issubclass(trial.kind, Agent)):
        yield f"{trial.kind!r:.80} does not derive from it.", "write class MyAgent(Agent)."
        return
    positional, named = trial.arguments(0)
    extra = {"compile": True} if trial.kind.compiles else {}
    try:
        inspect.signature(trial.kind).bind(*positional, **named, **extra)
    except TypeError as error:
        given = ", ".join([*named, *extra])
        yield (
            f"called with the widths, the options and {given}: {error}.",
            'write def __init__(self, observation_dim, action_dim, options=None, *, device="cpu", seed=0); compile and '
            "horizon are for classes that say compiles or takes_horizon.",
        )
        return
    trial.make()  # an exception is reported as a breach


def _has_options(trial: AgentTrial) -> Iterator[Breach]:
    yield from check_options(trial.kind.Options)


def _says_what_it_is(trial: AgentTrial) -> Iterator[Breach]:
    agent, kind = trial.agent, trial.kind
    for name in ("stacks", "compiles", "takes_horizon", "trains_between_episodes"):
        if not isinstance(getattr(agent, name), bool):
            yield f"{name} is {getattr(agent, name)!r}.", "make it True or False."
    for name, least in (("batch_size", 1), ("refresh_priorities_every", 0)):
        value = getattr(agent, name)
        if not (isinstance(value, int) and value >= least):
            yield f"{name} is {value!r}.", f"make it a whole number from {least} up."
    if not 0 <= agent.discount <= 1:
        yield f"discount is {agent.discount!r}.", "make it a number from 0 to 1, below 1 for absorbing states."
    options = trial.options or (kind.Options and kind.Options())
    for name in ("discount", "batch_size"):
        found, told = getattr(agent, name), getattr(options, name, None)
        if told is not None and found != told:
            yield (
                f"{name} is {found!r}, and its options say {told!r}.",
                f"set self.{name} = options.{name} in __init__: the training loop reads the attribute.",
            )
    if kind.can_stack(trial.options) and (agent.trains_between_episodes or not kind.stacks):
        yield (
            "can_stack says True, of an agent that does not stack or trains between episodes.",
            "let can_stack return False where seeds cannot be updated together.",
        )


def _acts(trial: AgentTrial) -> Iterator[Breach]:
    for explore in (False, True):
        for rows in (1, 7):
            call, expected = f"act(({rows}, D), explore={explore})", (rows, trial.action_dim)
            actions = trial.agent.act(trial.observations(rows), explore)
            if not isinstance(actions, Tensor) or tuple(actions.shape) != expected:
                shape = tuple(actions.shape) if isinstance(actions, Tensor) else f"a {type(actions).__name__}"
                yield f"{call} returned {shape}.", f"return a tensor {expected}: a row for each observation."
                return
            if actions.dtype != torch.float32 or actions.device.type != trial.device.type or actions.requires_grad:
                yield (
                    f"{call} returned {actions.dtype} on {actions.device}, with a gradient: {actions.requires_grad}.",
                    "return float32 on the device of the observations, under @torch.no_grad().",
                )


def _acts_in_range(trial: AgentTrial) -> Iterator[Breach]:
    for explore in (False, True):
        for factor in (1.0, 1e3):
            actions = trial.agent.act(factor * trial.observations(500), explore)
            if not (actions.abs() <= 1).all():
                worst = float(actions.flatten()[actions.abs().nan_to_num(torch.inf).argmax()])
                yield f"with explore={explore} an action is {worst:.6g}.", "end act with .clamp(-1, 1), or by tanh."
                return


def _acts_alike(trial: AgentTrial) -> Iterator[Breach]:
    seen = trial.observations(7)
    first, again = (trial.agent.act(seen, explore=False) for _ in range(2))
    if not torch.equal(first, again):
        yield "asked twice, it did two things.", "add noise only where explore is True, and switch dropout off."


def _returns_metrics(trial: AgentTrial) -> Iterator[Breach]:
    for number in range(4):
        metrics = trial.agent.update(trial.batch(number))
        if not isinstance(metrics, dict):
            yield f"update returned a {type(metrics).__name__}.", "return a dictionary of names and tensors."
            return
        for name, value in metrics.items():
            if not isinstance(value, Tensor) or value.shape != () or value.requires_grad:
                what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
                yield f"{name} is {what}, or has a gradient.", "return loss.detach(): a tensor of no dimensions."
                return
            if value.device.type != trial.device.type:
                yield f"{name} is on {value.device}.", "leave it where it is: moving it means waiting for the device."
            if not value.isfinite():
                yield (
                    f"{name} is {float(value)} at update {number + 1}.",
                    "look for a division by 0 or a logarithm of it.",
                )


def _leaves_batches_alone(trial: AgentTrial) -> Iterator[Breach]:
    given, kept = trial.batch(0), trial.batch(0)
    trial.agent.update(given)
    changed = [each.name for each in fields(Batch) if not torch.equal(*(getattr(b, each.name) for b in (given, kept)))]
    if changed:
        yield f"update changed {', '.join(changed)}.", "work on copies: no method that ends in _ on them."


def _ends_episodes(trial: AgentTrial) -> Iterator[Breach]:
    if not trial.agent.trains_between_episodes:
        return
    for episode_return in (1.0, -1.0, 2.0):
        due = trial.agent.end_episode(episode_return, 10)
        if not (isinstance(due, int) and due >= 0):
            yield f"end_episode returned {due!r}.", "return how many updates are due, a whole number from 0 up."
            return


def _learns(trial: AgentTrial) -> Iterator[Breach]:
    agent, seen = trial.make(), trial.observations(7)
    before = agent.act(seen, explore=False)
    for number in range(PATIENCE):
        trial.practise(agent, 1, first=number)
        if not torch.equal(agent.act(seen, explore=False), before):
            return
    yield f"after {PATIENCE} updates it does what it did before.", "give the optimiser the parameters that act uses."


def _heeds_all(trial: AgentTrial) -> Iterator[Breach]:
    remedies = {
        "rewards": "learn from batch.rewards.",
        "terminated": "let nothing follow a termination: multiply what is expected after it by 1 - batch.terminated.",
    }
    if trial.agent.discount == 0:
        del remedies["terminated"]  # What follows is worth nothing anyway.
    patience = max(LONG_PATIENCE, trial.agent.refresh_priorities_every + PATIENCE)
    for name, remedy in remedies.items():
        if not _heeds(trial, name, patience):
            yield f"with other {name} it learns the same, for {patience} updates.", remedy


def _heeds(trial: AgentTrial, name: str, patience: int) -> bool:
    """Whether an agent comes to differ from another one whose batches have other ``rewards`` or ``terminated``."""
    agents = trial.make(), trial.make()
    for number in range(patience):
        batch = trial.batch(number)
        for agent, given in zip(agents, (batch, replace(batch, **{name: 1 - getattr(batch, name)})), strict=True):
            trial.learn(agent, given, number)
        if number in (0, 9) or (number + 1) % PATIENCE == 0:
            one, two = (list(_tensors(agent.state_dict())) for agent in agents)
            if len(one) != len(two) or not all(map(_equal, one, two)):
                return True
    return False


def _equal(one: Tensor, two: Tensor) -> bool:
    return one.shape == two.shape and torch.equal(one, two)


def _tensors(state: Any) -> Iterator[Tensor]:
    """Every tensor in a state."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)


def _goes_by_its_seed(trial: AgentTrial) -> Iterator[Breach]:
    agents, seen = [trial.make(seed) for seed in (1, 1, 2)], trial.observations(7)
    remedy = "draw the initial weights and all noise from the seed: torch.Generator(device).manual_seed(seed)."
    for updates in (0, 3):
        for agent in agents:
            trial.practise(agent, updates)
        first, again, other = (agent.act(seen, explore=True) for agent in agents)
        if not torch.equal(first, again):
            yield f"two agents of one seed differ after {updates} updates.", remedy
            return
    if torch.equal(first, other):
        yield "agents of two seeds do the same.", remedy


def _is_restored(trial: AgentTrial) -> Iterator[Breach]:
    agent, restored, file = trial.make(0), trial.make(1), io.BytesIO()
    for number in range(3):
        agent.act(trial.observations(7, seed=number), explore=True)  # Noise may decay, or go on from the last.
        trial.practise(agent, 1, first=number)
    torch.save(agent.state_dict(), file)
    file.seek(0)
    try:
        state = torch.load(file, weights_only=True)
    except Exception as error:
        plain = "keep tensors, numbers, strings, None, and lists, tuples and dictionaries of them."
        yield f"torch.load(weights_only=True) refuses its state_dict: {str(error).strip().splitlines()[0]}", plain
        return
    restored.load_state_dict(state)
    remedy = "save every network and target, the optimisers, counters and random states, and load them all."
    expected, found = (trial.practise(each, 5, first=3) for each in (agent, restored))
    for number, (own, other) in enumerate(zip(expected, found, strict=True), start=1):
        unlike = [name for name in own if name not in other or not torch.equal(own[name], other[name])]
        if unlike:
            yield f"{', '.join(unlike)} differ at update {number} after a state was loaded.", remedy
            return
    for explore in (False, True):
        actions = [each.act(trial.observations(7), explore) for each in (agent, restored)]
        if not torch.equal(*actions):
            yield f"with explore={explore} it acts otherwise after a state was loaded.", remedy
            return


def _leaves_priorities(trial: AgentTrial) -> Iterator[Breach]:
    if not trial.agent.refresh_priorities_every:
        return
    trial.agent.update(trial.batch(0))
    found, expected = trial.agent.priorities, (trial.agent.batch_size,)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected or found.requires_grad:
        what = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        yield f"priorities are {what}, or have a gradient.", f"leave one for each transition, {expected}, detached."
    elif found.device.type != trial.device.type:
        yield f"priorities are on {found.device}.", "leave them on the device of the batch."
    elif not (found.isfinite() & (found > 0)).all():
        yield (
            f"a priority is {float(found.min()):.6g}.",
            "keep them finite and above 0: a transition with 0 is never drawn again.",
        )


def _stacks(trial: AgentTrial) -> Iterator[Breach]:
    if not trial.kind.can_stack(trial.options):
        return
    seeds = [4, 0, 9]
    many, singles = trial.make(seeds), [trial.make(seed) for seed in seeds]
    remedy = (
        "count dimensions from the end, and take the mean of a loss over its batch alone: CONTRIBUTING.md says how."
    )
    for number in range(4):
        own = [trial.batch(10 * number + seed) for seed in seeds]
        together = Batch(*(torch.stack([getattr(each, field.name) for each in own]) for field in fields(Batch)))
        found = many.update(together)
        expected = [agent.update(each) for agent, each in zip(singles, own, strict=True)]
        pairs = {name: (value, torch.stack([each[name] for each in expected])) for name, value in found.items()}
        if many.refresh_priorities_every:
            pairs["priorities"] = many.priorities, torch.stack([agent.priorities for agent in singles])
        for name, (one, other) in pairs.items():
            if one.shape != other.shape or not torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE):
                yield f"{name} of {len(seeds)} agents together are not those of each alone.", remedy
                return
    seen = torch.stack([trial.observations(7, seed=seed) for seed in seeds])
    alone = [trial.make(99) for _ in seeds]
    for single, state in zip(alone, states_of(many, len(seeds)), strict=True):
        load_states(single, [state], None)
    for whose, agents in (("of each alone", singles), ("of agents that took over their parts of the state", alone)):
        actions = torch.stack([agent.act(each, explore=False) for agent, each in zip(agents, seen, strict=True)])
        if not torch.allclose(many.act(seen, explore=False), actions, rtol=TOLERANCE, atol=TOLERANCE):
            yield f"actions of {len(seeds)} agents together are not those {whose}.", remedy
            return
    explored = torch.stack([agent.act(each, explore=True) for agent, each in zip(singles, seen, strict=True)])
    if not torch.allclose(many.act(seen, explore=True), explored, rtol=TOLERANCE, atol=TOLERANCE):
        yield (
            f"with explore=True, actions of {len(seeds)} agents together are not those of each alone.",
            ("draw the noise of each seed from its own generator: RandomStreams in ilfo/agents/_random_streams.py."),
        )


CLAUSES: tuple[Clause[AgentTrial], ...] = (
    Clause("constructor", "It is an Agent, made from widths, options, device and seed.", _is_made, essential=True),
    Clause("options", "Options is a frozen dataclass whose fields have plain defaults, or None.", _has_options),
    Clause("attributes", "Its attributes say what the training loop may rely on.", _says_what_it_is),
    Clause("act", "act(observations, explore) is (B, A) float32, on their device.", _acts, essential=True),
    Clause("range", "Actions lie in [-1, 1].", _acts_in_range),
    Clause("explore", "Without exploration the same observations get the same actions.", _acts_alike),
    Clause(
        "update", "update(batch) returns numbers, detached and still on the device.", _returns_metrics, essential=True
    ),
    Clause("batch", "Batches are left as they are.", _leaves_batches_alone),
    Clause(
        "episodes",
        "With trains_between_episodes, end_episode says how many updates are due.",
        _ends_episodes,
        essential=True,
    ),
    Clause("learning", "Updates change the policy.", _learns),
    Clause("heed", "It learns from rewards, and that nothing follows a termination.", _heeds_all),
    Clause("seed", "The seed decides the weights and every draw.", _goes_by_its_seed),
    Clause("state", "An agent that loads the saved state goes on bit for bit.", _is_restored),
    Clause("priorities", "With refresh_priorities_every, update leaves priorities (B,).", _leaves_priorities),
    Clause("stack", "Where can_stack is True, several seeds together do what each does alone.", _stacks),
)
"""In the order in which they are checked."""
