"""Measures how far keypoints are from the simulator's objects; baselines: an untrained network, the mean position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ilfo._tools.errors import InputError
from ilfo.pretraining.frames import Frames
from ilfo.pretraining.studio import Film
from ilfo.vision.backbones import Backbone
from ilfo.vision.concepts import ConceptOptions, find_concepts
from ilfo.vision.descriptors import DescriptorOptions
from ilfo.vision.encoding import encode
from ilfo.vision.keypoints import LocationOptions, locate, similarity_maps

__all__ = ["ObjectError", "keypoint_errors", "mean_position_errors", "probe"]


@dataclass(frozen=True)
class ObjectError:
    """Distance of an object's true position from a prediction of it.

    Attributes:
        mean: Mean in pixels, over the frames in which the object is visible; NaN if it never is.
        share: Share of these frames in which the distance is less than a tenth of the image.
    """

    mean: float
    share: float


def mean_position_errors(fitting: Sequence[Film], held_out: Sequence[Film]) -> list[ObjectError]:
    """Errors of predicting, for every frame, each object's mean position in the fitting episodes."""
    _, positions, visible = _joined(fitting)
    known = np.asarray(visible.any(axis=0))
    guess = np.full(positions.shape[1:], np.nan)
    guess[known] = np.nanmean(np.where(visible[..., None], positions, np.nan)[:, known], axis=0)
    return _errors(guess[None], held_out)


def keypoint_errors(
    backbone: Backbone,
    fitting: Sequence[Film],
    held_out: Sequence[Film],
    *,
    descriptors: DescriptorOptions | None = None,
    concepts: ConceptOptions | None = None,
    location: LocationOptions | None = None,
) -> tuple[list[ObjectError], list[ObjectError]]:
    """Errors of each object's nearest keypoint on the fitting frames, and of a keypoint made from labels.

    Concepts are found without labels, which only decide which concept stands for which object. The keypoint made from
    labels follows the mean descriptor of the patches that the object was on.

    Args:
        backbone: The network.
        fitting: Episodes to find concepts in, all of one length.
        held_out: Episodes that are measured, likewise.
        descriptors: What describes a patch.
        concepts: How patches become concepts.
        location: How similarities become positions.
    """
    descriptors = descriptors or DescriptorOptions()
    images, true, visible = _joined(fitting)
    fit, salient = _patches(backbone, images, descriptors, saliency=True)
    seen, _ = _patches(backbone, _joined(held_out)[0], descriptors)
    centroids = find_concepts(fit.flatten(1, 2).numpy(), salient.flatten(1).numpy(), concepts).centroids
    apart = np.linalg.norm(_keypoints(backbone, fit, centroids, fitting, location)[:, :, None] - true[:, None], axis=-1)
    best = np.where(visible[:, None], apart, 0).sum(axis=0).argmin(axis=0)
    prototypes = _prototypes(backbone, fit, true, visible, images.shape[1])
    known = np.asarray(visible.any(axis=0))
    found, labelled = (
        np.where(known[:, None], _keypoints(backbone, seen, each, held_out, location), np.nan)
        for each in (centroids[best], prototypes)
    )
    return _errors(found, held_out), _errors(labelled, held_out)


