"""Keypoints of the frames: what a reward can look at where states are unknown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch

from ilfo._tools.effects import Condition, Effects, one_of
from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Trajectory
from ilfo.vision.backbones import Backbone, Resize
from ilfo.vision.cache import cached, fingerprint, is_cached
from ilfo.vision.concepts import VOTES, ConceptOptions, Concepts, find_concepts
from ilfo.vision.descriptors import DescriptorOptions
from ilfo.vision.encoding import EncodingPlan, encode, plan_encoding
from ilfo.vision.keypoints import LocationOptions, locate, similarity_maps
from ilfo.vision.loading import check_normalisation_is_known, import_timm, load_backbone
from ilfo.vision.reel import Reel

__all__ = ["FREE_OPTIONS", "KeypointFeatures", "KeypointOptions"]

FREE_OPTIONS = ("backbone_weights", "memory_gib", "cache")
"""Options that may change when a run is resumed: they do not affect the results, since weights are checked by hash."""

PATCHES_PER_FRAME = 1024
"""Patches per frame that concepts are sought in: bounds the memory of fitting on a dense grid."""


@dataclass(frozen=True)
class KeypointOptions(DescriptorOptions, ConceptOptions, LocationOptions):
    """How keypoints are found in frames."""

    TAKES_EFFECT: ClassVar[Effects] = {
        **ConceptOptions.TAKES_EFFECT,
        "saliency_threshold": Condition("votes", lambda options: options.settled().votes > 0, "more than 0"),
        "backbone_weights": one_of("pretrained", True),
    }

    backbone: str = "ilfo_vit_tiny"
    """Vision transformer that encodes the frames: ilfo_vit_tiny, which comes with the package, or one of timm's, like
    vit_small_patch8_224.dino, whose weights are downloaded."""
    backbone_weights: str | None = None
    """Safetensors file with its weights, in place of downloaded ones. A run may be resumed with a copy of the file at
    another path."""
    pretrained: bool = True
    """Use trained weights; otherwise random ones, for comparison."""
    stride: int | None = None
    """Pixels between patches, a divisor of the patch size; a smaller stride gives a denser grid and takes quadratically
    longer. None: the patch size."""
    image_size: int | None = None
    """Pixels that frames are resized to, a multiple of the patch size; None: as in its training, 518 for DINOv2."""
    resize: Resize = "shorter"
    """Resize the shorter side of a frame to that size, or squeeze the frame into a square of it."""
    memory_gib: float = 2.0
    """Memory that encoding a batch of frames may take."""
    cache: bool = True
    """Keep features of demonstrations in $ILFO_CACHE or ~/.cache/ilfo."""

    def __post_init__(self) -> None:
        for part in (DescriptorOptions, ConceptOptions, LocationOptions):
            part.__post_init__(self)
        if not self.memory_gib > 0:
            raise InputError(f"memory_gib is {self.memory_gib}: it must be above 0")
        if self.backbone_weights is not None:
            # A run stores the path, and may be evaluated from another folder.
            object.__setattr__(self, "backbone_weights", os.path.abspath(self.backbone_weights))

    def settled(self) -> KeypointOptions:
        """The same options, with votes that suit the backbone where none are given."""
        votes = (0.0 if self.backbone == "ilfo_vit_tiny" else VOTES) if self.votes is None else self.votes
        return replace(self, votes=votes)


class KeypointFeatures:
    """Finds concepts in the frames of demonstrations, and locates each of them in any frame.

    Frames go through a frozen vision transformer; the patches of the demonstrations are clustered into concepts
    (:func:`~ilfo.vision.concepts.find_concepts`), and a concept is located in a frame, and followed through an episode,
    by its similarity to the patches (:func:`~ilfo.vision.keypoints.locate`). This follows DVK (arXiv 2311.09350),
    whose details are not published; ours are in the options.

    Args:
        options: How keypoints are found.
        device: Where frames are encoded, in bfloat16 on a GPU.

    Attributes:
        options: As given, or as restored, with the votes that suit the backbone.

    Raises:
        InputError: timm is missing. The backbone is loaded when it is first needed.
    """

    def __init__(self, options: KeypointOptions | None = None, device: torch.device | str = "cpu") -> None:
        self.options = (options or KeypointOptions()).settled()
        self._device = device
        self._backbone: Backbone | None = None
        self._concepts: Concepts | None = None
        self._expected_sha256: str | None = None
        # Now, not when it is needed: timm's imports load an LLVM that crashes if Mesa, which renders MuJoCo on
        # machines without a GPU, has already loaded its own.
        import_timm()

    @property
    def backbone(self) -> Backbone:
        """The network.

        Raises:
            InputError: It cannot be loaded, or is not the one that the concepts were found with.
        """
        if self._backbone is None:
            options = self.options
            if self._expected_sha256 is None and options.backbone_weights is not None:
                check_normalisation_is_known(options.backbone)
            loaded = load_backbone(
                options.backbone,
                weights=options.backbone_weights,
                pretrained=options.pretrained,
                stride=options.stride,
                image_size=options.image_size,
                resize=options.resize,
                device=self._device,
            )
            if self._expected_sha256 not in (None, loaded.sha256):
                raise InputError(
                    f"the weights of {options.backbone} have SHA-256 {loaded.sha256[:12]}, and these concepts were "
                    f"found with weights of {str(self._expected_sha256)[:12]}: give those to the "
                    "command that made the run, with --keypoints.backbone-weights"
                )
            self._backbone = loaded
        return self._backbone

    @property
    def concepts(self) -> Concepts:
        """What is tracked.

        Raises:
            InputError: Nothing was fitted yet.
        """
        if self._concepts is None:
            raise InputError("these keypoints know no concepts yet: call fit or load_state_dict first")
        return self._concepts

    @property
    def width(self) -> int:
        """Columns: ``3K``; 0 before :meth:`fit`."""
        return 0 if self._concepts is None else 3 * len(self._concepts)

    @property
    def names(self) -> list[str]:
        """What each column is called: ``"concept 0 u"``, ``"concept 0 v"``, ``"concept 0 visibility"``, and so on."""
        return [f"concept {k} {part}" for k in range(len(self.concepts)) for part in ("u", "v", "visibility")]

    def plan(self, trajectories: Sequence[Trajectory], seen: Sequence[Trajectory] | None = None) -> EncodingPlan:
        """The memory and time that fitting to these and seeing them will take; as text, one line.

        It is measured on a few of their frames. Those in which concepts are sought are encoded again to be seen; what
        the cache has is not.

        Args:
            trajectories: To fit to, with frames.
            seen: Those of them that are then seen; None: all.

        Raises:
            InputError: Frames are missing, or not one fits into the memory.
        """
        reel: Any = _reel(trajectories)
        passes = self._passes(reel, trajectories if seen is None else seen)
        return plan_encoding(reel, self.backbone, self.options, memory_gib=self.options.memory_gib, passes=passes)

    def _passes(self, reel: Reel, seen: Sequence[Trajectory]) -> int:
        """How often a frame has to go through the network."""
        sample = reel.evenly(self.options.fit_frames)
        frames: list[Any] = [each.frames for each in seen]
        if not (self.options.cache and is_cached(self._key_of_concepts(sample))):
            return sum(map(len, frames)) + len(sample)
        centroids = self._concepts_in(sample).centroids.numpy()
        return sum(len(each) for each in frames if not is_cached(self._key_of_keypoints(each, centroids)))

    def fit(self, demonstrations: Demonstrations) -> KeypointFeatures:
        """Finds the concepts in the demonstrations' frames; returns itself.

        Raises:
            InputError: Frames are missing or differ in size, not one fits into the memory, or there is no concept.
        """
        self._concepts = self._concepts_in(_reel(demonstrations).evenly(self.options.fit_frames))
        return self

    def _concepts_in(self, sample: np.ndarray) -> Concepts:
        """The concepts in these frames, from the cache where it has them."""

        def make() -> dict[str, np.ndarray]:
            state = self._find(sample).state_dict()
            return {name: np.asarray(value) for name, value in state.items()}

        names = ("centroids", "saliency", "votes", "clusters")
        entry = cached(self._key_of_concepts(sample), names, make) if self.options.cache else make()
        return Concepts.from_state_dict(entry)

    def _key_of_concepts(self, sample: np.ndarray) -> str:
        settings = self._settings(DescriptorOptions, ConceptOptions) | {"patches_of_a_frame": PATCHES_PER_FRAME}
        return fingerprint([sample], settings)

    def _key_of_keypoints(self, frames: np.ndarray, centroids: np.ndarray) -> str:
        return fingerprint([frames, centroids], self._settings(DescriptorOptions, LocationOptions))

    def _find(self, sample: np.ndarray) -> Concepts:
        descriptors, saliency, at = [], [], 0
        # Where no votes are counted, saliency only orders the concepts, so a network without it will do.
        told = self.backbone.has_class_token or self.options.votes != 0
        parts = encode(self.backbone, sample, self.options, saliency=told, memory_gib=self.options.memory_gib)
        for part in parts:
            found = part.descriptors.flatten(1, 2)
            salient = found.new_zeros(found.shape[:2]) if part.saliency is None else part.saliency.flatten(1)
            count = found.shape[1]
            if count > PATCHES_PER_FRAME:
                drawn = [self._patches(count, frame) for frame in range(at, at + len(found))]
                chosen = torch.from_numpy(np.stack(drawn)).to(found.device)
                found, salient = found.take_along_dim(chosen[..., None], 1), salient.take_along_dim(chosen, 1)
            at += len(found)
            descriptors.append(found.cpu().numpy())
            saliency.append(salient.cpu().numpy())
        return find_concepts(np.concatenate(descriptors), np.concatenate(saliency), self.options)

    def _patches(self, count: int, frame: int) -> np.ndarray:
        """Which of ``count`` patches represent a frame: drawn by its number, whatever batch it is in."""
        generator = np.random.default_rng((self.options.seed, frame))
        return np.sort(generator.choice(count, PATCHES_PER_FRAME, replace=False))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Keypoints ``(T+1, 3K)`` float32 of an episode's frames ``(T+1, H, W, 3)`` uint8.

        They are ``(T+1, K, 3)``, flattened as :attr:`names` says. For each concept: ``u`` and ``v``, its x and y in
        [-1, 1] from the left and from the top of the frame, and its visibility, the cosine similarity of the patch that
        is most like it.

        Raises:
            InputError: The frames are not such an array, nothing was fitted, or not one frame fits into the memory.
        """
        return self._seen(Reel([frames], ["the frames"]))[0]

    def follow(self, frames: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints of episodes that are under way: of the newest frame of each, all encoded together.

        Frame by frame, it finds the same, up to rounding, as a call on the whole episode.

        Args:
            frames: ``(M, H, W, 3)`` uint8.
            last: ``(M, K)`` int64, best patches of the previous frames, as returned by the call for them; -1 in the
                rows of episodes that begin.

        Returns:
            Keypoints ``(M, 3K)`` float32, and the best patches.

        Raises:
            InputError: As a call.
        """
        points, peaks = np.empty((len(frames), self.width), np.float32), np.empty_like(last)
        centroids = self.concepts.centroids.to(self.backbone.device)
        centres = self.backbone.centres(*frames.shape[1:3])
        batches = encode(self.backbone, frames, self.options, memory_gib=self.options.memory_gib)
        maps = torch.cat([similarity_maps(patches.descriptors, centroids).cpu() for patches in batches])
        begins = (last < 0).any(axis=1)
        for rows, start in ((begins, None), (~begins, last[~begins])):
            if rows.any():
                located, peaks[rows] = locate(maps[torch.from_numpy(rows), None], centres, self.options, start)
                points[rows] = located.flatten(1).numpy()
        return points, peaks

    def see(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory with its keypoints as observations.

        Raises:
            InputError: As :meth:`see_all`.
        """
        return self.see_all([trajectory])[0]

    def see_all(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Trajectories with their keypoints as observations; their frames, which are kept, are encoded together.

        Raises:
            InputError: Frames are missing, differ in size, are not one for each observation, or do not fit into the
                memory; or nothing was fitted.
        """
        if not trajectories:
            return []
        seen = self._seen(_reel(trajectories))
        return [replace(each, observations=points) for each, points in zip(trajectories, seen, strict=True)]

    def see_demonstrations(self, demonstrations: Demonstrations) -> Demonstrations:
        """Demonstrations with their keypoints as observations, which are kept in the cache.

        Raises:
            InputError: As :meth:`see_all`.
        """
        keys = {f"concept {k}": 3 for k in range(len(self.concepts))}
        centroids, seen = self.concepts.centroids.numpy(), []
        _reel(demonstrations)
        for trajectory in demonstrations:
            assert trajectory.frames is not None
            frames = trajectory.frames

            def make(frames: np.ndarray = frames) -> dict[str, np.ndarray]:
                return {"keypoints": self(frames)}

            entry = (
                cached(self._key_of_keypoints(frames, centroids), ["keypoints"], make) if self.options.cache else make()
            )
            seen.append(replace(trajectory, observations=entry["keypoints"]))
        provenance = replace(demonstrations.provenance, observation_keys=keys)
        return replace(demonstrations, trajectories=tuple(seen), provenance=provenance)

    def _seen(self, reel: Reel) -> list[np.ndarray]:
        """Keypoints of every film, tracked through it; batches span films."""
        centroids = self.concepts.centroids.to(self.backbone.device)
        centres = self.backbone.centres(*reel.shape[1:3])
        points: list[list[np.ndarray]] = [[] for _ in reel.starts[1:]]
        at, last, current = 0, None, -1
        frames: Any = reel
        for patches in encode(self.backbone, frames, self.options, memory_gib=self.options.memory_gib):
            maps = similarity_maps(patches.descriptors, centroids).cpu()
            for film, rows in reel.pieces(at, at + len(maps)):
                start = last if film == current else None
                located, last = locate(maps[None, rows], centres, self.options, start)
                points[film].append(located[0].flatten(1).numpy())
                current = film
            at += len(maps)
        return [np.concatenate(parts) for parts in points]

    def _settings(self, *groups: type) -> dict[str, Any]:
        """What a result depends on besides the frames: the backbone's settings and some groups of options."""
        names = [field.name for group in groups for field in fields(group)]
        return self.backbone.settings | {name: getattr(self.options, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Options, concepts and the hash of the backbone's weights, as tensors and plain values."""
        return {
            "options": asdict(self.options),
            "backbone_sha256": self.backbone.sha256,
            "concepts": self.concepts.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned; the backbone is loaded, and checked, when it is needed.

        ``FREE_OPTIONS`` keep their present values, except that the stored weights file is used if none is given.
        """
        own = {name: getattr(self.options, name) for name in FREE_OPTIONS}
        own["backbone_weights"] = own["backbone_weights"] or state["options"]["backbone_weights"]
        self.options = KeypointOptions(**(state["options"] | own)).settled()
        self._expected_sha256 = state["backbone_sha256"]
        self._concepts = Concepts.from_state_dict(state["concepts"])
        self._backbone = None


def _reel(trajectories: Sequence[Trajectory]) -> Reel:
    """The frames of trajectories.

    Raises:
        InputError: One has no frames, or not one for each observation.
    """
    path = getattr(trajectories, "path", None)
    films, names = [], []
    for index, trajectory in enumerate(trajectories):
        name = f"{path}, trajectory {index}" if path else f"trajectory {index}"
        if trajectory.frames is None:
            raise InputError(
                f"{name}: there are no frames to find keypoints in; record them with 'ilfo record --frames', "
                "and open the file with its frames"
            )
        if len(trajectory.frames) != len(trajectory.observations):
            raise InputError(
                f"{name}: {len(trajectory.frames)} frames for {len(trajectory.observations)} observations; expected "
                "one each"
            )
        films.append(trajectory.frames)
        names.append(name)
    return Reel(films, names)
