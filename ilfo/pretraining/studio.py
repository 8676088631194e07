"""Episodes as a camera sees them, with the true position in the image of every object."""

from __future__ import annotations

import importlib
import os
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilfo._tools.errors import InputError
from ilfo.envs.drawing import nothing_can_be_drawn, prepare_drawing
from ilfo.pretraining.scenes import Appearance, Scene

__all__ = ["Film", "Studio", "project"]

DRAWN_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)
"""MuJoCo's groups of geoms that are drawn by default; the others are for collisions."""

WARM_UP = 12
"""Most environment steps before an episode's first frame, so that episodes do not all begin alike."""


@dataclass(frozen=True)
class Film:
    """Frames of one episode, and where its objects are.

    Attributes:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        positions: ``(T, P, 2)`` float32, in pixels from the upper left corner of the image, x then y: the middle of the
            first pixel is (0.5, 0.5). May lie outside of the image.
        visible: ``(T, P)`` bool: inside of the image, and nothing hides the object's middle.
    """

    frames: np.ndarray
    positions: np.ndarray
    visible: np.ndarray


class Studio:
    """A scene, ready to be filmed.

    Args:
        scene: Which.
        size: Height and width of the frames in pixels.

    Raises:
        InputError: What the scene needs is not installed, nothing can be drawn here, or it has no such object.
    """

    def __init__(self, scene: Scene, size: int = 96) -> None:
        self.scene, self.size = scene, size
        prepare_drawing()
        self._env = _make(scene)
        self._env.reset(seed=0)
        self._model, self._data = self._env.unwrapped.model, self._env.unwrapped.data
        self._bodies, self._geoms = np.array([_body_and_geom(self._model, scene, name) for name in scene.objects]).T
        self._appearance = Appearance(self._model, self._data, scene)
        self._camera = _Camera(self._model, size)

    def film(self, length: int, seed: int, *, varied: bool = True) -> Film:
        """Plays an episode and films it.

        A random policy with slowly changing actions plays; in episodes of a Meta-World task with an odd seed, the
        task's scripted expert with noise. The simulation goes on past the point where the environment would end the
        episode.

        Args:
            length: Frames ``T``.
            seed: Together with the scene, determines everything.
            varied: Whether the episode has its own camera, lights and colours, or the plain ones.

        Raises:
            InputError: The simulation diverged.
        """
        rng = np.random.default_rng([seed, zlib.crc32(self.scene.name.encode())])
        observation, _ = self._env.reset(seed=int(rng.integers(2**31)))
        act = self._policy(rng, scripted=seed % 2 == 1)
        place = self._appearance.varied(rng) if varied else self._appearance.plain()
        frames, positions, visible = [], [], []
        for step in range(length):
            for _ in range(int(rng.integers(WARM_UP)) if step == 0 else self.scene.steps):
                observation = self._env.step(act(observation))[0]
            if not np.isfinite(self._data.qpos).all():
                raise InputError(f"{self.scene.name}: the simulation diverged at frame {step} of the episode {seed}")
            frames.append(self._camera.picture(self._data, place))
            points = self._data.geom_xpos[self._geoms]
            where, depth, eye = project(points, self._camera.scene, self.size, self.size)
            inside = (depth > 0) & (where > 0).all(axis=1) & (where < self.size).all(axis=1)
            positions.append(where)
            seen = [self._seen(eye, body, point) for body, point in zip(self._bodies, points, strict=True)]
            visible.append(inside & seen)
        return Film(np.array(frames), np.array(positions, np.float32), np.array(visible))

    def close(self) -> None:
        """Frees the simulator and its picture."""
        self._camera.close()
        self._env.close()

    def _seen(self, eye: np.ndarray, body: int, point: np.ndarray) -> bool:
        """Whether what a ray from the camera to the point meets first is fixed to the body."""
        import mujoco

        hit = np.full(1, -1, np.int32)
        mujoco.mj_ray(self._model, self._data, eye, point - eye, DRAWN_GROUPS, True, -1, hit)
        if hit[0] < 0:
            return False
        fixed_to = self._model.body_weldid
        met = self._model.geom_bodyid[hit[0]]
        # All that never moves is welded to the world: there, only a hit on the body itself counts.
        return bool(met == body or (fixed_to[body] != 0 and fixed_to[met] == fixed_to[body]))

    def _policy(self, rng: np.random.Generator, *, scripted: bool) -> Any:
        space = self._env.action_space
        low, high = space.low, space.high
        noise = np.zeros(space.shape)
        expert = _scripted_expert(self.scene) if scripted else None

        def act(observation: Any) -> np.ndarray:
            nonlocal noise
            noise = 0.9 * noise + 0.4 * rng.standard_normal(noise.shape)
            if expert is None:
                action = (low + high) / 2 + noise * (high - low) / 2
            else:
                action = expert(observation) + 0.3 * noise
            return np.clip(action, low, high).astype(np.float32)

        return act


