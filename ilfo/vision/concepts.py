"""Concepts, the things to track: clusters of the demonstrations' patches, without the background clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ilfo._tools.effects import Effects, one_of
from ilfo._tools.errors import InputError
from ilfo.vision.loading import INSTALL

__all__ = ["VOTES", "ConceptOptions", "Concepts", "find_concepts"]

LARGEST_SAMPLE = 20_000
"""K-means is fitted to at most this many patches; afterwards every patch gets a cluster, and counts in votes."""

VOTES = 0.75
"""Votes required by default."""

RESTARTS = 3
"""Initialisations of each k-means, of which the best is kept. The code of arXiv 2112.05814 uses ten."""


@dataclass(frozen=True)
class ConceptOptions:
    """How patches become concepts, which have a keypoint each."""

    TAKES_EFFECT: ClassVar[Effects] = {"max_k": one_of("k", None), "elbow": one_of("k", None)}

    k: int | None = None
    """Number of clusters, background included; by default the first number that barely improves on one fewer
    ('elbow')."""
    max_k: int = 15
    """Largest number of clusters tried. The code of arXiv 2112.05814 tries 14."""
    elbow: float = 0.975
    """The search stops at the first number of clusters whose sum of squared distances is at least this share of the
    sum with one cluster fewer (arXiv 2112.05814)."""
    saliency_threshold: float = 0.065
    """Mean saliency above which a cluster counts as foreground in an image (arXiv 2112.05814, whose saliency averages
    other heads and does not normalise each first)."""
    votes: float | None = None
    """Share of the images in which a cluster must be foreground to be a concept; 0 keeps all. None: 0.75 (arXiv
    2112.05814), and 0 with ilfo_vit_tiny, whose class token hardly attends to what moves."""
    fit_frames: int = 100
    """Frames, spread evenly over all demonstrations, whose patches are clustered."""
    seed: int = 0
    """Seed of the clustering."""

    def __post_init__(self) -> None:
        for name, least in (("k", 1), ("max_k", 1), ("fit_frames", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}: it must be at least {least}")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}: it must lie in 0 to {2**32 - 1}")
        for name in ("elbow", "votes", "saliency_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}: it must lie in 0 to 1")


@dataclass(frozen=True)
class Concepts:
    """The clusters that are tracked, the most salient first.

    Attributes:
        centroids: ``(K, C)`` float32, of length 1 each.
        saliency: ``(K,)`` float32, mean saliency of a concept's patches.
        votes: ``(K,)`` float32, share of the images in which it was foreground.
        clusters: Clusters that there were, background included.
    """

    centroids: Tensor
    saliency: Tensor
    votes: Tensor
    clusters: int

    def __len__(self) -> int:
        return len(self.centroids)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "centroids": self.centroids,
            "saliency": self.saliency,
            "votes": self.votes,
            "clusters": self.clusters,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Concepts:
        """What :meth:`state_dict` was taken of."""
        centroids, saliency, votes = (
            torch.as_tensor(state[name]).float().cpu() for name in ("centroids", "saliency", "votes")
        )
        return cls(centroids, saliency, votes, int(state["clusters"]))


def find_concepts(descriptors: np.ndarray, saliency: np.ndarray, options: ConceptOptions | None = None) -> Concepts:
    """Clusters patches by k-means, and drops background clusters by a vote of the images.

    A cluster is foreground in an image if its patches there have a mean saliency above the threshold. It is a concept
    if it is foreground in enough images: the co-segmentation of arXiv 2112.05814, section 4.

    Args:
        descriptors: ``(N, P, C)`` float32 of the patches of ``N`` images, of length 1 each.
        saliency: ``(N, P)`` float32 in [0, 1].
        options: How.

    Raises:
        InputError: scikit-learn is missing, there are fewer patches than clusters, or every cluster is background.
    """
    options = options or ConceptOptions()
    images, patches, width = descriptors.shape
    rows = descriptors.reshape(-1, width)
    generator = np.random.default_rng(options.seed)
    sample = rows
    if len(rows) > LARGEST_SAMPLE:
        sample = rows[np.sort(generator.choice(len(rows), LARGEST_SAMPLE, replace=False))]
    centres = _clustered(sample, options)
    labels = np.argmin((centres**2).sum(axis=1) - 2 * rows @ centres.T, axis=1).reshape(images, patches)
    mine = labels[None] == np.arange(len(centres))[:, None, None]
    seen = mine.sum(axis=2)
    mean = (mine * saliency).sum(axis=2) / np.maximum(seen, 1)
    share = ((mean > options.saliency_threshold) & (seen > 0)).mean(axis=1)
    overall = (mine * saliency).sum(axis=(1, 2)) / np.maximum(seen.sum(axis=1), 1)
    votes = VOTES if options.votes is None else options.votes
    kept = np.flatnonzero(share >= votes)
    if not len(kept):
        raise InputError(
            f"all {len(centres)} clusters of patches are background: the best is foreground in {share.max():.0%} of "
            f"{images} images at saliency_threshold {options.saliency_threshold}, and votes asks for "
            f"{votes:.0%}; lower one of them, or take another backbone"
        )
    kept = kept[np.argsort(-overall[kept], kind="stable")]
    chosen = torch.from_numpy(centres[kept]).float()
    return Concepts(
        torch.nn.functional.normalize(chosen, dim=1),
        torch.from_numpy(overall[kept]).float(),
        torch.from_numpy(share[kept]).float(),
        clusters=len(centres),
    )


def _clustered(rows: np.ndarray, options: ConceptOptions) -> np.ndarray:
    """Centres ``(k, C)`` of as many clusters as are wanted, or as the elbow says."""
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise InputError(INSTALL.format("scikit-learn")) from error
    first, most = (1, options.max_k) if options.k is None else (options.k, options.k)
    if len(rows) < most:
        raise InputError(
            f"{len(rows)} patches cannot make {most} clusters: take more frames, a smaller stride, or a smaller "
            f"{'max_k' if options.k is None else 'k'}"
        )
    before = np.inf
    # One thread: several would add in a different order every time, and round differently.
    with threadpool_limits(limits=1):
        for k in range(first, most + 1):
            fitted = KMeans(k, n_init=RESTARTS, random_state=options.seed).fit(rows)
            if fitted.inertia_ >= options.elbow * before:
                break
            before = fitted.inertia_
    return np.asarray(fitted.cluster_centers_)
