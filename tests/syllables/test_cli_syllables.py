"""From recordings to syllables and scores, by the command."""

import json

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from speechkit.cli.main import call
from speechkit.cli.syllables import app
from speechkit.data import Utterance, read_manifest, write_manifest
from speechkit.data.audio import read_waveform
from speechkit.data.records import AlignmentItem
from speechkit.encoders.load import load_encoder
from speechkit.errors import UserError
from speechkit.io.audio import write_audio
from speechkit.syllables.recordings import thresholds_from_recordings
from speechkit.syllables.thresholds import Thresholds
from tests.syllables.references import greedy_as_released


def bursts(seconds, seed=0):
    """Bursts of filtered noise a quarter of a second apart, with a pause after every third."""
    random = np.random.default_rng(seed)
    waveform = 1e-4 * random.standard_normal(round(seconds * 16_000))
    for number, begin in enumerate(range(1600, len(waveform) - 3200, 4000)):
        if number % 4 < 3:
            tone = np.sin(2 * np.pi * random.uniform(200, 3000) * np.arange(2880) / 16_000)
            waveform[begin : begin + 2880] += 0.3 * np.hanning(2880) * tone
    return waveform.astype(np.float32)


@pytest.fixture
def manifest(tmp_path):
    rows = []
    for index, seconds in enumerate((3.0, 5.0, 31.0, 0.01)):
        waveform = bursts(seconds, index)
        write_audio(tmp_path / f"{index}.wav", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=f"u{index}", audio_filepath=f"{index}.wav", num_samples=len(waveform), sample_rate=16_000
            )
        )
    (tmp_path / "4.wav").write_text("no audio at all")
    rows.append(Utterance.from_samples(id="u4", audio_filepath="4.wav", num_samples=16_000, sample_rate=16_000))
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def syllables(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.mark.parametrize("segmenter", ["greedy", "dynamic", "peaks", "envelope"])
def test_every_segmenter_cuts_a_manifest_and_says_what_it_left_out(manifest, tmp_path, segmenter):
    out = tmp_path / "deep" / "out"
    chosen = ["--segmenter", segmenter, *([] if segmenter == "envelope" else ["--encoder", "mfcc"])]
    told = json.loads(syllables(manifest, *chosen, "--textgrid", "--out", out, "--json"))
    rows = {row.id: row for row in read_manifest(out / "syllables.jsonl")}
    assert set(rows) == {"u0", "u1", "u2", "u3"}
    assert list(told["dropped"]) == ["u4"] == list(json.loads((out / "dropped.json").read_text()))
    assert told["segments"] == sum(len(row.alignment["syllable"]) for row in rows.values()) > 40
    assert rows["u3"].alignment["syllable"] == []
    for row in rows.values():
        assert (out / row.audio_filepath).is_file()
        ends = [item.start + item.duration for item in row.alignment["syllable"]]
        assert all(end <= row.duration + 1e-9 for end in ends)
        assert (out / "textgrids" / f"{row.id}.TextGrid").is_file()
    if segmenter == "envelope":
        assert 6 <= len(rows["u0"].alignment["syllable"]) <= 12


def test_thresholds_are_stored_and_refuse_another_encoder(manifest, tmp_path, capsys):
    path = tmp_path / "t.json"
    assert "norm" in syllables("thresholds", manifest, "--encoder", "mfcc", "--out", path)
    assert Thresholds.load(path).encoder.model
    greedy = ["--segmenter", "greedy", "--thresholds", path]
    syllables(manifest, "--encoder", "mfcc", *greedy, "--out", tmp_path / "a")
    assert not (tmp_path / "a" / "thresholds.json").exists()
    arguments = [manifest, "--encoder", "log-mel", *greedy, "--out", tmp_path / "b"]
    assert call(["syllables", *map(str, arguments)]) == 2
    assert "use features of the same encoder" in capsys.readouterr().err


def test_channels_of_a_recording_are_cut_one_by_one(tmp_path):
    import soundfile

    stereo = np.stack([bursts(2.0, 1), bursts(2.0, 2)], axis=1)
    soundfile.write(tmp_path / "talk.wav", stereo, 16_000)
    syllables(tmp_path / "talk.wav", "--segmenter", "envelope", "--out", tmp_path / "out")
    rows = list(read_manifest(tmp_path / "out" / "syllables.jsonl"))
    assert [(row.id, row.channel) for row in rows] == [("talk-channel1", 0), ("talk-channel2", 1)]


def labelled(path, rows, shift=0.0, symbols=("a", "b")):
    """A manifest with a tier of a second's syllables, moved by some seconds."""
    made = []
    for name in rows:
        items = [AlignmentItem(symbols[n % len(symbols)], 0.2 * n + 0.1 + shift, 0.2) for n in range(4)]
        row = Utterance.from_samples(id=name, audio_filepath=f"{name}.wav", num_samples=16_000, sample_rate=16_000)
        made.append(msgspec.structs.replace(row, alignment={"syllable": items}, speaker=name[0]))
    write_manifest(path, made)
    return path


def test_peaks_take_everything_for_speech(tmp_path, manifest):
    options = [manifest, "--encoder", "log-mel", "--segmenter", "peaks", "--json"]
    speech = json.loads(syllables(*options, "--out", tmp_path / "all"))
    assert speech["segment_seconds"] == pytest.approx(speech["seconds"], abs=0.02 * speech["items"])


def test_scores_of_all_protocols_with_and_without_the_tuned_shift(tmp_path):
    reference = labelled(tmp_path / "r.jsonl", ["x1", "x2", "y1"])
    late = labelled(tmp_path / "h.jsonl", ["x1", "x2", "y1"], 0.04, ("7", "9"))
    told = json.loads(
        syllables("score", reference, late, "--tolerance", 0.01, "--tune", reference, late, "--by-speaker", "--json")
    )
    found = {(of["protocol"], round(of["shift_seconds"], 3)): of for of in told["scores"]}
    assert list(found) == [("sdhubert", 0), ("sdhubert", 0.03), ("zerosyl", 0), ("plain", 0), ("plain", 0.03)]
    assert found["plain", 0]["boundaries"]["f1"]["value"] == 0
    assert found["plain", 0.03]["boundaries"]["f1"]["value"] == 1
    assert found["plain", 0.03]["boundaries"]["f1"]["interval"]["units"] == 2
    assert [of["pairing"] for of in told["purity"]] == ["hungarian", "overlap"]
    assert told["purity"][0]["syllable_purity"]["value"] == 1
    shown = syllables("score", reference, reference, "--resamples", 0)
    assert "plain, 50 ms, shift +0 ms, 15 boundaries" in shown
    assert "r_value         100.0" in shown


def test_missing_recordings_tiers_and_choices_are_told(tmp_path, manifest, capsys):
    reference = labelled(tmp_path / "r.jsonl", ["x1", "x2"])
    part = labelled(tmp_path / "h.jsonl", ["x1", "z9"])
    envelope = [manifest, "--segmenter", "envelope", "--out", tmp_path / "o"]
    for arguments, message in (
        (["score", reference, part], "lacks 1 of 2 recordings"),
        (["score", reference, reference, "--tier", "phone"], "no tier 'phone' in its alignment (tiers: syllable)"),
        (["score", reference, reference, "--protocol", "timit"], "choose sdhubert, zerosyl, plain"),
        ([manifest], "--out is not given"),
        ([manifest, "--segmenter", "mincut", "--out", tmp_path / "o"], "choose greedy, dynamic, peaks or envelope"),
        ([tmp_path / "none.wav", "--segmenter", "envelope", "--out", tmp_path / "o"], "none.wav"),
        ([*envelope, "--norm", 2], "takes no such option; leave it"),
        ([*envelope, "--encoder", "mfcc"], "--encoder mfcc: the segmenter envelope takes no encoder"),
        ([*envelope, "--layer", 2], "--layer 2: the segmenter envelope takes no encoder"),
        ([*envelope, "--compat"], "--compat: the segmenter envelope has no rule"),
        ([manifest, "--merge", 0.5, "--segmenter", "dynamic", "--out", tmp_path / "o"], "takes --norm and --penalty"),
    ):
        assert call(["syllables", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_recordings_that_cannot_be_read_are_left_out_and_the_others_cut(tmp_path, capsys):
    good = tmp_path / "good.wav"
    write_audio(good, bursts(3.0), 16_000)
    write_audio(tmp_path / "clipped.wav", 50 * bursts(3.0), 16_000)
    (tmp_path / "torn.wav").write_text("no audio at all")
    files = [tmp_path / "clipped.wav", tmp_path / "gone.wav", tmp_path / "torn.wav"]
    for segmenter in ("greedy", "envelope"):
        out = tmp_path / segmenter
        chosen = ["--segmenter", segmenter, *([] if segmenter == "envelope" else ["--encoder", "mfcc"])]
        told = json.loads(syllables(good, *files, *chosen, "--out", out, "--json"))
        assert [row.id for row in read_manifest(out / "syllables.jsonl")] == ["good", "clipped"]
        assert list(told["dropped"]) == [str(files[1]), str(files[2])]
        assert told["noted"] == {"clipped": ["clipped audio"]}
    assert call(["syllables", *map(str, files[1:]), "--segmenter", "envelope", "--out", str(tmp_path / "none")]) == 2
    assert "none of 2 recordings could be processed" in capsys.readouterr().err


def test_compat_cuts_raw_frames_by_the_constants_of_the_released_code(manifest, tmp_path):
    chosen = ["--encoder", "mfcc", "--segmenter", "greedy", "--compat", "--out", tmp_path / "out"]
    syllables(manifest, *chosen)
    assert not (tmp_path / "out" / "thresholds.json").exists()
    encoder = load_encoder("mfcc")
    for row in read_manifest(tmp_path / "out" / "syllables.jsonl"):
        if row.duration < 10:
            frames = encoder.encode(read_waveform(row, tmp_path / "out" / "syllables.jsonl"))
            wanted = [0.02 * start for start, _ in greedy_as_released(frames, 2.6, 0.8)]
            assert [item.start for item in row.alignment["syllable"]] == pytest.approx(wanted)


def test_a_rate_that_the_file_does_not_have_is_left_out(manifest, tmp_path, capsys):
    rows = [msgspec.structs.replace(row, sample_rate=8000) for row in read_manifest(manifest) if row.id in ("u0", "u1")]
    write_manifest(tmp_path / "half.jsonl", rows)
    arguments = ["--segmenter", "envelope", "--out", str(tmp_path / "out")]
    assert call(["syllables", str(tmp_path / "half.jsonl"), *arguments]) == 2
    assert "the manifest says 8000 Hz and the file has 16000 Hz" in capsys.readouterr().err


def test_a_manifest_without_rows_and_thresholds_that_nothing_takes_are_refused(tmp_path, capsys):
    write_manifest(tmp_path / "empty.jsonl", [])
    arguments = ["syllables", str(tmp_path / "empty.jsonl"), "--segmenter", "envelope", "--out", str(tmp_path / "out")]
    assert call(arguments) == 2
    assert "holds no recordings" in capsys.readouterr().err
    assert call([*arguments, "--thresholds", str(tmp_path / "t.json")]) == 2
    assert "the segmenter envelope has none" in capsys.readouterr().err


def test_thresholds_leave_out_recordings_whose_frames_are_not_finite(manifest):
    real = load_encoder("mfcc")

    class Broken:
        """Frames of one recording, the one of five seconds, are NaN."""

        spec = real.spec

        def encode(self, waveform):
            frames = real.encode(waveform)
            return np.full_like(frames, np.nan) if len(waveform) == 5 * 16_000 else frames

    assert np.isfinite(thresholds_from_recordings(Broken(), [manifest]).merge)
    one = manifest.parent / "one.jsonl"
    write_manifest(one, [row for row in read_manifest(manifest) if row.id == "u1"])
    with pytest.raises(UserError, match=r"u1: frame 0.*contains NaN"):
        thresholds_from_recordings(Broken(), [one])
