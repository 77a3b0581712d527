"""The probability that a sentence was read at its located position: a small logistic regression over match features.

Two sets of coefficients are shipped, with and without emissions. They are fitted by
``scripts/calibrate_mining.py`` on simulated documents with known truth; ``calibration/README.md`` describes the data
and the results on held-out speakers and calls.

Readers, recognisers and scans differ more than sentences do: scores are also compared with the usual ones in their
recording and document. These are medians over its likely sentences and `PRIOR_SENTENCES` that are added to every
recording, so that small ones are regularised towards the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.metrics.logistic import LogisticModel, Matrix
from speechkit.mining.records import SentenceMatch, WordTime
from speechkit.mining.sentence_edges import UNHEARD_SCORE

SHIPPED = Path(__file__).parent / "calibration" / "en.json"
TEXT_FEATURES = (
    "similarity",
    "similarity_squared",
    "edge_cer",
    "margin",
    "log_characters",
    "pace_deviation",
    "neighbours",
    "neighbour_similarity",
)
EMISSION_FEATURES = (
    *TEXT_FEATURES,
    "ctc_mean",
    "ctc_worst",
    "ctc_edge",
    "slowest_edge",
    "worst_run",
    "worst_word",
    "unheard_share",
    "relative_similarity",
    "relative_ctc_mean",
    "relative_worst_run",
    "relative_worst_word",
)
PRIOR_SENTENCES = 5
PRIOR = {"pace": math.log(14.0), "similarity": 0.85, "ctc_mean": -0.6, "worst_run": -1.5, "worst_word": -2.5}
"""Usual values of a recording without sentences: log characters per second, and medians over readers and scans."""
RUN_LETTERS, WORD_LETTERS = 10, 5
"""Letters of the words that a sentence may be wrong in: of two or three in a row, and of a single one."""
_NEIGHBOUR_SECONDS = 15.0


class Calibration(msgspec.Struct, frozen=True):
    """Coefficients, and a description of the data that they were fitted on."""

    text: LogisticModel
    emissions: LogisticModel
    provenance: dict[str, str]


@lru_cache(maxsize=4)
def load_calibration(path: Path | str | None = None) -> Calibration:
    """Read coefficients; the shipped ones when no file is named.

    Raises:
        UserError: if the file is missing, not a calibration, or over other evidence than `feature_rows` gives.
    """
    chosen = Path(path) if path else SHIPPED
    try:
        calibration = msgspec.json.decode(chosen.read_bytes(), type=Calibration)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(
            f"{chosen}: not a calibration ({error}); give a file as scripts/calibrate_mining.py writes"
        ) from error
    for model, names in ((calibration.text, TEXT_FEATURES), (calibration.emissions, EMISSION_FEATURES)):
        if tuple(model.features) != names:
            differing = sorted(set(model.features) ^ set(names)) or ["another order"]
            raise UserError(
                f"{chosen}: is a calibration over other evidence ({', '.join(differing)}); calibrate again by "
                "scripts/calibrate_mining.py"
            )
    return calibration


def feature_rows(
    matches: Sequence[SentenceMatch], characters: Sequence[int], order: Sequence[int], with_emissions: bool
) -> Matrix:
    """Features (n, f) of the matches of one recording and document.

    Args:
        matches: any order.
        characters: length of each sentence's matching key.
        order: each sentence's index in its document; neighbours are the sentences that were found before and after.
        with_emissions: whether to add the columns of the emissions; every match must have them then.
    """
    names = EMISSION_FEATURES if with_emissions else TEXT_FEATURES
    rows = np.zeros((len(matches), len(names)))
    if not matches:
        return rows
    measured = {
        "pace": np.log(np.maximum([match.characters_per_second for match in matches], 0.1)),
        "similarity": np.array([match.similarity for match in matches]),
        "ctc_mean": np.maximum([-5.0 if match.ctc_mean is None else match.ctc_mean for match in matches], -5.0),
        "worst_run": np.array([worst_run(match.words, RUN_LETTERS) for match in matches]),
        "worst_word": np.array([worst_run(match.words, WORD_LETTERS) for match in matches]),
    }
    sure = measured["similarity"] >= 0.6
    usual = {
        name: float(np.median(np.concatenate([values[sure], np.full(PRIOR_SENTENCES, PRIOR[name])])))
        for name, values in measured.items()
    }
    by_place = np.argsort(np.array(order), kind="stable")
    neighbours, support = np.zeros(len(matches)), np.zeros(len(matches))
    for rank, item in enumerate(by_place):
        for step in (-1, 1):
            if not 0 <= rank + step < len(by_place):
                continue
            other = by_place[rank + step]
            first, second = (item, other) if step > 0 else (other, item)
            pause = matches[second].start - matches[first].end
            if abs(order[other] - order[item]) <= 2 and -0.5 <= pause <= _NEIGHBOUR_SECONDS:
                neighbours[item] += 0.5
                support[item] += 0.5 * matches[other].similarity
    for row, match in enumerate(matches):
        values = {
            "similarity": match.similarity,
            "similarity_squared": match.similarity**2,
            "edge_cer": match.edge_cer,
            "margin": match.margin,
            "log_characters": float(np.log(max(characters[row], 1))),
            "pace_deviation": min(abs(float(measured["pace"][row]) - usual["pace"]), 2.0),
            "neighbours": neighbours[row],
            "neighbour_similarity": support[row],
        }
        if with_emissions:
            for name in ("similarity", "ctc_mean", "worst_run", "worst_word"):
                values[name] = float(measured[name][row])
                values[f"relative_{name}"] = values[name] - usual[name]
            values["unheard_share"] = unheard_share(match.words)
            values["ctc_worst"] = max(match.ctc_worst if match.ctc_worst is not None else -8.0, -8.0)
            values["ctc_edge"], values["slowest_edge"] = _edges(match)
        rows[row] = [values[name] for name in names]
    return rows


def worst_run(words: Sequence[WordTime], least: int) -> float:
    """The lowest mean log-probability a frame of any run of words with so many letters, or of all; -10 to 0."""
    if not words:
        return -10.0
    letters = np.array([max(1, sum(map(str.isalnum, word.word))) for word in words], np.float64)
    scores = np.maximum([word.score for word in words], -10.0)
    size, total = np.concatenate([[0.0], np.cumsum(letters)]), np.concatenate([[0.0], np.cumsum(letters * scores)])
    ends = np.searchsorted(size, size[:-1] + least)
    begins = np.flatnonzero(ends < len(size))
    if not len(begins):
        return float(total[-1] / size[-1])
    ends = ends[begins]
    return float(((total[ends] - total[begins]) / (size[ends] - size[begins])).min())


def unheard_share(words: Sequence[WordTime]) -> float:
    """Share of the characters in words that were not spoken, 0 to 1."""
    missing_characters = sum(len(word.word) for word in words if word.score < UNHEARD_SCORE)
    return missing_characters / max(1, sum(len(word.word) for word in words))


def _edges(match: SentenceMatch) -> tuple[float, float]:
    """The worse score of the first and last word, and the longer seconds a character of the two."""
    if not match.words:
        return -5.0, 0.5
    outer = (match.words[0], match.words[-1])
    slowest = max((word.end - word.start) / (len(word.word) + 1) for word in outer)
    return max(-5.0, min(word.score for word in outer)), min(slowest, 0.5)


def probabilities(
    matches: Sequence[SentenceMatch], characters: Sequence[int], order: Sequence[int], calibration: Calibration
) -> NDArray[np.float64]:
    """Calibrated probabilities (n,) that each match of one recording and document is right.

    A match with emissions is judged with them, one without (for example because it did not fit) by its text.
    """
    text = calibration.text.probability(feature_rows(matches, characters, order, False))
    has_emissions = np.array([match.ctc_mean is not None for match in matches], bool)
    if not has_emissions.any():
        return text
    with_emissions = calibration.emissions.probability(feature_rows(matches, characters, order, True))
    return np.where(has_emissions, with_emissions, text)


def threshold_for(probability: NDArray[np.float64], min_precision: float) -> float:
    """The lowest probability to keep so that the mean probability of what is kept is at least ``min_precision``.

    Returns 1.01, which keeps nothing, if even the most probable item does not reach it.
    """
    ranked = np.sort(probability)[::-1]
    if not len(ranked):
        return 1.01
    mean = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    enough = np.flatnonzero(mean >= min_precision)
    return float(ranked[enough[-1]]) if len(enough) else 1.01
