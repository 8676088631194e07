"""Other colours and other textures, over the same shapes."""

from __future__ import annotations

import mujoco
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.variants.look import Look, hue_to_rgb
from ilfo.variants.variant import Draw

__all__ = ["Colours", "Textures"]

_RGB = mujoco.mjtTextureRole.mjTEXROLE_RGB
_UNSET = np.array([0.5, 0.5, 0.5, 1], np.float32)
"""The colour of a shape that leaves it to its material: MuJoCo's default, which it looks for when it draws."""

_DARKEST = 0.35
"""The least brightness of a tinted surface, below which no hue can be told."""


class Colours(Look):
    """Every surface gets a new hue. Seen: red over yellow and green to cyan. Unseen: cyan over blue to pink.

    Brightness and textures stay. Geoms of one colour get one new colour; sites, which mark goals, keep theirs.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        rgba = _drawn_rgba(model)
        _, groups = np.unique(np.column_stack([model.geom_matid, rgba]), axis=0, return_inverse=True)
        groups = groups.ravel()
        model.geom_rgba[:, :3] = _tinted(rgba[:, :3], _hues(draw, groups.max(initial=0) + 1)[groups], draw)
        model.geom_rgba[:, 3] = rgba[:, 3]
        for texture, hue in enumerate(_hues(draw, model.ntex)):
            pixels = _pixels(model, texture)
            if pixels.shape[2] < 3:
                continue
            # Grey, since a texture is multiplied by the colour of what wears it; nothing wears the sky.
            grey = pixels[..., :3].mean(axis=2, keepdims=True)
            sky = model.tex_type[texture] == mujoco.mjtTexture.mjTEXTURE_SKYBOX
            pixels[..., :3] = grey * hue_to_rgb(hue, 0.6, 1.0) if sky else grey


class Textures(Look):
    """Repaints every texture, and gives one to whatever has none. Seen: checkers, stripes. Unseen: dots, rings.

    Raises:
        InputError: The model has no texture to paint except the sky's.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        worn = np.flatnonzero(model.tex_type != mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        if not len(worn):
            raise InputError("this environment has no textures that could vary; take the kind 'colours'")
        for texture in range(model.ntex):
            _paint(_pixels(model, texture), draw)
        bare = np.flatnonzero(model.mat_texid[:, _RGB] < 0)
        model.mat_texid[bare, _RGB] = draw.random.choice(worn, len(bare))
        plain = np.flatnonzero(model.geom_matid < 0)
        rgba = _drawn_rgba(model)
        model.geom_matid[plain] = draw.random.choice(
            np.flatnonzero(np.isin(model.mat_texid[:, _RGB], worn)), len(plain)
        )
        model.geom_rgba[:, :3], model.geom_rgba[:, 3] = 1, rgba[:, 3]


def _drawn_rgba(model: mujoco.MjModel) -> np.ndarray:
    """The colours ``(ngeom, 4)`` that MuJoCo draws shapes in: their own, or else their material's."""
    rgba = model.geom_rgba.copy()
    left = (model.geom_matid >= 0) & (rgba == _UNSET).all(axis=1)
    rgba[left] = model.mat_rgba[model.geom_matid[left]]
    return rgba


def _hues(draw: Draw, size: int) -> np.ndarray:
    return draw.between(seen=(0.0, 0.45), unseen=(0.5, 0.95), size=size)


def _tinted(rgb: np.ndarray, hues: np.ndarray, draw: Draw) -> np.ndarray:
    """Colours ``(N, 3)`` of these hues, as bright as those of ``rgb``."""
    return hue_to_rgb(hues, draw.random.uniform(0.5, 0.9), rgb.max(axis=1).clip(_DARKEST))


def _pixels(model: mujoco.MjModel, texture: int) -> np.ndarray:
    """A view ``(H, W, C)`` uint8 of a texture; a cube's six faces stand on each other."""
    height, width, channels = (
        int(model.tex_height[texture]),
        int(model.tex_width[texture]),
        int(model.tex_nchannel[texture]),
    )
    start = int(model.tex_adr[texture])
    return model.tex_data[start : start + height * width * channels].reshape(height, width, channels)


def _paint(pixels: np.ndarray, draw: Draw) -> None:
    """Covers a texture with a pattern of two colours, repeated a few times across its width."""
    height, width, channels = pixels.shape
    y, x = np.mgrid[:height, :width].astype(np.float32) * (draw.random.integers(1, 4) / width)
    pattern = draw.one_of(seen=(_checkers, _stripes), unseen=(_dots, _rings))
    first = draw.random.uniform()
    two = hue_to_rgb(
        np.array([first, first + draw.random.uniform(0.3, 0.7)]), draw.random.uniform(0.3, 0.9), np.array([1.0, 0.5])
    )
    colours = np.rint(255 * two)
    painted = colours[pattern(y, x).astype(int)]
    pixels[..., : min(channels, 3)] = painted if channels >= 3 else painted.mean(axis=2, keepdims=True)


# The patterns: truth of (H, W) points, the same in each unit square, so that a texture has no seams.


def _checkers(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (y % 1 < 0.5) != (x % 1 < 0.5)


def _stripes(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (x + y) % 1 < 0.5


def _dots(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return _radius(y, x) < 0.3


def _rings(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (_radius(y, x) * 4) % 1 < 0.3


def _radius(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.hypot(y % 1 - 0.5, x % 1 - 0.5)
