"""The noise model finds what made the errors, gives the error rate that is asked for, and is the same for a seed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics.error_rates import word_errors
from speechkit.slue.sensitivity_noise import Noise, fit_noise, rarity_bin, word_outcomes

COMMON = ["the", "of", "to", "and", "a", "in", "that", "it", "was", "he", "for", "on", "are", "as", "with", "his", "at"]
RARE = [a + b + c for a in "bdfglmprst" for b in ("ar", "ol", "ent") for c in ("ic", "ado", "ust", "iper")]


def made_pairs(count=400, seed=3):
    """Common words go wrong in 5 of 100, rare ones in 50 of 100; after an error every third word is wrong too."""
    draw = random.Random(seed)
    pairs = {}
    for number in range(count):
        said = [draw.choice(RARE) if draw.random() < 0.2 else draw.choice(COMMON) for _ in range(12)]
        heard, before = [], False
        for word in said:
            p = 0.5 if word in RARE else 0.05
            before = draw.random() < (max(p, 0.34) if before else p)
            if not before:
                heard.append(word)
            elif word == "the":
                heard.append("a")
            elif draw.random() < 0.7:
                heard.append(word[:-1] + "x")
        pairs[str(number)] = (" ".join(said), " ".join(heard))
    return pairs


@pytest.fixture(scope="module")
def model():
    return fit_noise(made_pairs())


def test_rare_words_go_wrong_more_often_and_errors_come_in_bursts(model):
    assert model.rarity[rarity_bin(4)] > 3 * model.rarity[rarity_bin(300)]
    assert model.after_error > 1.3 * model.after_right
    assert max(model.confusions["the"], key=model.confusions["the"].get) == "a"
    assert model.wer == pytest.approx(word_errors(*zip(*made_pairs().values(), strict=True)).rate)


@pytest.mark.parametrize("wer", [0.05, 0.3, 0.7])
def test_the_error_rate_is_the_one_asked_for(model, wer):
    texts = [text for text, _ in made_pairs(200, seed=9).values()]
    noise = Noise(model)
    scale = noise.scale_for(texts, wer)
    heard = [noise.corrupt(text, scale, number) for number, text in enumerate(texts)]
    assert word_errors(texts, heard).rate == pytest.approx(wer, abs=0.03)


def test_at_the_scale_of_the_pairs_text_like_theirs_gets_their_kinds_of_errors(model):
    pairs = made_pairs(600, seed=21)
    noise = Noise(model)
    heard = {name: noise.corrupt(text, 1.0, number) for number, (name, (text, _)) in enumerate(pairs.items())}
    real = word_errors({n: p[0] for n, p in pairs.items()}, {n: p[1] for n, p in pairs.items()}).counts
    made = word_errors({n: p[0] for n, p in pairs.items()}, heard).counts
    assert made.rate == pytest.approx(real.rate, abs=0.03)
    assert made.deletions / made.errors == pytest.approx(real.deletions / real.errors, abs=0.1)
    again = fit_noise({n: (p[0], heard[n]) for n, p in pairs.items()})
    assert again.rarity[rarity_bin(4)] > 2 * again.rarity[rarity_bin(300)]
    assert again.after_error > 1.15 * again.after_right


def test_the_same_seed_gives_the_same_text_and_another_another(model):
    noise = Noise(model)
    text = " ".join(COMMON * 5)
    assert noise.corrupt(text, 3.0, 1) == Noise(model).corrupt(text, 3.0, 1)
    assert noise.corrupt(text, 3.0, 1) != noise.corrupt(text, 3.0, 2)
    assert noise.corrupt("", 3.0, 1) == ""


def test_what_stays_right_keeps_the_form_it_has(model):
    text = "The Cat, of $25 - at 9.5%"
    assert Noise(model).corrupt(text, 1e-9, 1) == text


words = st.lists(st.sampled_from(["a", "bb", "new", "york", "newyork", "the"]), max_size=8)


@settings(max_examples=200)
@given(words, words)
def test_what_words_became_and_what_was_inserted_is_the_hypothesis(reference, hypothesis):
    result = word_errors([" ".join(reference)], [" ".join(hypothesis)])
    found = list(word_outcomes(result.utterances[0]))
    assert [word for word, _, _ in found] == reference
    rebuilt = [part for _, became, extra in found for part in (*became.split(), *extra)]
    # What was inserted before the first word belongs to none.
    assert hypothesis[len(hypothesis) - len(rebuilt) :] == rebuilt
    right = sum(became == word for word, became, _ in found)
    assert right >= result.counts.hits


def test_too_little_to_fit_on_and_impossible_rates_are_refused(model):
    with pytest.raises(UserError, match="2 reference words are too few"):
        fit_noise({"a": ("one two", "one")})
    with pytest.raises(UserError, match="no errors to fit a model on"):
        fit_noise({"a": ("one two " * 200, "one two " * 200)})
    with pytest.raises(UserError, match="is out of range"):
        Noise(model).scale_for(["a b"], 1.2)
    with pytest.raises(UserError, match=r"no text to corrupt"):
        Noise(model).scale_for([" "], 0.2)
