"""Random access to records of a JSON-lines file by id, and to sentences, without loading the file."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from speechkit.errors import ManifestError
from speechkit.mining.records import Document, Sentence, SentenceMatch

T = TypeVar("T", bound=msgspec.Struct)


class RecordLookup(Generic[T]):
    """Finds records of one type by one of their fields; keeps a byte offset for each and the last record read."""

    def __init__(self, path: Path, type_: type[T], field: str = "id") -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(type_)
        self._offsets: dict[str, int] = {}
        self._last: tuple[str, T] | None = None
        key = msgspec.defstruct("Key", [(field, str)])
        reader = msgspec.json.Decoder(key)
        with path.open("rb") as lines:
            offset = 0
            for line in lines:
                if line.strip():
                    self._offsets[getattr(reader.decode(line), field)] = offset
                offset += len(line)

    def __getitem__(self, name: str) -> T:
        """The record called ``name``.

        Raises:
            ManifestError: if there is none.
        """
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        if name not in self._offsets:
            raise ManifestError(f"{self._path}: has no record {name}; run the earlier stages again")
        with self._path.open("rb") as lines:
            lines.seek(self._offsets[name])
            record = self._decoder.decode(lines.readline())
        self._last = (name, record)
        return record

    def __contains__(self, name: str) -> bool:
        return name in self._offsets


class SentenceLookup:
    """Sentences by match, with the language of their document; the last few documents are kept."""

    def __init__(self, documents: RecordLookup[Document]) -> None:
        self._documents = documents
        self._cached: dict[str, tuple[str, dict[str, Sentence]]] = {}

    def of(self, match: SentenceMatch) -> tuple[str, Sentence]:
        """Language and sentence of a match."""
        if match.document not in self._cached:
            if len(self._cached) > 8:
                self._cached.clear()
            document = self._documents[match.document]
            self._cached[match.document] = (document.lang, {s.id: s for s in document.sentences})
        lang, sentences = self._cached[match.document]
        return lang, sentences[match.sentence]
