"""Claims about cutting at pauses: stretches are those of the sound, in whole samples of the file's own rate."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.data import Utterance
from speechkit.data.audio import read_waveform
from speechkit.io.audio import write_audio
from speechkit.mining.pauses import CutAtPauses, PausesConfig, stretch
from speechkit.pipeline import Drop


def worker(folder, **settings):
    made = CutAtPauses(PausesConfig(vad="energy", **settings))
    made.inputs = {"manifest": folder / "all.jsonl", "train_manifest": folder / "all.jsonl"}
    made.setup("cpu")
    return made


def row_of(folder, name, waveform, rate, **fields):
    write_audio(folder / f"{name}.wav", waveform.astype(np.float32), rate)
    return Utterance.from_samples(
        id=name, audio_filepath=f"{name}.wav", num_samples=len(waveform), sample_rate=rate, speaker="s", **fields
    )


def bursts(rate, spans, seconds, random):
    sound = random.normal(0, 1e-4, round(seconds * rate))
    for begin, end in spans:
        times = np.arange(round((end - begin) * rate)) / rate
        sound[round(begin * rate) : round(begin * rate) + len(times)] += 0.3 * np.sin(2 * np.pi * 300 * times)
    return sound


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_each_stretch_between_pauses_is_a_row_where_it_sounds(rate, tmp_path):
    spans = [(0.5, 1.7), (2.2, 3.0), (3.1, 4.0)]
    row = row_of(tmp_path, "a", bursts(rate, spans, 5, np.random.default_rng(0)), rate, custom={"part": "train"})
    found = worker(tmp_path, pad_seconds=0).process([row])[0]
    assert [each.id for each in found] == ["a-0000", "a-0001"]
    for each, (begin, end) in zip(found, [(0.5, 1.7), (2.2, 4.0)], strict=True):
        assert each.offset == pytest.approx(begin, abs=0.05)
        assert each.offset + each.duration == pytest.approx(end, abs=0.05)
        assert each.custom == {"part": "train", "cut_from": "a", "start": each.offset}
        assert each.speaker == "s"
        heard = read_waveform(each, tmp_path / "all.jsonl")
        assert np.abs(heard).max() > 0.2


def test_a_cut_of_a_row_that_is_itself_a_cut_lies_inside_it(tmp_path):
    sound = bursts(16_000, [(0.5, 1.5), (3.0, 4.0)], 5, np.random.default_rng(1))
    row = row_of(tmp_path, "a", sound, 16_000)
    later = Utterance.from_samples(
        id="b", audio_filepath="a.wav", offset_samples=40_000, num_samples=40_000, sample_rate=16_000
    )
    found = worker(tmp_path).process([row, later])
    assert [len(each) for each in found] == [2, 1]
    assert found[1][0].offset == pytest.approx(found[0][1].offset, abs=0.05)
    assert found[1][0].custom["start"] == pytest.approx(0.5, abs=0.1)
    assert found[1][0].offset_samples + found[1][0].num_samples <= 80_000


def test_stretches_never_leave_their_row():
    row = Utterance.from_samples(id="a", audio_filepath="a.wav", num_samples=22_051, sample_rate=22_050)
    whole = stretch(row, 0, 16_001, 0)
    assert (whole.offset_samples, whole.num_samples) == (0, 22_051)


def test_silence_and_what_cannot_be_read_are_named(tmp_path):
    silent = row_of(tmp_path, "a", np.zeros(32_000), 16_000)
    gone = Utterance.from_samples(id="b", audio_filepath="b.wav", num_samples=16_000, sample_rate=16_000)
    found = worker(tmp_path).process([silent, gone])
    assert [each.reason for each in found if isinstance(each, Drop)] == ["no_speech", "unreadable_audio"]


def test_short_stretches_are_left_out(tmp_path):
    sound = bursts(16_000, [(0.5, 0.8), (2.0, 3.0)], 4, np.random.default_rng(2))
    row = row_of(tmp_path, "a", sound, 16_000)
    assert len(worker(tmp_path).process([row])[0]) == 1
    assert len(worker(tmp_path, min_speech_seconds=0.2).process([row])[0]) == 2
