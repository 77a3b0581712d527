"""The tracks of a manifest are the same bytes on every backend, and each says which mixture it came from."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from speechkit.data import Utterance, write_manifest
from speechkit.data.manifest import read_jsonl, read_manifest
from speechkit.errors import UserError
from speechkit.io.audio import audio_info, read_audio, write_audio, write_blocks
from speechkit.pipeline import DropRecord, Recipe, outputs, run_recipe
from speechkit.separation import stages, voices
from speechkit.separation.separate import separate
from speechkit.separation.stages import Separate, SeparateConfig, separation_stages
from speechkit.separation.streaming import Windowing
from tests.separation.oracles import SplitSeparator
from tests.separation.test_streaming import talkers

RECIPE = Recipe("separated", separation_stages(1))
SHORT = Windowing(2.0, 0.5)


@pytest.fixture(scope="module")
def separator(tmp_path_factory):
    import torch

    from speechkit.separation.model import new_separator, separator_config

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("separator")
    new_separator(separator_config("mossformer2-tiny")).save_pretrained(folder)
    return folder


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for index, seconds in enumerate((1.0, 0.4, 0.7)):
        waveform = talkers(seconds, 16_000, seed=index).sum(0)
        write_audio(tmp_path / f"{index}.wav", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=f"talk/{index}",
                audio_filepath=f"{index}.wav",
                offset_samples=1600,
                num_samples=len(waveform) - 1600,
                sample_rate=16_000,
                custom={"mixture": {"sources": ["a.wav", "b.wav"]}, "session": "one"},
            )
        )
    write_audio(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    (tmp_path / "broken.wav").write_text("no sound")
    rows += [
        Utterance.from_samples(id=name, audio_filepath=f"{name}.wav", num_samples=8000, sample_rate=16_000)
        for name in ("silent", "broken")
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def run(manifest, separator, exp, **options):
    arguments = {"manifest": str(manifest), "separator": str(separator), "separate": {"speakers": 2}}
    return run_recipe(RECIPE, exp, arguments=arguments, quiet=True, device="cpu", **options)


def test_tracks_are_linked_to_their_mixtures_and_others_are_dropped_with_reasons(
    manifest, separator, tmp_path, monkeypatch
):
    monkeypatch.setattr(stages, "BLOCK_SAMPLES", 4000)  # several, and a shorter last one
    assert run(manifest, separator, tmp_path / "exp") == 0
    folder = outputs(RECIPE, tmp_path / "exp", "tracks")
    rows = list(read_manifest(folder / "tracks.jsonl"))
    assert [row.id for row in rows] == [f"talk/{index}_source{track}" for index in range(3) for track in (1, 2)]
    assert all(row.custom["session"] == "one" and "mixture" not in row.custom for row in rows)
    assert rows[1].custom["recording"] == "talk/0"
    assert rows[1].custom["separated"] == {"mixture": "0.wav", "track": 2, "speakers": 2, "confidence": None}
    whole = read_audio(manifest.parent / "0.wav")
    expected = separate(whole[1600:], 16_000, model=separator, speakers=2, device="cpu").tracks
    for row, track in zip(rows, expected, strict=False):
        path = folder / row.audio_filepath
        assert audio_info(path).num_samples == row.num_samples == 14_400
        np.testing.assert_allclose(read_audio(path), track, atol=1e-4)
    drops = read_jsonl(outputs(RECIPE, tmp_path / "exp", "separate") / "drops.jsonl", DropRecord)
    assert {drop.id: drop.reason for drop in drops} == {"silent": "nobody_speaks", "broken": "unreadable_audio"}


@pytest.mark.slow
def test_every_backend_and_a_resume_give_the_same_bytes(manifest, separator, tmp_path):
    found = []
    for exp, options in (("one", {}), ("two", {"backend": "pool", "workers": 2})):
        assert run(manifest, separator, tmp_path / exp, **options) == 0
        folder = outputs(RECIPE, tmp_path / exp, "tracks")
        found.append({path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix == ".flac"})
        found[-1]["tracks.jsonl"] = (folder / "tracks.jsonl").read_bytes()
    assert found[0] == found[1]
    assert len(found[0]) == 7


def test_rows_of_one_id_are_refused_before_any_work(manifest, separator, tmp_path):
    row = next(read_manifest(manifest))
    write_manifest(manifest, [row, row])
    with pytest.raises(UserError, match="talk/0"):
        run(manifest, separator, tmp_path / "exp")


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker that separates two speakers without a network or an encoder."""
    frames = np.zeros((1, 2), np.float32)
    monkeypatch.setattr(voices, "_encoder", lambda: SimpleNamespace(encode=lambda _: frames))
    made = Separate(SeparateConfig(speakers=2))
    made.inputs, made.separator, made.windowing = {"manifest": tmp_path / "m.jsonl"}, SplitSeparator(1000), SHORT
    return made


def row_of(samples):
    return Utterance.from_samples(id="a", audio_filepath="a.wav", num_samples=samples, sample_rate=1000)


def test_a_long_row_takes_no_more_memory_than_a_short_one(worker, tmp_path):
    noise = np.random.default_rng(0).normal(scale=0.1, size=60_000).astype(np.float32)

    def most(minutes):
        write_blocks(tmp_path / "a.wav", [noise] * minutes, 1000)
        tracemalloc.start()
        ((first, second),) = worker.process([row_of(minutes * len(noise))])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert first.record.num_samples == len(second.arrays["waveform"]) == minutes * len(noise)
        return peak

    assert most(40) - most(5) < 35 * len(noise) * 4  # not even the recording itself


def test_a_row_without_samples_is_dropped(worker, tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(1000), 1000)
    (dropped,) = worker.process([row_of(0)])
    assert dropped.reason == "nobody_speaks"
