"""Which rewards are to be shown the agent's episodes."""

import pytest
from pendulum_system import demonstrations, flail, rollout

from ilfo.rewards import Episodes, RewardGenerator, ScaledReward, ScalingOptions, SumReward, make_reward


class Own(RewardGenerator):
    """A user's, written without a thought of being asked whether it observes."""

    needs = "transition"

    def fit(self, demonstrations):
        self.seen = 0
        return self

    def score(self, episodes):
        return episodes.mask.float()

    def observe(self, episodes):
        self.seen += len(episodes.lengths)
        return {"seen": float(self.seen)}


class Around(Own):
    """A user's, that passes everything on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def observe(self, episodes):
        return self.inner.observe(episodes)


class Idle(Own):
    """One that says itself that its episodes are no loss."""

    observes = False


class Still(Own):
    """One whose forebear observes, and which takes it back."""

    observe = RewardGenerator.observe


@pytest.mark.parametrize(
    ("expression", "method", "expected"),
    [
        ("nearest", "none", False),
        ("transport", "none", False),
        ("discriminator", "none", True),
        ("2*nearest", "none", False),
        ("nearest + 0.5*random-expert-distillation", "none", False),
        ("nearest + 0.5*discriminator", "none", True),
        ("nearest", "fixed", False),
        ("nearest", "expert-range", False),
        ("nearest", "first-episode", True),
        ("nearest", "running", True),
        ("discriminator", "fixed", True),
        ("nearest + 0.5*flow", "fixed", False),
        ("nearest + 0.5*flow", "running", True),
    ],
)
def test_a_sum_observes_if_a_term_does_and_a_scaled_reward_if_it_or_its_scale_does(expression, method, expected):
    assert make_reward(expression, scaling=ScalingOptions(method)).observes is expected


def test_of_a_users_own_the_method_tells():
    assert Own().observes
    assert Around(Idle()).observes
    assert not Idle().observes
    assert not Still().observes
    assert ScaledReward(Own(), ScalingOptions("fixed", 2.0)).observes
    assert not ScaledReward(Idle(), ScalingOptions("fixed", 2.0)).observes
    reward = SumReward({"idle": Idle(), "own": Own()}, {"idle": 1.0, "own": 1.0}).fit(demonstrations())
    assert reward.observes
    assert reward.observe(Episodes.from_trajectories([rollout(flail, steps=5)]))["own/seen"] == 1.0


def test_a_scale_that_is_restored_is_asked_anew():
    moving, fixed = (ScaledReward(Idle(), ScalingOptions(method)) for method in ("running", "fixed"))
    fixed.load_state_dict(moving.state_dict())
    assert fixed.observes
