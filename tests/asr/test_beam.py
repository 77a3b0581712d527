"""Claims about the beam search: it finds what trying every path finds, and a larger model orders its texts anew."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr.beam import BeamConfig, BeamText, beam_search, rescore
from speechkit.asr.ctc_training import greedy_texts
from speechkit.errors import UserError
from speechkit.lm.ngram_training import estimate

EVERYTHING = BeamConfig(beam=10_000, weight=0.7, bonus=0.3, symbol_floor=-1e9, beam_floor=1e9)


def every_path(log_probs, vocabulary, model, config):
    """The obvious way: all symbol sequences, collapsed, summed by text, scored by sentence."""
    sums = defaultdict(lambda: -math.inf)
    for path in itertools.product(range(len(vocabulary)), repeat=len(log_probs)):
        symbols = [vocabulary[s] for s, _ in itertools.groupby(path) if s]
        text = " ".join("".join(symbols).split())
        sums[text] = np.logaddexp(sums[text], sum(log_probs[t, s] for t, s in enumerate(path)))
    scored = {
        text: sound + config.weight * (model.sentence(text.split()) if model else 0) + config.bonus * len(text.split())
        for text, sound in sums.items()
    }
    return sorted(scored.items(), key=lambda item: -item[1])


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5), st.booleans())
def test_beam_search_finds_what_every_path_finds(seed, frames, with_model):
    vocabulary = ("<blank>", " ", "a", "b")
    logits = np.random.default_rng(seed).normal(0, 2, (frames, 4))
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    model = estimate([["a", "b"], ["ab", "a"], ["ba"]], 2, "witten-bell")[0] if with_model else None
    found = beam_search(log_probs, vocabulary, model=model, config=EVERYTHING, best=5)
    expected = every_path(log_probs, vocabulary, model, EVERYTHING)[: len(found)]
    assert [each.score for each in found] == pytest.approx([score for _, score in expected], abs=1e-6)
    assert found[0].text == expected[0][0] or found[0].score == pytest.approx(expected[1][1])


def test_a_language_model_mends_what_the_sound_leaves_open():
    vocabulary = ("<blank>", " ", *"acet")
    probabilities = np.full((5, 6), 0.01)
    for frame, symbol in enumerate([3, 2, 5, 1, 2]):  # "cat a", with the first letter unsure
        probabilities[frame, symbol] = 0.95
    probabilities[0, [3, 4]] = 0.45, 0.5
    log_probs = np.log(probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    assert greedy_texts([log_probs], vocabulary) == ["eat a"]
    words = estimate([["cat", "a"]] * 3 + [["a", "cat"]], 2, "witten-bell")[0]
    letters = estimate([[*list("cat"), "<space>", "a"]] * 4, 3, "witten-bell")[0]
    assert letters.spells
    assert not words.spells
    for model in (words, letters):
        assert beam_search(log_probs, vocabulary, model=model)[0].text == "cat a"


def test_rescoring_orders_the_same_texts_anew():
    first, second = BeamText("one two", -1.0, -1.0, 0.0), BeamText("one", -1.5, -1.5, 0.0)
    assert rescore([first, second], lambda text: -5.0 * len(text.split()), weight=1.0)[0].text == "one"


def random_emissions(seed, frames=12):
    logits = np.random.default_rng(seed).normal(0, 2, (frames, 5))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_group_is_a_plain_beam_of_its_width(seed):
    vocabulary, log_probs = ("<blank>", " ", *"abc"), random_emissions(seed)
    plain = beam_search(log_probs, vocabulary, config=BeamConfig(beam=4), best=4)
    grouped = beam_search(log_probs, vocabulary, config=BeamConfig(beam=16, groups=4, diversity=1.0), best=16)
    assert {each.text for each in plain} <= {each.text for each in grouped}
    assert len({each.text for each in grouped}) == len(grouped)
    assert [each.score for each in grouped] == sorted((each.score for each in grouped), reverse=True)


def test_groups_without_cost_find_what_one_group_finds():
    vocabulary, log_probs = ("<blank>", " ", *"abc"), random_emissions(5)
    found = beam_search(log_probs, vocabulary, config=BeamConfig(beam=8, groups=2, diversity=0.0), best=8)
    assert found == beam_search(log_probs, vocabulary, config=BeamConfig(beam=4), best=8)


def test_diverse_groups_write_other_symbols():
    vocabulary = ("<blank>", " ", *"abc")

    def letters(config):
        texts = [beam_search(random_emissions(seed), vocabulary, config=config, best=8) for seed in range(4)]
        return sum(len({(place, s) for each in found for place, s in enumerate(each.text)}) for found in texts)

    assert letters(BeamConfig(beam=8, groups=8, diversity=4.0)) > letters(BeamConfig(beam=8))


def test_groups_that_do_not_share_the_beam_are_refused():
    with pytest.raises(UserError, match="choose a multiple"):
        BeamConfig(beam=8, groups=3)
