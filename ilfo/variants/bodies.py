"""Other shapes for moved objects: only drawn, while the simulator keeps the real ones.

A task stays as hard as it was: a gripper closes on the real shape, and every expert of the plain environment is an
expert of the variant. The drawn shape may therefore extend beyond the real one, or fall short of it.
"""

from __future__ import annotations

import mujoco
import numpy as np

from ilfo._tools.errors import InputError
from ilfo.variants.look import Look
from ilfo.variants.variant import Draw

__all__ = ["Proportions", "Shapes", "moved"]

_Geom = mujoco.mjtGeom
_SOLID = (
    _Geom.mjGEOM_SPHERE,
    _Geom.mjGEOM_CAPSULE,
    _Geom.mjGEOM_ELLIPSOID,
    _Geom.mjGEOM_CYLINDER,
    _Geom.mjGEOM_BOX,
    _Geom.mjGEOM_MESH,
)
_BLUNT = (_Geom.mjGEOM_BOX, _Geom.mjGEOM_ELLIPSOID)
_LONG = (_Geom.mjGEOM_CYLINDER, _Geom.mjGEOM_CAPSULE)


class Proportions(Look):
    """The same shapes, stretched or squeezed along their own axes, each about its own middle.

    Seen: to 0.82 to 0.95 or 1.05 to 1.22 of their size. Unseen: to 0.58 to 0.70 or 1.42 to 1.73.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        stretched: set[int] = set()
        for geom in moved(model):
            logarithms = draw.between(seen=(0.05, 0.2), unseen=(0.35, 0.55), size=3)
            factors = np.exp(logarithms * draw.random.choice([-1, 1], 3))
            model.geom_size[geom] *= factors
            mesh = int(model.geom_dataid[geom])
            if model.geom_type[geom] == _Geom.mjGEOM_MESH and mesh not in stretched:
                stretched.add(mesh)
                _stretch(model, mesh, factors)


class Shapes(Look):
    """Shapes of another class, of about the same size. Seen: boxes and ellipsoids. Unseen: cylinders and capsules.

    The class is drawn for each part; a part that already has it gets the other class of the split.
    """

    def __init__(self, model: mujoco.MjModel, home: mujoco.MjData, draw: Draw) -> None:
        geoms = moved(model)
        self._geoms, self._middles = geoms, np.zeros((len(geoms), 3))
        for row, geom in enumerate(geoms):
            middle, half = np.split(model.geom_aabb[geom], 2)
            half = half * draw.random.uniform(0.85, 1.0, 3)
            self._middles[row] = middle
            shape, other = draw.one_of(seen=(_BLUNT, _BLUNT[::-1]), unseen=(_LONG, _LONG[::-1]))
            if _like(model.geom_type[geom], shape):
                shape = other
            model.geom_type[geom], model.geom_dataid[geom] = shape, -1
            model.geom_size[geom] = _size(shape, half)

    def pose(self, data: mujoco.MjData) -> None:
        """Puts the shapes where the meshes were that they stand for: a mesh need not have its middle at its origin."""
        frames = data.geom_xmat[self._geoms].reshape(-1, 3, 3)
        data.geom_xpos[self._geoms] += (frames @ self._middles[:, :, None])[:, :, 0]


def moved(model: mujoco.MjModel) -> np.ndarray:
    """Indices ``(N,)`` of the visible geoms of what moves and is not driven, fixed parts included; else of what moves.

    A button belongs to the box that it is on, and a door to its frame: one sees hardly more of the button than that it
    is there. Where all that moves is driven, like a robot alone, its moving bodies are taken.

    Raises:
        InputError: Nothing visible moves.
    """
    bodies = model.geom_bodyid
    roots = model.body_rootid[bodies]
    solid = np.isin(model.geom_type, [int(kind) for kind in _SOLID])
    visible = (model.geom_group < 3) & ((model.geom_rgba[:, 3] > 0) | (model.geom_matid >= 0))
    drawn = solid & visible & (model.body_mocapid[roots] < 0)
    moving = drawn & (model.body_weldid[bodies] > 0)
    if not moving.any():
        raise InputError("nothing in this environment moves that has a shape to vary; take another kind")
    passive = np.setdiff1d(roots[moving], model.body_rootid[_driven(model)])
    return np.flatnonzero(drawn & np.isin(roots, passive) if len(passive) else moving)


def _driven(model: mujoco.MjModel) -> list[int]:
    """Bodies that an actuator reaches, by a joint, site, body, or a tendon through those; and those tied to mocap."""
    kind, wrap = mujoco.mjtTrn, mujoco.mjtWrap
    driven = _tied_to_mocap(model)
    for number, transmission in zip(
        model.actuator_trnid[:, 0], map(mujoco.mjtTrn, model.actuator_trntype), strict=True
    ):
        if transmission in (kind.mjTRN_JOINT, kind.mjTRN_JOINTINPARENT):
            driven.append(model.jnt_bodyid[number])
        elif transmission in (kind.mjTRN_SITE, kind.mjTRN_SLIDERCRANK):
            driven.append(model.site_bodyid[number])
        elif transmission == kind.mjTRN_BODY:
            driven.append(number)
        elif transmission == kind.mjTRN_TENDON:
            start = model.tendon_adr[number]
            for part in range(start, start + model.tendon_num[number]):
                if model.wrap_type[part] == wrap.mjWRAP_JOINT:
                    driven.append(model.jnt_bodyid[model.wrap_objid[part]])
                elif model.wrap_type[part] == wrap.mjWRAP_SITE:
                    driven.append(model.site_bodyid[model.wrap_objid[part]])
    return driven


def _tied_to_mocap(model: mujoco.MjModel) -> list[int]:
    """Bodies that a weld or a connection ties to a mocap body, which the environment moves as it likes."""
    ties, site = (int(mujoco.mjtEq.mjEQ_WELD), int(mujoco.mjtEq.mjEQ_CONNECT)), int(mujoco.mjtObj.mjOBJ_SITE)
    tied: list[int] = []
    for kind, what, *ends in zip(model.eq_type, model.eq_objtype, model.eq_obj1id, model.eq_obj2id, strict=True):
        if kind in ties:
            bodies = [int(model.site_bodyid[end] if what == site else end) for end in ends]
            if (model.body_mocapid[bodies] >= 0).any():
                tied += bodies
    return tied


def _stretch(model: mujoco.MjModel, mesh: int, factors: np.ndarray) -> None:
    vertices = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
    normals = slice(model.mesh_normaladr[mesh], model.mesh_normaladr[mesh] + model.mesh_normalnum[mesh])
    model.mesh_vert[vertices] *= factors
    turned = model.mesh_normal[normals] / factors
    model.mesh_normal[normals] = turned / np.linalg.norm(turned, axis=1, keepdims=True).clip(1e-9)


def _like(old: int, new: int) -> bool:
    """Whether one class drawn as the other looks the same."""
    return old == new or (old == _Geom.mjGEOM_SPHERE and new == _Geom.mjGEOM_ELLIPSOID)


def _size(shape: int, half: np.ndarray) -> np.ndarray:
    """MuJoCo's size ``(3,)`` of a shape that fills a box with these half edges ``(3,)``."""
    radius = half[:2].mean()
    if shape == _Geom.mjGEOM_CYLINDER:
        return np.array([radius, half[2], 0])
    if shape == _Geom.mjGEOM_CAPSULE:
        # Slimmer than the box, or what is as wide as high would become a ball.
        return np.array([0.6 * radius, max(half[2] - 0.6 * radius, 0.3 * radius), 0])
    return half
