"""Descriptors of patches: a facet of one ViT layer's attention, and how much the class token attends to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from ilfo._tools.errors import InputError
from ilfo.vision.backbones import Backbone

__all__ = ["DescriptorOptions", "Facet", "Patches", "describe_patches"]

Facet = Literal["key", "query", "value", "token"]


@dataclass(frozen=True)
class DescriptorOptions:
    """Which of the network's numbers describe a patch."""

    layer: int = -1
    """Block that descriptors are taken from, from 0; negative: from the end. The last block's keys tell parts of
    objects apart (arXiv 2112.05814); a quarter of the blocks earlier, keys also encode more of the position."""
    facet: Facet = "key"
    """Which facet of the block: key, query or value of its attention, all heads concatenated, or its output token."""
    saliency_heads: tuple[int, ...] = ()
    """Attention heads of the last block that saliency is averaged over; empty: all. The co-segmentation of arXiv
    2112.05814 takes 0, 2, 4, 5 of DINO's ViT-S/8."""

    def __post_init__(self) -> None:
        if self.facet not in Facet.__args__:  # type: ignore[attr-defined]
            raise InputError(f"facet is {self.facet!r}: expected key, query, value or token")

    def layer_of(self, backbone: Backbone) -> int:
        """The block's number from 0.

        Raises:
            InputError: The network has no such block, or no such head.
        """
        depth = backbone.depth
        if not -depth <= self.layer < depth:
            raise InputError(
                f"layer is {self.layer}: {backbone.name} has {depth} blocks, 0 to {depth - 1}, or -{depth} to -1"
            )
        stray = [head for head in self.saliency_heads if not 0 <= head < backbone.heads]
        if stray:
            raise InputError(f"saliency_heads names {stray[0]}: {backbone.name} has {backbone.heads} heads, from 0")
        return self.layer % depth


@dataclass(frozen=True)
class Patches:
    """What is known of the patches of ``N`` images, on the device of the network.

    Attributes:
        descriptors: ``(N, rows, cols, C)`` float32, of length 1 each.
        saliency: ``(N, rows, cols)`` float32 in [0, 1], or None where it was not asked for.
    """

    descriptors: Tensor
    saliency: Tensor | None = None


def describe_patches(
    backbone: Backbone, images: Tensor, options: DescriptorOptions, *, saliency: bool = False
) -> Patches:
    """Descriptors, and saliency, of images that :meth:`~ilfo.vision.backbones.Backbone.prepare` made.

    Keys and queries are taken after their norms, if the network has these, and before a rotary embedding rotates them
    by position. Blocks after the last one needed are not run.

    Args:
        backbone: The network.
        images: ``(N, 3, h, w)`` float32 on its device.
        options: Layer, facet, and heads of saliency.
        saliency: Whether to look at the class token's attention in the last block, too.

    Raises:
        InputError: The network has no such layer or head, or no class token that would attend to anything.

    Notes:
        Saliency is the attention of the class token to the patches alone: class and register tokens, which take much
        of it in some heads, are left out, and each head is normalised to sum to 1 over the patches, so that all heads
        have equal weight. It is then averaged over heads and rescaled to [0, 1] in each image.
    """
    if saliency and not backbone.has_class_token:
        raise InputError(
            f"{backbone.name} has no class token, whose attention tells background from foreground: give "
            "--keypoints.votes 0, which keeps the background, or another backbone"
        )
    layer, last = options.layer_of(backbone), backbone.depth - 1
    blocks = backbone.model.blocks
    described, attending = _Attention(blocks[layer].attn), _Attention(blocks[last].attn)
    wanted = [described] * (options.facet != "token") + [attending] * saliency
    lower = backbone.precision != torch.float32
    with torch.inference_mode():
        for each in wanted:
            each.watch()
        try:
            with torch.autocast(backbone.device.type, backbone.precision, enabled=lower):
                tokens = backbone.model.forward_intermediates(
                    images,
                    indices=[layer] if not saliency or layer == last else [layer, last],
                    stop_early=True,
                    output_fmt="NLC",
                    intermediates_only=True,
                )[0]
        finally:
            for each in wanted:
                each.leave()
        facet = tokens if options.facet == "token" else described.facet(options.facet)[:, backbone.prefix_tokens :]
        grid = tuple(1 + (side - backbone.patch_size) // backbone.stride for side in images.shape[2:])
        seen = attending.to_patches(backbone.prefix_tokens) if saliency else None
    descriptors = F.normalize(facet.float(), dim=-1).unflatten(1, grid)
    if seen is None:
        return Patches(descriptors)
    chosen = seen[:, list(options.saliency_heads)] if options.saliency_heads else seen
    return Patches(descriptors, _stretched(chosen.mean(dim=1)).unflatten(1, grid))


def _stretched(rows: Tensor) -> Tensor:
    """Each row ``(N, P)`` from 0 at its least to 1 at its most; a level one is 0."""
    low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    return (rows - low) / (high - low).clamp_min(torch.finfo(rows.dtype).tiny)


class _Attention:
    """Captures an attention module's queries, keys and input by hooks, since its fused kernel would hide them.

    Every attention module of timm's ViTs passes queries and keys of shape ``(N, heads, tokens, dim)`` through
    ``q_norm`` and ``k_norm``, even where these are identities.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._handles: list[RemovableHandle] = []
        self._entered, self._rope = torch.empty(0), None
        self._queries, self._keys = torch.empty(0), torch.empty(0)

    def watch(self) -> None:
        """From now on, remembers what passed through last."""
        self._handles = [
            self._module.register_forward_pre_hook(self._enter, with_kwargs=True),
            self._module.q_norm.register_forward_hook(self._keep("_queries")),
            self._module.k_norm.register_forward_hook(self._keep("_keys")),
        ]

    def leave(self) -> None:
        """Watches no more."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: Any, arguments: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        self._entered, self._rope = arguments[0], named.get("rope")

    def _keep(self, name: str) -> Callable[..., None]:
        return lambda module, arguments, output: setattr(self, name, output)

    def facet(self, name: str) -> Tensor:
        """Keys, queries or values ``(N, tokens, heads * dim)``."""
        if name == "value":
            return self._values()
        return (self._keys if name == "key" else self._queries).transpose(1, 2).flatten(2)

    def _values(self) -> Tensor:
        module, entered = self._module, self._entered.float()
        if module.qkv is None:
            return module.v_proj(entered)
        own = getattr(module, "v_bias", None)
        width = module.qkv.out_features // 3
        bias = module.qkv.bias[-width:] if module.qkv.bias is not None else own
        return F.linear(entered, module.qkv.weight[-width:], bias)

    def to_patches(self, prefix_tokens: int) -> Tensor:
        """Attention ``(N, heads, P)`` float32 of the class token to the patches, of sum 1."""
        keys = self._keys[:, :, prefix_tokens:].float()
        if self._rope is not None:
            from timm.layers import apply_rot_embed_cat

            keys = apply_rot_embed_cat(keys, self._rope.float(), half=self._module.rotate_half)
        scores = (self._queries[:, :, :1].float() * self._module.scale) @ keys.transpose(-2, -1)
        return scores.squeeze(2).softmax(dim=-1)
