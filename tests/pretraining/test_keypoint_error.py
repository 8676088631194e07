from dataclasses import replace

import numpy as np
import pytest
import torch
from small_films import blob_film, write_films
from torch import nn

from ilfo._tools.errors import InputError
from ilfo.pretraining.frames import read_frames
from ilfo.pretraining.keypoint_error import keypoint_errors, mean_position_errors, probe
from ilfo.vision import Backbone, build_tiny
from ilfo.vision.concepts import ConceptOptions
from ilfo.vision.descriptors import DescriptorOptions
from ilfo.vision.keypoints import LocationOptions

SIZE = 48
TOKENS = DescriptorOptions(facet="token")
STILL = LocationOptions(motion=0)


@pytest.fixture(scope="module")
def colours():
    """A network whose tokens are the mean colours of their patches."""
    model = build_tiny(img_size=SIZE, embed_dim=24, depth=1, num_heads=3)
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        for channel in range(3):
            model.patch_embed.proj.weight[channel, channel] = 1 / 64
    return Backbone(model, "colours", stride=2, mean=(0.1, 0.1, 0.1), std=(1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def films():
    return [blob_film(6, seed) for seed in range(6)]


def test_a_network_that_sees_colours_finds_coloured_squares(colours, films):
    found, labelled = keypoint_errors(
        colours,
        films[:3],
        films[3:],
        descriptors=TOKENS,
        concepts=ConceptOptions(k=4, votes=0.0),
        location=STILL,
    )
    guessed = mean_position_errors(films[:3], films[3:])
    for concept, label, mean in zip(found, labelled, guessed, strict=True):
        assert label.mean < 4
        assert label.share > 0.5
        assert concept.mean < 6 < mean.mean


def test_the_mean_position_is_measured_by_hand():
    film = replace(blob_film(2, 0, objects=1), positions=np.array([[[10, 10]], [[20, 10]]], np.float32))
    other = replace(film, positions=np.array([[[15, 14]], [[15, 22]]], np.float32))
    (error,) = mean_position_errors([film], [other])
    assert (error.mean, error.share) == (8.0, 0.5)
    hidden = replace(other, visible=np.array([[True], [False]]))
    (error,) = mean_position_errors([film], [hidden])
    assert (error.mean, error.share) == (4.0, 1.0)


def test_what_is_never_seen_has_no_error(colours, films):
    blind = [replace(film, visible=film.visible & [True, False]) for film in films]
    options = {"descriptors": TOKENS, "concepts": ConceptOptions(k=3, votes=0.0)}
    for fitting, held_out in ((blind[:2], films[2:4]), (films[:2], blind[2:4])):
        found, labelled = keypoint_errors(colours, fitting, held_out, **options)
        for seen, unseen in (found, labelled, mean_position_errors(fitting, held_out)):
            assert np.isfinite(seen.mean)
            assert np.isnan(unseen.mean)
            assert np.isnan(unseen.share)


def test_episodes_of_different_lengths_are_refused(colours, films):
    with pytest.raises(InputError, match=r"episodes of \[5, 6\] frames"):
        keypoint_errors(
            colours,
            [films[0], blob_film(5, 1)],
            films[2:3],
            descriptors=TOKENS,
            concepts=ConceptOptions(k=2, votes=0.0),
        )


def keys_of_colours(seeing):
    """A network whose keys, which are the default descriptors, are colours; or nothing."""
    model = build_tiny(img_size=SIZE, embed_dim=24, depth=1, num_heads=3)
    with torch.no_grad():
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        for channel in range(3):
            model.patch_embed.proj.weight[channel, channel] = seeing / 64
        model.blocks[0].norm1.weight[:] = 1
        model.blocks[0].attn.qkv.weight[24:48] = torch.eye(24)
    return Backbone(model, "colours", stride=2, mean=(0.1, 0.1, 0.1), std=(1.0, 1.0, 1.0))


def test_the_probe_of_what_sees_is_nearer_than_of_what_does_not(tmp_path, films):
    more = [*films, blob_film(6, 6), blob_film(6, 7)]
    frames = read_frames([write_films(tmp_path / "frames.hdf5", more, ["one", "other"])])
    assert probe(keys_of_colours(1.0), frames) < 5 < probe(keys_of_colours(0.0), frames)
    unseen = replace(frames, visible=np.zeros_like(frames.visible))
    assert np.isnan(probe(keys_of_colours(1.0), unseen))


def test_the_probe_measures_in_other_episodes(tmp_path, films):
    """Of three episodes none is the fourth, which is measured in."""
    frames = read_frames([write_films(tmp_path / "frames.hdf5", films[:3], ["one"])])
    assert np.isnan(probe(keys_of_colours(1.0), frames))
