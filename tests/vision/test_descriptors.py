import numpy as np
import pytest
import torch
from small_vits import KINDS, noise, small_backbone
from torch.nn import functional as F

from ilfo._tools.errors import InputError
from ilfo.vision import DescriptorOptions, describe_patches

FRAMES = noise()


def entering(backbone, layer, images):
    """What enters the attention of a layer, in a plain forward pass."""
    entered = []
    handle = backbone.model.blocks[layer].attn.register_forward_pre_hook(lambda module, inputs: entered.append(inputs))
    with torch.inference_mode():
        backbone.model.forward_features(images)
    handle.remove()
    return entered[0][0]


def by_hand(attention, entered, facet):
    """Query, key or value ``(N, tokens, C)`` from the weights of the projections."""
    number = ("query", "key", "value").index(facet)
    if attention.qkv is None:
        found = (attention.q_proj, attention.k_proj, attention.v_proj)[number](entered)
    else:
        found = F.linear(entered, attention.qkv.weight, attention.qkv.bias).chunk(3, dim=-1)[number]
        if getattr(attention, "q_bias", None) is not None:
            found = found + (attention.q_bias, 0, attention.v_bias)[number]
    norm = (attention.q_norm, attention.k_norm, torch.nn.Identity())[number]
    return norm(found.unflatten(-1, (attention.num_heads, -1))).flatten(-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("facet", ["query", "key", "value"])
@pytest.mark.parametrize("layer", [0, 1, -1])
def test_facets_are_what_the_projections_make(kind, facet, layer):
    backbone = small_backbone(kind, stride=4)
    images = backbone.prepare(FRAMES)
    found = describe_patches(backbone, images, DescriptorOptions(layer, facet)).descriptors
    with torch.inference_mode():
        expected = by_hand(backbone.model.blocks[layer].attn, entering(backbone, layer, images), facet)
    expected = F.normalize(expected[:, backbone.prefix_tokens :], dim=-1).unflatten(1, (7, 7))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_what_the_block_puts_out(kind):
    backbone = small_backbone(kind)
    images, out = backbone.prepare(FRAMES), []
    backbone.model.blocks[1].register_forward_hook(lambda module, inputs, output: out.append(output))
    found = describe_patches(backbone, images, DescriptorOptions(1, "token")).descriptors
    expected = F.normalize(out[0][:, backbone.prefix_tokens :], dim=-1).unflatten(1, (4, 4))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [(), (0, 2)])
def test_saliency_is_the_class_tokens_attention_in_the_last_block(kind, heads):
    backbone = small_backbone(kind, stride=4)
    images, attention = backbone.prepare(FRAMES), backbone.model.blocks[-1].attn
    options = DescriptorOptions(layer=0, saliency_heads=heads)
    found = describe_patches(backbone, images, options, saliency=True)
    matrices = []
    attention.fused_attn = False
    attention.attn_drop.register_forward_pre_hook(lambda module, inputs: matrices.append(inputs[0]))
    with torch.inference_mode():
        backbone.model.forward_features(images)
    row = matrices[0][:, :, 0, backbone.prefix_tokens :]
    row = row / row.sum(dim=-1, keepdim=True)
    expected = row[:, list(heads) or [0, 1, 2]].mean(dim=1).numpy()
    low, high = expected.min(axis=1, keepdims=True), expected.max(axis=1, keepdims=True)
    assert found.saliency is not None
    np.testing.assert_allclose(found.saliency.flatten(1).numpy(), (expected - low) / (high - low), rtol=1e-3, atol=1e-5)
    assert (high - low).min() > 0.1 / 49, "level attention would agree with anything"


def test_descriptors_are_the_same_with_and_without_saliency():
    backbone = small_backbone(stride=4)
    images, options = backbone.prepare(FRAMES), DescriptorOptions(layer=1)
    alone, both = (describe_patches(backbone, images, options, saliency=each) for each in (False, True))
    assert alone.saliency is None
    torch.testing.assert_close(alone.descriptors, both.descriptors, rtol=0, atol=0)
    torch.testing.assert_close(both.descriptors.norm(dim=-1), torch.ones(3, 7, 7))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("facet", ["key", "query", "value", "token"])
def test_half_precision_comes_close_and_ends_in_float32(kind, facet):
    backbone = small_backbone(kind)
    images, options = backbone.prepare(FRAMES), DescriptorOptions(1, facet)
    whole = describe_patches(backbone, images, options, saliency=True)
    backbone.precision = torch.bfloat16
    half = describe_patches(backbone, images, options, saliency=True)
    assert whole.saliency is not None
    assert half.saliency is not None
    assert half.descriptors.dtype == half.saliency.dtype == torch.float32
    assert F.cosine_similarity(half.descriptors, whole.descriptors, dim=-1).min() > 0.995
    torch.testing.assert_close(half.saliency, whole.saliency, rtol=0, atol=0.05)
    assert not torch.equal(half.descriptors, whole.descriptors)


def test_blocks_that_are_not_needed_are_not_run_and_nothing_keeps_watching():
    backbone = small_backbone()
    runs = []
    for number, block in enumerate(backbone.model.blocks):
        block.mlp.register_forward_hook(lambda module, inputs, output, number=number: runs.append(number))
    images = backbone.prepare(FRAMES)
    describe_patches(backbone, images, DescriptorOptions(layer=-2))
    assert runs == [0, 1]
    describe_patches(backbone, images, DescriptorOptions(layer=-2), saliency=True)
    assert runs == [0, 1, 0, 1, 2]
    for block in backbone.model.blocks:
        assert not block.attn._forward_pre_hooks
        assert not block.attn.k_norm._forward_hooks


def test_an_image_without_contrast_has_no_saliency():
    backbone = small_backbone()
    for parameter in backbone.model.blocks[-1].attn.parameters():
        torch.nn.init.zeros_(parameter)
    seen = describe_patches(backbone, backbone.prepare(FRAMES), DescriptorOptions(layer=0), saliency=True)
    assert seen.saliency is not None
    assert not seen.saliency.any()


@pytest.mark.parametrize(
    ("options", "found"),
    [({"layer": 3}, "3 blocks"), ({"layer": -4}, "-3 to -1"), ({"saliency_heads": (3,)}, "3 heads")],
)
def test_layers_and_heads_that_are_not_there_are_refused(options, found):
    backbone = small_backbone()
    with pytest.raises(InputError, match=found):
        describe_patches(backbone, backbone.prepare(FRAMES), DescriptorOptions(**options))


def test_an_unknown_facet_is_refused():
    with pytest.raises(InputError, match="key, query, value or token"):
        DescriptorOptions(facet="keys")
