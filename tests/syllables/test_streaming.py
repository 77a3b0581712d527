"""A stream of frames gives what the whole gives, one segment later."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.syllables.greedy import GreedySegmenter, GreedyStream, segment_stream
from tests.syllables.references import greedy, greedy_first_pass, syllables


@settings(max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.lists(st.integers(0, 60), max_size=60),
    st.sampled_from([0.3, 0.8]),
    st.booleans(),
)
def test_any_chunks_give_the_offline_segments(seed, count, cuts, merge, refine):
    features = syllables(seed, count)
    segmenter = GreedySegmenter(1.3, merge, refine)
    edges = np.minimum(np.cumsum([0, *cuts]), len(features))
    blocks = [*(features[a:b] for a, b in itertools.pairwise(edges)), features[edges[-1] :]]
    found = np.concatenate(list(segment_stream(segmenter, blocks)))
    wanted = (greedy if refine else greedy_first_pass)(features, 1.3, merge)
    assert found.tolist() == [list(pair) for pair in wanted]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_first_pass_comes_out_as_each_segment_closes(seed):
    features = syllables(seed, 20)
    first = greedy_first_pass(features, 1.3, 0.8)
    stream, out = GreedyStream(GreedySegmenter(1.3, 0.8, refine=False)), []
    for t in range(len(features)):
        out += map(tuple, stream.push(features[t : t + 1]).tolist())
        assert out == [(start, end) for start, end in first if end <= t]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_refined_segments_are_final_as_they_come_out_and_silence_brings_out_all(seed):
    features = syllables(seed, 20)
    final = greedy(features, 1.3, 0.8)
    stream, out = GreedyStream(GreedySegmenter(1.3, 0.8)), []
    for t in range(len(features)):
        out += map(tuple, stream.push(features[t : t + 1]).tolist())
        assert out == final[: len(out)]
        silent = np.linalg.norm(features[t].astype(np.float64)) < 1.3
        if silent:
            assert out == [pair for pair in final if pair[1] <= t]
    assert out + list(map(tuple, stream.finish().tolist())) == final


def test_memory_holds_two_segments_and_not_the_recording():
    stream = GreedyStream(GreedySegmenter(1.3, 0.8))
    block = syllables(1, 400)
    for _ in range(30):
        for begin in range(0, len(block), 50):
            stream.push(block[begin : begin + 50])
    assert len(stream._held) < 500


def test_a_limit_bounds_what_an_endless_sound_holds():
    stream = GreedyStream(GreedySegmenter(1.0, 0.8, longest=100))
    found = np.concatenate([stream.push(np.ones((50, 4), np.float32)) for _ in range(100)])
    assert len(stream._held) < 1000
    assert (np.diff(found) <= 100).all()
    assert len(found) >= 48


def test_an_ended_stream_and_another_width_are_refused():
    stream = GreedyStream(GreedySegmenter())
    stream.push(np.ones((3, 4), np.float32))
    with pytest.raises(UserError, match=r"width 5.*before.*4"):
        stream.push(np.ones((3, 5), np.float32))
    stream.finish()
    with pytest.raises(UserError, match="has ended"):
        stream.push(np.ones((3, 4), np.float32))
    assert GreedyStream(GreedySegmenter()).finish().shape == (0, 2)
