"""Pipeline systems: recognised text, or the reference transcript (the oracle), as input to a text model.

The oracle is an upper bound: the text model without recognition errors. Predictions are in the format of scoring, with
the input text in ``pred_text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.asr.hypothesis import Recognizer
from speechkit.asr.named import recognize_cut
from speechkit.data.manifest import audio_path, read_jsonl, read_manifest, write_jsonl
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.slue.metrics.entity_text import entities_of_tags
from speechkit.slue.rows import Row, read_rows, text_of
from speechkit.slue.systems.examples import read_questions
from speechkit.slue.systems.text_examples import PASSAGES, QUESTIONS, recognised_words
from speechkit.slue.systems.text_models import ExtractiveReader, Summarizer, TextClassifier, TokenTagger

TimedWord = tuple[str, float, float]


class TimedText(msgspec.Struct, frozen=True):
    """Text of an utterance, and its words with times in seconds from its start; no words if times are unknown."""

    text: str
    words: list[TimedWord]


class RecognizedText(msgspec.Struct, frozen=True):
    """A recogniser's transcript of an utterance."""

    id: str
    recognizer: str
    text: str


Transcribe = Callable[[Utterance, Path], TimedText]
"""A function from an utterance and the path of its manifest to its text."""


def recogniser_transcriber(recognizer: Recognizer) -> Transcribe:
    """A function that transcribes utterances with a recogniser."""

    def transcribe(utterance: Utterance, manifest: Path) -> TimedText:
        begin = utterance.offset
        hypothesis = recognize_cut(recognizer, utterance, audio_path(manifest, utterance))
        words: list[TimedWord] = []
        end = 0
        for word in hypothesis.text.split():
            first = hypothesis.text.index(word, end)
            end = first + len(word)
            words.append((word, float(hypothesis.starts[first]) - begin, float(hypothesis.ends[end - 1]) - begin))
        return TimedText(" ".join(hypothesis.text.split()), words)

    return transcribe


def recognized_texts(
    name: str, utterances: Iterable[Utterance], manifest: Path, kept: Path, *, lang: str, device: str
) -> Iterator[RecognizedText]:
    """Transcripts of utterances by a recogniser, loaded on demand; those of an interrupted run, in ``kept``, first."""
    from speechkit.asr.load import load_recognizer

    done: dict[str, RecognizedText] = {}
    if kept.is_file():
        done = {line.id: line for line in read_jsonl(kept, RecognizedText, on_torn=lambda _: None)}
        write_jsonl(kept, done.values())
    yield from done.values()
    transcribe: Transcribe | None = None
    for utterance in utterances:
        if utterance.id not in done:
            transcribe = transcribe or recogniser_transcriber(load_recognizer(name, lang, device))
            line = RecognizedText(utterance.id, name, transcribe(utterance, manifest).text)
            with kept.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
            yield line


def shown_recognizer(name: str) -> str:
    """Display name of a recogniser, without its parent folder."""
    kind, _, rest = name.rpartition(":")
    return f"{kind}:{Path(rest).name}" if kind else Path(name).name


def oracle_transcript(utterance: Utterance, manifest: Path) -> TimedText:
    """The reference transcript of the manifest, with word times if there are any.

    Raises:
        UserError: if the utterance has no text.
    """
    if utterance.text is None:
        raise UserError(f"{manifest}: {utterance.id} has no text; the oracle needs transcripts")
    timed = (utterance.custom or {}).get("words") or []
    words = [(str(w).removeprefix("#"), float(b), float(e)) for w, b, e in timed if str(w).removeprefix("#")]
    return TimedText(utterance.text, words)


def predict(
    task: str,
    manifest: Path,
    model: str,
    transcribe: Transcribe,
    *,
    device: str = "cpu",
    documents: Path | None = None,
    threshold: float = 0.5,
) -> Iterator[dict[str, Any]]:
    """Predictions of every utterance, in the manifest's order.

    Args:
        task: ner, sentiment, intent, dialog-acts, summarisation or qa.
        manifest: the utterances; for qa the questions.
        model: hub id or folder of the task's text model.
        transcribe: `oracle_transcript`, or the `recogniser_transcriber` of a recogniser.
        device: device of the text model.
        documents: for qa the manifest of the documents, each recognised once.
        threshold: probability threshold of dialog acts, 0 to 1.

    Raises:
        UserError: if the task has no pipeline, a model cannot be loaded, or a document is missing.
    """
    if task == "qa":
        yield from _answers(manifest, documents, ExtractiveReader(model, device), transcribe)
        return
    predict_fields = field_predictor(task, model, device, threshold)
    for utterance in read_manifest(manifest):
        text = transcribe(utterance, manifest).text
        yield {"id": utterance.id, "pred_text": text, **predict_fields(text)}


