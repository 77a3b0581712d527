"""Long recordings and candidate documents: the input of `speechkit mine`.

Layout: audio and documents anywhere below the folder, and optionally ``pairs.tsv`` with a recording and a document per
line (paths below the folder; the rules are those of ``--pairs``). The manifest
has one line per recording, without text; ``custom`` lists its documents, relative to the corpus folder, if there is a
list. Pairs are never inferred from names: without a list, mining finds them by content. Documents that are not in a
pair are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.paths import inside, safe_id
from speechkit.mining.documents import is_document
from speechkit.mining.pairing import pair_lines

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .folders import files_below, is_audio

PAIRS = "pairs.tsv"


def splits(request: Request) -> list[str]:
    """A single split, ``recordings``."""
    kinds = {_kind(path) for path in files_below(request.source)}
    for kind, advice in (("recording", "audio files"), ("document", "PDF, HTML, DOCX, EPUB, text or image files")):
        if kind not in kinds:
            raise UserError(f"{request.source}: holds no {kind}; put {advice} below it")
    return ["recordings"]


def read(request: Request, split: str) -> Iterator[Item]:
    """Recordings in sorted order."""
    source = request.source
    pairs = _pairs(source)
    paired = {document for documents in pairs.values() for document in documents}
    if not pairs:
        request.notes["pairs.tsv is absent: mining pairs recordings and documents by content"] += 1
    for path in files_below(source):
        kind, relative = _kind(path), path.relative_to(source).as_posix()
        if kind == "recording":
            documents = pairs.get(relative)
            custom = {"documents": documents} if documents else None
            if pairs and not documents:
                request.notes["recordings in no pair"] += 1
            name = safe_id(Path(relative).with_suffix("").as_posix())
            yield Clip(name, path, None, speaker=request.speaker, lang=request.lang, custom=custom)
        elif kind == "document" and pairs and relative not in paired:
            request.notes["documents in no pair"] += 1
        elif kind is None and relative != PAIRS:
            yield LeftOut(relative, "audio_unreadable", f"{path}: is neither audio nor a document by its suffix")


def _kind(path: Path) -> str | None:
    if is_audio(path):
        return "recording"
    return "document" if is_document(path) else None


def _pairs(source: Path) -> dict[str, list[str]]:
    """Documents by recording, in the order of the list."""
    path = source / PAIRS
    pairs: defaultdict[str, list[str]] = defaultdict(list)
    if not path.is_file():
        return pairs
    for number, *fields in pair_lines(path):
        for field, kind in zip(fields, ("recording", "document"), strict=True):
            if not inside(source, field).is_file() or _kind(source / field) != kind:
                raise UserError(f"{path}:{number}: {field} is no {kind} below {source}; fix the path")
        recording, document = (Path(f).as_posix() for f in fields)
        if document not in pairs[recording]:
            pairs[recording].append(document)
    return pairs


CORPUS = Corpus(
    name="recordings_documents",
    title="a folder of recordings and documents",
    licence="that of its files",
    homepage="none",
    citation="its makers",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
