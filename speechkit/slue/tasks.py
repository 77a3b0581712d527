"""The tasks: which fields of a row hold the truth and the prediction, what they may be, and which score they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from speechkit.errors import UserError
from speechkit.slue.metrics.answer_texts import score_answer_texts
from speechkit.slue.metrics.answers import Answer, Interval, score_answers
from speechkit.slue.metrics.classification import DIALOG_ACTS, SENTIMENTS, score_label_sets, score_labels
from speechkit.slue.metrics.entities import score_entities
from speechkit.slue.metrics.entity_tags import SYMBOLS, TagSet, combined_tag
from speechkit.slue.metrics.entity_text import Entity, entities_of_tags, parse_entities, plain_text, tag_words
from speechkit.slue.metrics.localisation import AlignedWord, Span, read_marked, score_localisation
from speechkit.slue.metrics.measures import Resampling, TaskScore
from speechkit.slue.metrics.slots import Command, score_commands
from speechkit.slue.metrics.summaries import score_summaries
from speechkit.slue.rows import Row, literal


@dataclass(frozen=True)
class Options:
    """What a task may be told: the tags that entities are scored with, the symbols of transcripts, the labels.

    ``tags`` "any" takes entity tags of other corpora as they are.
    """

    tags: TagSet | Literal["any"] = "combined"
    symbols: TagSet = "raw"
    labels: tuple[str, ...] | None = None
    compat: bool = False


@dataclass(frozen=True)
class Task:
    """A task by its name.

    ``gold`` and ``predicted`` read one row, ``empty`` is what a missing prediction counts as, ``score`` scores all,
    ``shown`` writes a value as text for people. ``skip`` says why a reference is no part of the task, None if it is.
    """

    name: str
    title: str
    gold: Callable[[Row, Options], Any]
    predicted: Callable[[Row, Options], Any]
    empty: Callable[[Options], Any]
    score: Callable[[Sequence[Any], Sequence[Any], Sequence[str], Options, Resampling], TaskScore]
    shown: Callable[[Any], str]
    skip: Callable[[Row], str | None] = lambda row: None


def _lacking(row: Row, names: Sequence[str], what: str) -> UserError:
    return UserError(f"{row.place}: {row.id} has no {what} ({', '.join(names)}); give every row one, None where empty")


# Named entities: [[TAG, phrase], ...], or [[TAG, start, length], ...] beside the text, or symbols in the text.
GOLD_ENTITIES = ("normalized_ner", "ner", "entities", "normalized_combined_ner", "raw_ner")
PREDICTED_ENTITIES = ("pred_ner", "pred_entities", "entities", "ner")
TEXT_OF = {"raw_ner": ("raw_text",)}
TEXTS = ("normalized_text", "text", "raw_text")
HEARD = ("pred_text", "hypothesis")


def recognised_text(row: Row, names: Sequence[str], entities: Sequence[str], options: Options) -> str | None:
    """The words of a row; without its symbols where it has no field of ``entities``. None where no field is a text."""
    text = row.first(names)
    if not isinstance(text, str):
        return None
    return text if row.has(entities) else plain_text(text, symbols=options.symbols)


def _gold_entities(row: Row, options: Options) -> list[Entity]:
    return _entities(row, GOLD_ENTITIES, ("text", "normalized_text"), options)


def _predicted_entities(row: Row, options: Options) -> list[Entity]:
    return _entities(row, PREDICTED_ENTITIES, ("pred_text", "hypothesis", "text"), options)


def _entities(row: Row, names: Sequence[str], texts: Sequence[str], options: Options) -> list[Entity]:
    name = next((n for n in names if n in row.fields), None)
    if name is None:
        text = row.first(texts)
        if not isinstance(text, str):
            raise _lacking(row, (*names[:2], texts[0]), "entities")
        return [_checked(row, pair, options) for pair in parse_entities(text, symbols=options.symbols)]
    given = literal(row.fields[name], row.place, name)
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        raise UserError(f"{row.place}: {row.id}: {name} is a {type(given).__name__}; a list of entities is wanted")
    spans: list[tuple[str, int, int]] = []
    pairs: list[Entity] = []
    for each in given:
        match each:
            case [str(tag), str(phrase), *_]:
                pairs.append(_checked(row, (tag, " ".join(phrase.split())), options))
            case [str(tag), int(begin), int(length)]:
                spans.append((_checked(row, (tag, ""), options)[0], begin, length))
            case _:
                raise UserError(
                    f"{row.place}: {row.id}: {each!r} is no entity; give [TAG, phrase] or [TAG, start, length]"
                )
    if spans:
        text = row.first(TEXT_OF.get(name, TEXTS))
        if not isinstance(text, str):
            raise _lacking(row, TEXTS, "text for its spans")
        try:
            pairs += entities_of_tags(tag_words(text, spans))
        except UserError as error:
            raise UserError(f"{row.place}: {row.id}: {error}") from error
    return pairs


def _checked(row: Row, pair: Entity, options: Options) -> Entity:
    if options.tags == "any":
        if not pair[0].strip():
            raise UserError(f"{row.place}: {row.id}: an entity has an empty tag; name it")
        return pair
    try:
        combined_tag(pair[0])
    except UserError as error:
        raise UserError(f"{row.place}: {row.id}: {error}") from error
    return pair


def _entities_shown(entities: Sequence[Entity]) -> str:
    return ", ".join(f"{tag}: {phrase}" for tag, phrase in entities) or "(none)"


# One label.
def _label(names: Sequence[str], default: Sequence[str]) -> Callable[[Row, Options], str]:
    def read(row: Row, options: Options) -> str:
        value = row.first(names)
        if value is None or value == "":
            raise _lacking(row, names[:2], "label")
        labels = options.labels or tuple(default)
        found = str(value).strip()
        if labels and found not in labels:
            raise UserError(f"{row.place}: {row.id} has the label {found!r}, which is none of {', '.join(labels)}")
        return found

    return read


def _not_one_sentiment(row: Row) -> str | None:
    value = row.first(GOLD_SENTIMENT)
    return f"sentiment {value}" if value in ("Disagreement", "<mixed>") else None


GOLD_SENTIMENT = ("sentiment", "label")
NO_LABEL = "(no prediction)"


def _score_sentiment(
    gold: Sequence[str], predicted: Sequence[str], ids: Sequence[str], options: Options, resampling: Resampling
) -> TaskScore:
    labels = options.labels or SENTIMENTS
    return _score_single("sentiment", gold, predicted, labels, ids, options, resampling)


def _score_intents(
    gold: Sequence[str], predicted: Sequence[str], ids: Sequence[str], options: Options, resampling: Resampling
) -> TaskScore:
    labels = options.labels or tuple(sorted({*gold, *predicted} - {NO_LABEL}))
    return _score_single("intent", gold, predicted, labels, ids, options, resampling)


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


# Label sets.
def _label_set(names: Sequence[str]) -> Callable[[Row, Options], list[str]]:
    def read(row: Row, options: Options) -> list[str]:
        if not row.has(names):
            raise _lacking(row, names[:2], "labels")
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


# Answers: begin and end in seconds.
GOLD_SPANS = ("answer_spans", "spans")
PREDICTED_SPAN = ("pred_span", "pred_answer", "prediction")


def _gold_answer(row: Row, options: Options) -> Answer:
    value = literal(row.first(GOLD_SPANS), row.place, "answer_spans")
    if isinstance(value, Mapping):  # Hugging Face's columns of one answer each
        value = list(zip(value.get("start_second", ()), value.get("end_second", ()), strict=False))
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = [(each.get("start_second"), each.get("end_second")) for each in value]
    if not isinstance(value, list) or not value:
        raise _lacking(row, GOLD_SPANS, "answer span")
    return Answer(tuple(_stretch(row, pair) for pair in value))


def _predicted_answer(row: Row, options: Options) -> Interval | None:
    if row.has(("pred_start", "pred_end")):
        pair = (row.fields.get("pred_start"), row.fields.get("pred_end"))
        return None if pair[0] in (None, *("", "None")) else _stretch(row, pair)
    if not row.has(PREDICTED_SPAN):
        raise _lacking(row, ("pred_span", "pred_start and pred_end"), "predicted span")
    value = literal(row.first(PREDICTED_SPAN), row.place, "pred_span")
    return None if value is None or value == [] else _stretch(row, value)


def _stretch(row: Row, pair: Any) -> Interval:
    try:
        begin, end = (float(each) for each in tuple(pair)[:2])
    except (TypeError, ValueError) as error:
        raise UserError(f"{row.place}: {row.id}: {pair!r} is no span; give begin and end in seconds") from error
    if not (abs(begin) < 1e9 and abs(end) < 1e9):
        raise UserError(f"{row.place}: {row.id}: {pair!r} is no span of seconds; mend it")
    return begin, end


# Answers as text.
GOLD_TEXTS = ("answers", "answer_texts", "answer_text")


def _gold_texts(row: Row, options: Options) -> list[str]:
    value = row.first(GOLD_TEXTS)
    if isinstance(value, str) and value.strip().startswith(("[", "{")):
        value = literal(value, row.place, "answers")
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, str):
        value = [value]
    texts = [each.get("text") if isinstance(each, Mapping) else each for each in value or []]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise _lacking(row, GOLD_TEXTS, "answer text")
    return list(dict.fromkeys(str(text) for text in texts))


def _predicted_text(row: Row, options: Options) -> str:
    names = ("pred_answer_text", "prediction", "pred_answer")
    if not row.has(names):
        raise _lacking(row, names, "predicted answer text")
    return str(row.first(names) or "")


# Summaries.
SEPARATOR = "[sep]"


def _gold_summary(row: Row, options: Options) -> str:
    if row.has(("title", "abstract")):
        parts = [str(row.fields.get(name) or "") for name in ("title", "abstract")]
        return f" {SEPARATOR} ".join(parts) if options.compat else " ".join(parts)
    return _summary(row, ("summary", "text"), options)


def _summary(row: Row, names: Sequence[str], options: Options) -> str:
    value = row.first(names)
    if not isinstance(value, str):
        raise _lacking(row, names[:2], "summary")
    return value if options.compat else value.replace(SEPARATOR, " ")


# Localisation: words with times, and spans with times.
Located = tuple[list[AlignedWord], list[Span]]


def _gold_localised(row: Row, options: Options) -> Located:
    words: list[AlignedWord] = []
    spans = _spans(row, ("entity_spans", "entities"))
    alignment = row.fields.get("alignment")
    if row.has(("words",)):
        try:
            words = read_marked(literal(row.fields["words"], row.place, "words") or [])
        except (TypeError, ValueError) as error:
            raise UserError(f"{row.place}: {row.id}: words are no [word, begin, end] lists; mend them") from error
    elif isinstance(alignment, Mapping) and alignment.get("word"):
        for item in alignment["word"]:
            text, begin, length = str(item[0]), float(item[1]), float(item[2])
            inside = any(b - 1e-6 <= begin and begin + length <= e + 1e-6 for _, b, e in spans)
            words.append(AlignedWord(text, begin, begin + length, inside))
    elif not spans and not row.has(("entity_spans", "entities")):
        raise _lacking(row, ("words", "alignment"), "aligned words")
    return words, spans


def _predicted_localised(row: Row, options: Options) -> list[Span]:
    names = ("pred_spans", "spans", "entities", "entity_spans")
    if not row.has(names):
        raise _lacking(row, names[:2], "predicted spans")
    return _spans(row, names)


def _spans(row: Row, names: Sequence[str]) -> list[Span]:
    """[phrase, begin, end], [begin, end], or [tag, phrase, begin, end], in seconds."""
    given = literal(row.first(names), row.place, names[0])
    found: list[Span] = []
    for each in given or []:
        parts = list(each) if isinstance(each, list | tuple) else []
        if len(parts) not in (2, 3, 4):
            raise UserError(f"{row.place}: {row.id}: {each!r} is no span; give [phrase, begin, end] in seconds")
        begin, end = _stretch(row, parts[-2:])
        found.append((str(parts[-3]) if len(parts) > 2 else "", begin, end))
    return found


def _score_localised(
    gold: Sequence[Located], predicted: Sequence[Sequence[Span]], ids: Sequence[str], options: Options, r: Resampling
) -> TaskScore:
    # Groups are given in the order of ids; the score goes through them sorted.
    if r.groups is not None:
        of = dict(zip(ids, r.groups, strict=True))
        r = Resampling(r.resamples, r.seed, r.confidence, tuple(of[i] for i in sorted(ids)))
    return score_localisation(
        {i: words for i, (words, _) in zip(ids, gold, strict=True) if words},
        dict(zip(ids, predicted, strict=True)),
        {i: spans for i, (_, spans) in zip(ids, gold, strict=True)},
        compat=options.compat,
        resampling=r,
    )


def _spans_shown(spans: Sequence[Span]) -> str:
    return ", ".join(f"{phrase} {begin:.2f}-{end:.2f} s".strip() for phrase, begin, end in spans) or "(none)"


def _localised_shown(value: Any) -> str:
    return _spans_shown(value[1] if isinstance(value, tuple) else value)


def _answer_shown(value: Any) -> str:
    spans = value.spans if isinstance(value, Answer) else () if value is None else (value,)
    return ", ".join(f"{begin:.2f}-{end:.2f} s" for begin, end in spans) or "(none)"


def _command(intents: Sequence[str], slots: Sequence[str]) -> Callable[[Row, Options], Command]:
    def read(row: Row, options: Options) -> Command:
        given = literal(row.first(slots), row.place, slots[0])
        if not isinstance(given, Mapping):
            raise _lacking(row, slots, "slots, an object of slot to value, {} where empty")
        intent = row.first(intents)
        return Command(None if intent is None else str(intent), {str(k): str(v) for k, v in given.items()})

    return read


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "ner",
            "Named entities (slue-voxpopuli)",
            _gold_entities,
            _predicted_entities,
            lambda options: [],
            lambda gold, predicted, ids, options, r: score_entities(
                gold,
                predicted,
                ids=ids,
                tags="combined" if options.tags == "combined" else "raw",
                compat=options.compat,
                resampling=r,
            ),
            _entities_shown,
        ),
        Task(
            "sentiment",
            "Sentiment (slue-voxceleb)",
            _label(GOLD_SENTIMENT, SENTIMENTS),
            _label(("pred_sentiment", "prediction", "sentiment", "label"), SENTIMENTS),
            lambda options: NO_LABEL,
            _score_sentiment,
            str,
            _not_one_sentiment,
        ),
        Task(
            "dialog-acts",
            "Dialog acts (slue-hvb)",
            _label_set(("dialog_acts", "labels")),
            _label_set(("pred_dialog_acts", "prediction", "dialog_acts", "labels")),
            lambda options: [],
            lambda gold, predicted, ids, options, r: score_label_sets(
                gold, predicted, options.labels or DIALOG_ACTS, ids=ids, compat=options.compat, resampling=r
            ),
            lambda value: ", ".join(value) or "(none)",
        ),
        Task(
            "qa",
            "Question answering (slue-sqa-5)",
            _gold_answer,
            _predicted_answer,
            lambda options: None,
            lambda gold, predicted, ids, options, r: score_answers(
                gold, predicted, ids=ids, compat=options.compat, resampling=r
            ),
            _answer_shown,
        ),
        Task(
            "qa-text",
            "Answers as text (Spoken-SQuAD)",
            _gold_texts,
            _predicted_text,
            lambda options: "",
            lambda gold, predicted, ids, options, r: score_answer_texts(
                gold, predicted, ids=ids, compat=options.compat, resampling=r
            ),
            lambda value: value if isinstance(value, str) else " / ".join(value),
        ),
        Task(
            "summarisation",
            "Summarisation (slue-ted)",
            _gold_summary,
            lambda row, options: _summary(row, ("pred_summary", "prediction", "summary", "pred_text", "text"), options),
            lambda options: "",
            lambda gold, predicted, ids, options, r: score_summaries(
                gold, predicted, ids=ids, compat=options.compat, resampling=r
            ),
            str,
        ),
        Task(
            "localisation",
            "Named entity localisation (slue-vp_nel)",
            _gold_localised,
            _predicted_localised,
            lambda options: [],
            _score_localised,
            _localised_shown,
        ),
        Task(
            "intent",
            "Intents, any labels",
            _label(("intent", "label"), ()),
            _label(("pred_intent", "prediction", "intent", "label"), ()),
            lambda options: NO_LABEL,
            _score_intents,
            str,
        ),
        Task(
            "slots",
            "Commands: intent and slots",
            _command(("intent",), ("slots",)),
            _command(("pred_intent", "intent"), ("pred_slots", "slots")),
            lambda options: Command(None, {}),
            lambda gold, predicted, ids, options, r: score_commands(gold, predicted, ids=ids, resampling=r),
            lambda command: ", ".join(f"{name}: {value}" for name, value in sorted(command.slots.items())) or "(none)",
        ),
    )
}
"""By name."""


def get_task(name: str) -> Task:
    """The task of a name.

    Raises:
        UserError: listing the tasks, if there is none of that name.
    """
    found = TASKS.get(name.replace("_", "-"))
    if found is None:
        raise UserError(f"{name!r}: is no task; give one of {', '.join(TASKS)}")
    return found


def check_options(options: Options) -> Options:
    """The options, after a check of the table names."""
    if options.tags not in (*SYMBOLS, "any"):
        raise UserError(f"{options.tags!r}: is no set of tags; give raw, combined or any")
    if options.symbols not in SYMBOLS:
        raise UserError(f"{options.symbols!r}: is no set of symbols; give raw or combined")
    return options
