"""The table of ablations: every change is one that `ilfo train` takes, and is a change."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import pytest
from small_envs import LEDGE

from ilfo._tools.errors import InputError
from ilfo.runs import read_summary
from ilfo.training.flags import parse_train

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "ablations.py"
SPEC = importlib.util.spec_from_file_location("ablations", SCRIPT)
ablations = importlib.util.module_from_spec(SPEC)
sys.modules["ablations"] = ablations
SPEC.loader.exec_module(ablations)

CHANGES = [variant for variant in ablations.VARIANTS if variant != "default"]


def settings(variant: str) -> dict:
    options = ablations.Options(env="Hopper-v5", demo="expert.hdf5")
    config = dataclasses.asdict(parse_train(ablations.flags(options, variant))[0])
    config.pop("out")
    return config


@pytest.mark.parametrize("variant", CHANGES)
def test_every_variant_differs_from_the_default(variant):
    assert settings(variant) != settings("default")


def test_no_two_variants_share_a_folder():
    options = ablations.Options(env="Hopper-v5", demo="expert.hdf5")
    folders = {parse_train(ablations.flags(options, variant))[0].out for variant in ablations.VARIANTS}
    assert len(folders) == len(ablations.VARIANTS)


def test_the_table_has_a_row_for_every_finished_variant(demo, tmp_path, capsys, monkeypatch):
    short = "--random-steps 100 --eval-every 200 --eval-episodes 2 --td3.hidden-dim 16 --td3.batch-size 32"
    monkeypatch.setattr(ablations, "VARIANTS", {"default": short, "no squashing": f"{short} --transport.squash none"})
    options = ablations.Options(env=LEDGE, demo=str(demo), steps=200, seeds="0-1", out=tmp_path)
    ablations.main(dataclasses.replace(options, only=("default",)))
    capsys.readouterr()
    ablations.main(dataclasses.replace(options, show=True))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| change", "| ---", "| default"]
    assert rows[-1].count(", ") == 1, "a return for each of two seeds"
    assert len({row.count(" | ") for row in rows}) == 1, "as many columns in every row"
    for show in (True, False):
        with pytest.raises(InputError, match=r"finished run .* seeds"):
            ablations.main(dataclasses.replace(options, seeds="2", show=show))


def test_a_variant_that_kept_its_replay_is_trained_further(demo, tmp_path, monkeypatch):
    short = "--random-steps 100 --eval-every 100 --eval-episodes 1 --td3.hidden-dim 8 --td3.batch-size 16 --keep-replay"
    monkeypatch.setattr(ablations, "VARIANTS", {"default": short})
    options = ablations.Options(env=LEDGE, demo=str(demo), steps=200, seeds="0", out=tmp_path)
    ablations.main(options)
    longer = dataclasses.replace(options, steps=300)
    with pytest.raises(InputError, match="steps was 200 and is now 300"):
        ablations.main(dataclasses.replace(longer, show=True))
    ablations.main(longer)
    assert read_summary(parse_train(ablations.flags(longer, "default"))[0].out)["steps"] == 300


def test_the_second_half_has_the_evaluations_after_the_middle(tmp_path):
    rows = [{"step": 10, "eval_return": 1.0}, {"step": 15}, {"step": 20, "eval_return": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert ablations.later_mean(tmp_path, 20) == 3.0
    assert ablations.later_mean(tmp_path, 18) == 2.0


def test_a_variant_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'PAL'"):
        ablations.main(ablations.Options(env=LEDGE, demo="x", only=("PLA",), out=tmp_path))
