"""Every reward in the one training loop: it learns, it resumes exactly, its parts are logged."""

from contextlib import closing
from dataclasses import replace

import pytest
import torch
from small_runs import KilledError, assert_equal, assert_same_run, configure, save_after_every_step, timeless, weights

from ilfo import demos
from ilfo.demos import Trajectory
from ilfo.rewards import BUILT_IN
from ilfo.runs import Run, read_metrics
from ilfo.train import train
from ilfo.training import Sources, Training
from ilfo.training.imitation import load

QUICK = {
    "flow": ("--flow.hidden-dim", "8", "--flow.updates", "20"),
    "random-expert-distillation": ("--random-expert-distillation.updates", "30"),
    "discriminator": ("--discriminator.hidden-dim", "8"),
}
SUM = "nearest + 0.5*pwil"


def flags(reward: str, *more: str) -> list[str]:
    return ["--reward", reward, *QUICK.get(reward, ()), *more]


@pytest.mark.parametrize("reward", [*sorted(set(BUILT_IN) - {"environment"}), SUM])
def test_a_run_that_is_killed_and_started_again_ends_the_same(reward, demo, tmp_path, monkeypatch):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(configure(demo, whole, *flags(reward)))
    append, rows = Run.append, []

    def die_after_two(self, row):
        append(self, row)
        rows.append(row)
        if len(rows) == 2:
            raise KilledError

    again = [*flags(reward), "--checkpoint-seconds", "0"]
    save_after_every_step(monkeypatch)
    monkeypatch.setattr(Run, "append", die_after_two)
    with pytest.raises(KilledError):
        train(configure(demo, killed, *again))
    monkeypatch.undo()
    train(configure(demo, killed, *again))
    assert_same_run(whole, killed)


@pytest.mark.parametrize("reward", ["discriminator", SUM])
def test_seeds_that_train_together_have_rewards_of_their_own(reward, demo, tmp_path):
    """What a seed learns beside another is what it learns alone; up to rounding, which is small after 400 steps."""
    together = configure(demo, tmp_path / "together", *flags(reward, "--seeds", "0-1"))
    alone = configure(demo, tmp_path / "alone", *flags(reward, "--seed", "1"))
    train(together)
    train(alone)
    for own, other in zip(timeless(tmp_path / "together" / "seed_1"), timeless(tmp_path / "alone"), strict=True):
        assert own["imitation_return"] == pytest.approx(other["imitation_return"], rel=0.02)


def test_how_often_a_run_is_evaluated_does_not_change_it(demo, tmp_path):
    """Not even where the reward draws a demonstration for every episode that it scores."""
    walk = demos.open(demo)
    backwards = replace(walk[0], observations=walk[0].observations[::-1].copy())
    several = demos.write(tmp_path / "several.hdf5", replace(walk, trajectories=(walk[0], backwards)))
    trained = []
    for often in ("100", "400"):
        given = [*flags("transport"), "--transport.aggregate", "random", "--eval-every", often]
        train(configure(several, tmp_path / often, *given))
        trained.append([row["imitation_return"] for row in read_metrics(tmp_path / often) if "imitation_return" in row])
    assert trained[0] == trained[1]
    assert_equal(*(weights(tmp_path / often) for often in ("100", "400")))


@pytest.mark.parametrize("reward", ["flow", "nearest"])
def test_rewards_of_steps_know_the_time(reward, demo, tmp_path):
    """What enters the replay step by step is what the whole episode is worth."""
    given = flags(reward, "--features.time", "3", "--protocol", "fixed-horizon")
    with closing(Training.begin(Sources(configure(demo, tmp_path, *given)))) as training:
        while training.step < 150:
            training.advance()
        kept, horizon = training.replay.contents(), training.environments.horizon
        states = torch.cat([kept.observations[:horizon], kept.next_observations[horizon - 1 : horizon]])
        whole = training.scorer.of_episodes([Trajectory(states.numpy(), truncated=True)]).rewards[0]
    torch.testing.assert_close(kept.rewards[:horizon], whole)
    assert len(whole.unique()) > 1


def test_every_term_of_a_sum_is_logged(demo, tmp_path):
    train(configure(demo, tmp_path, *flags(SUM)))
    row = read_metrics(tmp_path)[-1]
    parts = row["imitation_return/nearest"] + row["imitation_return/pwil"]
    assert row["imitation_return"] == pytest.approx(parts, rel=1e-4)


def test_what_a_discriminator_learned_is_in_the_metrics_and_in_the_run(demo, tmp_path):
    train(configure(demo, tmp_path, *flags("discriminator")))
    first, *_, last = read_metrics(tmp_path)
    assert last["discriminator_loss"] != first["discriminator_loss"]
    assert not load(tmp_path).reward.stationary


@pytest.mark.parametrize("method", ["expert-range", "first-episode", "running"])
def test_the_scale_of_a_reward_is_kept_in_the_run(method, demo, tmp_path):
    train(configure(demo, tmp_path, *flags("nearest", "--scaling.method", method, "--scaling.factor", "3")))
    scaling = load(tmp_path).reward.scaling
    assert (scaling.options.method, scaling.options.factor) == (method, 3.0)
    assert scaling.multiplier != 1.0
    row = read_metrics(tmp_path)[-1]
    assert "reward_multiplier" in row
    assert row.get("reward_offset", 0.0) == pytest.approx(scaling.offset)


def test_the_agent_learns_from_the_rewards_of_today(demo, tmp_path):
    """What a discriminator said when a step was new stays in the replay; what it says now is what is learned from."""
    given = flags("discriminator", "--random-steps", "100", "--protocol", "fixed-horizon")
    learned = []
    with closing(Training.begin(Sources(configure(demo, tmp_path, *given)))) as training:
        update = training.agent.update
        training.agent.update = lambda batch: learned.append(batch.rewards.clone()) or update(batch)
        while training.step < 150:
            training.advance()
        kept = training.replay.contents().rewards
        for parameter in training.reward._network.parameters():
            parameter.data.zero_()
        training.advance()
    assert len(kept.unique()) > 1
    assert len(learned[0].unique()) > 1
    assert len(learned[-1].unique()) == 1, "a network of zeros says the same of every step"
