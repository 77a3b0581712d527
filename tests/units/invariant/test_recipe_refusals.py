"""Claims about the recipe of invariant units: what cannot work is said before hours of work, nothing empty is kept."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest

from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.store import FeatureStore
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import recipe_module

encoding = recipe_module("units_invariant", "encoding")
pack = recipe_module("units_invariant", "pack")
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


def test_what_is_named_twice_is_done_once():
    given = ["layers=[3,2,3]", "clusters=[100,50,100]", "test_kinds=[pitch,time,pitch]"]
    settings = read_settings(recipe, [], given)
    for name in ("codebooks", "train", "evaluate"):
        config = settings.config(recipe.stage(name))
        assert (config.layers, config.clusters) == ((3, 2), (100, 50))
    for name in ("features", "evaluate"):
        assert settings.config(recipe.stage(name)).test_kinds == ("pitch", "time")


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
    with pytest.raises(UserError, match=rf"none.*2 {part} recordings.*read.*first:.*(gone|lost)\.wav"):
        run_recipe(recipe, tmp_path / "exp", given, stop=3, quiet=True, device="cpu")
    write_audio(tmp_path / "gone.wav", tone, 16_000)  # the other one is dropped
    assert run_recipe(recipe, tmp_path / "exp", given, stop=3, quiet=True, device="cpu") == 0
    folder = outputs(recipe, tmp_path / "exp", "features")
    assert f"{part}/gone#clean" in FeatureStore(folder / "features" / part / "layer-0")
    assert f'"{part}/lost"' in (folder / "drops.jsonl").read_text()


def test_processes_leave_it_to_the_run_what_an_interrupt_means(monkeypatch):
    seen = []

    def encoder(*task):
        seen.append((task, signal.getsignal(signal.SIGINT)))

    monkeypatch.setattr(encoding, "Encoding", encoder)
    monkeypatch.setattr(encoding, "_own", [])
    monkeypatch.setattr("speechkit.runtime.limit_threads", lambda threads: None)
    before = signal.getsignal(signal.SIGINT)
    try:
        encoding._begin(("a", "b"), 1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [(("a", "b"), signal.SIG_IGN)]


def test_packing_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pack", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        pack.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "none" in told
