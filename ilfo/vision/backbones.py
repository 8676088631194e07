"""Vision transformers that see frames: where their patches lie, and how frames are prepared for them."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from ilfo._tools.errors import InputError

__all__ = ["TINY", "TINY_MEAN", "TINY_STD", "TINY_WEIGHTS", "Backbone", "Resize", "check_frames"]

TINY: dict[str, int] = dict(img_size=64, patch_size=8, embed_dim=192, depth=6, num_heads=3)
"""Architecture of ``ilfo_vit_tiny``: arguments of timm's VisionTransformer, one class token and no registers."""

TINY_MEAN = (0.485, 0.456, 0.406)
"""Mean by channel, subtracted from its pixels in [0, 1]: ImageNet's, as in DINO."""

TINY_STD = (0.229, 0.224, 0.225)
"""Standard deviation by channel, which they are then divided by."""

TINY_WEIGHTS = Path(__file__).with_name("ilfo_vit_tiny.safetensors")

Resize = Literal["shorter", "square"]


class Backbone:
    """A frozen ViT, with the positions of its patches and the preprocessing of its input frames.

    A stride below the patch size makes patches overlap: the convolution that embeds them takes smaller steps, and the
    position embedding is interpolated bicubically between the patch centres it was learned for, so that a patch of
    the plain grid keeps exactly its embedding.

    Args:
        model: timm's VisionTransformer, or Eva with timm's DINOv3 position embedding.
        name: Its name.
        mean: Mean by channel of its training pixels, in [0, 1].
        std: Their standard deviation by channel.
        stride: Pixels between neighbouring patches; None: the patch size.
        image_size: Pixels that frames are resized to; None: the size the model was built for.
        resize: ``"shorter"`` keeps the frame's aspect ratio and gives its shorter side this size (sides are rounded
            to whole patches); ``"square"`` squeezes it to a square.
        device: Where the network runs.

    Attributes:
        model: The network.
        depth: Number of blocks.
        heads: Attention heads of a block.
        width: Dimension of a token.
        prefix_tokens: Number of class and register tokens, which come before the patches.
        has_class_token: Whether there is a class token; saliency is its attention.
        precision: Computing dtype: float32 on a CPU, bfloat16 on a GPU (by autocast; weights are not converted).

    Raises:
        InputError: The model is not a ViT with a fixed grid of patches and one attention in each block, or stride or
            image size do not suit its patches.

    Notes:
        timm's DINOv3 embedding uses coordinates relative to the image, so that a denser grid spans the same extent:
        any stride works, with coordinates at most ``(patch - stride) / 2`` pixels off at the border. Other rotary
        embeddings count patches, and would place a denser grid outside their training range: they are refused.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        *,
        mean: tuple[float, ...] = TINY_MEAN,
        std: tuple[float, ...] = TINY_STD,
        stride: int | None = None,
        image_size: int | None = None,
        resize: Resize = "shorter",
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.device, self.resize = name, torch.device(device), resize
        self.precision = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = cast(Any, model.eval().requires_grad_(False).to(self.device))
        embedding = cast(Any, getattr(model, "patch_embed", None))
        whole = all(hasattr(model, part) for part in ("blocks", "cls_token", "_pos_embed"))
        plain = hasattr(embedding, "proj") and not hasattr(embedding, "backbone")
        if not whole or not plain or self.model.dynamic_img_size or not hasattr(self.model.blocks[0], "attn"):
            raise InputError(
                f"{name} is no vision transformer with a fixed grid of patches of pixels and one attention in each "
                "block; expected one of timm's VisionTransformer or Eva models, like vit_small_patch8_224.dino"
            )
        self.has_class_token = self.model.cls_token is not None
        self.patch_size: int = embedding.patch_size[0]
        self.stride = self.patch_size if stride is None else stride
        self.image_size: int = embedding.img_size[0] if image_size is None else image_size
        self._check_sizes()
        self.depth = len(self.model.blocks)
        self.heads: int = self.model.blocks[0].attn.num_heads
        self.width: int = self.model.embed_dim
        self.prefix_tokens: int = self.model.num_prefix_tokens
        self._mean, self._std = (torch.tensor(each, device=self.device).view(3, 1, 1) for each in (mean, std))
        self._constants = f"{mean}{std}"
        self._learned_positions, self._learned_grid = self.model.pos_embed, embedding.grid_size
        _ = self.sha256  # Before the position embedding is fitted to a size.
        embedding.proj.stride = (self.stride, self.stride)
        self._size: tuple[int, int] | None = None

    def _check_sizes(self) -> None:
        patch, stride = self.patch_size, self.stride
        if not 0 < stride <= patch or patch % stride:
            fitting = ", ".join(str(each) for each in range(1, patch + 1) if patch % each == 0)
            raise InputError(f"stride is {stride}: with the patches of {self.name} it must be one of {fitting}")
        if self.image_size < patch or self.image_size % patch:
            below = max(self.image_size // patch, 1) * patch
            raise InputError(
                f"image_size is {self.image_size}: {self.name} has patches of {patch} pixels, so that it must be a "
                f"multiple of {patch}, like {below} or {below + patch}"
            )
        rope = getattr(self.model, "rope", None)
        if rope is not None and stride != patch and type(rope).__name__ != "RotaryEmbeddingDinoV3":
            raise InputError(
                f"stride is {stride}: the rotary position embedding of {self.name} ({type(rope).__name__}) counts "
                f"patches, so that its stride can only be the patch size, {patch}"
            )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the weights, by name, and of mean and standard deviation."""
        digest = hashlib.sha256(self._constants.encode())
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(f"{name}{tuple(weight.shape)}".encode())
            digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """What its features depend on besides the frames: plain values."""
        names = ("name", "sha256", "stride", "image_size", "resize")
        return {name: getattr(self, name) for name in names} | {"precision": str(self.precision)}

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width, in whole patches, that a frame is resized to."""
        if self.resize == "square":
            return self.image_size, self.image_size
        scale = self.image_size / min(height, width) / self.patch_size
        rows, cols = (max(round(side * scale), 1) * self.patch_size for side in (height, width))
        return rows, cols

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches that a frame of this size has."""
        rows, cols = (1 + (side - self.patch_size) // self.stride for side in self.input_size(height, width))
        return rows, cols

    def centres(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Where the patches of a frame of this size lie, from -1 at its top and left to 1 at its bottom and right.

        Returns:
            ``(rows,)`` and ``(cols,)`` float32 on the CPU.
        """
        sides, counts = self.input_size(height, width), self.grid(height, width)
        down, across = (
            2 * (torch.arange(count) * self.stride + self.patch_size / 2) / side - 1
            for side, count in zip(sides, counts, strict=True)
        )
        return down, across

    def prepare(self, frames: np.ndarray) -> Tensor:
        """The network's input ``(N, 3, h, w)`` float32 on its device, of frames ``(N, H, W, 3)`` uint8 RGB.

        Also fits the network's position embedding to that size.

        Raises:
            InputError: The frames are not such an array, or hold none.
        """
        check_frames(frames)
        size = self.input_size(*frames.shape[1:3])
        self._fit_positions(size)
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device).permute(0, 3, 1, 2).float()
        if images.shape[2:] != size:
            images = nn.functional.interpolate(images, size, mode="bicubic", antialias=True).clamp_(0, 255)
        return images.div_(255).sub_(self._mean).div_(self._std)

    def _fit_positions(self, size: tuple[int, int]) -> None:
        if size == self._size:
            return
        from timm.layers import resample_abs_pos_embed

        plain = size[0] // self.patch_size, size[1] // self.patch_size
        dense = 1 + (size[0] - self.patch_size) // self.stride, 1 + (size[1] - self.patch_size) // self.stride
        self.model.patch_embed.set_input_size(img_size=size)
        if self._learned_positions is not None:
            prefix = 0 if self.model.no_embed_class else self.prefix_tokens
            learned, grid = self._learned_positions, list(self._learned_grid)
            resampled = resample_abs_pos_embed(learned, list(plain), grid, num_prefix_tokens=prefix)
            positions = torch.cat([resampled[:, :prefix], _denser(resampled[:, prefix:], plain, dense)], dim=1)
            self.model.pos_embed = nn.Parameter(positions, requires_grad=False)
        if getattr(self.model, "rope", None) is not None:
            self.model.rope.update_feat_shape(list(dense))
            self.model.rope.to(self.device)
        self._size = size


def _denser(positions: Tensor, plain: tuple[int, int], dense: tuple[int, int]) -> Tensor:
    """Embeddings ``(1, N, C)`` between those of a plain grid, whose corners are the dense grid's corners too."""
    if plain == dense:
        return positions
    image = positions.unflatten(1, plain).permute(0, 3, 1, 2)
    return nn.functional.interpolate(image, dense, mode="bicubic", align_corners=True).flatten(2).transpose(1, 2)


def check_frames(frames: np.ndarray, where: str = "the frames") -> None:
    """Refuses what is no array of RGB frames.

    Raises:
        InputError: It is not ``(N, H, W, 3)`` uint8, or holds none.
    """
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    dtype = getattr(frames, "dtype", type(frames).__name__)
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8:
        raise InputError(f"{where}: {dtype} of shape {tuple(shape)}; expected RGB in uint8, 0 to 255, of (N, H, W, 3)")
    if 0 in shape:
        raise InputError(f"{where}: there is no frame in an array of shape {tuple(shape)}; at least one is needed")
