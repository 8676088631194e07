"""The contract of :mod:`ilfo.rewards.base`, clause by clause."""

from __future__ import annotations

import copy
import inspect
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ilfo.rewards import Episodes, Explanation, RewardGenerator, StateFeatures
from ilfo.rewards.base import Needs
from ilfo.testing._contract import Breach, Clause
from ilfo.testing._options import check_options
from ilfo.testing._probes import PROBE_STEPS, cut
from ilfo.testing._reward_trial import TOLERANCE, RewardTrial

__all__ = ["CLAUSES"]


def _is_made(trial: RewardTrial) -> Iterator[Breach]:
    write = "write class MyReward(RewardGenerator), and if it has an __init__, (self, options=None, features=None)."
    try:
        inspect.signature(trial.maker).bind(None, StateFeatures())
    except TypeError as error:
        yield f"called with options and features: {error}.", write
        return
    if not isinstance(trial.reward, RewardGenerator):
        yield f"it is a {type(trial.reward).__name__}.", write
    elif not {"options", "features"} <= vars(trial.reward).keys():
        yield "it has no options, or no features.", "call super().__init__(options, features) in its __init__."


def _has_options(trial: RewardTrial) -> Iterator[Breach]:
    yield from check_options(type(trial.reward).Options)


def _says_what_it_needs(trial: RewardTrial) -> Iterator[Breach]:
    made = trial.reward
    if made.needs not in get_args(Needs):
        yield f"needs is {made.needs!r}.", f"choose one of {get_args(Needs)}."
    for name in ("imitates", "stationary"):
        if not isinstance(getattr(made, name), bool):
            yield f"{name} is {getattr(made, name)!r}.", "make it True or False."
    if made.stationary is False and made.needs == "trajectory":
        yield (
            'stationary is False and needs is "trajectory".',
            'say needs = "transition" if (s, s\') is enough: transitions alone can be scored again when drawn. '
            "A reward of whole episodes is stored as it was when the episode ended: stationary = True.",
        )


def _fits(trial: RewardTrial) -> Iterator[Breach]:
    before = [trajectory.observations.copy() for trajectory in trial.demonstrations]
    returned = trial.reward.fit(trial.demonstrations)
    if returned is not trial.reward:
        yield f"fit returned {returned!r:.60}.", "end fit with: return self."
    after = [trajectory.observations for trajectory in trial.demonstrations]
    if not all(np.array_equal(*pair) for pair in zip(before, after, strict=True)):
        yield "fit changed the observations of the demonstrations.", "work on a copy of them."


def _scores(trial: RewardTrial) -> Iterator[Breach]:
    scores, expected = trial.scores, tuple(trial.episodes.mask.shape)
    if not isinstance(scores, Tensor):
        yield f"score returned a {type(scores).__name__}.", "return a tensor."
        return
    if tuple(scores.shape) != expected:
        yield (
            f"its shape is {tuple(scores.shape)} for {expected[0]} episodes of at most {expected[1]} steps.",
            f"return {expected}: a reward for each step (s_t, s_t+1), which are one fewer than the observations.",
        )
    if scores.dtype != torch.float32:
        yield f"score returned {scores.dtype}.", "return rewards.float()."
    if scores.device != trial.episodes.observations.device:
        yield f"score returned a tensor on {scores.device}.", "move what was fitted to episodes.observations.device."
    if scores.requires_grad:
        yield "the rewards carry a gradient.", "put @torch.no_grad() above score."
    if tuple(scores.shape) == expected and not bool(scores[trial.episodes.mask].isfinite().all()):
        row, step = torch.nonzero(~scores.isfinite() & trial.episodes.mask)[0].tolist()
        yield f"step {step} of episode {row} gets {float(scores[row, step])}.", "return finite numbers."


def _is_copied(trial: RewardTrial) -> Iterator[Breach]:
    copied = copy.deepcopy(trial.reward)
    found = trial.difference(trial.score(trial.episodes, copied), trial.scores, exactly=True)
    if found:
        yield f"of a deep copy, {found}.", "keep all that is learned in attributes of the object."
    states = trial.reward.state_dict(), copied.state_dict()
    if _memory(states[0]) & _memory(states[1]):
        yield "a deep copy shares tensors with the original.", "leave out __deepcopy__, and keep tensors in the object."
    copied.observe(trial.episodes.rows(2, 3))
    found = trial.difference(trial.score(trial.episodes), trial.scores, exactly=True)
    if found:
        yield f"once a deep copy observed an episode, {found}, by the original.", "keep nothing in the class or module."


