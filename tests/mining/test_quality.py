"""The sound of a sentence: what is put into it is found in its columns, and bounds leave rows out by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from speechkit.data.manifest import read_jsonl, write_jsonl
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.mining import mine
from speechkit.mining.config import ExportConfig
from speechkit.mining.export.sound import SentenceQuality, likeness, measured_sound, within_bounds
from speechkit.mining.lookup import RecordLookup
from speechkit.mining.quality import bandwidth_hertz, clipped_share, snr_decibels, sound_quality
from speechkit.pipeline import DropRecord

SAMPLE = Path(__file__).resolve().parents[2] / "recipes/mining/sample"
RATE = 16000


@pytest.fixture(scope="module")
def speech(shared_data):
    """Ten seconds of one reader, with the pauses between two sentences."""
    files = sorted((shared_data / "LibriSpeech/dev-clean/84/121550").glob("*.mp3"))[:2]
    return np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])[: 10 * RATE]


@pytest.mark.parametrize("wanted", [5.0, 15.0, 25.0])
def test_the_estimate_of_the_noise_is_near_the_noise_that_was_added(speech, wanted: float) -> None:
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    noise *= np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-wanted / 20)
    assert abs(snr_decibels(speech + noise, speech + noise, RATE) - wanted) < 2.5


def test_silence_and_digital_silence_have_numbers() -> None:
    found = sound_quality(np.zeros(1600, np.float32), np.zeros(1600, np.float32), RATE, "")
    assert (found.snr_db, found.bandwidth_hz, found.clipped, found.characters_per_second) == (0.0, 0.0, 0.0, 0.0)
    assert sound_quality(np.ones(5, np.float32), np.ones(5, np.float32), RATE, "a").bandwidth_hz >= 0


@pytest.mark.parametrize("band", [1500, 3500, 7000])
def test_the_bandwidth_is_that_of_what_the_sound_went_through(band: int) -> None:
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    narrow = soxr.resample(soxr.resample(noise, RATE, 2 * band), 2 * band, RATE)
    assert 0.85 * band < bandwidth_hertz(narrow, RATE) < 1.1 * band


@pytest.mark.parametrize("rate", [8000, 48000])
def test_only_what_is_cut_off_counts_as_clipped(rate: int) -> None:
    time = np.arange(2 * rate) / rate
    wave = (0.5 * np.sin(2 * np.pi * 180 * time) * (1 + 0.3 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)
    assert clipped_share(wave) < 0.01
    cut = np.clip(wave, -0.4, 0.4)
    assert abs(clipped_share(cut) - np.mean(np.abs(wave) > 0.4)) < 0.02
    assert clipped_share(0.3 * cut) == pytest.approx(clipped_share(cut), abs=1e-3)  # made quieter afterwards


def test_likeness_is_the_cosine_with_the_mean_of_the_others() -> None:
    numbers = np.random.default_rng(0)
    made = [vector / np.linalg.norm(vector) for vector in numbers.standard_normal((6, 8)).astype(np.float32)]
    found = likeness([made[0], None, *made[1:]], [True] * 7)
    assert found[1] is None
    for at, value in enumerate(found[:1] + found[2:]):
        mean = np.mean([other for place, other in enumerate(made) if place != at], axis=0)
        assert value == pytest.approx(made[at] @ mean / np.linalg.norm(mean), abs=1e-4)
    assert likeness([*made[:3], None], [True] * 4) == [None] * 4
    # A rejected sentence is compared with the kept ones, and none of them with it.
    rejected = likeness(made, [True] * 5 + [False])
    assert rejected[:5] == likeness(made[:5], [True] * 5)
    mean = np.mean(made[:5], axis=0)
    assert rejected[5] == pytest.approx(made[5] @ mean / np.linalg.norm(mean), abs=1e-4)


class ListedDrops:
    """The part of a stage's context that measuring needs."""

    def __init__(self, config: ExportConfig) -> None:
        self.config, self.drops, self.logged = config, [], []

    def drop(self, name: str, reason: str, detail: str) -> None:
        self.drops.append((name, reason, detail))

    def log(self, line: str) -> None:
        self.logged.append(line)


