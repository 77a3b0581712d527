"""CTC refinement against the sum over all paths' best, torchaudio, and emissions with known times."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr.refinement import WILDCARD, refine, refine_all, viterbi, word_frames
from speechkit.errors import AlignmentError

NO_STAR = 1e9  # the star then takes blanks only, and the alignment is plain CTC


def log_softmax(logits):
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def random_emissions(frames, symbols, seed, sharpness=3.0):
    return log_softmax(np.random.default_rng(seed).normal(size=(frames, symbols)) * sharpness)


def spoken_emissions(tokens, starts, frames, symbols, seed=0, wrong=0.0):
    """Emissions of a confident model: token i spikes for two frames from starts[i], blanks elsewhere."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(frames, symbols)) * 0.5
    top = np.zeros(frames, int)
    for token, start in zip(tokens, starts, strict=True):
        top[start : start + 2] = rng.integers(1, symbols) if rng.random() < wrong else token
    logits[np.arange(frames), top] += 6
    return log_softmax(logits)


def path_score(refined, emissions, tokens, blank=0):
    symbols = np.full(len(emissions), blank)
    for token, (begin, end) in zip(tokens, refined.token_frames, strict=True):
        symbols[begin:end] = token
    return float(emissions[np.arange(len(emissions)), symbols].sum())


def collapse(symbols, blank=0):
    return [symbol for symbol, _ in itertools.groupby(symbols) if symbol != blank]


def best_by_enumeration(emissions, tokens):
    frames, symbols = emissions.shape
    return max(
        sum(float(emissions[t, symbol]) for t, symbol in enumerate(path))
        for path in itertools.product(range(symbols), repeat=frames)
        if collapse(path) == list(tokens)
    )


@settings(max_examples=40)
@given(st.lists(st.integers(1, 2), min_size=1, max_size=3), st.integers(0, 2), st.integers(0, 1000))
def test_path_is_the_best_of_all_ctc_paths(tokens, spare, seed):
    repeats = sum(x == y for x, y in itertools.pairwise(tokens))
    emissions = random_emissions(len(tokens) + repeats + spare + 1, 3, seed)
    refined = refine(emissions, tokens, 0, star_penalty=NO_STAR)
    assert path_score(refined, emissions, tokens) == pytest.approx(best_by_enumeration(emissions, tokens), abs=1e-3)


def test_score_equals_torchaudio():
    torch = pytest.importorskip("torch")
    forced_align = pytest.importorskip("torchaudio.functional", exc_type=Exception).forced_align
    rng = np.random.default_rng(0)
    for seed in range(25):
        tokens = rng.integers(1, 12, rng.integers(1, 25))
        emissions = random_emissions(3 * len(tokens) + 5, 12, seed)
        _, scores = forced_align(torch.tensor(emissions)[None], torch.tensor(tokens)[None], blank=0)
        refined = refine(emissions, tokens, 0, star_penalty=NO_STAR)
        assert path_score(refined, emissions, tokens) == pytest.approx(float(scores.sum()), abs=1e-2)


def test_star_leaves_the_neighbours_speech_outside():
    rng = np.random.default_rng(1)
    before, tokens, after = rng.integers(1, 20, 30), rng.integers(1, 20, 40), rng.integers(1, 20, 30)
    starts = np.arange(100) * 4 + 10
    emissions = spoken_emissions(np.concatenate([before, tokens, after]), starts, 420, 20, wrong=0.15)
    refined = refine(emissions, tokens, 0)
    assert abs(refined.start_frame - starts[30]) <= 2
    assert abs(refined.end_frame - (starts[69] + 2)) <= 2
    right = np.abs(refined.token_frames[:, 0] - starts[30:70]) <= 2
    assert right.mean() > 0.95


def test_wrong_text_scores_worse_than_right_text():
    rng = np.random.default_rng(2)
    tokens = rng.integers(1, 20, 40)
    emissions = spoken_emissions(tokens, np.arange(40) * 4 + 20, 220, 20, wrong=0.1)
    right = refine(emissions, tokens, 0)
    wrong = refine(emissions, rng.permutation(tokens), 0)
    half = refine(emissions, np.concatenate([tokens[:25], rng.integers(1, 20, 15)]), 0)
    assert right.mean > half.mean > wrong.mean
    assert right.worst > half.worst + 1
    assert right.worst <= right.mean


@pytest.mark.parametrize(("block", "width"), [(1, None), (400, None), (400, 60)])
def test_bounded_memory_gives_the_same_path(block, width, monkeypatch):
    rng = np.random.default_rng(3)
    tokens = rng.integers(1, 30, 200)
    starts = np.arange(200) * 4 + 3
    emissions = spoken_emissions(tokens, starts, 900, 30)
    states = viterbi.state_sequence(tokens, 0, 30)
    centre = np.interp(np.arange(900), starts, 2 * np.arange(200) + 1).astype(np.int64)
    whole = viterbi.best_path(emissions, states, 0, star_penalty=0.5)
    monkeypatch.setattr(viterbi, "POINTER_BYTES", block)
    piecewise = viterbi.best_path(emissions, states, 0, star_penalty=0.5, centre=centre, width=width)
    assert np.array_equal(whole, piecewise)


