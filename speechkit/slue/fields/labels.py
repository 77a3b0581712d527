"""One label, a set of labels, or a command of an intent and slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from speechkit.errors import UserError
from speechkit.slue.fields import Options, lacking
from speechkit.slue.metrics.classification import DIALOG_ACTS, SENTIMENTS, score_label_sets, score_labels
from speechkit.slue.metrics.measures import Resampling, TaskScore
from speechkit.slue.metrics.slots import Command
from speechkit.slue.rows import Row, literal


def label_of(names: Sequence[str], default: Sequence[str]) -> Callable[[Row, Options], str]:
    """A reader of one label, which must be one of ``default`` or of the options' own; of any where both are empty."""

    def read(row: Row, options: Options) -> str:
        value = row.first(names)
        if value is None or value == "":
            raise lacking(row, names[:2], "label")
        labels = options.labels or tuple(default)
        found = str(value).strip()
        if labels and found not in labels:
            raise UserError(f"{row.place}: {row.id} has the label {found!r}, which is none of {', '.join(labels)}")
        return found

    return read


def not_one_sentiment(row: Row) -> str | None:
    """Why a row is no part of the task: its annotators did not agree."""
    value = row.first(GOLD_SENTIMENT)
    return f"sentiment {value}" if value in ("Disagreement", "<mixed>") else None


GOLD_SENTIMENT = ("sentiment", "label")
NO_LABEL = "(no prediction)"


def score_sentiment(
    gold: Sequence[str], predicted: Sequence[str], ids: Sequence[str], options: Options, resampling: Resampling
) -> TaskScore:
    """Macro F1 of the three sentiments."""
    labels = options.labels or SENTIMENTS
    return _score_single("sentiment", gold, predicted, labels, ids, options, resampling)


def score_intents(
    gold: Sequence[str], predicted: Sequence[str], ids: Sequence[str], options: Options, resampling: Resampling
) -> TaskScore:
    """Macro F1 of the intents of the references, so that systems are averaged over one set.

    A prediction that no reference has is wrong and no class of its own. ``compat`` averages over what was predicted
    too, as scikit-learn does.
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
        warnings.append(f"{wrong:,} predictions are intents that no reference has ({named}); they count as wrong")
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
        # An utterance without a prediction is right for no class: as a set of labels it is empty.
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


def label_set_of(names: Sequence[str]) -> Callable[[Row, Options], list[str]]:
    """A reader of a set of labels: a list, or text with commas."""

    def read(row: Row, options: Options) -> list[str]:
        if not row.has(names):
            raise lacking(row, names[:2], "labels")
        value = row.first(names)
        if isinstance(value, str) and value.strip().startswith(("[", "(", "{")):
            value = literal(value, row.place, names[0])
        if value is None:
            return []
        given = value.split(",") if isinstance(value, str) else list(value)
        found = [str(each).strip() for each in given if str(each).strip()]
        labels = options.labels or DIALOG_ACTS
        for each in found:
            if each not in labels:
                raise UserError(f"{row.place}: {row.id} has the label {each!r}, which is none of {', '.join(labels)}")
        return sorted(set(found))

    return read


def command_of(intents: Sequence[str], slots: Sequence[str]) -> Callable[[Row, Options], Command]:
    """A reader of a command: an intent, if any, and an object of slots."""

    def read(row: Row, options: Options) -> Command:
        given = literal(row.first(slots), row.place, slots[0])
        if not isinstance(given, Mapping):
            raise lacking(row, slots, "slots, an object of slot to value, {} where empty")
        intent = row.first(intents)
        return Command(None if intent is None else str(intent), {str(k): str(v) for k, v in given.items()})

    return read
