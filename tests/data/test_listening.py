import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.cli.main import call
from speechkit.data import Utterance, read_manifest, write_manifest
from speechkit.data.audio import cut_blocks, read_cut, why_unreadable
from speechkit.data.check import check_manifest
from speechkit.data.listening import BEYOND, CLIPPED, SILENT, clipped_samples, sound_notes
from speechkit.errors import AudioError
from speechkit.io.audio import read_audio, write_audio


@pytest.fixture(scope="module")
def speech(shared_data):
    return read_audio(sorted((shared_data / "LJSpeech-1.1/wavs").glob("*.flac"))[0])


def obvious(waveform):
    """Flat tops, sample by sample."""
    peak, count, begin = np.abs(waveform).max(), 0, 0
    while begin < len(waveform):
        end = begin
        while end + 1 < len(waveform) and waveform[end + 1] == waveform[begin]:
            end += 1
        before = abs(waveform[begin] - waveform[begin - 1]) if begin else 0
        after = abs(waveform[end + 1] - waveform[end]) if end + 1 < len(waveform) else 0
        steep = max(before, after) >= np.float32(0.005) * peak
        if peak >= 0.1 and end - begin >= 2 and abs(waveform[begin]) >= 0.98 * peak and steep:
            count += end - begin + 1
        begin = end + 1
    return count


@settings(max_examples=200)
@given(st.lists(st.sampled_from([-1.0, -0.99, -0.5, 0.0, 0.05, 0.985, 0.99, 1.0]), max_size=40))
def test_flat_tops_are_those_of_a_plain_loop(samples):
    waveform = np.array(samples, np.float32)
    assert clipped_samples(waveform) == (obvious(waveform) if len(waveform) else 0)


def test_clipped_speech_is_told_from_loud_speech_and_low_tones(speech):
    assert sound_notes([speech / np.abs(speech).max()]) == []
    for factor in (5, 20, 100):
        clipped = np.clip(factor * speech / np.abs(speech).max(), -1, 1)
        assert sound_notes([clipped]) == [CLIPPED]
        assert sound_notes([0.4 * clipped]) == [CLIPPED]
        assert sound_notes(np.array_split(clipped, 3)) == [CLIPPED]
    low = np.round(32767 * 0.5 * np.sin(2 * np.pi * 40 * np.arange(16_000) / 16_000)) / 32768
    assert sound_notes([low.astype(np.float32)]) == []
    assert sound_notes([np.round(200 * speech / np.abs(speech).max()).astype(np.float32) / 32768]) == []


def test_silence_and_numbers_beyond_full_scale_are_told(speech):
    assert sound_notes([np.zeros(16_000, np.float32)]) == [SILENT]
    assert sound_notes([30 * speech]) == [BEYOND]
    assert sound_notes([]) == []


def test_a_manifest_is_checked_down_to_its_samples(tmp_path, speech, capsys):
    torn = np.zeros(48_000, np.float32)
    waveforms = {"good": 0.9 * speech / np.abs(speech).max(), "clip": np.clip(50 * speech, -1, 1), "still": torn}
    rows = []
    for name, waveform in waveforms.items():
        write_audio(tmp_path / f"{name}.wav", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=name,
                audio_filepath=f"{name}.wav",
                num_samples=len(waveform),
                sample_rate=16_000,
                text="a",
                speaker="s",
            )
        )
    write_manifest(tmp_path / "m.jsonl", rows)
    assert check_manifest(tmp_path / "m.jsonl").notes == {}
    report = check_manifest(tmp_path / "m.jsonl", samples=True)
    assert report.ok
    assert report.notes == {CLIPPED: 1, SILENT: 1}
    assert [example.split(" is ")[0] for example in report.examples] == [
        f"{tmp_path / 'm.jsonl'}:{line}: '{name}'" for line, name in ((2, "clip"), (3, "still"))
    ]
    assert call(["manifest", "check", str(tmp_path / "m.jsonl"), "--samples"]) == 0
    assert "'clip' is clipped audio" in capsys.readouterr().out


def test_a_piece_of_a_cut_is_that_of_its_file_and_a_wrong_rate_is_refused(tmp_path):
    waveform = np.linspace(-0.5, 0.5, 16_000, dtype=np.float32)
    write_audio(tmp_path / "a.wav", waveform, 8000)
    row = Utterance.from_samples(
        id="a", audio_filepath="a.wav", offset_samples=1000, num_samples=9000, sample_rate=8000
    )
    whole = read_cut(tmp_path / "a.wav", row)
    np.testing.assert_array_equal(whole, read_audio(tmp_path / "a.wav", sample_rate=None)[1000:10_000])
    np.testing.assert_array_equal(read_cut(tmp_path / "a.wav", row, begin=500, num_samples=20), whole[500:520])
    np.testing.assert_array_equal(read_cut(tmp_path / "a.wav", row, begin=8000, num_samples=5000), whole[8000:])
    blocks = list(cut_blocks(tmp_path / "a.wav", row, seconds=1))
    assert [len(block) for block in blocks] == [8000, 1000]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert why_unreadable(tmp_path / "a.wav", row) is None
    assert "No such file" in why_unreadable(tmp_path / "b.wav", row)
    write_manifest(tmp_path / "m.jsonl", [row])
    (other,) = (
        Utterance.from_samples(id=each.id, audio_filepath="a.wav", num_samples=9000, sample_rate=4000)
        for each in read_manifest(tmp_path / "m.jsonl")
    )
    with pytest.raises(AudioError, match=r"manifest says 4000 Hz.*file.*8000 Hz"):
        read_cut(tmp_path / "a.wav", other, sample_rate=16_000)
