import numpy as np
import pytest
import torch
from small_vits import KINDS, SIZES, noise, small_backbone, small_vit
from timm.models.eva import Eva
from torch import nn

from ilfo._tools.errors import InputError
from ilfo.vision import Backbone
from ilfo.vision.backbones import TINY_MEAN, TINY_STD


def tokens_of(backbone, frames):
    """The patches' tokens as they enter the first block."""
    entered = []
    handle = backbone.model.blocks[0].register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    with torch.inference_mode():
        backbone.model.forward_features(backbone.prepare(frames))
    handle.remove()
    return entered[0][:, backbone.prefix_tokens :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [8, 4, 2])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 45)])
def test_the_grid_has_a_patch_wherever_one_fits(kind, stride, height, width):
    backbone = small_backbone(kind, stride=stride)
    rows, cols = (len(range(0, side - 8 + 1, stride)) for side in backbone.input_size(height, width))
    assert backbone.grid(height, width) == (rows, cols)
    assert tokens_of(backbone, noise(2, height, width)).shape == (2, rows * cols, 24)


def test_overlapping_patches_are_embedded_as_a_plain_loop_would():
    backbone = small_backbone(stride=4)
    frames = noise(1)
    images = backbone.prepare(frames)
    projection = backbone.model.patch_embed.proj
    expected = [
        (projection.weight * images[0, :, top : top + 8, left : left + 8]).sum(dim=(1, 2, 3)) + projection.bias
        for top in range(0, 25, 4)
        for left in range(0, 25, 4)
    ]
    expected = torch.stack(expected) + backbone.model.pos_embed[0, 1:]
    torch.testing.assert_close(tokens_of(backbone, frames)[0], expected)


@pytest.mark.parametrize("kind", ["plain", "registers and norms"])
@pytest.mark.parametrize("size", [None, 48])
def test_patches_that_the_plain_grid_has_are_embedded_as_there(kind, size):
    plain, dense = (small_backbone(kind, stride=stride, image_size=size) for stride in (8, 4))
    frames = noise(2)
    coarse, fine = (tokens_of(each, frames).unflatten(1, each.grid(32, 32)).clone() for each in (plain, dense))
    torch.testing.assert_close(fine[:, ::2, ::2], coarse)


def test_going_from_size_to_size_leaves_no_trace():
    backbone = small_backbone(stride=4)
    first = tokens_of(backbone, noise()).clone()
    tokens_of(backbone, noise(1, 16, 40))
    torch.testing.assert_close(tokens_of(backbone, noise()), first, rtol=0, atol=0)


@pytest.mark.parametrize("stride", [8, 4])
def test_centres_are_the_middle_of_the_pixels_of_a_patch(stride):
    backbone = small_backbone(stride=stride)
    down, across = backbone.centres(32, 64)
    assert (len(down), len(across)) == backbone.grid(32, 64)
    edges = np.linspace(-1, 1, 64 + 1)
    expected = [(edges[left] + edges[left + 8]) / 2 for left in range(0, 57, stride)]
    np.testing.assert_allclose(across, expected, atol=1e-6)
    assert float(down[0]) == -float(down[-1])


def test_frames_are_resized_and_standardised():
    backbone = small_backbone()
    frames = np.empty((1, 50, 50, 3), np.uint8)
    frames[:] = 10, 20, 30
    images = backbone.prepare(frames)
    expected = (torch.tensor([10, 20, 30]) / 255 - torch.tensor(TINY_MEAN)) / torch.tensor(TINY_STD)
    torch.testing.assert_close(images, expected.view(1, 3, 1, 1).expand(1, 3, 32, 32), rtol=1e-5, atol=1e-5)
    assert small_backbone(resize="square").prepare(noise(1, 20, 60)).shape == (1, 3, 32, 32)
    assert backbone.prepare(noise(1, 20, 60)).shape == (1, 3, 32, 96)


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (noise().astype(np.float32) / 255, "float32"),
        (noise()[..., :1], r"\(3, 32, 32, 1\)"),
        (noise()[0], r"\(32, 32, 3\)"),
        (noise()[:0], "no frame"),
        (noise().tolist(), "list"),
    ],
)
def test_what_is_no_film_is_refused(frames, found):
    with pytest.raises(InputError, match=found):
        small_backbone().prepare(frames)


@pytest.mark.parametrize(
    ("sizes", "advice"),
    [
        ({"stride": 3}, "one of 1, 2, 4, 8"),
        ({"stride": 0}, "one of 1, 2, 4, 8"),
        ({"stride": 16}, "one of 1, 2, 4, 8"),
        ({"image_size": 30}, "like 24 or 32"),
        ({"image_size": 4}, "like 8 or 16"),
        ({"image_size": 0}, "like 8 or 16"),
    ],
)
def test_sizes_that_do_not_suit_the_patches_are_refused(sizes, advice):
    with pytest.raises(InputError, match=advice):
        small_backbone(**sizes)


def test_a_rotary_embedding_that_counts_patches_keeps_its_stride():
    counting = Eva(**SIZES, use_abs_pos_emb=False, use_rot_pos_emb=True)
    assert Backbone(counting, "eva").grid(32, 32) == (4, 4)
    with pytest.raises(InputError, match="can only be the patch size, 8"):
        Backbone(counting, "eva", stride=4)


@pytest.mark.parametrize("kind", KINDS)
def test_prefix_tokens_are_counted(kind):
    assert small_backbone(kind).prefix_tokens == (1 if kind == "plain" else 5)


def test_what_is_no_vision_transformer_is_refused():
    with pytest.raises(InputError, match="no vision transformer"):
        Backbone(nn.Linear(2, 2), "a layer")


def test_a_hash_tells_weights_apart():
    model = small_vit()
    before = Backbone(model, "small").sha256
    nn.init.zeros_(model.blocks[1].attn.qkv.bias)
    assert Backbone(model, "small").sha256 != before
