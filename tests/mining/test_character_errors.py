"""The estimate of wrong characters grows with the errors and with how sure the emissions are of them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr import Emissions
from speechkit.errors import UserError
from speechkit.mining.character_errors import KNOWN_WEIGHT, character_errors, errors_of_match, weighted_edits
from speechkit.mining.config import RefinementConfig
from speechkit.mining.correction import Spellings
from speechkit.mining.records import Correction, Document, PairAlignment, Sentence
from speechkit.mining.stages import NO_EMISSIONS, Refine
from speechkit.text import normalizer_for
from tests.mining.test_correction import VOCABULARY, heard, match

SPOKEN = "the hen slept in the barn"


def estimate(text: str, spoken: str = SPOKEN, sure: float = 0.95) -> float:
    emissions = heard(spoken, sure)
    return character_errors(text, np.ones(len(text), np.float32), emissions, 0, len(emissions.log_probs))


def slow_edits(substitution, insertion, deletion) -> float:
    @functools.cache
    def best(i: int, j: int) -> float:
        ways = [0.0] if i == j == 0 else []
        if i and j:
            ways.append(best(i - 1, j - 1) + substitution[i - 1, j - 1])
        if i:
            ways.append(best(i - 1, j) + deletion[i - 1, j])
        if j:
            ways.append(best(i, j - 1) + insertion[i, j - 1])
        return min(ways)

    return best(*substitution.shape)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**31))
def test_weighted_edits_equal_the_best_of_all_ways(written, spoken, seed):
    numbers = np.random.default_rng(seed)
    shapes = (written, spoken), (written + 1, spoken), (written, spoken + 1)
    costs = [numbers.random(shape, np.float32) for shape in shapes]
    assert weighted_edits(*costs) == pytest.approx(slow_edits(*costs), abs=1e-5)


def test_text_as_spoken_has_no_errors_whatever_its_case():
    assert estimate(SPOKEN) == pytest.approx(0, abs=1e-6)
    assert estimate(SPOKEN.upper()) == pytest.approx(0, abs=1e-6)
    assert estimate("") == 0


@pytest.mark.parametrize("texts", [
    (SPOKEN, "tbe hen slept in the barn", "tbe ben slept in the barn", "tbe ben siept in tbe barn"),
    (SPOKEN, "th hen slept in the barn", "th hn slept in the barn"),
    (SPOKEN, "thee hen slept in the barn", "thee heen slept in thee barn"),
    (SPOKEN, "thehen slept in the barn", "thehen sleptin the barn"),
])  # fmt: skip
def test_more_errors_are_never_estimated_as_fewer(texts):
    estimates = [estimate(text) for text in texts]
    assert estimates == sorted(set(estimates))
    wrong = 1 / len(texts[1])
    assert 0.4 * wrong < estimates[1] <= 1.01 * wrong  # one wrong character counts up to once


def test_surer_emissions_count_an_error_more():
    estimates = [estimate("tbe hen slept in the barn", sure=sure) for sure in (0.3, 0.5, 0.7, 0.9, 0.99)]
    assert estimates == sorted(set(estimates))


def test_vocabularies_of_capitals_and_of_pieces_give_the_same_estimate():
    capitals = heard(SPOKEN)
    capitals = Emissions(capitals.log_probs, 0.1, tuple(symbol.upper() for symbol in VOCABULARY), 0)
    pieces = ("_", " the", " hen", " slept", " in", " barn", " ben")
    path = [1, 0, 2, 0, 3, 0, 4, 0, 1, 0, 5, 0]
    probability = np.full((len(path), len(pieces)), 0.01)
    probability[np.arange(len(path)), path] = 0.94
    spoken = Emissions(np.log(probability).astype(np.float16), 0.1, pieces, 0)
    for text in (SPOKEN, "tbe hen slept in the barn", "the hen slept the barn"):
        weights = np.ones(len(text), np.float32)
        assert character_errors(text, weights, capitals, 0, len(capitals.log_probs)) == estimate(text)
        assert character_errors(text, weights, spoken, 0, len(path)) == pytest.approx(estimate(text), abs=0.03)


def test_words_known_elsewhere_count_less_and_corrections_are_judged_as_written():
    text, spoken = "The ben slept", "the hen slept"

    def share(lexicon: list[str], corrections: list[Correction]) -> float:
        sentence = match(text, spoken, corrections=corrections)
        return errors_of_match(sentence, text, heard(spoken), Spellings([text], lexicon), normalizer_for("en"))

    known, unknown = share(["the", "ben", "slept"], []), share([], [])
    assert unknown > 0
    assert known == pytest.approx(KNOWN_WEIGHT * unknown, rel=1e-4)
    assert share([], [Correction(1, "hen")]) == pytest.approx(0, abs=1e-6)


def refined(config: RefinementConfig, kind: str, emissions: Emissions | None) -> PairAlignment:
    """What stage 6 makes of a scan's sentence with one wrong letter."""
    worker = Refine(config)
    worker.normalizer = normalizer_for("en")
    text = "tbe hen slept"
    document = Document("d", "d.png", kind, "en", text, [], [Sentence("d-0", 0, text, 0, len(text))])
    alignment = PairAlignment("r", "d", [], [], [match(text, "the hen slept", ctc_mean=-0.1)])
    return worker.with_corrected_text(alignment, document, emissions)


def test_scan_without_a_lexicon_is_not_corrected_and_says_so(tmp_path):
    emissions = heard("the hen slept")
    alone = refined(RefinementConfig(lang="hi"), "scan", emissions)
    assert not alone.matches[0].corrections
    assert alone.matches[0].character_errors > 0.02
    assert alone.warnings == [
        "OCR errors are not corrected: no lexicon is installed for 'hi'; give a file with one word per line by "
        "refinement.lexicon=FILE"
    ]
    (tmp_path / "words.txt").write_text("the\nhen\nslept\n")
    with_words = RefinementConfig(lang="hi", lexicon=str(tmp_path / "words.txt"))
    corrected = refined(with_words, "scan", emissions)
    assert [item.spelling for item in corrected.matches[0].corrections] == ["the"]
    assert corrected.matches[0].character_errors < 0.001
    assert not corrected.warnings
    assert not refined(RefinementConfig(lang="hi"), "text", emissions).warnings
    assert refined(with_words, "scan", None).warnings == [NO_EMISSIONS]
    (tmp_path / "words.txt").write_text("\n")
    with pytest.raises(UserError, match="holds no word"):
        refined(with_words, "scan", emissions)
