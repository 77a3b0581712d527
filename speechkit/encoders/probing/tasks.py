"""Probing tasks on cached layers; each returns a score with its interval."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from speechkit.encoders.feature_statistics import layer_statistics
from speechkit.encoders.probing.pooled_probe import pool_statistics, train_pooled_probe
from speechkit.encoders.probing.results import Score
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.io.arrays import Float
from speechkit.metrics.bootstrap import bootstrap_ratio
from speechkit.metrics.error_rates import word_errors

CHARACTERS, PHONES, SPEAKERS, COMMANDS, DIGITS = "characters", "phones", "speakers", "commands", "digits"
MIN_SPEAKERS = 10
"""With fewer test speakers, intervals are over utterances."""


class ProbeItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An utterance of a task.

    Attributes:
        id: of its features.
        task: such as "characters".
        fold: cross-validation fold; for tasks without cross-validation 0 is the test set.
        symbols: transcript, for recognition tasks.
        labels: field to class, for classification tasks.
        speaker: its speaker, if known.
        begin: first frame of the classified segment.
        end: one past its last frame; None: the end of the utterance.
    """

    id: str
    task: str
    fold: int
    symbols: list[str] = []
    labels: dict[str, str] = {}
    speaker: str | None = None
    begin: int = 0
    end: int | None = None


def probe_symbols(
    task: str,
    items: Sequence[ProbeItem],
    cache: FeatureStore,
    *,
    hidden: int = 0,
    epochs: int = 10,
    learning_rate: float = 3e-3,
    batch_utterances: int = 8,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Score:
    """Error rate of a CTC head on the utterances of fold 0.

    Training utterances with too few frames for CTC are left out and counted; test utterances are all kept.
    """
    from speechkit.encoders.probing.ctc_probe import (
        CtcItem,
        CtcProbeConfig,
        frames_needed,
        read_symbols,
        train_ctc_probe,
    )

    started = time.process_time()
    test = [item for item in items if item.fold == 0]
    train = [CtcItem(item.id, cache.frames(item.id), tuple(item.symbols)) for item in items if item.fold]
    fitting = [item for item in train if item.symbols and frames_needed(item.symbols) <= item.frames]
    if not test or not fitting:
        raise UserError(
            f"{task}: there are {len(test)} test and {len(fitting)} training utterances; give at least one of each"
        )
    probe = train_ctc_probe(
        fitting,
        cache.layers,
        layer_statistics(cache, [item.id for item in fitting]),
        CtcProbeConfig(hidden, epochs, batch_utterances, learning_rate),
        seed=seed,
        device=device,
        progress=progress,
    )
    # Symbols are scored as words, with "|" for the space, so that one function counts errors for all alphabets.
    references = {item.id: " ".join("|" if s == " " else s for s in item.symbols) for item in test}
    hypotheses = {
        item.id: " ".join("|" if s == " " else s for s in read_symbols(probe, cache.layers(item.id))) for item in test
    }
    counts = [utterance.counts for utterance in word_errors(references, hypotheses).utterances]
    errors = np.array([count.substitutions + count.deletions + count.insertions for count in counts], float)
    lengths = np.array([len(item.symbols) for item in test], float)
    groups, unit = _bootstrap_groups(test)
    return Score(
        task=task,
        metric="error rate",
        value=float(errors.sum() / lengths.sum()),
        interval=bootstrap_ratio(errors, lengths, groups=groups, seed=seed),
        unit=unit,
        higher_is_better=False,
        items=len(test),
        layer_weights=probe.layer_weights,
        details={
            "symbols": int(lengths.sum()),
            "alphabet": len(probe.symbols),
            "training_utterances": len(fitting),
            "training_left_out": len(train) - len(fitting),
            "hidden": hidden,
            "epochs": epochs,
            "cpu_seconds": round(time.process_time() - started, 1),
        },
    )


def probe_labels(task: str, items: Sequence[ProbeItem], cache: FeatureStore, *, folds: int = 1, seed: int = 0) -> Score:
    """Accuracy of a linear classifier on pooled frames.

    Each of the folds 0 to ``folds - 1`` is tested in turn by a classifier trained on the others. With several label
    fields there is one classifier for each, and all predictions are weighted equally.
    """
    started = time.process_time()
    fields = list(dict.fromkeys(field for item in items for field in item.labels))
    if not fields or any(item.labels.keys() != set(fields) for item in items):
        raise UserError(f"{task}: all items must have the same label fields; give each item a class for each")
    pooled = np.stack([pool_statistics(cache.layers(item.id, item.begin, item.end)) for item in items])  # (N, L, 2 D)
    fold = np.array([item.fold for item in items])
    test_items = np.flatnonzero(fold < folds)
    correct = np.zeros(len(items))
    by_field: dict[str, float] = {}
    weights: list[Float] = []
    chances: list[float] = []
    for field in fields:
        labels = [item.labels[field] for item in items]
        hits = np.zeros(len(items))
        for held in range(folds):
            test = np.flatnonzero(fold == held)
            train = np.flatnonzero(fold != held)
            if not len(test) or not len(train):
                raise UserError(
                    f"{task}: fold {held} has {len(test)} test and {len(train)} training items; give more recordings"
                )
            probe = train_pooled_probe(pooled[train], [labels[index] for index in train], seed=seed)
            predicted = probe.predict(pooled[test])
            hits[test] = [label == labels[index] for label, index in zip(predicted, test, strict=True)]
            weights.append(probe.layer_weights)
            common = Counter(labels[index] for index in train).most_common(1)[0][0]
            chances.append(float(np.mean([labels[index] == common for index in test])))
        by_field[field] = float(hits[test_items].mean())
        correct += hits
    predictions = np.full(len(test_items), float(len(fields)))
    groups, unit = _bootstrap_groups([items[index] for index in test_items.tolist()])
    return Score(
        task=task,
        metric="accuracy",
        value=float(correct[test_items].sum() / predictions.sum()),
        interval=bootstrap_ratio(correct[test_items], predictions, groups=groups, seed=seed),
        unit=unit,
        higher_is_better=True,
        items=len(test_items),
        chance=float(np.mean(chances)),
        layer_weights=[float(weight) for weight in np.mean(weights, axis=0)],
        details={
            "classes": {field: len({item.labels[field] for item in items}) for field in fields},
            "accuracy": by_field,
            "training_items": int((fold >= folds).sum()) if folds == 1 else len(items) * (folds - 1) // folds,
            "folds": folds,
            "cpu_seconds": round(time.process_time() - started, 1),
        },
    )


def _bootstrap_groups(items: Sequence[ProbeItem]) -> tuple[list[str], str]:
    """Groups for the bootstrap and their kind: speakers if there are enough, else utterances."""
    speakers = [item.speaker for item in items]
    if None not in speakers and len(set(speakers)) >= MIN_SPEAKERS:
        return [str(speaker) for speaker in speakers], "speaker"
    return [f"{item.id} {item.begin}" for item in items], "utterance"
