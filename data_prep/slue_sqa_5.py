"""SLUE-SQA-5: spoken question answering on spoken documents, 244 hours.

Layout as released: ``slue-sqa5_{fine-tune,dev,test,verified-test}.tsv`` with the columns question_id,
question_speaker_id, document_id, document_speaker_id, raw and normalized texts of both, answer_spans (a list of
``[answer, start second, end second]``), the audio ``<split>/question/<question_id>.wav`` and
``<split>/document/<document_id>.wav``, and word times ``<split>/word2time/<document_id>.txt`` (word, normalised word,
start, end; a word without times was not aligned); or tars of it; or the Parquet files of asapp/slue-phase-2, config
sqa5, with all of it in columns. Each split becomes two manifests: questions, and documents with ``custom.words``.

Licence: CC BY-SA 4.0 and CC BY 4.0, by source. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2023, SLUE Phase-2: a benchmark suite of diverse spoken language understanding tasks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .slue_source import HOMEPAGE, AudioFiles, Row, Split, find_splits, read_rows, spans, tolerant
from .tables import read_lines

NAMES = ("slue-sqa5", "slue-sqa-5")
CONFIGS = ("sqa5", "sqa-5")
DOCUMENTS = "-documents"
ANSWER = ("answer", "start_second", "end_second")
WORD = ("word", "normalized_word", "start_second", "end_second")


def splits(request: Request) -> list[str]:
    """Every split, and the documents of each."""
    return [name for split in find_splits(request, NAMES, CONFIGS) for name in (split, split + DOCUMENTS)]


def read(request: Request, split: str) -> Iterator[Item]:
    """Questions in the order of the table, or each document once."""
    name = split.removesuffix(DOCUMENTS)
    chosen = find_splits(request, NAMES, CONFIGS)[name]
    folder = "document" if split.endswith(DOCUMENTS) else "question"
    documents = None if chosen.is_parquet else AudioFiles(_home(chosen), ("document",))
    audio = None if chosen.is_parquet else AudioFiles(_home(chosen), (folder,))
    documents_done: set[str] = set()
    for row in read_rows(request, chosen, ("question_id", "document_id"), "question_id"):
        if isinstance(row, LeftOut):
            yield row
            continue
        question, document = row.text("question_id") or "", row.text("document_id") or ""
        if folder == "question":
            path = row.fields["question_audio"] if audio is None else audio.get(question)
            document_audio = row.fields["document_audio"] if documents is None else documents.get(document)
            yield _question(request, row, question, document, path, document_audio)
        elif document not in documents_done:
            documents_done.add(document)
            path = row.fields["document_audio"] if audio is None else audio.get(document)
            yield _document(request, chosen, row, document, path)


def _home(split: Split) -> Path:
    inner = split.home / split.name
    return inner if inner.is_dir() else split.home


def _question(request: Request, row: Row, question: str, document: str, path: Path, document_audio: Path) -> Item:
    if not document_audio.is_file():
        return LeftOut(question, "audio_missing", f"{row.location}: the document {document} has no audio")
    answers = tolerant(lambda r: spans(r, "answer_spans", ANSWER), row, question)
    if isinstance(answers, LeftOut):
        return answers
    custom: dict[str, Any] = {
        "document_id": document,
        "document_audio": os.path.relpath(document_audio, request.unpacked.parent),
        "raw_text": row.text("raw_question_text"),
    }
    if answers:
        times = [(float(begin), float(end)) for _, begin, end in answers]
        if any(not 0 <= begin < end for begin, end in times):
            return LeftOut(question, "bad_line", f"{row.location}: an answer ends before it begins")
        custom["answer_spans"] = [list(pair) for pair in times]
        custom["answers"] = [str(answer) for answer, _, _ in answers]
    else:
        request.notes["questions without answers (withheld)"] += 1
    return Clip(
        question,
        path,
        row.text("normalized_question_text", "raw_question_text"),
        speaker=row.text("question_speaker_id"),
        lang="en",
        custom={key: value for key, value in custom.items() if value is not None},
    )


def _document(request: Request, split: Split, row: Row, document: str, path: Path) -> Item:
    words = tolerant(lambda r: _words(split, r, document), row, document)
    if isinstance(words, LeftOut):
        return words
    if not words:
        request.notes["documents without word times"] += 1
    return Clip(
        document,
        path,
        row.text("normalized_document_text", "raw_document_text"),
        speaker=row.text("document_speaker_id"),
        lang="en",
        custom={"words": words} if words else None,
    )


def _words(split: Split, row: Row, document: str) -> list[list[Any]]:
    """[word, start, end] of the aligned words; in the release, others have no times or -1."""
    if "word2time" in row.fields:
        given = [(n or w, b, e) for w, n, b, e in spans(row, "word2time", WORD) or []]
    else:
        path = _home(split) / "word2time" / f"{Path(document).name}.txt"
        if not path.is_file():
            return []
        cells = [line.split("\t") for _, line in read_lines(path)]
        given = [(c[1] or c[0], c[2], c[3]) for c in cells if len(c) == 4]
    times = [(str(word), float(begin), float(end)) for word, begin, end in given]
    return [[word, begin, end] for word, begin, end in times if begin >= 0]


CORPUS = Corpus(
    name="slue_sqa_5",
    title="SLUE-SQA-5",
    licence="CC BY-SA 4.0 and CC BY 4.0, by source",
    homepage=HOMEPAGE,
    citation="Shon et al. 2023",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
