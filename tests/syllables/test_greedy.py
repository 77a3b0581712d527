"""Greedy segmentation equals its slow definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.load import load_encoder
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import read_audio
from speechkit.syllables import make_segmenter
from speechkit.syllables.greedy import GreedySegmenter, segment_stream
from tests.syllables.references import greedy, greedy_as_released, greedy_first_pass, syllables

FRAMES = st.builds(
    syllables,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 20),
    dim=st.integers(2, 9),
    noise=st.sampled_from([0.05, 0.3, 0.8, 2.0]),
)
NORM = st.sampled_from([0.0, 0.7, 1.3, 2.6])
MERGE = st.sampled_from([-0.2, 0.3, 0.6, 0.8, 0.95])
LONGEST = st.sampled_from([None, 1, 3, 8])
SPEECH = Path(__file__).parents[2] / "recipes" / "mining" / "sample" / "audio" / "bees.ogg"


@pytest.fixture(scope="module")
def real_frames():
    """Frames of fifteen seconds of speech by the encoder inside the package."""
    waveform = read_audio(SPEECH, num_samples=15 * 16_000)
    return load_encoder("embedded", device="cpu").encode(waveform)


@settings(max_examples=50)
@given(FRAMES, NORM, MERGE, LONGEST)
def test_greedy_equals_its_slow_definition(features, norm, merge, longest):
    found = GreedySegmenter(norm, merge, longest=longest).segment(features)
    assert found.tolist() == [list(pair) for pair in greedy(features, norm, merge, longest)]


@settings(max_examples=80)
@given(FRAMES, NORM, MERGE, st.integers(1, 40))
def test_compat_equals_the_released_rule_at_once_and_in_pieces(features, norm, merge, piece):
    segmenter = GreedySegmenter(norm, merge, compat=True)
    wanted = [list(pair) for pair in greedy_as_released(features, norm, merge)]
    assert segmenter.segment(features).tolist() == wanted
    blocks = [features[begin : begin + piece] for begin in range(0, len(features), piece)]
    assert np.concatenate(list(segment_stream(segmenter, blocks))).tolist() == wanted


def test_compat_equals_the_released_rule_on_real_frames_where_the_published_one_does_not(real_frames):
    norm = float(np.quantile(np.linalg.norm(real_frames, axis=1), 0.15))
    for merge in (0.6, 0.8, 0.9):
        wanted = [list(pair) for pair in greedy_as_released(real_frames, norm, merge)]
        assert GreedySegmenter(norm, merge, compat=True).segment(real_frames).tolist() == wanted
        assert GreedySegmenter(norm, merge).segment(real_frames).tolist() != wanted
        assert len(wanted) > 20


@settings(max_examples=60)
@given(FRAMES, NORM, MERGE, LONGEST)
def test_first_pass_equals_its_slow_definition(features, norm, merge, longest):
    found = GreedySegmenter(norm, merge, refine=False, longest=longest).segment(features)
    assert found.tolist() == [list(pair) for pair in greedy_first_pass(features, norm, merge, longest)]


@settings(max_examples=60)
@given(FRAMES, NORM, MERGE)
def test_every_frame_of_speech_lies_in_one_segment_and_no_other_frame_does(features, norm, merge):
    inside = np.zeros(len(features), int)
    for start, end in GreedySegmenter(norm, merge).segment(features):
        assert start < end
        inside[start:end] += 1
    speech = np.linalg.norm(features.astype(np.float64), axis=1) >= norm
    assert np.array_equal(inside, speech.astype(int))


def test_planted_syllables_are_found_to_the_frame():
    random = np.random.default_rng(0)
    lengths = [10, 7, 4, 12, 9]
    centres = 5 * np.linalg.qr(random.standard_normal((16, 16)))[0][:5]
    centres[2] = 0  # a pause
    features = np.concatenate([np.repeat(c[None], n, 0) for c, n in zip(centres, lengths, strict=True)])
    features += 0.2 * random.standard_normal(features.shape)
    found = make_segmenter("greedy", norm=2.6, merge=0.8).segment(features.astype(np.float32))
    assert found.tolist() == [[0, 10], [10, 17], [21, 33], [33, 42]]


def test_a_blurred_boundary_moves_to_where_the_frames_change():
    left, right = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    # The running mean of the left follows a slow change and lets go too late.
    weights = [0, 0, 0, 0, 0.3, 0.5, 0.55, 0.6, 1, 1, 1, 1, 1, 1]
    features = np.array([(1 - w) * left + w * right for w in weights], np.float32)
    first = GreedySegmenter(0.1, 0.6, refine=False).segment(features)
    moved = GreedySegmenter(0.1, 0.6).segment(features)
    assert first.tolist() == [[0, 8], [8, 14]]
    assert moved.tolist() == [[0, 7], [7, 14]]


def test_silence_gives_no_segments():
    assert GreedySegmenter(norm=1.0).segment(np.full((50, 4), 0.01, np.float32)).shape == (0, 2)
    assert GreedySegmenter(norm=0.0).segment(np.zeros((0, 4), np.float32)).shape == (0, 2)


def test_one_frame_is_one_segment():
    assert GreedySegmenter(norm=1.0).segment(np.ones((1, 4), np.float32)).tolist() == [[0, 1]]


def test_zero_frames_that_count_as_speech_are_like_nothing():
    assert len(GreedySegmenter(norm=0.0, merge=0.5, refine=False).segment(np.zeros((3, 4), np.float32))) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_frame(value):
    features = syllables(3, count=20)
    features[17, 2] = value
    with pytest.raises(UserError, match=r"frame 17 \(0\.34 s\) contains NaN.*infinity"):
        GreedySegmenter().segment(features)


@pytest.mark.parametrize("features", [np.ones(4, np.float32), np.ones((4, 0), np.float32), np.ones((4, 2), np.int64)])
def test_what_is_no_table_of_numbers_is_refused(features):
    with pytest.raises(UserError, match="a segmenter takes"):
        GreedySegmenter().segment(features)


@pytest.mark.parametrize(
    "setting", [{"merge": 1.5}, {"norm": np.nan}, {"longest": 0}, {"compat": True, "refine": False}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError):
        make_segmenter("greedy", **setting)


def test_unknown_names_and_settings_are_refused_with_the_choices():
    with pytest.raises(ConfigError, match="choose greedy, dynamic, peaks"):
        make_segmenter("mincut")
    with pytest.raises(ConfigError, match=r"no setting penalty.*norm, merge"):
        make_segmenter("greedy", penalty=3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_and_mapped_files_give_the_same(dtype, tmp_path):
    features = syllables(5, count=400).astype(np.float16)
    wanted = GreedySegmenter(1.3, 0.8).segment(features.astype(np.float32))
    mapped = np.memmap(tmp_path / "frames", dtype, "w+", shape=features.shape)
    mapped[:] = features
    assert np.array_equal(GreedySegmenter(1.3, 0.8).segment(mapped), wanted)
