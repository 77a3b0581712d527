"""Any folder of audio files, each with a text file of the same stem.

Layout: ``<anything>/<stem>.<audio suffix>`` with ``<stem>.normalized.txt``, ``<stem>.txt`` or ``<stem>.lab``. The
normalised text has priority, as in LibriTTS; if ``.txt`` and ``.lab`` differ, the clip is left out. Ids are derived
from the path below the folder. The layout has neither speaker nor language; give ``--lang`` and, for a single speaker,
``--speaker``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.paths import safe_id

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .folders import files_below, is_audio
from .tables import read_transcript

NORMALISED = ".normalized.txt"
PLAIN = (".txt", ".lab")


def splits(request: Request) -> list[str]:
    """A single split, ``all``."""
    if not any(is_audio(path) for path in files_below(request.source)):
        raise UserError(f"{request.source}: holds no audio; give a folder of audio files with a .txt beside each")
    return ["all"]


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips by folder, sorted; then texts without audio, by folder."""
    for path in files_below(request.source):
        if is_audio(path):
            yield _clip(path, request)
        elif path.suffix in PLAIN and not _has_audio(path):
            yield LeftOut(path.name, "audio_missing", f"{path}: has no audio of the same stem beside it")


def _has_audio(path: Path) -> bool:
    stem = path.name.removesuffix(NORMALISED) if path.name.endswith(NORMALISED) else path.stem
    # LibriTTS has original.txt and normalized.txt for the same clip.
    stem = stem.removesuffix(".original")
    return any(is_audio(p) and p.stem == stem for p in path.parent.glob(f"{_literal(stem)}.*"))


def _literal(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _clip(audio: Path, request: Request) -> Item:
    name = safe_id(audio.relative_to(request.source).with_suffix("").as_posix())
    normalised = audio.with_name(audio.stem + NORMALISED)
    chosen = (
        [normalised] if normalised.is_file() else [p for s in PLAIN if (p := audio.with_name(audio.stem + s)).is_file()]
    )
    if not chosen:
        return LeftOut(name, "transcript_missing", f"{audio}: has no .txt, .lab or {NORMALISED} beside it")
    try:
        texts = [read_transcript(path) for path in chosen]
    except UserError as error:
        return LeftOut(name, "transcript_unreadable", str(error))
    if len(set(texts)) > 1:
        detail = f"{audio}: {chosen[0].name} and {chosen[1].name} say different things; keep the right one"
        return LeftOut(name, "transcripts_disagree", detail)
    return Clip(name, audio, texts[0], speaker=request.speaker, lang=request.lang)


CORPUS = Corpus(
    name="audio_text_folder",
    title="a folder of audio and text files",
    licence="that of its files",
    homepage="none",
    citation="its makers",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
