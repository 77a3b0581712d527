"""Classification metrics: macro F1 of one label per utterance (sentiment, intents) or of label sets (dialog acts).

The corrected macro F1 averages over the task's fixed labels. The reference toolkit calls scikit-learn without labels,
which averages over the labels seen in references or predictions, fewer than the task has if a split lacks a class;
``compat=True`` does the same. For label sets both modes are the same: all 18 classes count, with F1 0 for a class that
is neither in the references nor in the predictions.

The toolkit's "micro" F1 is an average weighted by reference counts, called weighted here.

Source: Shon et al. 2022 (sentiment); Shon et al. 2023, SLUE Phase-2 (dialog acts).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError
from speechkit.slue.metrics.measures import (
    DEFAULT_RESAMPLING,
    ClassScore,
    Resampling,
    Statistic,
    TaskScore,
    f_scores,
    paired_ids,
    ratio_of,
    safe_ratio,
    task_score,
)

SENTIMENTS = ("Negative", "Neutral", "Positive")
DIALOG_ACTS = (
    "acknowledge",
    "answer_agree",
    "answer_dis",
    "answer_general",
    "apology",
    "backchannel",
    "disfluency",
    "other",
    "question_check",
    "question_general",
    "question_repeat",
    "self",
    "statement_close",
    "statement_general",
    "statement_instruct",
    "statement_open",
    "statement_problem",
    "thanks",
)
THRESHOLD = 0.5


def score_labels(
    gold: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str] = SENTIMENTS,
    *,
    task: str = "sentiment",
    ids: Sequence[str] | None = None,
    compat: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Macro F1 (main), weighted F1 and accuracy of one label for each utterance.

    Raises:
        UserError: if a label is not in ``labels``, with the utterance.
    """
    gold_sets, predicted_sets = ([(label,) for label in side] for side in (gold, predicted))
    return score_label_sets(
        gold_sets, predicted_sets, labels, task=task, ids=ids, compat=compat, only_seen=compat, resampling=resampling
    )


def score_label_sets(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    labels: Sequence[str] = DIALOG_ACTS,
    *,
    task: str = "dialog_acts",
    ids: Sequence[str] | None = None,
    compat: bool = False,
    only_seen: bool = False,
    resampling: Resampling = DEFAULT_RESAMPLING,
) -> TaskScore:
    """Macro F1 (main), weighted F1 and exact-match accuracy of a set of labels for each utterance.

    With ``only_seen`` macro F1 averages over the labels seen in references or predictions instead of all labels.

    Raises:
        UserError: if a label is not in ``labels``, with the utterance.
    """
    names = paired_ids(task, gold, predicted, ids)
    gold_table = _indicators("reference", gold, labels, names)
    predicted_table = _indicators("prediction", predicted, labels, names)
    both = gold_table * predicted_table
    exact = (gold_table == predicted_table).all(axis=1).astype(float)
    counts = np.concatenate([gold_table, predicted_table, both, exact[:, None], np.ones((len(gold), 1))], axis=1)
    sums = counts.sum(axis=0).astype(int)
    k = len(labels)
    classes = {
        label: ClassScore(int(sums[i]), int(sums[k + i]), int(sums[2 * k + i])) for i, label in enumerate(labels)
    }
    warnings = []
    if absent := [label for label, score in classes.items() if not score.gold]:
        treatment = "are left out of the mean unless predicted" if only_seen else "have F1 0"
        warnings.append(f"the references have no {', '.join(absent)}; such classes {treatment}")
    own = f_scores(both.sum(axis=1), predicted_table.sum(axis=1), gold_table.sum(axis=1))[2] + (
        gold_table + predicted_table == 0
    ).all(axis=1)
    return task_score(
        task,
        "macro_f1",
        counts,
        _statistics(k, only_seen),
        resampling,
        ids=names,
        own=own.tolist(),
        class_means=("macro_f1", "macro_precision", "macro_recall"),
        compat=compat,
        classes=classes,
        settings={"classes": str(k), "mean over": "labels seen" if only_seen else "all labels"},
        warnings=warnings,
    )


def labels_above(
    logits: Sequence[float], labels: Sequence[str] = DIALOG_ACTS, threshold: float = THRESHOLD
) -> list[str]:
    """The labels with a sigmoid of at least ``threshold`` (0 to 1)."""
    least = float(np.log(threshold / (1 - threshold)))
    return [label for label, logit in zip(labels, logits, strict=True) if logit >= least]


def _indicators(
    side: str, rows: Sequence[Sequence[str]], labels: Sequence[str], names: Sequence[str]
) -> NDArray[np.float64]:
    column = {label: index for index, label in enumerate(labels)}
    table = np.zeros((len(rows), len(labels)))
    for number, row in enumerate(rows):
        for label in row:
            if label not in column:
                raise UserError(
                    f"{names[number]}: unknown label {label!r} in the {side}; use one of {', '.join(labels)}"
                )
            table[number, column[label]] = 1
    return table


def _statistics(k: int, only_seen: bool) -> dict[str, Statistic]:
    def parts(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return sums[:, 2 * k : 3 * k], sums[:, k : 2 * k], sums[:, :k]

    def macro(which: int) -> Statistic:
        def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            correct, predicted, gold = parts(sums)
            counted = (predicted + gold > 0) if only_seen else np.ones_like(gold, bool)
            values = f_scores(correct, predicted, gold)[which]
            return safe_ratio((values * counted).sum(axis=1), counted.sum(axis=1).astype(float))

        return mean

    def weighted(which: int) -> Statistic:
        def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            correct, predicted, gold = parts(sums)
            return safe_ratio((f_scores(correct, predicted, gold)[which] * gold).sum(axis=1), gold.sum(axis=1))

        return mean

    return {
        "macro_f1": macro(2),
        "macro_precision": macro(0),
        "macro_recall": macro(1),
        "weighted_f1": weighted(2),
        "weighted_precision": weighted(0),
        "weighted_recall": weighted(1),
        "accuracy": ratio_of(3 * k, 3 * k + 1),
    }
