"""A stream of blocks gives the tracks of the whole mixture, soon and in flat memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import AudioError, ConfigError
from speechkit.separation.streaming import SeparationStream, Windowing
from tests.separation.oracles import OracleSeparator, SplitSeparator, no_voice, pitch_voice

SHORT = Windowing(window_seconds=1.0, overlap_seconds=0.25)


def talkers(seconds, rate=8000, count=2, seed=0):
    """Noise of distinct colour that comes and goes."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * rate)
    knots = np.arange(0, samples + 1600, 1600)
    loudness = np.interp(np.arange(samples), knots, 0.02 + generator.random(len(knots)))
    sources = [np.roll(loudness, 700 * index) * generator.standard_normal(samples) for index in range(count)]
    return 0.05 * np.stack(sources).astype(np.float32)


def stream_of(separator, blocks, rate=8000, **options):
    stream = SeparationStream(separator, rate, windowing=SHORT, embed=no_voice, **options)
    parts = [stream.push(block) for block in blocks]
    return np.concatenate([*parts, stream.finish()], axis=1), stream


def cut_at(waveform, edges):
    return np.split(waveform, sorted(edges))


@settings(max_examples=15)
@given(st.integers(1, 30_000), st.lists(st.integers(0, 30_000), max_size=6), st.sampled_from([8000, 11_025, 16_000]))
def test_how_the_blocks_are_cut_changes_nothing(samples, edges, rate):
    mixture = talkers(4, rate, 1)[0][:samples]
    whole, _ = stream_of(SplitSeparator(), [mixture], rate)
    pieces, _ = stream_of(SplitSeparator(), cut_at(mixture, [edge for edge in edges if edge < samples]), rate)
    assert whole.shape == (2, samples)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.05, 0.9, 1.0, 1.1, 1.76, 7.3])
def test_permuted_and_scaled_windows_become_the_sources(seconds):
    sources = talkers(seconds)
    tracks, stream = stream_of(OracleSeparator(sources), [sources.sum(0)])
    first = 0 if np.abs(tracks[0] - sources[0]).max() < np.abs(tracks[0] - sources[1]).max() else 1
    np.testing.assert_allclose(tracks, sources[[first, 1 - first]], atol=5e-4)
    assert all(join.decided == "overlap" for join in stream.joins)


def test_windows_in_batches_equal_windows_one_by_one():
    sources = talkers(9)
    one, _ = stream_of(OracleSeparator(sources, batch_size=1), [sources.sum(0)])
    many, _ = stream_of(OracleSeparator(sources, batch_size=4), [sources.sum(0)])
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_sample_is_given_out_before_a_window_has_passed():
    mixture = talkers(6)[0]
    stream = SeparationStream(SplitSeparator(), 8000, windowing=SHORT, embed=no_voice)
    heard = given_out = 0
    for block in np.split(mixture, range(400, len(mixture), 400)):
        heard, given_out = heard + len(block), given_out + stream.push(block).shape[1]
        assert heard - given_out <= 8000


