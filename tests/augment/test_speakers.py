"""Mixtures of speakers: sums, gains, turns, and batches that are functions of their number."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.augment.rooms import RoomConfig, draw_response, draw_responses
from speechkit.augment.speaker_cuts import ManifestCuts
from speechkit.augment.speakers import PEAK, DynamicMixtures, SpeakerMixing, draw_mixture, level_range, speech_level
from speechkit.augment.waveforms import add_noise, fit_noise
from speechkit.data.audio import read_waveform
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio

RATE = 8000


class Tones:
    """Speakers who hum: each at a frequency of its own, in cuts of two seconds that never pause."""

    sample_rate = RATE

    def __init__(self, speakers: int = 5, seconds: float = 2.0):
        self.speakers = [f"speaker-{number}" for number in range(speakers)]
        self._samples = int(seconds * RATE)

    def choose(self, speaker: int, generator: np.random.Generator) -> int:
        return 2 * speaker + int(generator.integers(2))

    def samples(self, cut: int) -> int:
        return self._samples

    def name(self, cut: int) -> str:
        return f"cut-{cut}"

    def piece(self, cut: int, begin: int, samples: int) -> np.ndarray:
        time = np.arange(begin, min(begin + samples, self._samples)) / RATE
        return (0.1 * np.sin(2 * np.pi * (200 + 100 * (cut // 2)) * time)).astype(np.float32)


DRY = SpeakerMixing(speed=0.0)


def drawn(config: SpeakerMixing, seed: int, samples: int | None = None, cuts: Tones | None = None):
    return draw_mixture(cuts or Tones(), config, np.random.default_rng(seed), samples=samples)


@given(
    seed=st.integers(0, 10_000),
    counts=st.sampled_from([(1.0, 0.0), (0.2, 0.8), (0.1, 0.4, 0.5)]),
    together=st.floats(0, 1),
    level=st.floats(-40, 6),
    noise=st.sampled_from([0.0, 1.0]),
    room=st.sampled_from([0.0, 0.0, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_a_mixture_is_the_sum_of_its_sources_and_noise_to_the_last_bit(seed, counts, together, level, noise, room):
    config = SpeakerMixing(
        seconds=(0.2, 0.6),
        counts=counts,
        together=together,
        level_db=(level, level),
        noise=noise,
        room=room,
        rooms=RoomConfig(reverberation=(0.1, 0.15)),
    )
    mixed = drawn(config, seed)
    assert mixed.mixture.dtype == mixed.sources.dtype == np.float32
    assert np.array_equal(mixed.mixture, mixed.sources.sum(0) + mixed.noise)
    assert np.abs(mixed.mixture).max() <= PEAK + 1e-6
    assert len({turn.speaker for turn in mixed.turns}) == len(mixed.turns)
    for source, turn in zip(mixed.sources, mixed.turns, strict=False):
        assert source[turn.begin : turn.end].any()
    assert not mixed.sources[len(mixed.turns) :].any()
    assert mixed.noise.any() == bool(noise)


@given(
    seed=st.integers(0, 10_000), count=st.integers(2, 3), overlap=st.floats(-0.45, 1.0), samples=st.integers(800, 9000)
)
@settings(max_examples=80, deadline=None)
def test_turns_overlap_by_the_share_that_is_asked_for(seed, count, overlap, samples):
    counts = tuple(float(number == count) for number in range(1, 4))
    config = SpeakerMixing(counts=counts, together=0.0, overlap=(overlap, overlap), speed=0.0)
    turns = drawn(config, seed, samples).turns
    assert turns[0].begin == 0
    assert turns[-1].end == samples
    for before, after in pairwise(turns):
        assert before.end - after.begin == pytest.approx(overlap * samples, abs=2)
        assert after.begin >= before.begin
        assert after.end >= before.end - 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_gains_lead_from_the_recording_to_the_source(seed):
    mixed = drawn(SpeakerMixing(counts=(0.0, 1.0), together=1.0, speed=0.0, seconds=(0.5, 0.5)), seed)
    for source, turn in zip(mixed.sources, mixed.turns, strict=True):
        assert np.abs(source[400:-400]).max() == pytest.approx(0.1 * turn.gain, rel=0.01)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_levels_are_those_asked_for(seed):
    config = SpeakerMixing(counts=(0, 1), together=1, speed=0, level_db=(-30, -25), ratio_db=(2, 4), seconds=(0.5, 0.5))
    mixed = drawn(config, seed)
    levels = sorted(20 * np.log10(speech_level(source, RATE)) for source in mixed.sources)
    assert -30.1 <= levels[1] <= -24.9
    assert 1.8 <= levels[1] - levels[0] <= 4.2


def test_a_lone_speaker_leaves_the_other_tracks_silent():
    mixed = drawn(SpeakerMixing(counts=(1.0, 0.0), speed=0.0), 0)
    assert len(mixed.turns) == 1
    assert np.array_equal(mixed.sources[0], mixed.mixture)
    assert not mixed.sources[1].any()
    assert mixed.overlap == 0.0


def test_noise_is_below_the_speech_by_what_is_asked_for():
    mixed = drawn(SpeakerMixing(noise=1.0, noise_db=(7.0, 7.0), speed=0.0, level_db=(-40, -40)), 3)
    ratio = 10 * np.log10(np.mean(mixed.sources.sum(0) ** 2) / np.mean(mixed.noise**2))
    assert ratio == pytest.approx(7.0, abs=0.01)


def test_short_cuts_follow_one_another_until_a_turn_is_full():
    mixed = drawn(SpeakerMixing(counts=(1.0,), speed=0.0), 0, samples=4 * RATE, cuts=Tones(seconds=0.7))
    (turn,) = mixed.turns
    assert len(turn.cuts) == 6
    assert (np.abs(mixed.mixture.reshape(-1, 80)).max(1)[1:-1] > 0).all()


def test_speed_changes_what_is_said_in_the_same_time():
    config = SpeakerMixing(counts=(1.0,), speed=1.0, speed_range=(1.5, 1.5))
    mixed = drawn(config, 0, samples=RATE, cuts=Tones(1))
    spectrum = np.abs(np.fft.rfft(mixed.mixture))
    assert np.argmax(spectrum) == pytest.approx(300, abs=2)


def test_batches_are_functions_of_their_number():
    config = SpeakerMixing(seconds=(0.2, 0.4), counts=(0.3, 0.7), noise=0.5)
    one, other = (DynamicMixtures(Tones(), config, 3, seed=5) for _ in range(2))
    first = [one[number] for number in range(4)]
    for number in (3, 0, 2, 1):
        again = other[number]
        assert np.array_equal(again.mixtures, first[number].mixtures)
        assert np.array_equal(again.sources, first[number].sources)
    assert first[0].mixtures.shape[0] == 3
    assert first[0].sources.shape == (3, 2, first[0].mixtures.shape[1])
    assert not np.array_equal(DynamicMixtures(Tones(), config, 3, seed=6)[0].mixtures, first[0].mixtures)
    lengths = {batch.mixtures.shape[1] for batch in first}
    assert len(lengths) == 4


def recordings(folder: Path, seconds: float = 1.5) -> list[Utterance]:
    rows = []
    generator = np.random.default_rng(0)
    for speaker in ("anna", "bela"):
        for number in range(2):
            samples = int(seconds * 16_000)
            path = f"{speaker}-{number}.wav"
            write_audio(folder / path, 0.1 * generator.standard_normal(samples), 16_000)
            rows.append(
                Utterance.from_samples(
                    id=f"{speaker}-{number}",
                    audio_filepath=path,
                    offset_samples=1600,
                    num_samples=samples - 3200,
                    sample_rate=16_000,
                    speaker=speaker,
                )
            )
    return rows


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30])
def test_cuts_of_a_manifest_are_those_of_its_audio(tmp_path, memory_bytes):
    rows = recordings(tmp_path)
    cuts = ManifestCuts(rows, tmp_path / "m.jsonl", RATE, memory_bytes)
    assert list(cuts.speakers) == ["anna", "bela"]
    generator = np.random.default_rng(0)
    chosen = {cuts.choose(1, generator) for _ in range(20)}
    assert {cuts.name(cut) for cut in chosen} == {"bela-0", "bela-1"}
    for cut in (0, 3, 0):
        whole = read_waveform(rows[cut], tmp_path / "m.jsonl", sample_rate=RATE)
        assert np.array_equal(cuts.piece(cut, 0, RATE), whole[:RATE])
        assert np.array_equal(cuts.piece(cut, 1000, 10 * RATE), whole[1000:])
        assert cuts.samples(cut) == len(whole)


def test_pieces_of_long_cuts_are_read_where_they_are(tmp_path, monkeypatch):
    rows = recordings(tmp_path)
    monkeypatch.setattr("speechkit.augment.speaker_cuts.LONGEST_KEPT_SECONDS", 0.5)
    cuts = ManifestCuts(rows, tmp_path / "m.jsonl", RATE)
    whole = read_waveform(rows[0], tmp_path / "m.jsonl", sample_rate=RATE)
    for begin, samples in ((0, 400), (3001, 800), (10_000, 900)):
        piece = cuts.piece(0, begin, samples)
        assert piece.shape == whole[begin : begin + samples].shape
        np.testing.assert_allclose(piece, whole[begin : begin + samples], atol=2e-3)


def test_mixtures_of_more_speakers_than_there_are_are_refused(tmp_path):
    cuts = ManifestCuts(recordings(tmp_path), tmp_path / "m.jsonl", RATE)
    with pytest.raises(UserError, match="2 speakers, too few for mixtures of 3"):
        DynamicMixtures(cuts, SpeakerMixing(counts=(0.0, 0.5, 0.5)), 2)
    DynamicMixtures(cuts, SpeakerMixing(counts=(0.5, 0.5, 0.0)), 2)[0]


def test_recordings_without_speakers_are_refused(tmp_path):
    import msgspec

    rows = [msgspec.structs.replace(row, speaker=None) for row in recordings(tmp_path)]
    with pytest.raises(UserError, match="'anna-0' has no speaker"):
        ManifestCuts(rows, tmp_path / "m.jsonl", RATE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap": (0.5, 0.2)}, "overlap"),
        ({"overlap": (-1.0, 0.2)}, "between -0.9 and 1"),
        ({"counts": (0.0, 0.0)}, "one of them above 0"),
        ({"seconds": (0.0, 1.0)}, "at least 0.1"),
        ({"speed_range": (0.1, 1.0)}, "between 0.25 and 4"),
        ({"ratio_db": (-5.0, 5.0)}, "begin at 0"),
    ],
)
def test_impossible_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        SpeakerMixing(**changes)


def test_pauses_tell_quiet_recordings_from_noisy_ones():
    generator = np.random.default_rng(0)
    speech = 0.1 * generator.standard_normal(4 * RATE)
    speech[RATE : 2 * RATE] = 0
    clean = speech + 1e-4 * generator.standard_normal(4 * RATE)
    noisy = speech + 2e-2 * generator.standard_normal(4 * RATE)
    assert level_range([clean.astype(np.float32)], RATE) == pytest.approx(60, abs=2)
    assert level_range(np.array_split(noisy.astype(np.float32), 4), RATE) == pytest.approx(14, abs=2)
    assert level_range([np.zeros(RATE, np.float32)], RATE) is None
    assert level_range([], RATE) is None


def test_one_speaker_of_a_room_hears_what_a_room_of_one_has():
    one, (other,) = (
        draw(np.random.default_rng(4), RoomConfig())
        for draw in (draw_response, lambda generator, config: draw_responses(generator, config, 1))
    )
    assert np.array_equal(one, other)
    first, second = draw_responses(np.random.default_rng(4), RoomConfig(), 2)
    assert len(first) == len(second)
    assert not np.array_equal(first, second)


def test_added_noise_is_the_fitted_one():
    generator = np.random.default_rng(0)
    speech, noise = (generator.standard_normal(size).astype(np.float32) for size in (1000, 300))
    assert np.array_equal(add_noise(speech, noise, 5.0), speech + fit_noise(speech, noise, 5.0))
