import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from small_vits import noise

from ilfo._tools.errors import InputError
from ilfo.vision import build_tiny, load_backbone
from ilfo.vision.backbones import TINY, TINY_WEIGHTS
from ilfo.vision.descriptors import DescriptorOptions, describe_patches
from ilfo.vision.loading import check_normalisation_is_known


@pytest.mark.parametrize(
    ("name", "patch", "size", "prefix"),
    [
        ("vit_small_patch8_224.dino", 8, 224, 1),
        ("vit_small_patch16_224.dino", 16, 224, 1),
        ("vit_small_patch14_dinov2.lvd142m", 14, 518, 1),
        ("vit_small_patch14_reg4_dinov2.lvd142m", 14, 518, 5),
        ("vit_small_patch16_dinov3.lvd1689m", 16, 256, 5),
    ],
)
def test_the_networks_that_are_named_look_at_frames(name, patch, size, prefix):
    """As timm builds them: what of their weights cannot be had here is not needed for it."""
    backbone = load_backbone(name, pretrained=False, image_size=4 * patch, stride=patch // 2)
    assert (backbone.patch_size, backbone.prefix_tokens, backbone.depth) == (patch, prefix, 12)
    assert load_backbone(name, pretrained=False).image_size == size
    with torch.inference_mode():
        seen = describe_patches(backbone, backbone.prepare(noise(1, 32, 48)), DescriptorOptions(), saliency=True)
    assert seen.descriptors.shape == (1, *backbone.grid(32, 48), 384)
    assert seen.saliency.shape == (1, *backbone.grid(32, 48)) == (1, 7, 11)
    assert torch.isfinite(seen.descriptors).all()


def test_names_of_no_vision_transformer_are_refused():
    with pytest.raises(InputError, match="resnet18 is no vision transformer"):
        load_backbone("resnet18", pretrained=False)
    with pytest.raises(InputError, match=r"did you mean 'vit_small_patch8_224\.dino'"):
        load_backbone("vit_small_patch8_244.dino")
    with pytest.raises(InputError, match=r"vit_tiny_r_s16_p8_224 is no vision transformer .* patches of pixels"):
        load_backbone("vit_tiny_r_s16_p8_224", pretrained=False)
    with pytest.raises(InputError, match=r"vit_small_patch16_18x2_224 is no .* one attention in each block"):
        load_backbone("vit_small_patch16_18x2_224", pretrained=False)
    for pretrained in (True, False):
        with pytest.raises(InputError, match=r"no backbone 'vit_small_patch8_224\.dinoo': did you mean '.*\.dino'"):
            load_backbone("vit_small_patch8_224.dinoo", pretrained=pretrained)
    with pytest.raises(InputError, match="list_models"):
        load_backbone("?")


def test_weights_that_cannot_be_downloaded_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"(?s)could not be downloaded.*--keypoints.backbone-weights"):
        load_backbone("vit_tiny_patch16_224.augreg_in21k")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in half precision, as the package's own is."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({name: weight.half() for name, weight in build_tiny().state_dict().items()}, path)
    return path


def test_weights_come_from_a_file(weights):
    one, other = load_backbone(weights=weights), load_backbone(pretrained=False)
    assert one.sha256 == load_backbone(weights=weights, stride=4, image_size=128).sha256 != other.sha256
    assert one.model.pos_embed.dtype == torch.float32
    assert (one.patch_size, one.depth, one.width) == (TINY["patch_size"], TINY["depth"], TINY["embed_dim"])
    assert not any(parameter.requires_grad for parameter in one.model.parameters())


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_the_head_of_a_classifier_is_left_out(tmp_path, name):
    """As timm does where it downloads: of the whole classifier, with one head or, distilled, with two."""
    classifier = timm.create_model(name)
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    seen = load_backbone(name, weights=tmp_path / "classifier.safetensors")
    assert torch.equal(seen.model.blocks[0].attn.qkv.weight, classifier.blocks[0].attn.qkv.weight)


def test_a_name_that_does_not_say_how_frames_are_normalised_is_refused():
    """Of timm's, DINO and MAE take ImageNet's mean, others a half."""
    with pytest.raises(InputError, match=r"differ in how frames are normalised.*vit_small_patch16_224\.dino"):
        check_normalisation_is_known("vit_small_patch16_224")
    for name in ("vit_small_patch16_224.dino", "vit_small_patch8_224", "ilfo_vit_tiny"):
        check_normalisation_is_known(name)


def test_the_packages_own_weights_are_there_small_and_trained():
    own, fresh = load_backbone(), load_backbone(pretrained=False)
    assert TINY_WEIGHTS.stat().st_size <= 16 * 2**20
    assert {weight.dtype for weight in load_file(TINY_WEIGHTS).values()} == {torch.float16}
    for name, weight in own.model.state_dict().items():
        assert weight.isfinite().all()
        assert not torch.equal(weight, fresh.model.state_dict()[name]), name


def test_random_weights_are_the_same_every_time_and_leave_the_callers_stream_alone():
    before = torch.get_rng_state()
    one, other = (load_backbone(pretrained=False).sha256 for _ in range(2))
    assert one == other
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda state: state.pop("norm.bias"), "norm.bias is missing"),
        (lambda state: state.update(head=torch.zeros(2)), "head is unexpected"),
        (lambda state: state.update({"norm.bias": torch.zeros(7)}), r"norm.bias is \(7,\) and not \(192,\)"),
        (lambda state: [state.pop(name) for name in list(state)[:9]], "and 5 more; .* --keypoints.backbone"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, change, found):
    state = dict(build_tiny().state_dict())
    change(state)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=found):
        load_backbone(weights=tmp_path / "other.safetensors")


def test_files_that_hold_no_weights_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_backbone(weights=tmp_path / "missing.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00")
    with pytest.raises(InputError, match="no safetensors file"):
        load_backbone(weights=tmp_path / "cut.safetensors")
