import math
from dataclasses import replace

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ilfo.pretraining.dino import Dino, DinoOptions, Head, Schedule, dino_loss
from ilfo.pretraining.train import collapsed
from ilfo.pretraining.views import ViewOptions, crop, distort, views

SMALL = DinoOptions(prototypes=16, hidden=12, bottleneck=8, frozen_last_layer=0.0)

SIZES = dict(img_size=32, patch_size=8, embed_dim=24, depth=3, num_heads=3, num_classes=0)


def small_dino(options=SMALL, steps=20):
    torch.manual_seed(0)
    return Dino(VisionTransformer(**SIZES, dynamic_img_size=True), 24, Schedule(options, steps, 256))


def small_views(seed=0, batch=4):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (batch, 40, 40, 3), dtype=torch.uint8, generator=generator)
    return views(images, ViewOptions(global_size=32, local_size=16, local_views=2), generator)


def test_the_loss_is_what_a_loop_over_pairs_of_views_says():
    student, teacher = torch.randn(4, 3, 5), torch.randn(2, 3, 5).softmax(dim=-1)
    total, pairs = 0.0, 0
    for t in range(2):
        for v in range(4):
            if t == v:
                continue
            pairs += 1
            for b in range(3):
                exponentials = [math.exp(value / 0.1) for value in student[v, b].tolist()]
                chances = [each / sum(exponentials) for each in exponentials]
                total -= sum(p * math.log(q) for p, q in zip(teacher[t, b].tolist(), chances, strict=True)) / 3
    assert float(dino_loss(student, teacher, 0.1)) == pytest.approx(total / pairs, rel=1e-5)


def test_the_teacher_follows_the_student_and_no_gradient_reaches_it():
    dino = small_dino()
    before = [each.clone() for each in dino.teacher.parameters()]
    dino.update(7, *small_views())
    momentum = dino.schedule.momentum(7)
    for old, new, student in zip(before, dino.teacher.parameters(), dino.student.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * student)
        assert new.grad is None
        assert not new.requires_grad


def test_every_parameter_of_the_student_gets_a_gradient():
    dino = small_dino()
    dino.update(7, *small_views())
    without = [name for name, each in dino.student.named_parameters() if each.grad is None or not each.grad.any()]
    assert not without


def test_the_centre_moves_towards_the_mean_of_what_the_teacher_said():
    dino = small_dino()
    dino.centre = torch.arange(16.0)
    global_views, local_views = small_views()
    with torch.no_grad():
        said = dino.teacher["head"](dino.teacher["backbone"](torch.cat(global_views)))
    dino.update(3, global_views, local_views)
    torch.testing.assert_close(dino.centre, 0.9 * torch.arange(16.0) + 0.1 * said.mean(dim=0))


def test_the_last_layer_waits_for_its_share_of_the_steps():
    dino = small_dino(DinoOptions(prototypes=16, hidden=12, bottleneck=8, frozen_last_layer=0.2))
    last = dino.student["head"].last
    start = last.detach().clone()
    dino.update(3, *small_views())
    assert torch.equal(last, start)
    dino.update(4, *small_views())
    assert not torch.equal(last, start)


def test_gradients_are_clipped_parameter_by_parameter():
    dino = small_dino(DinoOptions(prototypes=16, hidden=12, bottleneck=8, frozen_last_layer=0.0, largest_gradient=1e-3))
    dino.update(7, *small_views())
    norms = [float(each.grad.norm()) for each in dino.student.parameters()]
    assert max(norms) == pytest.approx(1e-3, rel=1e-2)


def test_schedules_start_and_end_where_the_paper_says():
    options = DinoOptions(learning_rate=0.0005, momentum=0.996, teacher_temperature=(0.04, 0.07))
    schedule = Schedule(options, steps=1000, batch_size=64)
    assert schedule.learning_rate(0) == 0
    assert schedule.learning_rate(100) == pytest.approx(0.0005 * 64 / 256)
    assert schedule.learning_rate(999) == pytest.approx(1e-6)
    assert (schedule.weight_decay(0), schedule.weight_decay(999)) == pytest.approx((0.04, 0.4))
    assert (schedule.momentum(0), schedule.momentum(999)) == pytest.approx((0.996, 1.0))
    assert (schedule.teacher_temperature(0), schedule.teacher_temperature(300)) == pytest.approx((0.04, 0.07))
    assert schedule.teacher_temperature(999) == pytest.approx(0.07)
    assert [schedule.last_layer_frozen(step) for step in (0, 9, 10)] == [True, True, False]
    rates = [schedule.learning_rate(step) for step in range(1000)]
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_a_training_of_one_step_has_a_schedule():
    schedule = Schedule(DinoOptions(), steps=1, batch_size=1)
    assert schedule.learning_rate(0) > 0
    assert schedule.momentum(0) == pytest.approx(DinoOptions.momentum)


