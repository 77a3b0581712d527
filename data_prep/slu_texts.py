"""Read SLURP sentences and Spoken-SQuAD passages as task rows, and split by a hash of the text."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.errors import UserError

MAX_BYTES = 256 << 20


def split_of(text: str) -> str:
    """train, dev or test (7 : 1 : 2) by a hash of the text, so that equal texts are in the same split."""
    number = int.from_bytes(hashlib.blake2b(text.lower().encode(), digest_size=8).digest(), "big") % 10
    return "test" if number < 2 else "dev" if number == 2 else "train"


def read_bytes(path: Path) -> bytes:
    """Read a file of at most 256 MiB, decompressed if it is gzipped.

    Raises:
        UserError: if it cannot be read or is larger.
    """
    try:
        with path.open("rb") as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            content: bytes = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); download it again") from error
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is larger than 256 MiB; this is no file of SLURP or Spoken-SQuAD")
    return content


def slurp_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of SLURP's ``{train,devel,test}.jsonl``: text, intent, and entities as [TYPE, start, length] in characters.

    Raises:
        UserError: with the line that is not a SLURP record.
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
    """Rows of a Spoken-SQuAD or SQuAD 1.1 JSON file: question, passage, answers; the title identifies the article.

    Raises:
        UserError: if it has another format.
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
