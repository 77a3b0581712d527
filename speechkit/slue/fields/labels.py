"""Readers of a single label, a set of labels, or a command (intent and slots); scores of single labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from speechkit.errors import UserError
from speechkit.slue.fields import Options, missing_field
from speechkit.slue.metrics.classification import DIALOG_ACTS, SENTIMENTS, score_label_sets, score_labels
from speechkit.slue.metrics.measures import Resampling, TaskScore
from speechkit.slue.metrics.slots import Command
from speechkit.slue.rows import Row, literal


def label_reader(names: Sequence[str], default: Sequence[str]) -> Callable[[Row, Options], str]:
    """A reader of one label from the labels of the options or else ``default``; any label if both are empty."""

    def read(row: Row, options: Options) -> str:
        value = row.first(names)
        if value is None or value == "":
            raise missing_field(row, names[:2], "label")
        labels = options.labels or tuple(default)
        label = str(value).strip()
        if labels and label not in labels:
            raise UserError(f"{row.location}: {row.id}: unknown label {label!r}; use one of {', '.join(labels)}")
        return label

    return read


def sentiment_disagreement(row: Row) -> str | None:
    """Reason to skip a row: its annotators disagreed on the sentiment."""
    value = row.first(GOLD_SENTIMENT)
    return f"sentiment {value}" if value in ("Disagreement", "<mixed>") else None


GOLD_SENTIMENT = ("sentiment", "label")
NO_LABEL = "(no prediction)"


def score_sentiment(
    gold: Sequence[str], predicted: Sequence[str], ids: Sequence[str], options: Options, resampling: Resampling
) -> TaskScore:
    """Macro F1 over the three sentiments."""
    labels = options.labels or SENTIMENTS
    return _score_single("sentiment", gold, predicted, labels, ids, options, resampling)


def score_intents(
    gold: Sequence[str], predicted: Sequence[str], ids: Sequence[str], options: Options, resampling: Resampling
) -> TaskScore:
    """Macro F1 over the intents of the references, the same classes for every system.

    A predicted intent that occurs in no reference is an error, not another class. ``compat`` averages over predicted
    intents as well, as scikit-learn does.
    """
    if options.labels or options.compat:
        labels = options.labels or tuple(sorted({*gold, *predicted} - {NO_LABEL}))
        return _score_single("intent", gold, predicted, labels, ids, options, resampling)
    labels = tuple(sorted(set(gold)))
    unknown = sorted(set(predicted) - {NO_LABEL, *labels})
    wrong = sum(label in unknown for label in predicted)
    predicted = [NO_LABEL if label in unknown else label for label in predicted]
    score = _score_single("intent", gold, predicted, labels, ids, options, resampling)
    warnings = [*score.warnings]
    if unknown:
        named = ", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        warnings.append(f"{wrong:,} predictions are intents that occur in no reference ({named}); they count as wrong")
    return msgspec.structs.replace(
        score, settings=score.settings | {"mean over": "labels of the references"}, warnings=warnings
    )


def _score_single(
    task: str,
    gold: Sequence[str],
    predicted: Sequence[str],
    labels: Sequence[str],
    ids: Sequence[str],
    options: Options,
    resampling: Resampling,
) -> TaskScore:
    if NO_LABEL in predicted:
        # A missing prediction is scored as an empty set of labels.
        return score_label_sets(
            [(g,) for g in gold],
            [() if p == NO_LABEL else (p,) for p in predicted],
            labels,
            task=task,
            ids=ids,
            compat=options.compat,
            resampling=resampling,
        )
    return score_labels(gold, predicted, labels, task=task, ids=ids, compat=options.compat, resampling=resampling)


def label_set_reader(names: Sequence[str]) -> Callable[[Row, Options], list[str]]:
    """A reader of a set of labels: a list, or a comma-separated text."""

    def read(row: Row, options: Options) -> list[str]:
        if not row.has(names):
            raise missing_field(row, names[:2], "labels")
        value = row.first(names)
        if isinstance(value, str) and value.strip().startswith(("[", "(", "{")):
            value = literal(value, row.location, names[0])
        if value is None:
            return []
        given = value.split(",") if isinstance(value, str) else list(value)
        labels = {label for item in given if (label := str(item).strip())}
        known = options.labels or DIALOG_ACTS
        for label in sorted(labels):
            if label not in known:
                raise UserError(f"{row.location}: {row.id}: unknown label {label!r}; use one of {', '.join(known)}")
        return sorted(labels)

    return read


def command_reader(intents: Sequence[str], slots: Sequence[str]) -> Callable[[Row, Options], Command]:
    """A reader of a command: an optional intent and an object of slots."""

    def read(row: Row, options: Options) -> Command:
        given = literal(row.first(slots), row.location, slots[0])
        if not isinstance(given, Mapping):
            raise missing_field(row, slots, "slots, an object of slot to value, {} if empty")
        intent = row.first(intents)
        return Command(None if intent is None else str(intent), {str(k): str(v) for k, v in given.items()})

    return read
