"""What the frames of the pretraining show: tasks of MuJoCo, the objects to find in them, cameras and colours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilfo._tools.errors import InputError, closest

__all__ = ["SCENES", "Appearance", "Scene", "scenes_named"]


@dataclass(frozen=True)
class Scene:
    """A task, and how it is filmed.

    Attributes:
        name: Its name in the file of frames.
        env_id: Gymnasium id, with the module that registers it if Gymnasium itself does not.
        objects: Bodies whose true position in the image is stored for every frame.
        centre: What the camera looks at: a body, at its position when the episode starts, or ``(x, y, z)`` in metres.
        distance: Metres from the camera to there, least and most.
        azimuth: Direction of view in degrees, 90 along y, least and most.
        elevation: Likewise, -90 straight down.
        steps: Environment steps between two frames.
    """

    name: str
    env_id: str
    objects: tuple[str, ...]
    centre: str | tuple[float, float, float]
    distance: tuple[float, float]
    azimuth: tuple[float, float] = (0.0, 360.0)
    elevation: tuple[float, float] = (-50.0, -5.0)
    steps: int = 2


def _metaworld(task: str, *objects: str) -> Scene:
    return Scene(
        name=f"metaworld-{task}",
        env_id=f"ilfo.metaworld:MetaWorld/{task}-v3",
        objects=("hand", "right_l5", *objects),
        centre=(0.0, 0.65, 0.15),
        distance=(0.9, 1.7),
        azimuth=(105.0, 215.0),
        elevation=(-60.0, -15.0),
        steps=4,
    )


def _adroit(task: str, *objects: str) -> Scene:
    return Scene(
        name=f"adroit-{task}",
        env_id=f"ilfo.robotics:AdroitHand{task.capitalize()}-v1",
        objects=("palm", "forearm", "mfdistal", "thdistal", *objects),
        centre=(0.0, -0.02, 0.2),
        distance=(0.9, 1.5),
        elevation=(-70.0, -15.0),
    )


def _fetch(task: str, env: str) -> Scene:
    return Scene(
        name=f"fetch-{task}",
        env_id=f"ilfo.robotics:Fetch{env}-v4",
        objects=("robot0:gripper_link", "robot0:wrist_flex_link", "robot0:elbow_flex_link", "object0"),
        centre=(1.25, 0.75, 0.5),
        distance=(0.9, 1.8),
        azimuth=(100.0, 260.0),
        elevation=(-60.0, -10.0),
    )


_PLANAR = (60.0, 120.0)
"""Azimuths of a camera that looks at a walker in the plane from its side."""

SCENES: tuple[Scene, ...] = (
    Scene(
        "halfcheetah",
        "HalfCheetah-v5",
        ("torso", "bthigh", "bfoot", "fthigh", "ffoot"),
        "torso",
        (2.2, 4.0),
        _PLANAR,
        (-35.0, 0.0),
    ),
    Scene("hopper", "Hopper-v5", ("torso", "thigh", "leg", "foot"), "torso", (2.2, 4.0), _PLANAR, (-35.0, 0.0)),
    Scene("walker2d", "Walker2d-v5", ("torso", "leg", "foot"), "torso", (2.2, 4.0), _PLANAR, (-35.0, 0.0)),
    Scene("ant", "Ant-v5", ("torso",), "torso", (2.2, 4.5)),
    Scene(
        "humanoid",
        "Humanoid-v5",
        ("torso", "right_foot", "left_foot", "right_lower_arm", "left_lower_arm"),
        "torso",
        (2.2, 4.5),
    ),
    Scene("swimmer", "Swimmer-v5", ("torso", "mid", "back"), "mid", (2.5, 4.5), elevation=(-80.0, -30.0)),
    Scene(
        "pusher",
        "Pusher-v5",
        ("r_upper_arm_link", "r_forearm_link", "tips_arm", "object", "goal"),
        (0.35, -0.3, -0.2),
        (1.6, 2.6),
        elevation=(-80.0, -25.0),
    ),
    Scene(
        "reacher",
        "Reacher-v5",
        ("body0", "body1", "fingertip", "target"),
        (0.0, 0.0, 0.0),
        (0.55, 0.9),
        elevation=(-90.0, -40.0),
        steps=1,
    ),
    Scene(
        "double-pendulum",
        "InvertedDoublePendulum-v5",
        ("cart", "pole", "pole2"),
        "cart",
        (2.0, 3.2),
        _PLANAR,
        (-25.0, 5.0),
        steps=1,
    ),
    _adroit("door", "door", "latch"),
    _adroit("hammer", "Object", "nail"),
    _adroit("pen", "Object", "target"),
    _adroit("relocate", "Object"),
    _fetch("pick-and-place", "PickAndPlace"),
    _fetch("slide", "Slide"),
    _metaworld("reach", "obj"),
    _metaworld("push", "obj"),
    _metaworld("pick-place", "obj"),
    _metaworld("door-open", "door_link"),
    _metaworld("drawer-open", "drawer_link"),
    _metaworld("window-open", "windowb_a", "windowb_b"),
    _metaworld("button-press-topdown", "button", "buttonbox"),
    _metaworld("assembly", "peg"),
    _metaworld("hammer", "hammer", "nail_link"),
    _metaworld("faucet-open", "faucet_link2"),
    _metaworld("coffee-button", "cmbutton"),
    _metaworld("soccer", "soccer_ball1", "soccer_goal"),
    _metaworld("basketball", "basketball"),
    _metaworld("lever-pull", "lever_link1"),
    _metaworld("box-close", "box", "top_link"),
    _metaworld("sweep-into", "obj"),
)
"""Every scene: those of Gymnasium, then those that take ``gymnasium-robotics`` and ``ilfo[metaworld]``."""


def scenes_named(names: Iterable[str]) -> tuple[Scene, ...]:
    """Scenes by their names, or by the beginning that several share, like ``metaworld``; all for no names.

    Raises:
        InputError: There is no such scene; names the closest.
    """
    names = tuple(names)
    for name in names:
        if not any(scene.name.startswith(name) for scene in SCENES):
            raise InputError(f"there is no scene {name!r}; {closest(name, [scene.name for scene in SCENES])}")
    return tuple(scene for scene in SCENES if not names or scene.name.startswith(names))


class Appearance:
    """Chooses an episode's camera, and the lights and colours of its model.

    Args:
        model: MuJoCo's model. It is edited in place; :meth:`plain` restores it.
        data: MuJoCo's data. An episode must have begun whenever one is chosen.
        scene: Gives the ranges of the camera.
    """

    _EDITED = ("geom_rgba", "mat_rgba", "light_pos", "light_diffuse", "light_ambient")

    def __init__(self, model: Any, data: Any, scene: Scene) -> None:
        self._data, self._centre = data, scene.centre
        self._bounds = (scene.distance, scene.azimuth, scene.elevation)
        self._arrays = [getattr(model, name) for name in self._EDITED]
        self._arrays += [model.vis.headlight.ambient, model.vis.headlight.diffuse]
        self._originals = [array.copy() for array in self._arrays]

    def plain(self) -> Any:
        """The model as its authors coloured it, and a camera in the middle of the scene's ranges."""
        self._restore()
        return self._camera([sum(bounds) / 2 for bounds in self._bounds], np.zeros(3))

    def varied(self, rng: np.random.Generator) -> Any:
        """Another camera and other lights; in two of three cases other colours too. Alpha stays.

        Returns:
            The camera, MuJoCo's ``MjvCamera``.
        """
        self._restore()
        geoms, materials, *lights, ambient, diffuse = self._arrays
        if rng.random() < 2 / 3:
            for colours in (geoms, materials):
                jittered = colours[:, :3] * rng.uniform(0.6, 1.4, (len(colours), 3)) + rng.normal(
                    0, 0.05, (len(colours), 3)
                )
                other = rng.uniform(0.05, 1.0, (len(colours), 3))
                colours[:, :3] = np.where(rng.random((len(colours), 1)) < 0.5, jittered, other).clip(0, 1)
        positions, light_diffuse, light_ambient = lights
        positions += rng.normal(0, 0.4, positions.shape) * np.abs(positions).max(initial=1.0) / 2
        light_diffuse *= rng.uniform(0.3, 1.2, (len(light_diffuse), 1))
        light_ambient += rng.uniform(0, 0.2, (len(light_ambient), 1))
        ambient[:] = rng.uniform(0.1, 0.45)
        diffuse[:] = rng.uniform(0.2, 0.7) * rng.uniform(0.85, 1.0, 3)
        chosen = [float(rng.uniform(*bounds)) for bounds in self._bounds]
        return self._camera(chosen, rng.normal(0, 0.06 * chosen[0], 3))

    def _restore(self) -> None:
        for array, original in zip(self._arrays, self._originals, strict=True):
            array[...] = original

    def _camera(self, place: list[float], shift: np.ndarray) -> Any:
        import mujoco

        centre = self._centre
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FREE
        camera.distance, camera.azimuth, camera.elevation = place
        camera.lookat[:] = (self._data.body(centre).xpos if isinstance(centre, str) else np.asarray(centre)) + shift
        return camera
