"""Claims about `speechkit vocode`: what it writes, what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.cli.main import call
from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.feature_writer import FeatureWriter
from speechkit.encoders.load import load_encoder
from speechkit.io.audio import audio_info, read_audio, write_audio
from speechkit.tts.vocoder.config import EncoderInput, SpeakerConfig, UnitInput, VocoderConfig, VocosConfig
from speechkit.tts.vocoder.vocoder import Vocoder
from speechkit.units.codebook import Codebook
from speechkit.units.quantizers import unit_sets
from speechkit.units.sequences import UnitSequence

GENERATOR = VocosConfig(width=16, inner=16, layers=1)
SPEAKER = SpeakerConfig(width=8, inner=8, layers=1, dim=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A recording, a manifest, vocoders of mel frames, of log-mel encoder frames and of units of these."""
    folder = tmp_path_factory.mktemp("vocode")
    times = np.arange(16_000) / 16_000
    voice = sum(0.1 * np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 9)).astype(np.float32)
    write_audio(folder / "talk.wav", voice, 16_000)
    write_audio(folder / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    rows = [
        Utterance.from_samples(
            id=name, audio_filepath="talk.wav", num_samples=samples, sample_rate=16_000, text="ah", speaker="s"
        )
        for name, samples in (("one", 16_000), ("b/two", 8100))
    ]
    lost = Utterance(id="lost", audio_filepath="lost.wav", duration=1.0, sample_rate=16_000)
    write_manifest(folder / "rows.jsonl", [*rows, lost])
    torch.manual_seed(0)
    Vocoder(VocoderConfig(generator=GENERATOR)).save_pretrained(folder / "mel")
    encoder = load_encoder("log-mel")
    Vocoder(VocoderConfig(input=EncoderInput(encoder.spec), generator=GENERATOR, speaker=SPEAKER)).save_pretrained(
        folder / "frames"
    )
    with FeatureWriter(folder / "store", encoder.spec) as writer:
        writer.add("one", encoder.encode(voice))
    codebook = Codebook(encoder.encode(voice)[:5], encoder.spec)
    codebook.save(folder / "codebook")
    [units] = unit_sets(codebook)
    Vocoder(VocoderConfig(input=UnitInput(units), generator=GENERATOR)).save_pretrained(folder / "units")
    sequence = UnitSequence("one", [3, 0, 4], [5, 1, 2], units.digest)
    (folder / "units.jsonl").write_text(
        json.dumps({"id": "one", "units": [3, 0, 4], "durations": [5, 1, 2], "codebook": sequence.codebook}) + "\n"
    )
    return folder


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = call([*map(str, arguments), "--device", "cpu"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_one_recording_is_made_again_with_its_length_and_the_speed_is_printed(files, tmp_path, capsys):
    out = tmp_path / "again.wav"
    code, said, _ = run(capsys, "vocode", "features", files / "talk.wav", "--vocoder", files / "mel", "--out", out)
    assert code == 0
    assert audio_info(out).num_samples == 16_000
    for name in ("real-time factor", "first audio after (s)", "look-ahead (s)"):
        assert name in said


def test_a_manifest_becomes_clips_and_a_manifest_and_what_is_lost_is_named(files, tmp_path, capsys):
    code, said, errors = run(
        capsys,
        "vocode",
        "features",
        files / "rows.jsonl",
        "--vocoder",
        files / "mel",
        "--out",
        tmp_path / "o",
        "--json",
    )
    assert code == 2
    assert "left out lost" in errors
    assert json.loads(said)["recordings"] == 2
    rows = list(read_manifest(tmp_path / "o" / "manifest.jsonl"))
    assert [(row.id, row.text, row.speaker, row.num_samples) for row in rows] == [
        ("one", "ah", "s", 16_000),
        ("b/two", "ah", "s", 8000),
    ]
    assert all(len(read_audio(tmp_path / "o" / row.audio_filepath)) == row.num_samples for row in rows)


def test_stored_frames_need_a_speaker_and_recordings_have_their_own(files, tmp_path, capsys):
    common = ("--vocoder", files / "frames", "--out", tmp_path / "o")
    code, _, errors = run(capsys, "vocode", "features", files / "store", *common)
    assert code == 2
    assert "needs a speaker; give --speaker RECORDING" in errors
    code, _, _ = run(capsys, "vocode", "features", files / "store", *common, "--speaker", files / "talk.wav")
    assert code == 0
    code, _, _ = run(capsys, "vocode", "features", files / "talk.wav", *common, "--encoder", "log-mel")
    assert code == 0
    code, _, errors = run(capsys, "vocode", "features", files / "store", *common, "--speaker", files / "silent.wav")
    assert code == 2
    assert "the speaker's recording is silent" in errors


def test_frames_of_another_encoder_are_refused_before_anything_is_written(files, tmp_path, capsys):
    code, _, errors = run(
        capsys, "vocode", "features", files / "store", "--vocoder", files / "mel", "--out", tmp_path / "o"
    )
    assert code == 2
    assert "takes log-mel frames, and was given frames of" in errors
    code, _, errors = run(
        capsys,
        "vocode",
        "features",
        files / "talk.wav",
        "--vocoder",
        files / "frames",
        "--out",
        tmp_path / "o",
        "--encoder",
        "mfcc",
    )
    assert code == 2
    assert "the features come from" in errors
    assert not (tmp_path / "o").exists()


def test_units_become_speech_of_their_durations(files, tmp_path, capsys):
    code, _, _ = run(
        capsys,
        *("vocode", "units", files / "units.jsonl", "--codebook", files / "codebook"),
        *("--vocoder", files / "units", "--out", tmp_path / "o"),
    )
    assert code == 0
    assert audio_info(tmp_path / "o" / "one.flac").num_samples == 8 * 320
    code, _, errors = run(
        capsys,
        *("vocode", "units", files / "units.jsonl", "--codebook", files / "codebook"),
        *("--vocoder", files / "mel", "--out", tmp_path / "o"),
    )
    assert code == 2
    assert "takes log-mel frames, and was given units of a codebook of 5" in errors


def test_what_cannot_be_is_one_sentence(files, tmp_path, capsys):
    for arguments, message in (
        ((files / "no.wav",), "no.wav: no such file; give recordings"),
        ((files / "talk.wav", files / "silent.wav"), "is one file, and there are several recordings"),
    ):
        code, _, errors = run(
            capsys, "vocode", "features", *arguments, "--vocoder", files / "mel", "--out", tmp_path / "a.wav"
        )
        assert code == 2
        assert message in errors
        assert not (tmp_path / "a.wav").exists()
    code, _, errors = run(
        capsys, "vocode", "features", files / "talk.wav", "--vocoder", files / "mel", "--out", tmp_path / "a.m4a"
    )
    assert code == 2
    assert ".m4a cannot be written; give a file that ends with .wav" in errors
    write_audio(tmp_path / "short.wav", np.zeros(100, np.float32), 16_000)
    code, _, errors = run(
        capsys, "vocode", "features", tmp_path / "short.wav", "--vocoder", files / "mel", "--out", tmp_path / "b.wav"
    )
    assert code == 2
    assert "none of 1 recordings could be processed" in errors
    code, _, errors = run(
        capsys, "vocode", "features", files / "talk.wav", "--vocoder", tmp_path, "--out", tmp_path / "b.wav"
    )
    assert code == 2
    assert "has no config.json; give the folder of a vocoder" in errors


def test_a_second_recording_of_one_name_is_left_out_and_named(files, tmp_path, capsys):
    other = tmp_path / "talk.wav"
    write_audio(other, np.full(8000, 0.1, np.float32), 16_000)
    out = tmp_path / "out"
    code, _, errors = run(
        capsys, "vocode", "features", files / "talk.wav", other, "--vocoder", files / "mel", "--out", out
    )
    assert code == 2
    assert "left out talk: duplicate id" in errors
    assert [(row.id, row.duration) for row in read_manifest(out / "manifest.jsonl")] == [("talk", 1.0)]


def test_an_item_that_cannot_be_synthesised_is_left_out_and_the_others_are_written(files, tmp_path, capsys):
    row = json.loads((files / "units.jsonl").read_text())
    rows = [{**row, "id": "broken", "units": [3, 9, 4]}, row]
    (tmp_path / "units.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    code, _, errors = run(
        capsys,
        *("vocode", "units", tmp_path / "units.jsonl", "--codebook", files / "codebook"),
        *("--vocoder", files / "units", "--out", tmp_path / "v1.0"),
    )
    assert code == 2
    assert "left out broken" in errors
    assert "knows units 0 to 4, and was given 3 to 9" in errors
    assert [row.id for row in read_manifest(tmp_path / "v1.0" / "manifest.jsonl")] == ["one"]


def test_no_recording_is_replaced_by_its_clip(files, tmp_path, capsys):
    write_audio(tmp_path / "talk.flac", np.full(8000, 0.1, np.float32), 16_000)
    kept = (tmp_path / "talk.flac").read_bytes()
    row = Utterance.from_samples(id="talk", audio_filepath="talk.flac", num_samples=8000, sample_rate=16_000)
    write_manifest(tmp_path / "rows.jsonl", [row])
    for given, out in (("talk.flac", "talk.flac"), ("talk.flac", "."), ("rows.jsonl", ".")):
        code, _, errors = run(
            capsys, "vocode", "features", tmp_path / given, "--vocoder", files / "mel", "--out", tmp_path / out
        )
        assert code == 2
        assert "talk.flac: is an input, and would be replaced" in errors
    assert (tmp_path / "talk.flac").read_bytes() == kept
