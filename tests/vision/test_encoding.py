import pytest
import torch
from small_vits import noise, small_backbone

from ilfo._tools.errors import InputError
from ilfo.vision import DescriptorOptions, describe_patches, encode, plan_encoding
from ilfo.vision.encoding import GIB, batch_size_of, bytes_per_frame

OPTIONS = DescriptorOptions(layer=1)


def room_for(backbone, frames):
    return frames * bytes_per_frame(backbone, 32, 32) / GIB


def test_batches_are_bounded_by_the_memory_and_change_nothing():
    backbone, frames = small_backbone(stride=4), noise(7)
    parts = list(encode(backbone, frames, OPTIONS, saliency=True, memory_gib=room_for(backbone, 3)))
    assert [len(part.descriptors) for part in parts] == [3, 3, 1]
    whole = describe_patches(backbone, backbone.prepare(frames), OPTIONS, saliency=True)
    for name in ("descriptors", "saliency"):
        together = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(together, getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_a_stride_that_does_not_fit_is_refused_with_the_one_that_does():
    coarse, fine = (small_backbone(stride=stride) for stride in (4, 1))
    with pytest.raises(InputError, match=r"25 x 25 patches of a frame of 32 x 32 pixels.*stride 4 fits"):
        batch_size_of(fine, 32, 32, room_for(coarse, 1))
    with pytest.raises(InputError, match="no stride fits; take a smaller image_size"):
        next(encode(fine, noise(), OPTIONS, memory_gib=1e-6))


def test_the_estimate_counts_the_matrix_of_an_attention_that_is_not_fused():
    backbone = small_backbone(stride=1)
    backbone.model.blocks[0].attn.fused_attn = True
    fused = bytes_per_frame(backbone, 32, 32)
    backbone.model.blocks[0].attn.fused_attn = False
    assert bytes_per_frame(backbone, 32, 32) - fused == 4 * 2 * 3 * (25 * 25 + 1) ** 2


def test_a_plan_says_what_encoding_will_take():
    backbone = small_backbone(stride=4)
    plan = plan_encoding(noise(1000), backbone, OPTIONS, memory_gib=room_for(backbone, 9))
    assert (plan.frames, plan.rows, plan.cols, plan.batch_size) == (1000, 7, 7, 9)
    assert plan.bytes == 9 * bytes_per_frame(backbone, 32, 32)
    assert 0 < plan.seconds == 1000 * plan.seconds_per_pass < 100
    assert str(plan).startswith("1,000 frames as 7 x 7 patches, 9 at a time in 0.00 GiB: about ")
    assert str(plan).endswith("on cpu")


@pytest.mark.parametrize("passes", [0, 3, 8])
def test_frames_may_be_encoded_twice_or_not_at_all(passes):
    plan = plan_encoding(noise(5), small_backbone(), passes=passes)
    assert plan.frames == 5
    assert plan.seconds == passes * plan.seconds_per_pass
    assert str(plan).endswith("on cpu" if passes else "all in the cache")


def test_only_as_many_frames_are_looked_at_as_there_are():
    assert plan_encoding(noise(1), small_backbone()).batch_size == 1
    with pytest.raises(InputError, match="no frame"):
        plan_encoding(noise(0), small_backbone())
