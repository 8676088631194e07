"""An expert of the small square, what it recorded, and settings with which it is cloned in seconds."""

from contextlib import closing
from dataclasses import replace

import numpy as np

from ilfo import demos
from ilfo.cloning import CloneConfig, PixelOptions, clone_config
from ilfo.demos import Demonstrations, Trajectory
from ilfo.envs import Policy, describe
from ilfo.envs.recorder import Recorder
from ilfo.rewards.keypoints import KeypointOptions

SQUARE, MIRRORED = "small_envs:Square-v0", "small_envs:Mirrored-v0"
PENDULUM = "InvertedPendulum-v5"
OPTIONS = {
    "keypoints": KeypointOptions(pretrained=False, image_size=32, layer=1, stride=4, k=4, votes=0.0),
    "pixels": PixelOptions(shift=1, points=8),
}
SETTINGS = dict(epochs=80, batch_size=32, learning_rate=2e-3, hidden_dim=32, eval_episodes=4)


def expert(observations, ages=None):
    """Pushes the square to 0.4, the more gently the nearer it is."""
    return np.clip(3 * (0.4 - observations[:, :1]), -1, 1).astype(np.float32)


def record(env_id: str, policy: Policy, episodes: int, size: tuple[int, int] | None = (32, 32)) -> Demonstrations:
    with closing(Recorder(env_id, "standard", policy, "expert", frame_size=size)) as recorder:
        return Demonstrations(tuple(recorder.play(seed) for seed in range(episodes)), describe(env_id).provenance)


def changed(demonstrations: Demonstrations, **changes) -> Demonstrations:
    """With some fields of every trajectory replaced."""
    return replace(demonstrations, trajectories=tuple(replace(each, **changes) for each in demonstrations))


def write(folder, name: str, demonstrations: Demonstrations) -> str:
    return str(demos.write(folder / name, demonstrations))


def configure(sees: str, demo, out, **changes) -> CloneConfig:
    given = SETTINGS | dict(env=SQUARE, demo=(demo,) if isinstance(demo, str) else demo, sees=sees, out=str(out))
    own = {sees: OPTIONS[sees]} if sees in OPTIONS else {}
    return clone_config(sees)(**given | own | changes)


def error(played: list[Trajectory]) -> float:
    """Mean squared difference of actions and those of the expert in the same states."""
    return float(np.mean([(each.actions - expert(each.observations[:-1])) ** 2 for each in played]))
