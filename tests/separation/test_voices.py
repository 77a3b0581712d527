"""Voices are told apart by the encoder inside the package, on real speech of speakers that share one recorder."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from speechkit.io.audio import read_audio
from speechkit.separation.streaming import SeparationStream, Windowing
from speechkit.separation.voices import Voice, VoiceMemory, dominant_speech, embed_voice, order_by_voice, voice_distance
from tests.separation.oracles import OracleSeparator

RATE = 8000


@pytest.fixture(scope="module")
def speech(shared_data):
    """Two pieces of 2.5 s of each of six speakers."""
    files = sorted((shared_data / "LibriSpeech/train-clean-100-untranscribed").rglob("*.flac"))[5:65:10]
    waveforms = [read_audio(path, sample_rate=RATE) for path in files]
    return [(waveform[4000:24_000], waveform[-24_000:-4000]) for waveform in waveforms]


@pytest.mark.slow
def test_most_pairs_of_speakers_are_put_in_order_by_their_voices(speech):
    voices = [tuple(embed_voice(piece, RATE) for piece in pieces) for pieces in speech]
    orders = [order_by_voice([one[0], other[0]], [other[1], one[1]]) for one, other in combinations(voices, 2)]
    assert sum(order == (1, 0) for order in orders) >= 0.8 * len(orders)
    own = np.mean([voice_distance(*pair) for pair in voices])
    others = np.mean([voice_distance(one[0], other[1]) for one, other in combinations(voices, 2)])
    assert own < others


@pytest.mark.slow
def test_a_silence_longer_than_the_overlap_is_bridged_by_real_voices(speech):
    low, high = speech[0], speech[1]
    quiet = np.zeros(len(low[0]), np.float32)

    def turns(first, second):
        return np.concatenate([first, quiet, quiet, second])

    sources = np.stack(
        [
            turns(np.concatenate([low[0], quiet]), np.concatenate([low[1], quiet])),
            turns(np.concatenate([quiet, high[0]]), np.concatenate([quiet, high[1]])),
        ]
    )
    wrong = 0
    for seed in range(6):
        separator = OracleSeparator(sources, seed=seed)
        stream = SeparationStream(separator, RATE, windowing=Windowing(5.0, 1.0))
        tracks = np.concatenate([stream.push(sources.sum(0)), stream.finish()], axis=1)
        errors = [np.abs(tracks - sources[list(order)]).max() for order in ((0, 1), (1, 0))]
        wrong += min(errors) > 0.05
    assert wrong <= 1


def test_one_voice_on_one_side_is_enough_and_none_is_not():
    one, other = (Voice(np.full(4, value, np.float32), np.ones(4, np.float32)) for value in (1.0, -1.0))
    assert order_by_voice([one, other], [None, one]) == (1, 0)
    assert order_by_voice([one, None], [other, one]) == (1, 0)
    assert order_by_voice([one, None], [one, None]) is None
    assert order_by_voice([None, None], [one, other]) is None
    assert order_by_voice([one, one], [one, one]) is None


def test_speech_is_what_a_track_says_louder_than_the_others():
    generator = np.random.default_rng(0)
    tracks = 0.1 * generator.standard_normal((2, RATE)).astype(np.float32)
    tracks[0, 4000:] *= 0.01
    tracks[1, :6080] *= 0.01
    first, second = dominant_speech(tracks, RATE)
    np.testing.assert_array_equal(first, tracks[0, :4000])
    np.testing.assert_array_equal(second, tracks[1, 6080:])
    assert [len(each) for each in dominant_speech(np.zeros((2, 100), np.float32), RATE)] == [0, 0]
    assert [len(each) for each in dominant_speech(np.zeros((2, 0), np.float32), RATE)] == [0, 0]


def test_memory_keeps_the_last_seconds_of_speech_and_says_nothing_of_less_than_half_a_second():
    memory = VoiceMemory(2, RATE, lambda speech, rate: Voice(speech, speech) if len(speech) >= rate / 2 else None)
    generator = np.random.default_rng(0)
    for _ in range(12):
        memory.remember(np.stack([generator.standard_normal(RATE), np.zeros(RATE)]).astype(np.float32))
    voices = memory.voices()
    assert len(voices[0].mean) == 10 * RATE
    assert voices[1] is None
    assert embed_voice(np.zeros(100, np.float32), RATE) is None