def test_band_that_no_path_fits_is_an_error_with_advice():
    emissions = random_emissions(50, 5, 0)
    centre = np.zeros(50, np.int64)
    with pytest.raises(AlignmentError, match="widen the band"):
        refine(emissions, [1, 2, 3, 4] * 5, 0, centre=centre, width=8)


@pytest.mark.parametrize(
    ("tokens", "frames", "message"),
    [
        ([1, 2, 3], 2, "3 tokens need 3 frames, repeats counted, but there are 2"),
        ([1, 1, 1], 4, "3 tokens need 5 frames, repeats counted, but there are 4"),
        ([], 5, "no tokens"),
        ([9], 5, "token 9 is not a symbol"),
        ([0], 5, "token 0 is not a symbol"),
        ([1], 0, "1 tokens need 1 frames"),
    ],
)
def test_tokens_that_cannot_be_aligned_say_why(tokens, frames, message):
    with pytest.raises(AlignmentError, match=message):
        refine(random_emissions(frames, 4, 0), tokens, 0)


@pytest.mark.parametrize("tokens", [[1], [1, 1, 1], [1, 2, 1, 2, 1]])
def test_tokens_that_just_fit_fill_every_frame(tokens):
    frames = viterbi.frames_needed(np.array(tokens))
    refined = refine(random_emissions(frames, 4, 0), tokens, 0)
    assert (refined.start_frame, refined.end_frame) == (0, frames)


def test_silence_alone_still_gives_a_place_with_a_low_score():
    silence = log_softmax(np.tile([8.0, 0, 0, 0], (100, 1)))
    refined = refine(silence, [1, 2, 3], 0)
    assert refined.mean < -3
    assert 0 <= refined.start_frame < refined.end_frame <= 100


def test_float16_and_memory_maps_are_read(tmp_path):
    emissions = random_emissions(80, 6, 4)
    path = tmp_path / "emissions.npy"
    np.save(path, emissions.astype(np.float16))
    mapped = np.load(path, mmap_mode="r")
    assert refine(mapped, [1, 2, 3], 0).mean == pytest.approx(refine(emissions, [1, 2, 3], 0).mean, abs=0.01)


def test_wildcard_takes_what_the_vocabulary_lacks():
    tokens = np.array([1, 2, 3, 4, 5, 6])
    starts = np.arange(6) * 5 + 10
    emissions = spoken_emissions(tokens, starts, 60, 10)
    unknown = tokens.copy()
    unknown[2] = WILDCARD
    refined = refine(emissions, unknown, 0)
    assert abs(refined.token_frames[2, 0] - starts[2]) <= 2
    assert abs(refined.token_frames[3, 0] - starts[3]) <= 1


def test_batch_equals_single_sentences_and_keeps_errors_apart():
    emissions = random_emissions(300, 8, 5)
    sentences = [[1, 2, 3], [4] * 90, [5, 6, 7, 1]]
    windows = [(-10, 100), (100, 200), (150, 999)]
    first, second, third = refine_all(emissions.astype(np.float16), sentences, windows, 0)
    assert isinstance(second, AlignmentError)
    single = refine(emissions.astype(np.float16)[150:], sentences[2], 0)
    assert not isinstance(first, AlignmentError)
    assert not isinstance(third, AlignmentError)
    assert third.start_frame == single.start_frame + 150
    assert third.token_frames.tolist() == (single.token_frames + 150).tolist()
    assert third.mean == single.mean


def test_words_have_the_times_of_their_tokens():
    tokens = np.array([1, 2, 9, 3, 4, 5])
    starts = np.arange(6) * 4 + 8
    refined = refine(spoken_emissions(tokens, starts, 50, 10), tokens, 0)
    words = word_frames(refined, [0, 0, -1, 1, 1, 1])
    assert [word for word, *_ in words] == [0, 1]
    assert words[0][1] == refined.token_frames[0, 0]
    assert words[1][2] == refined.token_frames[5, 1]
    assert words[0][2] <= words[1][1]
    assert all(score < 0 for *_, score in words)


def test_large_vocabulary_and_long_sentence():
    rng = np.random.default_rng(6)
    tokens = rng.integers(1, 5000, 60)
    refined = refine(spoken_emissions(tokens, np.arange(60) * 4, 260, 5000), tokens, 0)
    assert (np.diff(refined.token_frames[:, 0]) > 0).all()
