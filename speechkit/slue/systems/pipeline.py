"""Pipelines: what a recogniser heard, or the transcript itself (the oracle), goes into a text model.

The oracle is the top line: what the text model could do if recognition made no error. Predictions come in the form that
scoring reads, with the text that they were made from in ``pred_text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from speechkit.asr.hypothesis import Recognizer
from speechkit.data.manifest import audio_path, read_jsonl, read_manifest, write_jsonl
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.slue.metrics.entity_text import entities_of_tags
from speechkit.slue.rows import Row, read_rows, text_of
from speechkit.slue.systems.examples import read_questions
from speechkit.slue.systems.text_examples import PASSAGES, QUESTIONS, recognised_words
from speechkit.slue.systems.text_models import ExtractiveReader, Summarizer, TextClassifier, TokenTagger

SAMPLE_RATE = 16_000
TimedWord = tuple[str, float, float]


class Heard(msgspec.Struct, frozen=True):
    """Words of an utterance with their times in seconds from its start; no times where they come from text."""

    text: str
    words: list[TimedWord]


class RecognizedText(msgspec.Struct, frozen=True):
    """What a recogniser wrote for an utterance."""

    id: str
    recognizer: str
    text: str


Listen = Callable[[Utterance, Path], Heard]
"""What is said in an utterance of the manifest at a path."""


def listen_with(recognizer: Recognizer) -> Listen:
    """Recognise each utterance."""

    def listen(utterance: Utterance, manifest: Path) -> Heard:
        begin = utterance.offset
        cut = (round(begin * SAMPLE_RATE), round((begin + utterance.duration) * SAMPLE_RATE))
        found = recognizer.recognize(str(audio_path(manifest, utterance)), [cut])
        words: list[TimedWord] = []
        place = 0
        for word in found.text.split():
            first = found.text.index(word, place)
            place = first + len(word)
            words.append((word, float(found.starts[first]) - begin, float(found.ends[place - 1]) - begin))
        return Heard(" ".join(found.text.split()), words)

    return listen


def recognized_texts(
    name: str, utterances: Iterable[Utterance], manifest: Path, kept: Path, *, lang: str, device: str
) -> Iterator[RecognizedText]:
    """What a recogniser writes for each utterance; lines that ``kept`` holds from an interrupted run come first.

    The recogniser is loaded when the first utterance needs it.
    """
    from speechkit.asr.load import load_recognizer

    done: dict[str, RecognizedText] = {}
    if kept.is_file():
        done = {line.id: line for line in read_jsonl(kept, RecognizedText, on_torn=lambda _: None)}
        write_jsonl(kept, done.values())
    yield from done.values()
    listen: Listen | None = None
    for utterance in utterances:
        if utterance.id not in done:
            listen = listen or listen_with(load_recognizer(name, lang, device))
            line = RecognizedText(utterance.id, name, listen(utterance, manifest).text)
            with kept.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
            yield line


def shown_recognizer(name: str) -> str:
    """A recogniser's name without the folder that it lies in."""
    kind, _, rest = name.rpartition(":")
    return f"{kind}:{Path(rest).name}" if kind else Path(name).name


def oracle(utterance: Utterance, manifest: Path) -> Heard:
    """The transcript of the manifest, with its word times where there are any.

    Raises:
        UserError: if the utterance has no text.
    """
    if utterance.text is None:
        raise UserError(f"{manifest}: {utterance.id} has no text; the oracle needs transcripts")
    timed = (utterance.custom or {}).get("words") or []
    words = [(str(w).removeprefix("#"), float(b), float(e)) for w, b, e in timed if str(w).removeprefix("#")]
    return Heard(utterance.text, words)


def predict(
    task: str,
    manifest: Path,
    model: str,
    listen: Listen,
    *,
    device: str = "cpu",
    documents: Path | None = None,
    threshold: float = 0.5,
) -> Iterator[dict[str, Any]]:
    """Predictions of every utterance, one after another.

    Args:
        task: ner, sentiment, intent, dialog-acts, summarisation or qa.
        manifest: the utterances; for qa the questions.
        model: hub id or folder of the text model that the task needs.
        listen: `oracle`, or a recogniser by `listen_with`.
        device: where the text model runs.
        documents: for qa the manifest of the documents, each recognised once.
        threshold: of dialog acts, 0 to 1.

    Raises:
        UserError: if the task has no pipeline, a model cannot be loaded, or a document is missing.
    """
    if task == "qa":
        yield from _answers(manifest, documents, ExtractiveReader(model, device), listen)
        return
    understand = understanding(task, model, device, threshold)
    for utterance in read_manifest(manifest):
        heard = listen(utterance, manifest)
        yield {"id": utterance.id, "pred_text": heard.text, **understand(heard.text)}


