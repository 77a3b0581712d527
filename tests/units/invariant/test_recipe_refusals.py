"""Claims about the recipe of invariant units: what cannot work is said before hours of work, nothing empty is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.store import FeatureStore
from speechkit.errors import ConfigError, SpeechkitError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module

recipe = recipe_module("units_invariant").recipe


@pytest.mark.parametrize(
    "setting",
    [
        "clusters=[]",
        "clusters=[0]",
        "layers=[]",
        "layers=[-1]",
        "begin_layer=-1",
        "teachers={}",
        "train.upper_layers=0",
        "train.upper_dropout=1.5",
        "train.upper_dropout=1",
        "train.invariant.mask_frames=-1",
        "train.invariant.time_masks=-1",
        "train.invariant.epochs=[0]",
        "train.invariant.epochs=[]",
        "train.invariant.learning_rate=0",
        "train.invariant.upper_rate=0",
        "train.invariant.learns=units",
        "evaluate.pictures=-1",
        "features.processes=2",
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_first_stage(setting, tmp_path):
    key = setting.partition("=")[0].rpartition(".")[2]
    with pytest.raises(ConfigError, match=key):
        run_recipe(recipe, tmp_path / "exp", [setting], quiet=True)
    assert not (tmp_path / "exp").exists()


def test_units_are_learned_alone_only_on_a_network_that_is_there(tmp_path):
    given = ["train.invariant.learns=units", "train.invariant.next_round=clusters"]
    with pytest.raises(ConfigError, match=r"no train\.start, whose network stays"):
        run_recipe(recipe, tmp_path / "exp", given, quiet=True)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_that_cannot_be_read_is_not_kept_and_is_read_when_mended(part, tmp_path):
    tone = np.sin(np.arange(16_000) / 9).astype(np.float32) / 3
    write_audio(tmp_path / "there.wav", tone, 16_000)
    there = Utterance(id="there", audio_filepath="there.wav", duration=1.0, sample_rate=16_000)
    gone = [
        Utterance(id=name, audio_filepath=f"{name}.wav", duration=1.0, sample_rate=16_000) for name in ("gone", "lost")
    ]
    given = ["encoder=log-mel", "layers=[0]", "test_kinds=[gain]"]
    given += [f"features.versions.{kind}=0" for kind in ("pitch", "room", "noise", "speaker", "telephone", "time")]
    for name in ("train", "test"):
        write_manifest(tmp_path / f"{name}.jsonl", gone if name == part else [there])
        given.append(f"{name}_manifest={tmp_path / f'{name}.jsonl'}")
    with pytest.raises(SpeechkitError, match=rf"no record whose part is {part}.*unreadable_audio 2"):
        run_recipe(recipe, tmp_path / "exp", given, stop=3, quiet=True, device="cpu")
    write_audio(tmp_path / "gone.wav", tone, 16_000)  # the other one is dropped
    assert run_recipe(recipe, tmp_path / "exp", given, stop=3, quiet=True, device="cpu") == 0
    folder = outputs(recipe, tmp_path / "exp", "features")
    assert f"{part}/gone#clean" in FeatureStore(folder / "features.jsonl", 0, part)
    assert f'"{part}/lost"' in (folder / "drops.jsonl").read_text()


def test_packing_says_in_one_line_what_is_wrong(tmp_path):
    script = Path(__file__).parents[3] / "scripts/pack_quantizers.py"
    command = [sys.executable, str(script), str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "none" in ended.stderr