def test_the_tracks_sum_to_the_mixture_at_its_level():
    mixture = 0.3 * talkers(5)[0]
    tracks, _ = stream_of(SplitSeparator(), [mixture])
    np.testing.assert_allclose(tracks.sum(0), mixture, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("out_rate", [None, 8000, 16_000])
def test_any_rate_in_and_out_keeps_length_and_band(rate, out_rate):
    times = np.arange(rate * 2 + 123) / rate
    tone = (0.2 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    tracks, _ = stream_of(SplitSeparator(), [tone], rate, out_rate=out_rate)
    out = out_rate or rate
    assert tracks.shape == (2, (2 * len(tone) * out + rate) // (2 * rate))
    expected = 0.2 * np.sin(2 * np.pi * 440 * np.arange(tracks.shape[1]) / out)
    middle = slice(out // 10, -out // 10)
    np.testing.assert_allclose(tracks.sum(0)[middle], expected[middle], atol=2e-3)


def test_silence_gives_silence_and_asks_no_network():
    class Never(SplitSeparator):
        def separate_windows(self, windows):
            raise AssertionError

    tracks, _ = stream_of(Never(), [np.zeros(30_000, np.float32)])
    assert tracks.shape == (2, 30_000)
    assert not tracks.any()


def test_digital_silence_inside_a_window_stays_silence():
    mixture = talkers(3)[0]
    mixture[9000:12_000] = 0
    tracks, _ = stream_of(SplitSeparator(), [mixture])
    assert not tracks[:, 9010:11_990].any()


def test_an_offset_is_taken_away_and_changes_nothing_else():
    mixture = talkers(3)[0] - np.float32(talkers(3)[0].mean())
    plain, _ = stream_of(SplitSeparator(), [mixture])
    shifted, stream = stream_of(SplitSeparator(), [mixture + np.float32(0.3)])
    assert stream.offset == pytest.approx(0.3, abs=1e-4)
    np.testing.assert_allclose(shifted, plain, atol=3e-3)


@pytest.mark.parametrize("gain", [1e-3, 1.0, 30.0])
def test_the_network_hears_every_recording_at_one_level(gain):
    mixture = talkers(3)[0]
    heard = []

    class Listening(SplitSeparator):
        def separate_windows(self, windows):
            heard.append(float(np.sqrt(np.mean(windows**2))))
            return super().separate_windows(windows)

    tracks, _ = stream_of(Listening(), [gain * mixture])
    assert heard == pytest.approx([0.1] * len(heard), rel=1e-3)
    np.testing.assert_allclose(tracks.sum(0), gain * mixture, rtol=1e-3, atol=1e-6 * gain)


def test_a_long_silence_is_bridged_by_the_voices():
    times = np.arange(3 * 8000) / 8000
    low, high = (0.1 * np.sign(np.sin(2 * np.pi * pitch * times)) for pitch in (110, 790))
    pause = np.zeros(2 * 8000)
    sources = np.stack([np.concatenate([low, pause, low]), np.concatenate([high, pause, np.roll(high, 7)])])
    # One talks in the first half of each turn, the other in the second: each is heard alone.
    for begin in (0, 5 * 8000):
        sources[0, begin + 12_000 : begin + 24_000] = 0
        sources[1, begin : begin + 12_000] = 0
    sources = sources.astype(np.float32)
    found = {}
    for embed in (pitch_voice, no_voice):
        separator = OracleSeparator(sources, seed=3)
        stream = SeparationStream(separator, 8000, windowing=Windowing(3.0, 1.0), embed=embed)
        tracks = np.concatenate([stream.push(sources.sum(0)), stream.finish()], axis=1)
        swapped = np.abs(tracks - sources).max() > 0.05
        found[embed.__name__] = np.abs(tracks - sources[::-1] if swapped else tracks - sources).max(), stream.joins
    worst, joins = found["pitch_voice"]
    assert "voice" in [join.decided for join in joins]
    assert worst < 0.01
    assert "kept" in [join.decided for join in found["no_voice"][1]]


def test_memory_does_not_grow_with_the_recording():
    def peak(blocks):
        stream = SeparationStream(SplitSeparator(), 8000, windowing=SHORT, embed=no_voice)
        tracemalloc.start()
        for _ in range(blocks):
            stream.push(block)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    block = talkers(4)[0]
    peak(1)
    # What is kept of a second for counting are 50 frames of two numbers.
    assert peak(32) < peak(4) + 28 * 4 * 50 * 2 * 4 * 3


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_named(bad):
    stream = SeparationStream(SplitSeparator(), 8000, windowing=SHORT, embed=no_voice)
    stream.push(np.zeros(1000, np.float32))
    with pytest.raises(AudioError, match=r"sample 1010 \(0\.13 s\) is NaN or infinite"):
        stream.push(np.where(np.arange(100) == 10, bad, 0).astype(np.float32))


def test_two_channels_a_finished_stream_and_impossible_settings_are_refused():
    stream = SeparationStream(SplitSeparator(), 8000, embed=no_voice)
    with pytest.raises(AudioError, match=r"\(100, 2\).*one channel"):
        stream.push(np.zeros((100, 2), np.float32))
    stream.finish()
    assert stream.finish().shape == (2, 0)
    with pytest.raises(AudioError, match="finished"):
        stream.push(np.zeros(10, np.float32))
    with pytest.raises(ConfigError, match="overlap"):
        Windowing(1.0, 0.6)
    for seconds in (1e-3, 1e6, np.inf, np.nan):
        with pytest.raises(ConfigError, match=r"give 0\.5 to 300"):
            Windowing(seconds, seconds / 4)
    with pytest.raises(ConfigError, match="5 Hz"):
        SeparationStream(SplitSeparator(), 5)