def predict_texts(
    task: str,
    rows: Path,
    model: str,
    *,
    text_field: str | None = None,
    device: str = "cpu",
    threshold: float = 0.5,
) -> Iterator[dict[str, Any]]:
    """Predictions from text that was recognised before, or written: no audio is looked at.

    Args:
        task: ner, sentiment, intent, dialog-acts, summarisation, or qa-text (questions about passages).
        rows: any file that scoring reads.
        model: hub id or folder of the text model that the task needs.
        text_field: where the text (of qa-text: the passage) stands; else the usual fields, recognised text first.
        device: where the text model runs.
        threshold: of dialog acts, 0 to 1.

    Raises:
        UserError: if a row has no text, the task has no text model, or the model cannot be loaded.
    """
    names = (text_field,) if text_field else ("pred_text", "normalized_text", "text")
    if task == "qa-text":
        answer = _answering(model, device)
        passages = (text_field,) if text_field else PASSAGES
        for row in read_rows(rows):
            yield {"id": row.id, **answer(text_of(row, QUESTIONS), text_of(row, passages))}
        return
    understand = understanding(task, model, device, threshold)
    for row in read_rows(rows):
        text = text_of(row, names)
        yield {"id": row.id, "pred_text": text, **understand(text)}


def understanding(
    task: str, model: str, device: str = "cpu", threshold: float = 0.5
) -> Callable[[str], dict[str, Any]]:
    """The fields that a text model predicts for a text.

    Raises:
        UserError: if the task has none, or the model cannot be loaded.
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
    raise UserError(f"{task!r}: has no pipeline; give ner, sentiment, intent, dialog-acts, summarisation or qa")


def understand_with(
    task: str, model: str, rows: Sequence[Row], device: str = "cpu"
) -> Callable[[Mapping[str, str]], Mapping[str, Row]]:
    """Predictions of ``model`` for texts by id; of qa-text for the passages that the questions of ``rows`` ask about.

    A text that was read before is not read again.

    Raises:
        UserError: if the task has no text model, or a question has no text.
    """
    known: dict[tuple[str, str], dict[str, Any]] = {}
    if task == "qa-text":
        answer = _answering(model, device)
        questions = {row.id: text_of(row, QUESTIONS) for row in rows}

        def one(name: str, text: str) -> dict[str, Any]:
            if name not in questions:
                raise UserError(f"{name}: has no question; give every passage one")
            return answer(questions[name], text)

    else:
        understand = understanding(task, model, device)

        def one(name: str, text: str) -> dict[str, Any]:
            return understand(text)

    def all_of(texts: Mapping[str, str]) -> Mapping[str, Row]:
        found = {}
        for name, text in texts.items():
            key = (questions[name] if task == "qa-text" and name in questions else "", text)
            if key not in known:
                known[key] = one(name, text)
            found[name] = Row(name, f"prediction of {name}", dict(known[key]))
        return found

    return all_of


def _answering(model: str, device: str) -> Callable[[str, str], dict[str, Any]]:
    """The answer that a reader finds to a question in a passage, "" where it finds none."""
    reader = ExtractiveReader(model, device)

    def answer(question: str, passage: str) -> dict[str, Any]:
        span = reader.answer(question, passage) if passage.strip() else None
        return {"pred_answer_text": "" if span is None else passage[span[0] : span[1]]}

    return answer


def _answers(
    manifest: Path, documents: Path | None, reader: ExtractiveReader, listen: Listen
) -> Iterable[dict[str, Any]]:
    heard: dict[str, Heard] = {}
    for question, passage in read_questions(manifest, documents):
        assert documents is not None
        if passage.id not in heard:
            heard[passage.id] = listen(passage, documents)
        asked = listen(question, manifest)
        yield {"id": question.id, "pred_text": asked.text, **answer_in_time(reader, asked.text, heard[passage.id])}


def answer_in_time(reader: ExtractiveReader, question: str, document: Heard) -> dict[str, Any]:
    """The answer's text and its span in seconds: from the first word that it touches to the last."""
    passage = " ".join(word for word, _, _ in document.words)
    found = reader.answer(question, passage) if passage else None
    if found is None:
        return {"pred_answer_text": "", "pred_span": None}
    touched, place = [], 0
    for word, begin, end in document.words:
        if place < found[1] and place + len(word) > found[0]:
            touched.append((begin, end))
        place += len(word) + 1
    if not touched:
        return {"pred_answer_text": "", "pred_span": None}
    return {"pred_answer_text": passage[found[0] : found[1]], "pred_span": [touched[0][0], touched[-1][1]]}
