"""SLURP's sentences and Spoken-SQuAD's passages as rows of the tasks, and the split by a hash of the text."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

MAX_BYTES = 256 << 20


def split_of(text: str) -> str:
    """train, dev or test in 7 : 1 : 2 by a hash of the text, so that equal texts are never on two sides."""
    number = int.from_bytes(hashlib.blake2b(text.lower().encode(), digest_size=8).digest(), "big") % 10
    return "test" if number < 2 else "dev" if number == 2 else "train"


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzipped, of at most 256 MiB.

    Raises:
        UserError: if it cannot be read or is larger.
    """
    try:
        with path.open("rb") as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            content: bytes = file.read(MAX_BYTES + 1)
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); download it again") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is larger than 256 MiB; this is no file of SLURP or Spoken-SQuAD")
    return content


def slurp_rows(path: Path) -> Iterator[dict[str, Any]]:
    """``{train,devel,test}.jsonl`` of SLURP: text, intent, and entities as [TYPE, start, length] of characters.

    Raises:
        UserError: naming the line that is no record of SLURP.
    """
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        try:
            record = msgspec.json.decode(line)
            words = [str(token["surface"]) for token in record["tokens"]]
            starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
            spans = [
                [
                    str(entity["type"]),
                    starts[entity["span"][0]],
                    starts[entity["span"][-1]] + len(words[entity["span"][-1]]) - starts[entity["span"][0]],
                ]
                for entity in record["entities"]
            ]
            yield {
                "id": str(record["slurp_id"]),
                "text": " ".join(words),
                "intent": str(record["intent"]),
                "ner": spans,
            }
        except (msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
            raise UserError(f"{path}:{number}: is no record of SLURP ({error}); give its jsonl as published") from error


def squad_rows(path: Path) -> Iterator[dict[str, Any]]:
    """A JSON file of Spoken-SQuAD or SQuAD 1.1: question, passage, answers; the title names the article.

    Raises:
        UserError: if it has another form.
    """
    try:
        for article in msgspec.json.decode(read_bytes(path))["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {
                        "id": str(question["id"]),
                        "question": str(question["question"]),
                        "context": str(paragraph["context"]),
                        "answers": {
                            "text": [str(answer["text"]) for answer in question["answers"]],
                            "answer_start": [int(answer["answer_start"]) for answer in question["answers"]],
                        },
                        "article": str(article.get("title", "")),
                    }
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is no file of Spoken-SQuAD ({error}); give its JSON as published") from error