def probe(backbone: Backbone, frames: Frames, *, most: int = 240) -> float:
    """Median distance in pixels of objects from the patch most like them: a quick check of a network in training.

    In each scene three of four episodes, under various cameras and colours, give the mean descriptor of an object's
    patches, and the object is located in the fourth.

    Args:
        backbone: The network.
        frames: Frames to sample evenly.
        most: Frames to sample at most.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, most).astype(np.int64))
    scenes = frames.scenes[chosen]
    found, _ = _patches(backbone, frames.images[chosen], DescriptorOptions())
    apart = []
    for scene, names in enumerate(frames.objects):
        rows = np.flatnonzero(scenes == scene)
        held_out = np.unique(frames.episodes[chosen][rows], return_inverse=True)[1] % 4 == 3
        fit, test = rows[~held_out], rows[held_out]
        if not len(test):
            continue
        positions, visible = frames.positions[chosen][:, : len(names)], frames.visible[chosen][:, : len(names)]
        size = frames.images.shape[1]
        prototypes = _prototypes(backbone, found[torch.from_numpy(fit)], positions[fit], visible[fit], size)
        maps = similarity_maps(found[torch.from_numpy(test)], prototypes).unsqueeze(1)
        there, _ = locate(maps, backbone.centres(*frames.images.shape[1:3]), LocationOptions(motion=0))
        distance = np.linalg.norm(_pixels(there[:, 0], size) - positions[test], axis=-1)
        apart.append(distance[visible[test] & visible[fit].any(axis=0)])
    every = np.concatenate(apart) if apart else np.empty(0)
    return float(np.median(every)) if len(every) else float("nan")


def _patches(
    backbone: Backbone, images: np.ndarray, options: DescriptorOptions, *, saliency: bool = False
) -> tuple[Tensor, Tensor]:
    """Descriptors ``(N, rows, cols, C)``, and saliencies ``(N, rows, cols)`` where they are wanted."""
    parts = list(encode(backbone, images, options, saliency=saliency))
    salient = [part.saliency.cpu() for part in parts if part.saliency is not None]
    return torch.cat([part.descriptors.cpu() for part in parts]), torch.cat(salient or [torch.empty(0)])


def _prototypes(backbone: Backbone, found: Tensor, positions: np.ndarray, visible: np.ndarray, size: int) -> Tensor:
    """Mean descriptors ``(P, C)`` of the patches that objects are on; 0 for one that is never visible."""
    down, across = backbone.centres(size, size)
    where = torch.from_numpy(2 * positions / size - 1).float()
    cols = (where[..., 0, None] - across).abs().argmin(dim=-1)
    rows = (where[..., 1, None] - down).abs().argmin(dim=-1)
    picked = found[torch.arange(len(found)).unsqueeze(1), rows, cols]
    weights = torch.from_numpy(visible).float().unsqueeze(-1)
    return F.normalize((picked * weights).sum(dim=0), dim=-1)


def _keypoints(
    backbone: Backbone, found: Tensor, centroids: Tensor, films: Sequence[Film], location: LocationOptions | None
) -> np.ndarray:
    """Pixels ``(N, K, 2)`` of concepts, each episode followed from its first frame."""
    lengths = {len(film.frames) for film in films}
    if len(lengths) > 1:
        raise InputError(f"episodes of {sorted(lengths)} frames; expected equally long ones")
    maps = similarity_maps(found, centroids).unflatten(0, (len(films), -1))
    size = films[0].frames.shape[1]
    there, _ = locate(maps, backbone.centres(size, size), location)
    return _pixels(there.flatten(0, 1), size)


def _pixels(keypoints: Tensor, size: int) -> np.ndarray:
    return (keypoints[..., :2].numpy() + 1) / 2 * size


def _joined(films: Sequence[Film]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, positions and visibilities of all episodes, one after the other."""
    return (
        np.concatenate([film.frames for film in films]),
        np.concatenate([film.positions for film in films]),
        np.concatenate([film.visible for film in films]),
    )


def _errors(guessed: np.ndarray, films: Sequence[Film]) -> list[ObjectError]:
    """Of positions ``(N, P, 2)``, or ``(1, P, 2)`` for all frames, in pixels; an unknown one is NaN."""
    images, true, visible = _joined(films)
    apart = np.linalg.norm(guessed - true, axis=-1)
    near = np.where(np.isnan(apart), np.nan, apart < images.shape[1] / 10)
    nowhere = ObjectError(float("nan"), float("nan"))
    return [
        ObjectError(float(apart[shown, each].mean()), float(near[shown, each].mean())) if shown.any() else nowhere
        for each, shown in enumerate(visible.T)
    ]
