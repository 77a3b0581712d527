"""The number of speakers by what tracks look like, with a probability that means what it says."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics.calibration import reliability
from speechkit.separation.counting import (
    FEATURES,
    EvidenceCounter,
    Region,
    activity,
    count_speakers,
    features,
    frame_levels,
    overlap_regions,
    read_counting,
    write_counting,
)
from speechkit.separation.counting_fit import Example, fit_counting, judge_counting
from speechkit.separation.voices import Voice

RATE = 8000


def turns(generator, seconds, share):
    """Noise in syllables of 0.2 s, of which a share sounds, as whole turns of about a second."""
    speaking = np.repeat(generator.random(int(seconds) + 1) < share, RATE)[: int(seconds * RATE)]
    syllables = np.repeat(generator.uniform(0.2, 1.0, int(seconds * 5) + 1), RATE // 5)[: len(speaking)]
    return (0.1 * speaking * syllables * generator.standard_normal(len(speaking))).astype(np.float32)


def voice_of(speaker, generator):
    base = np.random.default_rng(speaker).standard_normal(16)
    return Voice((base + 0.2 * generator.standard_normal(16)).astype(np.float32), np.ones(16, np.float32))


def example(seed, speakers, tracks=2, seconds=8):
    """Tracks of a middling separator: the speakers with leaks of the others; what is too many shares tracks."""
    generator = np.random.default_rng(seed)
    sources = [turns(generator, seconds, 0.6 if speakers else 0) for _ in range(max(speakers, 1))]
    found = np.zeros((tracks, len(sources[0])), np.float32)
    for place, source in enumerate(sources):
        for track in range(tracks):
            leak = 1.0 if track == place % tracks else 10 ** (-generator.uniform(12, 25) / 20)
            found[track] += leak * source
    found += 1e-4 * generator.standard_normal(found.shape)
    voices = [voice_of(100 * seed + (track if track < speakers else 0), generator) for track in range(tracks)]
    counter = EvidenceCounter(tracks, RATE)
    for begin in range(0, found.shape[1], 3001):
        counter.add(found[:, begin : begin + 3001])
    frames = [frame_levels(source[None, : len(source) // 160 * 160], 160)[0] > -40 for source in sources]
    return Example(counter.evidence(voices), speakers, np.sum(frames, axis=0) if speakers else None)


@pytest.fixture(scope="module")
def fitted():
    return fit_counting(example(seed, 1 + seed % 3) for seed in range(60))


def test_lone_speakers_and_pairs_of_recordings_that_taught_nothing_are_told_apart(fitted):
    items = [example(seed, 1 + seed % 2) for seed in range(1000, 1040)]
    counts = [count_speakers(item.evidence, fitted) for item in items]
    right = np.array([count.speakers == item.speakers for count, item in zip(counts, items, strict=True)])
    assert right.mean() > 0.9
    sure = reliability([count.confidence for count in counts], right, bins=4)
    assert sure.brier < 0.1
    for count in counts:
        assert sum(count.probabilities) == pytest.approx(1, abs=1e-3)
        assert count.confidence == max(count.probabilities)


def test_more_speakers_than_tracks_are_said(fitted):
    three = [count_speakers(example(seed, 3).evidence, fitted) for seed in range(2000, 2010)]
    two = [count_speakers(example(seed, 2).evidence, fitted) for seed in range(2000, 2010)]
    assert np.mean([count.more or 0 for count in three]) > np.mean([count.more or 0 for count in two])
    warned = next(count for count in three if (count.more or 0) > 0.5)
    assert "more than the separator's 2 speakers" in warned.warning


def test_silence_has_no_speaker_and_one_track_of_noise_no_overlap(fitted):
    counter = EvidenceCounter(2, RATE)
    counter.add(np.zeros((2, 4000), np.float32))
    count = count_speakers(counter.evidence([None, None]), fitted)
    assert (count.speakers, count.tracks, count.seconds[0]) == (0, [], 0.5)
    lone = count_speakers(example(7, 1).evidence, fitted)
    assert lone.speakers == 1
    assert len(lone.tracks) == 1
    assert len(lone.seconds) == 2


def test_a_number_that_is_given_is_taken_and_has_no_confidence(fitted):
    count = count_speakers(example(5, 1).evidence, fitted, speakers=2)
    assert (count.speakers, count.confidence, count.tracks) == (2, None, [0, 1])
    assert count_speakers(example(5, 1).evidence, None).confidence is None


def test_without_a_fit_a_rule_counts():
    assert [count_speakers(example(seed, 2).evidence, None).speakers for seed in range(5)] == [2] * 5
    quiet = example(0, 1).evidence
    assert count_speakers(quiet, None).speakers == 1


def test_blocks_change_no_evidence():
    tracks = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    whole, pieces = EvidenceCounter(2, RATE), EvidenceCounter(2, RATE)
    whole.add(tracks)
    for begin in range(0, 5000, 77):
        pieces.add(tracks[:, begin : begin + 77])
    one, two = whole.evidence([None, None]), pieces.evidence([None, None])
    np.testing.assert_allclose(one.levels, two.levels, atol=1e-4)
    np.testing.assert_allclose(one.products, two.products)
    assert one.samples == two.samples == 5000
    assert one.levels.shape == (2, 32)  # the last, of 40 samples, counts as one


def test_features_say_what_they_are_called():
    generator = np.random.default_rng(0)
    speech = turns(generator, 6, 0.7)
    counter = EvidenceCounter(2, RATE)
    counter.add(np.stack([speech, 0.1 * speech]))
    row = dict(zip(FEATURES, features(counter.evidence([None, None]))[0], strict=True))
    assert row["level_db"] == pytest.approx(-20, abs=0.1)
    assert row["correlation"] == pytest.approx(1, abs=1e-4)
    assert row["envelope"] > 0.9
    assert row["dominance"] == 0
    assert np.isnan(row["voice"])


@given(st.lists(st.integers(0, 2), max_size=60))
def test_regions_cover_the_recording_and_meet(speakers):
    regions = overlap_regions(np.array(speakers, int), len(speakers) * 0.02)
    assert [region.speakers for region in regions for _ in range(round((region.end - region.begin) / 0.02))] == speakers
    assert all(one.end == two.begin and one.speakers != two.speakers for one, two in pairwise(regions))


def test_the_seconds_of_overlap_are_those_of_the_truth():
    rest, speech = np.zeros(RATE), 0.1 * np.random.default_rng(0).standard_normal(RATE)
    first, second = np.concatenate([speech, speech, rest]), np.concatenate([rest, speech, rest])
    counter = EvidenceCounter(2, RATE)
    counter.add(np.stack([first + 0.03 * second, second + 0.03 * first]).astype(np.float32))
    count = count_speakers(counter.evidence([None, None]), None, speakers=2)
    assert count.regions == [Region(0.0, 1.0, 1), Region(1.0, 2.0, 2), Region(2.0, 3.0, 0)]
    assert count.seconds == [1.0, 1.0, 1.0]


def test_short_gaps_are_filled_and_short_bursts_are_dropped_but_no_edge_grows():
    counter = EvidenceCounter(1, RATE)
    sound = np.zeros(RATE, np.float32)
    for begin, end in ((800, 2400), (3200, 4800), (7680, 7840)):
        sound[begin:end] = 0.1
    counter.add(sound[None])
    active = activity(counter.evidence([None]), [0], 30, 15)[0]
    assert np.flatnonzero(active).tolist() == list(range(5, 30))


def test_counting_travels_beside_the_weights(tmp_path, fitted):
    write_counting(tmp_path, fitted)
    assert read_counting(tmp_path) == fitted
    assert read_counting(tmp_path / "other") is None
    (tmp_path / "counting.json").write_text('{"another": 1}')
    with pytest.raises(UserError, match=r"counting\.json.*fit it again"):
        read_counting(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"features": ["level_db"]}, "another is not on the features level_db, correlation"),
        ({"weights": [1.0]}, "another number of weights than its 5 features"),
        ({"mean": [0.0] * 6}, "another number of mean than its 5 features"),
        ({"scale": [1.0, 1.0, 1.0, 1.0, 0.0]}, "a scale of 0; scales are above 0"),
    ],
)
def test_a_calibration_that_fits_no_tracks_is_refused_with_the_reason(tmp_path, fitted, changes, sentence):
    another = msgspec.structs.replace(fitted.another, **changes)
    write_counting(tmp_path, msgspec.structs.replace(fitted, another=another))
    with pytest.raises(UserError, match=rf"counting.json: is no calibration .*{sentence}.*; fit it again"):
        read_counting(tmp_path)


def test_one_kind_of_example_cannot_teach():
    with pytest.raises(UserError, match="lone speakers and of several"):
        fit_counting([example(0, 1)])


def test_counting_is_judged_on_examples_that_did_not_teach_it():
    scores = judge_counting([example(seed, 1 + seed % 3) for seed in range(45)])
    assert scores.examples == 30
    assert scores.right > 0.8
    assert sum(count for _, _, count in scores.confusions) == 30
    assert scores.right == pytest.approx(sum(c for said, heard, c in scores.confusions if said == heard) / 30, abs=1e-3)
    assert scores.reliability.count == 30
    assert judge_counting([example(seed, 1) for seed in range(4)]) is None
