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
        "layer=-1",
        "begin_layer=-1",
        "train_kinds=[]",
        "train.upper_layers=-1",
        "train.dropout=1",
        "train.epochs=[0]",
        "train.epochs=[]",
        "train.epochs=[1,1,1]",
        "train.learning_rate=0",
        "train.upper_rate=0",
        "evaluate.switch_penalties=[-1]",
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_first_stage(setting, tmp_path):
    key = setting.partition("=")[0].rpartition(".")[2]
    with pytest.raises(ConfigError, match=key):
        run_recipe(recipe, tmp_path / "exp", [setting], quiet=True)
    assert not (tmp_path / "exp").exists()


def test_perturbations_by_recordings_need_their_folders(tmp_path):
    with pytest.raises(ConfigError) as raised:
        run_recipe(recipe, tmp_path / "exp", ["train_manifest=a.jsonl", "test_manifest=b.jsonl"], quiet=True)
    for name in ("noises", "test_noises", "rooms", "test_rooms"):
        assert f"features.{name} is not set" in str(raised.value)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_that_cannot_be_read_is_not_kept_and_is_read_when_mended(part, tmp_path):
    tone = np.sin(np.arange(16_000) / 9).astype(np.float32) / 3
    write_audio(tmp_path / "there.wav", tone, 16_000)
    there = Utterance(id="there", audio_filepath="there.wav", duration=1.0, sample_rate=16_000)
    gone = [
        Utterance(id=name, audio_filepath=f"{name}.wav", duration=1.0, sample_rate=16_000) for name in ("gone", "lost")
    ]
    given = ["encoder=log-mel", "layer=0", "train_kinds=[gain]", "test_kinds=[gain]"]
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