def predict_texts(
    task: str,
    rows: Path,
    model: str,
    *,
    text_field: str | None = None,
    device: str = "cpu",
    threshold: float = 0.5,
) -> Iterator[dict[str, Any]]:
    """Predictions from existing text, recognised or written, without audio.

    Args:
        task: ner, sentiment, intent, dialog-acts, summarisation, or qa-text (questions about passages).
        rows: a file in any format of scoring.
        model: hub id or folder of the task's text model.
        text_field: field of the text (of qa-text: the passage); default: the usual fields, recognised text first.
        device: device of the text model.
        threshold: probability threshold of dialog acts, 0 to 1.

    Raises:
        UserError: if a row has no text, the task has no text model, or the model cannot be loaded.
    """
    names = (text_field,) if text_field else ("pred_text", "normalized_text", "text")
    if task == "qa-text":
        answer = _answer_predictor(model, device)
        passages = (text_field,) if text_field else PASSAGES
        for row in read_rows(rows):
            yield {"id": row.id, **answer(text_of(row, QUESTIONS), text_of(row, passages))}
        return
    predict_fields = field_predictor(task, model, device, threshold)
    for row in read_rows(rows):
        text = text_of(row, names)
        yield {"id": row.id, "pred_text": text, **predict_fields(text)}


def field_predictor(
    task: str, model: str, device: str = "cpu", threshold: float = 0.5
) -> Callable[[str], dict[str, Any]]:
    """A function from a text to the prediction fields of a text model.

    Raises:
        UserError: if the task has no text model, or it cannot be loaded.
    """
    if task == "ner":
        tagger = TokenTagger(model, device)
        return lambda text: {"pred_ner": entities_of_tags(tagger.tag(recognised_words(text)))}
    if task in ("sentiment", "intent"):
        classifier = TextClassifier(model, device)
        return lambda text: {f"pred_{task}": classifier.label(text)}
    if task == "dialog-acts":
        acts = TextClassifier(model, device)
        return lambda text: {"pred_dialog_acts": acts.label_set(text, threshold)}
    if task == "summarisation":
        summarizer = Summarizer(model, device)
        return lambda text: {"pred_summary": summarizer.summarize(text)}
    raise UserError(f"{task!r} has no pipeline; use ner, sentiment, intent, dialog-acts, summarisation or qa")


def cached_predictor(
    task: str, model: str, rows: Sequence[Row], device: str = "cpu"
) -> Callable[[Mapping[str, str]], Mapping[str, Row]]:
    """A function from texts by id to predictions of ``model``, cached by text.

    For qa-text the texts are the passages of the questions in ``rows``.

    Raises:
        UserError: if the task has no text model, or a question has no text.
    """
    known: dict[tuple[str, str], dict[str, Any]] = {}
    if task == "qa-text":
        answer = _answer_predictor(model, device)
        questions = {row.id: text_of(row, QUESTIONS) for row in rows}

        def one(name: str, text: str) -> dict[str, Any]:
            if name not in questions:
                raise UserError(f"{name}: has no question; add one for every passage")
            return answer(questions[name], text)

    else:
        predict_fields = field_predictor(task, model, device)

        def one(name: str, text: str) -> dict[str, Any]:
            return predict_fields(text)

    def all_of(texts: Mapping[str, str]) -> Mapping[str, Row]:
        rows_by_id = {}
        for name, text in texts.items():
            key = (questions[name] if task == "qa-text" and name in questions else "", text)
            if key not in known:
                known[key] = one(name, text)
            rows_by_id[name] = Row(name, f"prediction of {name}", dict(known[key]))
        return rows_by_id

    return all_of


def _answer_predictor(model: str, device: str) -> Callable[[str, str], dict[str, Any]]:
    """A function from a question and a passage to the answer field, "" without an answer."""
    reader = ExtractiveReader(model, device)

    def answer(question: str, passage: str) -> dict[str, Any]:
        span = reader.answer(question, passage) if passage.strip() else None
        return {"pred_answer_text": "" if span is None else passage[span[0] : span[1]]}

    return answer


def _answers(
    manifest: Path, documents: Path | None, reader: ExtractiveReader, transcribe: Transcribe
) -> Iterable[dict[str, Any]]:
    passages: dict[str, TimedText] = {}
    for question, passage in read_questions(manifest, documents):
        assert documents is not None
        if passage.id not in passages:
            passages[passage.id] = transcribe(passage, documents)
        text = transcribe(question, manifest).text
        yield {"id": question.id, "pred_text": text, **answer_in_time(reader, text, passages[passage.id])}


def answer_in_time(reader: ExtractiveReader, question: str, document: TimedText) -> dict[str, Any]:
    """The answer's text and its span in seconds, from its first to its last (possibly partial) word."""
    passage = " ".join(word for word, _, _ in document.words)
    span = reader.answer(question, passage) if passage else None
    if span is None:
        return {"pred_answer_text": "", "pred_span": None}
    times, offset = [], 0
    for word, begin, end in document.words:
        if offset < span[1] and offset + len(word) > span[0]:
            times.append((begin, end))
        offset += len(word) + 1
    if not times:
        return {"pred_answer_text": "", "pred_span": None}
    return {"pred_answer_text": passage[span[0] : span[1]], "pred_span": [times[0][0], times[-1][1]]}
