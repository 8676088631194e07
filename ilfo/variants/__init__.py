"""Variants: environments that only look different, to test whether a policy that sees pictures generalises.

``HalfCheetah-v5@colours-unseen-3``, wherever the command line or :func:`ilfo.envs.make_env` takes an environment's id,
is the fourth variant of its colours in the held-out split. States, actions, rewards and ends are those of
``HalfCheetah-v5`` bit for bit; only what ``render`` returns differs. This works for every environment drawn by
Gymnasium's own MuJoCo renderer: Gymnasium's, Gymnasium-Robotics' and Meta-World's.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from ilfo._tools.errors import InputError
from ilfo.variants.variant import KINDS, Kind, Split, Variant, split_id

__all__ = ["KINDS", "Kind", "Split", "Variant", "split_id", "vary"]


def vary(env: gymnasium.Env[Any, Any], variant: Variant) -> gymnasium.Env[Any, Any]:
    """Gives an environment another look, for good.

    Args:
        env: As made, not reset or drawn yet: things are arranged around how it is made.
        variant: The look.

    Returns:
        The same environment. Its model and data are as they were; ``render`` draws a copy of them.

    Raises:
        InputError: It is not drawn by Gymnasium's MuJoCo renderer, or has nothing that the variant could change.
    """
    bare: Any = env.unwrapped
    if not all(hasattr(bare, name) for name in ("model", "data", "mujoco_renderer")):
        raise InputError(
            f"{_name(env)} has no variants such as {variant}: it is not drawn by Gymnasium's MuJoCo renderer"
        )
    # Here, since they bring the libraries of windows and pictures.
    from ilfo.variants.picture import Picture

    try:
        picture = Picture(bare.model, bare.data, variant)
    except InputError as error:
        raise InputError(f"{_name(env)}, variant {variant}: {error}") from error
    if env.render_mode is None:
        return env
    from ilfo.variants.renderer import PictureRenderer

    bare.mujoco_renderer = PictureRenderer(bare, picture)
    return env


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return type(env.unwrapped).__name__ if env.spec is None else env.spec.id
