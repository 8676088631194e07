"""Keypoints of a film whose truth is known: two blobs over a texture, seen by a network with random weights."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ilfo._tools.errors import InputError
from ilfo.demos import Demonstrations, Provenance, Trajectory
from ilfo.rewards import StateFeatures
from ilfo.rewards.keypoints import KeypointFeatures, KeypointOptions
from ilfo.vision import build_tiny

SIDE, PATCH = 64, 8
OPTIONS = KeypointOptions(pretrained=False, layer=1, stride=4, k=6, votes=0.0, max_k=6)


def film(steps, seed):
    """Frames ``(steps, SIDE, SIDE, 3)``, and where in [-1, 1] the red and the blue blob are: ``(steps, 2, 2)``."""
    generator = np.random.default_rng(seed)
    texture = np.random.default_rng(0).integers(60, 120, (SIDE, SIDE, 3)).astype(np.uint8)
    phases = np.arange(steps)[:, None] * 0.2 * (1.0, 0.7, 0.8, 1.1) + generator.uniform(0, 6, 4)
    places = 0.6 * np.sin(phases).reshape(steps, 2, 2)
    frames = np.repeat(texture[None], steps, axis=0)
    down, across = np.mgrid[:SIDE, :SIDE]
    for frame, blobs in zip(frames, places, strict=True):
        for (u, v), colour in zip((blobs + 1) / 2 * SIDE - 0.5, ((230, 40, 40), (40, 60, 240)), strict=True):
            frame[(across - u) ** 2 + (down - v) ** 2 <= 5**2] = colour
    return frames, places


def trajectory(steps=12, seed=1):
    return Trajectory(np.zeros((steps, 2), np.float32), frames=film(steps, seed)[0])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ILFO_CACHE", str(tmp_path_factory.getbasetemp() / "keypoint_cache"))
    return tmp_path_factory.getbasetemp() / "keypoint_cache"


@pytest.fixture(scope="module")
def demonstrations():
    return Demonstrations((trajectory(12, 1), trajectory(9, 2)), Provenance(env_id="Blobs-v0"))


@pytest.fixture(scope="module")
def fitted(demonstrations):
    return KeypointFeatures(replace(OPTIONS, cache=False)).fit(demonstrations)


def count_encoded(features):
    """Frames that pass through the network from now on, batch by batch."""
    seen = []
    features.backbone.model.patch_embed.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return seen


def test_keypoints_follow_what_moves(fitted, demonstrations):
    """The concept that is a blob's is chosen on the demonstrations, and judged on another film."""
    known = np.concatenate([each.observations for each in fitted.see_all(demonstrations)]).reshape(21, -1, 3)
    truth = np.concatenate([film(12, 1)[1], film(9, 2)[1]])
    frames, places = film(16, 7)
    found = fitted(frames).reshape(16, -1, 3)
    for blob in range(2):
        errors = np.linalg.norm(known[:, :, :2] - truth[:, blob, None], axis=-1).mean(axis=0)
        error = np.linalg.norm(found[:, errors.argmin(), :2] - places[:, blob], axis=-1) * SIDE / 2
        assert error.mean() < PATCH / 2
        assert error.max() < PATCH


def test_columns_are_positions_and_visibilities_by_name(fitted):
    found = fitted(film(5, 3)[0])
    assert found.shape == (5, fitted.width) == (5, 3 * len(fitted.concepts))
    assert found.dtype == np.float32
    assert len(fitted.names) == fitted.width
    assert fitted.names[3:6] == ["concept 1 u", "concept 1 v", "concept 1 visibility"]
    assert np.abs(found).max() <= 1 + 1e-6


def test_films_that_are_seen_together_are_seen_as_alone(fitted, demonstrations):
    seen = count_encoded(fitted)
    together = fitted.see_all(demonstrations)
    assert seen == [21], "one batch goes across the films"
    for one, alone in zip(together, demonstrations, strict=True):
        np.testing.assert_allclose(one.observations, fitted(alone.frames), atol=1e-4)
        assert one.frames is alone.frames
    assert fitted.see(demonstrations[1]).observations.shape == together[1].observations.shape
    assert fitted.see_all([]) == []


def test_the_same_options_find_the_same(fitted, demonstrations):
    again = KeypointFeatures(replace(OPTIONS, cache=False)).fit(demonstrations)
    assert torch.equal(again.concepts.centroids, fitted.concepts.centroids)
    assert np.array_equal(again(film(5, 3)[0]), fitted(film(5, 3)[0]))


