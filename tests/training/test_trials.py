"""A reward and an agent of one's own are tried before the first step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from own_plugins import Height, Still
from small_runs import short

from ilfo._tools.errors import InputError
from ilfo.runs import read_metrics
from ilfo.train import train
from ilfo.training._trials import try_acting, try_saving

STATES = torch.zeros(5, 3)


class Acts(Still):
    """Returns what it was made with."""

    def __init__(self, actions):
        self.actions = actions

    def act(self, observations, explore):
        return self.actions


@pytest.mark.parametrize(
    ("actions", "found"),
    [
        (np.zeros((5, 2)), "a ndarray"),
        (torch.zeros(2), r"shape \(2,\)"),
        (torch.zeros(5, 1), r"shape \(5, 1\)"),
        (torch.zeros(5, 2, requires_grad=True), "requires a gradient"),
        (torch.full((5, 2), 5.0), "actions from 5 to 5"),
        (torch.full((5, 2), torch.nan), "actions from nan to nan"),
    ],
)
def test_what_is_no_action_is_refused(actions, found):
    with pytest.raises(InputError, match=rf"Acts\.act returned .*{found}.*expected a tensor \(5, 2\).*check_agent"):
        try_acting(Acts(actions), STATES, 2)


@pytest.mark.parametrize(("beyond", "refused"), [(1e-6, False), (1e-2, True)])
def test_actions_may_go_beyond_1_by_rounding_and_no_further(beyond, refused):
    found = []
    try:
        try_acting(Acts(torch.full((5, 2), 1 + beyond)), STATES, 2)
    except InputError as error:
        found.append(str(error))
    assert bool(found) == refused


@pytest.mark.parametrize("value", [np.zeros(3), np.float64(1.0), Still, lambda: 3])
@pytest.mark.parametrize(("part", "check"), [(Height(), "check_reward"), (Acts(None), "check_agent")])
def test_a_state_that_could_not_be_read_again_is_refused(part, check, value):
    name = type(part).__name__
    with pytest.raises(InputError, match=rf"{name}\.state_dict .*float\(number\).*{check}\({name}\)"):
        try_saving(part, {"whole": {"value": value}})
    try_saving(part, {"whole": [torch.zeros(3), 1.0, "a word", None, (True, 2)]})


class Keeps(Height):
    """A reward that cannot be saved."""

    def state_dict(self):
        return {"mean": np.float64(3.0)}


class Loud(Still):
    """An agent whose actions are far too large."""

    def act(self, observations, explore):
        return super().act(observations, explore) + 4.0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--reward", "test_trials:Keeps"], "Keeps.state_dict"),
        (["--reward", "test_trials:Height", "--agent", "test_trials:Loud"], "Loud.act returned actions from 4 to 4"),
    ],
)
@pytest.mark.parametrize("seeds", [[], ["--seeds", "0-1"]])
@pytest.mark.filterwarnings("ignore:.*updated in turn")
def test_a_run_with_one_leaves_nothing_behind(flags, said, seeds, demo, tmp_path):
    with pytest.raises(InputError, match=said):
        train(short(demo, tmp_path / "run", *flags, *seeds))
    assert not (tmp_path / "run").exists()


class Silent(Still):
    """An agent that logs nothing, the wrong way."""

    def update(self, batch):
        return None


def test_an_update_without_metrics_says_which_agent(demo, tmp_path):
    with pytest.raises(InputError, match=r"Silent\.update returned a NoneType; expected a dictionary"):
        train(short(demo, tmp_path / "run", "--reward", "nearest", "--agent", "test_trials:Silent"))


class Talks(Height):
    """Its metrics are numbers of NumPy and PyTorch, and have names of the run's own."""

    def observe(self, episodes):
        steps = episodes.lengths.numpy()
        return {"step": 7.0, "seconds": -1.0, "mean_length": np.mean(steps), "longest": episodes.lengths.max()}


class Counts(Still):
    """An agent that logs the number of its updates as the step."""

    updates = 0

    def update(self, batch):
        self.updates += 1
        return {"step": torch.tensor(float(self.updates))}


def test_metrics_of_any_name_and_type_leave_a_run_that_goes_on(demo, tmp_path):
    flags = ["--reward", "test_trials:Talks", "--agent", "test_trials:Counts", "--keep-replay"]
    config = short(demo, tmp_path / "run", *flags)
    train(config)
    train(replace(config, steps=400))
    rows = read_metrics(tmp_path / "run")
    assert [row["step"] for row in rows if "eval_return" in row] == [100, 200, 300, 400]
    assert all(row["seconds"] >= 0 for row in rows)
    assert all(row["mean_length"] <= row["longest"] for row in rows if "longest" in row)
    assert any("longest" in row for row in rows)
