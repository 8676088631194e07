"""Vision transformers by name: timm's, with weights from a file or downloaded, and a small one of our own."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ilfo._tools.errors import InputError, closest
from ilfo._tools.seeds import seeded
from ilfo.vision.backbones import TINY, TINY_MEAN, TINY_STD, TINY_WEIGHTS, Backbone, Resize

__all__ = ["INSTALL", "build_tiny", "check_normalisation_is_known", "import_timm", "load_backbone", "read_weights"]

INSTALL = 'keypoints need {}: pip install "ilfo[keypoints]"'

_CLASSIFIER = ("head.", "head_dist.")
"""How timm's names of a classifier's own weights begin; models here are made without one."""


def build_tiny(**changes: Any) -> nn.Module:
    """An ``ilfo_vit_tiny`` with random weights.

    Args:
        **changes: Arguments of timm's VisionTransformer in place of those of ``TINY``.
    """
    import_timm()
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(**({"num_classes": 0} | TINY | changes))


def load_backbone(
    name: str = "ilfo_vit_tiny",
    *,
    weights: str | os.PathLike[str] | None = None,
    pretrained: bool = True,
    stride: int | None = None,
    image_size: int | None = None,
    resize: Resize = "shorter",
    device: torch.device | str = "cpu",
) -> Backbone:
    """A ViT by name, with its weights.

    Args:
        name: ``ilfo_vit_tiny``, which comes with the package, or a ViT of timm: ``vit_small_patch8_224.dino``,
            ``vit_small_patch14_dinov2.lvd142m``, ``vit_small_patch16_dinov3.lvd1689m``, and so on.
        weights: A safetensors file with exactly the network's weights under timm's names, of which a classifier's head
            is left out; None: those that timm downloads, or the package's own.
        pretrained: Whether to load weights when no file is given; else they are random, from seed 0, for comparisons.
        stride: See :class:`Backbone`, also for ``image_size``, ``resize`` and ``device``.
        image_size: See there.
        resize: See there.
        device: See there.

    Raises:
        InputError: There is no such ViT, its weights cannot be had or do not fit, or a size does not suit its patches.
    """
    timm = import_timm()
    download = pretrained and weights is None
    mean, std = TINY_MEAN, TINY_STD
    with seeded(0):
        if name == "ilfo_vit_tiny":
            model = build_tiny()
            weights = TINY_WEIGHTS if download else weights
        else:
            model = _timm_model(timm, name, download)
            data = timm.data.resolve_model_data_config(model)
            mean, std = data["mean"], data["std"]
    if weights is not None:
        model.load_state_dict(read_weights(weights, model, name))
    return Backbone(model, name, mean=mean, std=std, stride=stride, image_size=image_size, resize=resize, device=device)


def read_weights(path: str | os.PathLike[str], model: nn.Module, name: str) -> dict[str, Tensor]:
    """A model's weights from a safetensors file, in any precision; those of a classifier's head only if it has one.

    Raises:
        InputError: The file is not there, is no safetensors file, or does not hold exactly these weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except OSError as error:
        own = Path(path) == TINY_WEIGHTS
        hint = "this installation has none" if own else "a run is told where they lie by the command that made it"
        raise InputError(
            f"{path}: the weights of {name} cannot be read ({error.strerror or error}); {hint}: give "
            "--keypoints.backbone-weights FILE"
        ) from error
    except SafetensorError as error:
        raise InputError(f"{path}: this is no safetensors file ({error}); convert the weights to one") from error
    expected = model.state_dict()
    found = {key: weight for key, weight in found.items() if key in expected or not key.startswith(_CLASSIFIER)}
    wrong = [f"{key} is missing" for key in expected if key not in found]
    wrong += [f"{key} is unexpected" for key in found if key not in expected]
    wrong += [
        f"{key} is {tuple(found[key].shape)} and not {tuple(weight.shape)}"
        for key, weight in expected.items()
        if key in found and found[key].shape != weight.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise InputError(
            f"{path}: these are not the weights of {name} under timm's names: {', '.join(wrong[:4])}{more}; give this "
            "model's file, or name the file's model with --keypoints.backbone"
        )
    return found


def _timm_model(timm: Any, name: str, download: bool) -> nn.Module:
    if not timm.is_model(name):
        known = ["ilfo_vit_tiny", *timm.list_models("*vit*", pretrained=True)]
        match = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {match[0]!r}?" if match else "timm.list_models('vit_*', pretrained=True) lists them"
        raise InputError(f"there is no backbone {name!r}: {hint}")
    architecture, _, tag = name.partition(".")
    tagged = timm.list_models(f"{architecture}.*", include_tags=True)
    if tag and name not in tagged:
        raise InputError(f"there is no backbone {name!r}: {closest(name, tagged or [architecture])}")
    try:
        return timm.create_model(name, pretrained=download, num_classes=0, dynamic_img_size=False)
    except TypeError as error:
        raise InputError(f"{name} is no vision transformer ({error}); try vit_small_patch8_224.dino") from error
    # Hubs and their transports raise errors of many kinds, which have no class in common.
    except Exception as error:
        if not download:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"the weights of {name} could not be downloaded ({reason}); connect to the internet once, or give a "
            "safetensors file with --keypoints.backbone-weights"
        ) from error


def check_normalisation_is_known(name: str) -> None:
    """Refuses the name of a network whose weights come from a file, if it does not say how frames are normalised.

    Raises:
        InputError: It has no tag, and timm's networks of that name differ.
    """
    timm = import_timm()
    tags = [] if "." in name else timm.list_models(f"{name}.*", include_tags=True)
    ways: dict[tuple[float, ...], str] = {}
    for tag in tags:
        config = timm.models.get_pretrained_cfg(tag)
        ways.setdefault((*config.mean, *config.std), tag)
    if len(ways) > 1:
        raise InputError(
            f"--keypoints.backbone {name} with a file of weights: networks of this name differ in how frames are "
            f"normalised, and the file does not say how; add what it was trained as, like {' or '.join(ways.values())}"
        )


def import_timm() -> Any:
    """The library of the networks.

    Raises:
        InputError: It is not installed; says what to install.
    """
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise InputError(INSTALL.format("timm")) from error
    return timm