class _Camera:
    """MuJoCo's renderer, on the library that ``MUJOCO_GL`` names now, even if MuJoCo was imported before.

    Raises:
        RenderError: Nothing can be drawn here.
    """

    def __init__(self, model: Any, size: int) -> None:
        import mujoco

        visual = model.vis
        # Without a GPU, drawing is four times as fast so.
        visual.quality.shadowsize, visual.quality.offsamples = 1024, 0
        visual.global_.offwidth, visual.global_.offheight = max(size, 64), max(size, 64)
        try:
            library = importlib.import_module(f"mujoco.{os.environ.get('MUJOCO_GL', 'glfw')}")
            self._gl = library.GLContext(size, size)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        # Drivers and their bindings each raise errors of their own where the drawing library is missing.
        except Exception as error:
            raise nothing_can_be_drawn(error) from error
        self._model, self._viewport = model, mujoco.MjrRect(0, 0, size, size)
        self._options, self._marks = mujoco.MjvOption(), mujoco.MjvPerturb()
        self.scene = mujoco.MjvScene(model, 2000)

    def picture(self, data: Any, place: Any) -> np.ndarray:
        """What is seen from a place, MuJoCo's ``MjvCamera``: ``(H, W, 3)`` uint8 RGB."""
        import mujoco

        self._gl.make_current()
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, self._marks, place, everything, self.scene)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjr_render(self._viewport, self.scene, self._context)
        pixels = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._viewport, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Frees the picture."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()


def project(points: np.ndarray, scene: Any, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where points of the world lie in the image of the camera that a scene was last updated with.

    Args:
        points: ``(P, 3)`` in metres.
        scene: MuJoCo's ``MjvScene``, whose two cameras, one for each eye, are averaged as its renderer does.
        height: Of the image, in pixels.
        width: Likewise.

    Returns:
        ``(P, 2)`` pixels from the upper left corner, x then y; ``(P,)`` metres in front of the camera; and where the
        camera is, ``(3,)``.
    """
    left, right = scene.camera
    eye = (np.asarray(left.pos, np.float64) + right.pos) / 2
    forward, up = np.asarray(left.forward, np.float64), np.asarray(left.up, np.float64)
    offset = points - eye
    depth = offset @ forward
    span = (left.frustum_top - left.frustum_bottom) / left.frustum_near
    rise = (left.frustum_top + left.frustum_bottom) / 2 / left.frustum_near
    shift = (left.frustum_center + right.frustum_center) / 2 / left.frustum_near
    x = offset @ np.cross(forward, up) / depth - shift
    y = offset @ up / depth - rise
    return np.stack([width / 2 + x / span * height, height / 2 - y / span * height], axis=1), depth, eye


def _body_and_geom(model: Any, scene: Scene, name: str) -> tuple[int, int]:
    """A body, and the largest of its geoms that are drawn, whose middle is where the object is."""
    import mujoco

    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
    drawn = DRAWN_GROUPS[model.geom_group].astype(bool) & (model.geom_rgba[:, 3] > 0)
    geoms = np.flatnonzero((model.geom_bodyid == body) & drawn) if body >= 0 else np.empty(0, np.int64)
    if not len(geoms):
        raise InputError(f"{scene.name}: the model has no body {name!r} of which something is drawn")
    return body, int(geoms[np.argmax(model.geom_rbound[geoms])])


def _make(scene: Scene) -> Any:
    import gymnasium

    try:
        env: Any = gymnasium.make(scene.env_id, disable_env_checker=True)
        return env.env  # Without the time limit.
    except (ImportError, InputError) as error:
        raise InputError(
            f"{scene.name}: {scene.env_id} needs a package that is not installed ({error}); install it, or name other "
            "scenes with --scenes"
        ) from error


def _scripted_expert(scene: Scene) -> Any:
    """Meta-World's expert of a task of its own, else None."""
    prefix, _, task = scene.env_id.rpartition("MetaWorld/")
    if not prefix:
        return None
    from metaworld.policies import ENV_POLICY_MAP

    policy = ENV_POLICY_MAP[task]()
    return lambda observation: policy.get_action(np.concatenate(list(observation.values())).astype(np.float64))