@pytest.mark.slow
def test_second_voice_leaves_a_sentence_out_unless_a_curator_accepted_it(shared_data, tmp_path: Path) -> None:
    pytest.importorskip("resemblyzer")
    readers = [sorted((shared_data / f"LibriSpeech/dev-clean/{name}").rglob("*.mp3"))[:12] for name in ("84", "1272")]
    own, others = ([soundfile.read(file, dtype="float32")[0][: 5 * RATE] for file in files] for files in readers)
    second = np.resize(others[0], len(own[2]))
    own[2] = own[2] + second * np.sqrt(np.mean(own[2] ** 2) / np.mean(second**2))
    own[4] = others[1]
    soundfile.write(tmp_path / "talk.wav", np.concatenate(own), RATE)
    starts = np.cumsum([0, *map(len, own)])
    rows = [
        Utterance.from_samples(
            id=str(at), audio_filepath="talk.wav", offset_samples=int(starts[at]), num_samples=len(sound),
            sample_rate=RATE, text="words", custom={"recording": "talk"},
        )
        for at, sound in enumerate(own)
    ]  # fmt: skip
    measuring = ListedDrops(ExportConfig(min_voice=0.8))
    write_jsonl(tmp_path / "quality.jsonl", measured_sound(rows, tmp_path, measuring))
    quality = RecordLookup(tmp_path / "quality.jsonl", SentenceQuality)
    kept = list(within_bounds(rows, quality, measuring, {"4": "accepted"}))
    assert {row.id for row in kept} == {str(at) for at in range(12)} - {"2"}
    assert [(name, reason) for name, reason, _ in measuring.drops] == [("2", "low_quality")]
    assert "voice is" in measuring.drops[0][2]
    voices = {row.id: row.custom["voice"] for row in kept if "voice" in row.custom}
    assert set(voices) == {row.id for row in kept if row.duration >= 2.5}
    assert voices.pop("4") < 0.7
    assert min(voices.values()) > 0.8


def test_bounds_leave_out_by_column_and_an_edited_text_gets_its_own_pace(tmp_path: Path) -> None:
    def row(name: str, **custom: object) -> Utterance:
        return Utterance.from_samples(
            id=name, audio_filepath="a.wav", offset_samples=0, num_samples=2 * RATE, sample_rate=RATE,
            text="four score years", custom=custom,
        )  # fmt: skip

    rows = [row("good", character_errors=0.01), row("bad", character_errors=0.05), row("unknown"),
            row("accepted", character_errors=0.09), row("edited", curator="edited")]  # fmt: skip
    write_jsonl(tmp_path / "q.jsonl", [SentenceQuality(row.id, {"characters_per_second": 3.0}) for row in rows])
    measuring = ListedDrops(ExportConfig(max_character_errors=0.03))
    quality = RecordLookup(tmp_path / "q.jsonl", SentenceQuality)
    kept = {row.id: row.custom for row in within_bounds(rows, quality, measuring, {"accepted"})}
    assert list(kept) == ["good", "unknown", "accepted", "edited"]
    assert measuring.drops == [("bad", "low_quality", "bad: character_errors is 0.05, over 0.03")]
    assert kept["good"] == {"character_errors": 0.01, "characters_per_second": 3.0}
    assert kept["edited"]["characters_per_second"] == 7.0


@pytest.mark.parametrize(("setting", "module"), [("voice=true", "resemblyzer"), ("min_dnsmos=3", "speechmos.dnsmos")])
def test_missing_extra_is_named_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"{module} is not installed"):
        mine(SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out", overrides=[f"export.{setting}"])
    assert not list((tmp_path / "out").glob("stages/0*"))


def test_every_kept_sentence_has_columns_and_bounds_leave_out_by_name(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    truth = json.loads((SAMPLE / "truth.json").read_text())
    for name, sentences in truth.items():
        words = []
        for sentence in sentences:
            said = sentence["text"].split()
            edges = np.linspace(sentence["start"], sentence["end"], len(said) + 1)
            words += [{"word": w, "start": a, "end": b} for w, a, b in zip(said, edges, edges[1:], strict=False)]
        (tmp_path / f"words/{name}.json").write_text(json.dumps({"words": words}))
    settings = {"recognizer": f"words:{tmp_path / 'words'}"}
    mined = mine(SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out", overrides=["regions.vad=energy"], **settings)
    rows = list(mined.utterances())
    for row in rows:
        assert row.custom is not None
        assert 0 <= row.custom["snr_db"] <= 100
        assert 1000 < row.custom["bandwidth_hz"] <= row.sample_rate / 2
        assert 5 < row.custom["characters_per_second"] < 30
    assert "signal to noise (dB, estimated)" in (tmp_path / "out/README.md").read_text()
    bound = float(np.median([row.custom["snr_db"] for row in rows]))
    overrides = ["regions.vad=energy", f"export.min_snr_db={bound}"]
    louder = mine(SAMPLE / "audio", SAMPLE / "documents", tmp_path / "out", overrides=overrides, **settings)
    kept = {row.id for row in louder.utterances()}
    assert kept == {row.id for row in rows if row.custom["snr_db"] >= bound}
    dropped = [drop for drop in read_jsonl(tmp_path / "out/left_out.jsonl", DropRecord) if drop.reason == "low_quality"]
    assert {drop.id for drop in dropped} == {row.id for row in rows} - kept
    assert all(f"under {bound:g}" in drop.detail for drop in dropped)
