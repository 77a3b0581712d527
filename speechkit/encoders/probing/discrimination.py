"""ABX and same-different scores of words and phones, without a trained head, on the best layer of other speakers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec
import numpy as np

from speechkit.encoders.feature_statistics import layer_statistics
from speechkit.encoders.probing.abx import abx_score
from speechkit.encoders.probing.dtw import distance_matrix
from speechkit.encoders.probing.phone_abx import PhoneToken, phone_abx, phone_cells
from speechkit.encoders.probing.results import Score
from speechkit.encoders.probing.same_different import Pooling, embed_segment, same_different
from speechkit.encoders.probing.word_tokens import WordToken
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.io.arrays import Float

WITHIN, ACROSS = "words ABX within speakers", "words ABX across speakers"
EMBEDDINGS: dict[str, Pooling] = {
    "words same-different, mean": "mean",
    "words same-different, downsampled": "downsampled",
}
WORD_TASKS = (WITHIN, ACROSS, *EMBEDDINGS)
PHONE_TASKS = {"phones ABX within speakers": False, "phones ABX across speakers": True}
"""Name of the task to whether X is of another speaker than A and B."""
HIGHER = frozenset(EMBEDDINGS)


T = TypeVar("T", WordToken, PhoneToken)
Scorer = Callable[[Sequence[T], list[Float], "dict[str, str] | None", "int | None"], dict[str, Score]]
"""From tokens, the frames of each, a dict for the reasons of missing scores, and bootstrap resamples to scores."""


def probe_words(
    test: Sequence[WordToken],
    dev: Sequence[WordToken],
    cache: FeatureStore,
    *,
    standardize: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    leave_out: Callable[[str, str], None] | None = None,
) -> list[Score]:
    """ABX within and across speakers, and same-different precision of mean and downsampled embeddings.

    Nothing is trained. Each score is of the layer that is best on the words of other speakers (``dev``); with
    ``standardize`` each dimension is normalised to mean 0 and deviation 1 over the frames of their utterances.

    Args:
        test: test tokens.
        dev: tokens of other speakers, on which the layer is selected.
        cache: the features of all layers.
        standardize: whether dimensions are standardized.
        seed: of subsampling and bootstrap.
        progress: (done, total).
        leave_out: called with the name of a score that cannot be computed and the reason; the others are returned.

    Raises:
        UserError: if there are no tokens, or too few for a score and no ``leave_out`` is given.
    """
    scorer = partial(_word_scores, seed=seed)
    return _on_best_layers("words", WORD_TASKS, scorer, test, dev, cache, standardize, progress, leave_out)


def probe_phones(
    test: Sequence[PhoneToken],
    dev: Sequence[PhoneToken],
    cache: FeatureStore,
    *,
    standardize: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    leave_out: Callable[[str, str], None] | None = None,
) -> list[Score]:
    """ABX of phones within and across speakers, by fastabx; see `phone_abx` and, for the arguments, `probe_words`.

    Raises:
        MissingExtraError: if fastabx is not installed and no ``leave_out`` is given.
        UserError: as `probe_words`.
    """
    scorer = partial(_phone_scores, seed=seed)
    return _on_best_layers("phones", tuple(PHONE_TASKS), scorer, test, dev, cache, standardize, progress, leave_out)


def _on_best_layers(
    unit: str,
    names: Sequence[str],
    scorer: Scorer[T],
    test: Sequence[T],
    dev: Sequence[T],
    cache: FeatureStore,
    standardize: bool,
    progress: Callable[[int, int], None],
    leave_out: Callable[[str, str], None] | None,
) -> list[Score]:
    """Each score on the layer that is best on ``dev``."""
    started = time.process_time()
    if not test or (cache.num_layers > 1 and not dev):
        raise UserError(f"{unit}: there are {len(test)} test and {len(dev)} development tokens; align more utterances")
    mean = np.zeros((cache.num_layers, cache.dim), np.float32)
    deviation = np.ones_like(mean)
    if standardize:
        utterances = list(dict.fromkeys(token.utterance for token in dev or test))
        mean, deviation = layer_statistics(cache, utterances)

    def segments(tokens: Sequence[T], layer: int) -> list[Float]:
        return [
            (cache.layer(token.utterance, layer, token.begin, token.end) - mean[layer]) / deviation[layer]
            for token in tokens
        ]

    layers = range(cache.num_layers)
    missing: dict[str, str] | None = None if leave_out is None else {}
    curves: dict[str, list[float]] = {name: [] for name in names}
    for layer in layers if cache.num_layers > 1 else ():
        for name, score in scorer(dev, segments(dev, layer), missing, 1).items():
            curves[name].append(score.value)
        progress(layer + 1, cache.num_layers + 1)
    best = {
        name: 0 if not curve else int(np.argmax(curve) if name in HIGHER else np.argmin(curve))
        for name, curve in curves.items()
        if name not in (missing or {})
    }
    scores: dict[str, Score] = {}
    for layer in sorted(set(best.values())):
        on_layer = scorer(test, segments(test, layer), missing, None)
        scores |= {name: score for name, score in on_layer.items() if best.get(name) == layer}
    progress(cache.num_layers + 1, cache.num_layers + 1)
    for name, reason in (missing or {}).items():
        assert leave_out is not None
        leave_out(name, reason)
    seconds = round(time.process_time() - started, 1)
    return [
        msgspec.structs.replace(
            scores[name],
            layer_weights=[float(layer == best[name]) for layer in layers],
            details={
                **scores[name].details,
                "layer": best[name],
                "development": [round(value, 4) for value in curves[name]],
                "standardized": standardize,
                f"cpu_seconds_of_all_{unit}": seconds,
            },
        )
        for name in names
        if name in scores
    ]


def _word_scores(
    tokens: Sequence[WordToken],
    segments: list[Float],
    missing: dict[str, str] | None,
    resamples: int | None,
    *,
    seed: int,
) -> dict[str, Score]:
    """The word scores that can be computed; ``missing``, where given, receives the reasons for the others."""
    words = [token.word for token in tokens]
    speakers = [token.speaker for token in tokens]
    num_speakers = len(set(speakers))
    distances = distance_matrix(segments)

    def word_abx(name: str, across: bool) -> Score:
        abx = abx_score(distances, words, speakers, across=across, seed=seed, resamples=resamples or 2000)
        return Score(
            task=name,
            metric="ABX error",
            value=abx.error,
            interval=abx.interval,
            unit="word",
            higher_is_better=False,
            items=len(tokens),
            chance=0.5,
            details={"words": abx.words, "pairs": abx.pairs, "triples": abx.triples, "speakers": num_speakers},
        )

    def precision(name: str, pooling: Pooling) -> Score:
        vectors = np.stack([embed_segment(segment, pooling) for segment in segments])
        same = same_different(vectors, words, speakers, seed=seed, resamples=resamples or 500)
        return Score(
            task=name,
            metric="average precision",
            value=same.precision,
            interval=same.interval,
            unit="token",
            higher_is_better=True,
            items=len(tokens),
            chance=same.chance,
            details={"same_pairs": same.same_pairs, "different_pairs": same.different_pairs, "speakers": num_speakers},
        )

    measures: dict[str, Callable[[], Score]] = {
        WITHIN: partial(word_abx, WITHIN, False),
        ACROSS: partial(word_abx, ACROSS, True),
        **{name: partial(precision, name, pooling) for name, pooling in EMBEDDINGS.items()},
    }
    return _computable(measures, missing)


def _phone_scores(
    tokens: Sequence[PhoneToken],
    segments: list[Float],
    missing: dict[str, str] | None,
    resamples: int | None,
    *,
    seed: int,
) -> dict[str, Score]:
    """The phone scores that can be computed; see `_word_scores`."""

    def score(name: str, across: bool) -> Score:
        cells = phone_cells(tokens, segments, across=across, seed=seed)
        abx = phone_abx(cells, seed=seed, resamples=resamples or 2000)
        return Score(
            task=name,
            metric="ABX error",
            value=abx.error,
            interval=abx.interval,
            unit=abx.unit,
            higher_is_better=False,
            items=len(tokens),
            chance=0.5,
            details={"pairs": abx.pairs, "triples": abx.triples, "speakers": abx.speakers},
        )

    return _computable({name: partial(score, name, across) for name, across in PHONE_TASKS.items()}, missing)


def _computable(measures: dict[str, Callable[[], Score]], missing: dict[str, str] | None) -> dict[str, Score]:
    """The scores that can be computed; reasons for the others go to ``missing``, or are raised if that is None."""
    scores: dict[str, Score] = {}
    for name, measure in measures.items():
        try:
            scores[name] = measure()
        except UserError as error:
            if missing is None:
                raise
            missing[name] = str(error)
    return scores