def test_biases_and_norms_do_not_decay():
    dino = small_dino()
    dino.update(7, *small_views())
    decayed, spared = dino._optimizer.param_groups
    assert decayed["weight_decay"] == pytest.approx(dino.schedule.weight_decay(7))
    assert spared["weight_decay"] == 0
    assert {each.ndim for each in spared["params"]} == {1}
    count = len(decayed["params"]) + len(spared["params"])
    assert count == len(list(dino.student.parameters()))


def test_the_head_answers_with_cosines():
    said = Head(24, SMALL)(10 * torch.randn(50, 24))
    assert said.shape == (50, 16)
    assert said.abs().max() <= 1 + 1e-6


def test_one_image_many_times_over_is_a_collapse():
    dino = small_dino()
    alike = [torch.ones(4, 3, 32, 32)] * 2
    metrics = dino.update(7, alike, torch.ones(8, 3, 16, 16))
    assert float(metrics["information"]) == pytest.approx(0, abs=1e-4)
    assert collapsed(metrics)


def test_batch_normalisation_has_a_fresh_network_tell_images_apart():
    with_it, without = (small_dino(replace(SMALL, batch_norm=each)) for each in (True, False))
    assert not [each for each in without.student.modules() if isinstance(each, nn.BatchNorm1d)]
    told = [float(each.update(7, *small_views(batch=32))["information"]) for each in (with_it, without)]
    assert told[0] > 3 * told[1]


def test_a_teacher_that_tells_images_apart_raises_no_alarm():
    dino = small_dino()
    for parameter in dino.teacher["backbone"].parameters():
        nn.init.normal_(parameter, std=0.3)
    metrics = dino.update(7, *small_views(batch=32))
    assert float(metrics["spread"]) <= math.log(16)
    assert not collapsed(metrics)


def test_views_have_their_sizes_and_are_drawn_by_the_seed():
    global_views, local_views = small_views(1)
    assert [tuple(each.shape) for each in global_views] == [(4, 3, 32, 32)] * 2
    assert local_views.shape == (8, 3, 16, 16)
    assert not torch.equal(*global_views)
    again, _ = small_views(1)
    assert torch.equal(global_views[0], again[0])


def test_a_crop_shows_a_rectangle_of_its_share_the_right_way_round():
    """Pixels say where they were: x in red, y in green."""
    ramp = (torch.arange(100) + 0.5) / 100
    pixels = torch.stack([ramp.expand(100, 100), ramp[:, None].expand(100, 100), torch.zeros(100, 100)])
    cut = crop(pixels.expand(64, -1, -1, -1), 20, (0.2, 0.5), torch.Generator().manual_seed(0))
    x, y = cut[:, 0].mean(dim=1), cut[:, 1].mean(dim=2)
    width, height = ((each[:, -1] - each[:, 0]) * 20 / 19 for each in (x, y))
    assert (width > 0).all()
    assert (height > 0).all()
    area, ratio = width * height, width / height
    assert area.min() > 0.19
    assert area.max() < 0.51
    assert ratio.min() > 0.74
    assert ratio.max() < 1.34
    assert x.min() > 0
    assert x.max() < 1


def test_distorted_pixels_stay_pixels_and_grey_stays_grey():
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(16, 1, 8, 8, generator=generator).expand(-1, 3, -1, -1)
    distorted = distort(grey, generator, blur=0.5, solarise=0.5)
    assert distorted.min() >= 0
    assert distorted.max() <= 1
    torch.testing.assert_close(distorted[:, 0], distorted[:, 2], atol=1e-5, rtol=0)


def test_blur_keeps_what_is_level_and_smooths_what_is_not():
    generator = torch.Generator().manual_seed(0)
    noisy = torch.rand(32, 3, 16, 16, generator=generator)
    state = generator.get_state()
    sharp = distort(noisy, generator, blur=0.0, solarise=0.0)
    generator.set_state(state)
    smooth = distort(noisy, generator, blur=1.0, solarise=0.0)
    assert smooth.std() < 0.9 * sharp.std()
    assert float(smooth.mean()) == pytest.approx(float(sharp.mean()), abs=0.01)