def _memory(state: Any) -> set[int]:
    """Addresses of the tensors in a state, which has to outlive them: freed memory is reused."""
    if isinstance(state, Tensor):
        return {state.data_ptr()} if state.numel() else set()
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return {address for part in parts for address in _memory(part)}


def _ends_with_the_episode(trial: RewardTrial) -> Iterator[Breach]:
    episodes = trial.episodes
    for row, step in torch.nonzero(~episodes.mask & (trial.scores != 0))[:1].tolist():
        yield (
            f"step {step} of episode {row}, which has {episodes.lengths[row]}, gets {trial.scores[row, step]:.6g}.",
            "end score with: return torch.where(episodes.mask, rewards, 0.0).",
        )


def _never_sees_the_padding(trial: RewardTrial) -> Iterator[Breach]:
    episodes = trial.episodes
    beyond = torch.arange(episodes.observations.shape[1], device=episodes.lengths.device) > episodes.lengths[:, None]
    for other in (episodes.observations[:, :1], torch.full_like(episodes.observations, 50.0)):
        soiled = torch.where(beyond[..., None], other, episodes.observations)
        found = trial.difference(trial.score(replace(episodes, observations=soiled)), trial.scores)
        if found:
            yield (
                f"with other numbers beyond the ends of episodes, {found}.",
                "keep the padding out of whatever mixes steps (a mean, a maximum, a match), by episodes.mask.",
            )
            return


def _scores_each_alone(trial: RewardTrial) -> Iterator[Breach]:
    alone = torch.zeros_like(trial.scores)
    for row, length in enumerate(trial.episodes.lengths.tolist()):
        own = trial.episodes.rows(row, row + 1)
        rewards = None if own.env_rewards is None else own.env_rewards[:, :length]
        own = replace(own, observations=own.observations[:, : length + 1], env_rewards=rewards)
        alone[row, :length] = trial.score(own)[0]
    found = trial.difference(trial.scores, alone)
    if found:
        yield (
            f"in a batch {found}, which it gets alone.",
            "take every mean, maximum or match over the steps of one episode (dim=1), not over the batch.",
        )


def _leaves_its_input_alone(trial: RewardTrial) -> Iterator[Breach]:
    reward = copy.deepcopy(trial.reward)
    for name in ("score", "absorbing_reward", "terms", "observe"):
        given = trial.episodes
        getattr(reward, name)(given)
        for field in ("observations", "lengths", "terminated", "env_rewards", "starts"):
            before, after = getattr(trial.episodes, field), getattr(given, field)
            if before is not None and not torch.equal(before, after):
                yield (
                    f"{name} changed the {field} of the episodes.",
                    "work on a copy: no method that ends in _ on them.",
                )


def _is_finite(trial: RewardTrial) -> Iterator[Breach]:
    for factor in (1.0, 0.0, 1e3, 1e6, 1e9):
        wild = replace(trial.episodes, observations=(factor * trial.episodes.observations).clamp(-1e9, 1e9))
        for name in ("score", "absorbing_reward"):
            found = getattr(trial.reward, name)(replace(wild))
            if not torch.as_tensor(found).isfinite().all():
                yield (
                    f"{name} is not finite for the episodes times {factor:g}.",
                    "bound it: an agent that falls for a moment sees such states, and one NaN ends its training.",
                )
                return


def _apart(episodes: Episodes) -> Episodes:
    """Every step that happened as an episode of its own."""
    mask = episodes.mask
    pairs = torch.stack([episodes.observations[:, :-1], episodes.observations[:, 1:]], dim=2)[mask]
    lasts = torch.arange(mask.shape[1], device=mask.device) == episodes.lengths[:, None] - 1
    return Episodes(
        observations=pairs,
        lengths=episodes.lengths.new_ones(len(pairs)),
        terminated=(lasts & episodes.terminated[:, None])[mask],
        env_rewards=None if episodes.env_rewards is None else episodes.env_rewards[mask][:, None],
        starts=episodes.steps[:, :-1][mask],
    )


