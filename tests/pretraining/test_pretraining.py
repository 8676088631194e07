from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_films import blob_film, write_films

from ilfo._tools.errors import InputError
from ilfo.pretraining.command import main
from ilfo.pretraining.dino import DinoOptions
from ilfo.pretraining.train import TrainingConfig, train
from ilfo.pretraining.views import ViewOptions
from ilfo.vision import load_backbone
from ilfo.vision.backbones import TINY_WEIGHTS


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "frames.hdf5"
    return write_films(path, [blob_film(8, 0), blob_film(8, 1)], ["one", "other"])


@pytest.fixture
def config(frames, tmp_path):
    return TrainingConfig(
        frames=(frames,),
        out=tmp_path / "weights.safetensors",
        checkpoint=tmp_path / "checkpoint.pt",
        steps=4,
        batch_size=5,
        checkpoint_seconds=0.0,
        log_every=1,
        probe_every=4,
        bf16=False,
        views=ViewOptions(local_views=1),
        dino=DinoOptions(prototypes=32, hidden=32, bottleneck=16),
    )


class KilledError(Exception):
    pass


def test_a_few_steps_make_weights_that_the_backbone_loads(config):
    lines = []
    path = train(config, say=lines.append)
    assert path == config.out
    assert path.stat().st_size < 16 * 2**20
    weights = load_file(path)
    assert {each.dtype for each in weights.values()} == {torch.float16}
    assert load_backbone(weights=path).name == "ilfo_vit_tiny"
    assert sum("loss" in line and "entropy" in line for line in lines) == 4
    assert any("from the patch most like them" in line for line in lines)


def test_killed_between_checkpoints_it_ends_with_the_same_weights(config, tmp_path):
    whole = load_file(train(config, say=str))
    cut = replace(config, out=tmp_path / "cut.safetensors", checkpoint=tmp_path / "cut.pt")

    def kill(line):
        if line.startswith("step 3 "):  # This step is done, but no checkpoint knows of it yet.
            raise KilledError

    with pytest.raises(KilledError):
        train(cut, say=kill)
    assert not cut.out.exists()
    lines = []
    resumed = load_file(train(cut, say=lines.append))
    assert "steps 2 to 4" in lines[0]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    random = load_backbone(pretrained=False).model.state_dict()
    assert any(not torch.equal(whole[name], random[name].half()) for name in whole)


def test_a_checkpoint_of_another_training_is_refused(config):
    train(config, say=str)
    with pytest.raises(InputError, match=r"checkpoint\.pt: this checkpoint is of another training"):
        train(replace(config, seed=1), say=str)


def test_what_is_no_checkpoint_is_refused(config):
    config.checkpoint.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"checkpoint\.pt: no checkpoint of this training"):
        train(config, say=str)


def test_collapse_is_said_once(config, frames, tmp_path):
    film = blob_film(1, 0)
    blank = replace(film, frames=film.frames.repeat(8, 0) * 0, positions=film.positions.repeat(8, 0))
    blank = replace(blank, visible=film.visible.repeat(8, 0))
    path = write_films(tmp_path / "blank.hdf5", [blank], ["blank"])
    with pytest.warns(UserWarning, match="collapse: the teacher says the same") as caught:
        train(replace(config, frames=(path,), judge_after=1), say=str)
    assert len(caught) == 1


def test_too_few_frames_and_missing_folders_are_refused_before_training(config, tmp_path):
    with pytest.raises(InputError, match="16 frames: fewer than --batch-size, 17"):
        train(replace(config, batch_size=17), say=str)
    with pytest.raises(InputError, match=r"does not exist\. Make it first"):
        train(replace(config, out=tmp_path / "gone" / "weights.safetensors"), say=str)
    with pytest.raises(InputError, match="--steps is 0"):
        replace(config, steps=0)


def test_the_command_trains_and_says_what_is_wrong_without_a_traceback(frames, tmp_path, capsys):
    flags = ["--steps", "1", "--batch-size", "2", "--views.local-views", "0", "--no-bf16"]
    paths = ["--out", str(tmp_path / "w.safetensors"), "--checkpoint", str(tmp_path / "c.pt")]
    assert main(["train", "--frames", str(frames), *paths, *flags]) == 0
    assert "step 1 " in capsys.readouterr().out
    assert (tmp_path / "w.safetensors").exists()
    assert main(["train", "--frames", str(tmp_path / "none.hdf5"), *paths]) == 2
    assert "none.hdf5: cannot be read as frames" in capsys.readouterr().err


def test_the_weights_of_the_package_are_not_written_unless_named():
    assert TrainingConfig((Path("frames.hdf5"),)).out.resolve() != TINY_WEIGHTS.resolve()