def test_demonstrations_are_encoded_once(demonstrations, cache):
    first = KeypointFeatures(OPTIONS)
    encoded = count_encoded(first)
    points = first.fit(demonstrations).see_demonstrations(demonstrations)
    assert sum(encoded) == 21 + 21
    assert len(list(cache.iterdir())) == 3
    second = KeypointFeatures(OPTIONS)
    encoded = count_encoded(second)
    again = second.fit(demonstrations).see_demonstrations(demonstrations)
    assert not encoded
    for one, other in zip(points, again, strict=True):
        assert np.array_equal(one.observations, other.observations)
    assert torch.equal(first.concepts.centroids, second.concepts.centroids)
    third = KeypointFeatures(replace(OPTIONS, facet="token"))
    encoded = count_encoded(third)
    third.fit(demonstrations)
    assert encoded, "other settings, other features"


def test_what_demonstrations_become_is_what_rewards_take_for_states(fitted, demonstrations):
    seen = fitted.see_demonstrations(demonstrations)
    assert seen.observation_dim == fitted.width
    assert seen.provenance.env_id == "Blobs-v0"
    assert sum(seen.provenance.observation_keys.values()) == fitted.width
    assert StateFeatures(keys=["concept 2"]).fit(seen).width == 3


def test_a_state_restores_the_features(fitted):
    file = io.BytesIO()
    torch.save(fitted.state_dict(), file)
    file.seek(0)
    restored = KeypointFeatures()
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert replace(restored.options, cache=False) == fitted.options, "but what may change"
    assert restored.names == fitted.names
    assert np.array_equal(restored(film(5, 3)[0]), fitted(film(5, 3)[0]))