def _needs_no_more_than_transitions(trial: RewardTrial) -> Iterator[Breach]:
    if trial.reward.needs != "transition":
        return
    scores = torch.zeros_like(trial.scores)
    scores[trial.episodes.mask] = trial.score(_apart(trial.episodes))[:, 0]
    found = trial.difference(trial.scores, scores)
    if found:
        yield (
            f"within its episode {found}, which it gets on its own.",
            "say needs = \"trajectory\", or let a step's reward depend on (s, s') and the time (steps) alone.",
        )


def _rewards_the_absorbing_state(trial: RewardTrial) -> Iterator[Breach]:
    found, expected = trial.reward.absorbing_reward(trial.episodes), trial.episodes.lengths.shape
    if not isinstance(found, Tensor) or found.shape != expected or not found.is_floating_point():
        what = f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        yield f"absorbing_reward returned {what} for {expected[0]} episodes.", f"return floats ({expected[0]},)."
    elif found.device != trial.episodes.lengths.device or found.requires_grad:
        yield (
            f"absorbing_reward is on {found.device}, with a gradient: {found.requires_grad}.",
            "return it on the device of the episodes, under @torch.no_grad().",
        )
    if not trial.reward.imitates or trial.reward.needs != "transition" or not bool((trial.scores < 0).any()):
        return
    remedy = "define absorbing_reward as a value that no step falls below, or keep scores at 0 or above."
    if type(trial.reward).absorbing_reward is RewardGenerator.absorbing_reward:
        yield (
            "it is left to the default, the worst step of an episode; of transitions, some of which get less than 0, "
            "that is the last step alone, so that ending an episode after a good step pays.",
            remedy,
        )
        return
    ended = replace(apart := _apart(trial.episodes), terminated=torch.ones_like(apart.terminated))
    highest = float(torch.as_tensor(trial.reward.absorbing_reward(ended)).max())
    lowest = float(trial.scores[trial.episodes.mask].min())
    if highest > lowest + TOLERANCE * abs(lowest):
        yield f"it is {highest:.6g} after some step, and a step can get {lowest:.6g}, so that dying early pays.", remedy


def _observes(trial: RewardTrial) -> Iterator[Breach]:
    learner = copy.deepcopy(trial.reward)
    for row in range(len(trial.episodes.lengths)):
        found = learner.observe(trial.episodes.rows(row, row + 1))
        if not isinstance(found, dict) or not all(
            isinstance(name, str) and isinstance(value, float) for name, value in found.items()
        ):
            yield f"observe returned {found!r:.80}.", "return a dictionary of names and floats; {} for nothing to log."
            return
    if trial.reward.stationary and trial.reward.needs == "transition":
        changed = trial.difference(trial.score(trial.episodes, learner), trial.scores, exactly=True)
        if changed:
            yield f"stationary is True, and after observe {changed}.", "say stationary = False."


def _is_the_sum_of_its_terms(trial: RewardTrial) -> Iterator[Breach]:
    terms = trial.reward.terms(trial.episodes)
    if not isinstance(terms, dict):
        yield f"terms returned a {type(terms).__name__}.", "return a dictionary of names and rewards (B, T)."
    elif terms:
        found = trial.difference(torch.stack(list(terms.values())).sum(dim=0), trial.scores)
        if found:
            yield (
                f"in the sum of the terms {found}.",
                "return what score adds up, weights included; or {} for no terms.",
            )


def _explains(trial: RewardTrial) -> Iterator[Breach]:
    episode = cut(trial.demonstrations[0], PROBE_STEPS)
    found, steps = trial.reward.explain(episode), len(episode)
    if found is None:
        return
    if not isinstance(found, Explanation) or found.demonstration not in range(len(trial.demonstrations)):
        yield f"explain returned {found!r:.80}.", "return an Explanation by one of the demonstrations, or None."
        return
    of_expert = len(trial.demonstrations[found.demonstration])
    shapes = {"expert_steps": (steps,), "costs": (steps,)} | (
        {} if found.plan is None else {"plan": (steps, of_expert)}
    )
    for name, expected in shapes.items():
        if getattr(found, name).shape != expected:
            yield f"explain's {name} has the shape {getattr(found, name).shape}.", f"make it {expected}."
    if not ((found.expert_steps >= 0) & (found.expert_steps < of_expert)).all():
        yield "explain matches steps that the demonstration does not have.", f"keep them from 0 to {of_expert - 1}."


