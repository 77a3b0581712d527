from __future__ import annotations

import json
import math

import jiwer
import pytest

from speechkit.metrics import read_transcripts, word_errors
from speechkit.text import get_normalizer


@pytest.fixture(scope="module")
def golden(shared_data):
    path = shared_data.parent / "golden" / "slue_golden.json"
    if not path.is_file():
        pytest.skip(f"no golden values at {path}")
    return json.loads(path.read_text())


def test_rates_equal_the_golden_values(golden):
    cases = [*golden["wer"], golden["realistic"]["wer_earnings21"]]
    for case in cases:
        rate = word_errors(case["refs"], case["hyps"]).rate
        if any(case["refs"]):
            assert rate == pytest.approx(case["expected"], abs=1e-12)
        else:  # the golden toolkit divides by one where there is no reference word
            assert math.isinf(rate)
    assert len(cases) == 5


@pytest.mark.parametrize("system", ["google", "speechmatics", "kaldi_org/librispeech/nlp"])
@pytest.mark.parametrize("normalizer", ["none", "earnings21"])
def test_earnings_calls_score_as_jiwer_scores_them(shared_data, system, normalizer):
    folder = shared_data / "earnings21-text"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    said = {t.id: t.text for t in read_transcripts(folder / "transcripts" / "nlp_references")}
    heard = {t.id: t.text for t in read_transcripts(folder / "output" / system, "hypothesis")}
    normalize = get_normalizer(normalizer)
    theirs = jiwer.process_words([normalize(t) for t in said.values()], [normalize(heard[i]) for i in said])
    ours = word_errors(said, heard, normalizer=normalizer)
    assert ours.rate == theirs.wer
    counts = ours.counts
    assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (
        theirs.hits,
        theirs.substitutions,
        theirs.deletions,
        theirs.insertions,
    )
    assert len(said) == 10