def test_a_state_is_refused_by_other_weights(fitted, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({name: weight + 1 for name, weight in build_tiny().state_dict().items()}, path)
    state = fitted.state_dict()
    restored = KeypointFeatures()
    restored.load_state_dict(state | {"options": state["options"] | {"backbone_weights": str(path)}})
    with pytest.raises(InputError, match=r"the weights of ilfo_vit_tiny have SHA-256 .* --keypoints.backbone-weights"):
        restored(film(5, 3)[0])


@pytest.fixture
def filed(tmp_path, monkeypatch):
    """A file of weights, named from the folder where it lies."""
    monkeypatch.chdir(tmp_path)
    save_file(build_tiny().state_dict(), "mine.safetensors")
    return replace(OPTIONS, backbone_weights="mine.safetensors", cache=False)


def test_weights_are_found_from_another_folder(filed, demonstrations, monkeypatch):
    fitted = KeypointFeatures(filed).fit(demonstrations)
    monkeypatch.chdir("/")
    restored = KeypointFeatures()
    restored.load_state_dict(fitted.state_dict())
    assert np.array_equal(restored(film(5, 3)[0]), fitted(film(5, 3)[0]))


def test_weights_that_were_moved_are_taken_from_where_they_are_given(filed, demonstrations):
    fitted = KeypointFeatures(filed).fit(demonstrations)
    Path("mine.safetensors").rename("moved.safetensors")
    lost, told = KeypointFeatures(), KeypointFeatures(KeypointOptions(backbone_weights="moved.safetensors", stride=8))
    for restored in (lost, told):
        own = restored.options
        restored.load_state_dict(fitted.state_dict())
        assert restored.options.stride == OPTIONS.stride
        assert (restored.options.memory_gib, restored.options.cache) == (own.memory_gib, own.cache) != (2.0, False)
    with pytest.raises(InputError, match=r"cannot be read .* give --keypoints\.backbone-weights FILE"):
        lost(film(5, 3)[0])
    assert np.array_equal(told(film(5, 3)[0]), fitted(film(5, 3)[0]))


def test_votes_suit_the_backbone_where_none_are_given():
    votes = {
        name: KeypointFeatures(KeypointOptions(backbone=name)).options.votes
        for name in ("ilfo_vit_tiny", "vit_small_patch8_224.dino")
    }
    assert votes == {"ilfo_vit_tiny": 0.0, "vit_small_patch8_224.dino": 0.75}
    assert KeypointFeatures(KeypointOptions(votes=0.5)).options.votes == 0.5


def test_a_network_without_a_class_token_will_do_where_no_votes_are_counted(demonstrations):
    """In timm's smallest of that kind, with random weights."""
    blind = replace(OPTIONS, backbone="test_vit4", stride=None, layer=-1, k=4, cache=False)
    seen = KeypointFeatures(blind).fit(demonstrations).see_demonstrations(demonstrations)
    assert seen.observation_dim == 3 * 4
    with pytest.raises(InputError, match=r"test_vit4 has no class token, .* give --keypoints\.votes 0"):
        KeypointFeatures(replace(blind, votes=0.5)).fit(demonstrations)


def test_the_concepts_of_a_dense_grid_do_not_depend_on_the_memory(demonstrations):
    dense = replace(OPTIONS, stride=1, k=3, fit_frames=3, cache=False)
    one_at_a_time, together = (
        KeypointFeatures(replace(dense, memory_gib=memory)).fit(demonstrations).concepts for memory in (0.06, 2.0)
    )
    torch.testing.assert_close(one_at_a_time.centroids, together.centroids, atol=1e-4, rtol=0)


def test_a_file_of_weights_takes_a_name_that_says_how_frames_are_normalised_but_old_runs_go_on(tmp_path):
    options = replace(OPTIONS, backbone="vit_small_patch16_224", backbone_weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="differ in how frames are normalised"):
        _ = KeypointFeatures(options).backbone
    restored = KeypointFeatures(options)
    restored._expected_sha256 = "of the weights, and of the mean and the deviation that they go with"
    with pytest.raises(InputError, match="cannot be read"):
        _ = restored.backbone


def test_a_plan_is_a_line_to_print(demonstrations):
    line = str(KeypointFeatures(OPTIONS).plan(demonstrations))
    assert line.startswith("21 frames as 15 x 15 patches, 21 at a time in 0.0")


@pytest.mark.parametrize("fit_frames", [5, 100])
def test_a_plan_counts_what_goes_through_the_network(demonstrations, fit_frames):
    features = KeypointFeatures(replace(OPTIONS, fit_frames=fit_frames, cache=False))
    planned = features.plan(demonstrations).passes
    encoded = count_encoded(features)
    features.fit(demonstrations).see_demonstrations(demonstrations)
    assert planned == sum(encoded)


def test_a_plan_counts_what_the_cache_has_as_done(demonstrations, tmp_path, monkeypatch):
    monkeypatch.setenv("ILFO_CACHE", str(tmp_path))
    frames, sought = sum(len(each.frames) for each in demonstrations), OPTIONS.fit_frames
    features = KeypointFeatures(OPTIONS)
    assert features.plan(demonstrations).passes == frames + min(frames, sought)
    features.fit(demonstrations)
    assert features.plan(demonstrations).passes == frames
    features.see_demonstrations(demonstrations)
    assert str(KeypointFeatures(OPTIONS).plan(demonstrations)).endswith("all in the cache")
    others = KeypointFeatures(replace(OPTIONS, k=3)).plan(demonstrations)
    assert others.passes == frames + min(frames, sought)


def test_a_grid_that_does_not_fit_is_refused_before_anything_is_encoded(demonstrations):
    features = KeypointFeatures(replace(OPTIONS, stride=1, memory_gib=0.003))
    encoded = count_encoded(features)
    with pytest.raises(InputError, match="stride 4 fits"):
        features.fit(demonstrations)
    assert not encoded


def test_demonstrations_without_frames_are_refused(demonstrations):
    blind = Demonstrations((demonstrations[0], replace(demonstrations[1], frames=None)), path=Path("walk.hdf5"))
    with pytest.raises(InputError, match=r"walk\.hdf5, trajectory 1: there are no frames.*ilfo record --frames"):
        KeypointFeatures(OPTIONS).fit(blind)


def test_frames_and_observations_go_together(fitted, demonstrations):
    cut = replace(demonstrations[0], frames=demonstrations[0].frames[:-1])
    with pytest.raises(InputError, match="trajectory 0: 11 frames for 12 observations"):
        fitted.see(cut)


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (film(3, 0)[0] / np.float32(255), "float32"),
        (film(3, 0)[0][..., :2], r"\(3, 64, 64, 2\)"),
        (film(3, 0)[0][:0], "no frame"),
    ],
)
def test_what_is_no_film_is_refused(fitted, frames, found):
    with pytest.raises(InputError, match=found):
        fitted(frames)


def test_nothing_is_seen_before_something_is_known():
    features = KeypointFeatures(OPTIONS)
    assert features.width == 0
    with pytest.raises(InputError, match="call fit or load_state_dict first"):
        features(film(3, 0)[0])


@pytest.mark.parametrize("option", [{"memory_gib": 0.0}, {"k": 0}, {"temperature": -1.0}, {"facet": "keys"}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(InputError, match=next(iter(option))):
        KeypointOptions(**option)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_what_the_cpu_finds_to_a_fraction_of_a_patch(fitted):
    """In bfloat16, of which eight binary digits count: median positions agree to a tenth of a patch."""
    elsewhere = KeypointFeatures(device="cuda")
    elsewhere.load_state_dict(fitted.state_dict())
    frames, _ = film(16, 7)
    here, there = (each(frames).reshape(16, -1, 3) for each in (fitted, elsewhere))
    apart = np.linalg.norm(here[..., :2] - there[..., :2], axis=-1) * SIDE / 2
    assert np.median(apart) < PATCH / 10
    np.testing.assert_allclose(here[..., 2], there[..., 2], atol=0.03)
