"""Vision transformers small enough for a test, of the kinds that timm makes."""

from functools import partial

import numpy as np
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ilfo.vision import Backbone

SIZES = dict(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=0)
DINOV3 = SIZES | dict(
    use_abs_pos_emb=False, use_rot_pos_emb=True, rope_type="dinov3", rope_rotate_half=True, num_reg_tokens=4
)

KINDS = {
    "plain": partial(VisionTransformer, **SIZES),
    "registers and norms": partial(VisionTransformer, **SIZES, reg_tokens=4, qk_norm=True, no_embed_class=True),
    "rotary": partial(Eva, **DINOV3, qkv_bias=False),
    "rotary with biases": partial(Eva, **DINOV3),
    "rotary with three projections": partial(Eva, **DINOV3, qkv_fused=False),
}


def small_vit(kind: str = "plain", **changes) -> nn.Module:
    """Random weights by a seed, biases and all, large enough that attention is not level."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = KINDS[kind](**changes)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
    return model


def small_backbone(kind: str = "plain", **changes) -> Backbone:
    return Backbone(small_vit(kind), kind, **changes)


def noise(count: int = 3, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)