def _is_restored(trial: RewardTrial) -> Iterator[Breach]:
    # One that has learned from the agent too: a run saves it so.
    original, file = copy.deepcopy(trial.reward), io.BytesIO()
    for row in range(0, len(trial.episodes.lengths), 2):
        original.observe(trial.episodes.rows(row, row + 1))
    torch.save(original.state_dict(), file)
    file.seek(0)
    try:
        state = torch.load(file, weights_only=True)
    except Exception as error:
        plain = (
            "keep tensors, numbers, strings, None, and lists, tuples and dictionaries of them: asdict(self.options)."
        )
        yield f"torch.load(weights_only=True) refuses its state_dict: {str(error).strip().splitlines()[0]}", plain
        return
    restored = trial.make()
    restored.load_state_dict(state)
    for stage in ("", "once both have observed another episode, "):
        found = trial.difference(
            trial.score(trial.episodes, restored), trial.score(trial.episodes, original), exactly=True
        )
        if found:
            yield (
                f"{stage}in a fresh object that loaded the state, {found}.",
                "put all that fit and observe change into state_dict, and take it back in load_state_dict.",
            )
            return
        for reward in (restored, original):
            reward.observe(trial.episodes.rows(2, 3))


def _repeats(trial: RewardTrial) -> Iterator[Breach]:
    found = trial.difference(trial.second[0], trial.scores, exactly=True)
    if found:
        yield f"fitted a second time, {found}.", "draw from a generator that a seed among its options sets in fit."


def _tells_its_progress(trial: RewardTrial) -> Iterator[Breach]:
    for share, text in trial.second[1]:
        if not (0 <= share <= 1 and isinstance(text, str)):
            yield f"on_progress was called with {share!r} and {text!r}.", "give a share from 0 to 1, and words."
            return


def _refuses_in_words(trial: RewardTrial) -> Iterator[Breach]:
    wider = torch.cat([trial.episodes.observations, trial.episodes.observations[..., :1]], dim=-1)
    try:
        trial.score(replace(trial.episodes, observations=wider))
    except ValueError:
        return
    except Exception as error:
        yield (
            f"of observations wider than the expert's, score raised {type(error).__name__}: {error}",
            "call ilfo.rewards.base.check_episodes(episodes, self.features) at the start of score.",
        )


CLAUSES: tuple[Clause[RewardTrial], ...] = (
    Clause("constructor", "It is a RewardGenerator, made from (options, features).", _is_made, essential=True),
    Clause("options", "Options is a frozen dataclass whose fields have plain defaults, or None.", _has_options),
    Clause("needs", "needs, imitates and stationary say what the training loop may rely on.", _says_what_it_needs),
    Clause(
        "fit", "fit(demonstrations) learns from them, changes nothing in them and returns self.", _fits, essential=True
    ),
    Clause("score", "score(episodes) is (B, T) float32, on their device, without gradient.", _scores, essential=True),
    Clause("copy", "copy.deepcopy of a fitted one works, and the two are independent.", _is_copied, essential=True),
    Clause("lengths", "Beyond an episode's length every reward is 0.", _ends_with_the_episode),
    Clause("padding", "Values beyond an episode's length change nothing.", _never_sees_the_padding),
    Clause("batch", "An episode gets the same rewards alone and among others.", _scores_each_alone),
    Clause("input", "Episodes are left as they are.", _leaves_its_input_alone),
    Clause("finite", "Every finite episode gets finite rewards.", _is_finite),
    Clause("transition", 'If needs is "transition", (s, s\') and the time decide.', _needs_no_more_than_transitions),
    Clause("absorbing_reward", "absorbing_reward(episodes) is a number for each.", _rewards_the_absorbing_state),
    Clause("observe", "observe(episodes) returns numbers to log, and changes no stationary reward.", _observes),
    Clause("terms", "terms(episodes) add up to the score, or there are none.", _is_the_sum_of_its_terms),
    Clause("explain", "explain(trajectory) names a step of the expert's for each step, or is None.", _explains),
    Clause("state", "A fresh object that loads the saved state goes on bit for bit.", _is_restored),
    Clause("seed", "The same options and demonstrations give the same rewards.", _repeats),
    Clause("progress", "on_progress gets the share that is done and a text.", _tells_its_progress),
    Clause("width", "If score refuses observations of another width, it raises a ValueError.", _refuses_in_words),
)
"""In the order in which they are checked."""
