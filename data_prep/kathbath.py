"""Kathbath, the read speech of IndicSUPERB: 1,684 hours in 12 Indian languages.

Layout: ``kb_data_{clean,noisy}_{m4a,wav}/<language>/<split>/`` with ``transcription_n2w.txt`` (file name, tab, text
with numbers in words) and the audio in ``audio/`` or beside it, since the audio and transcript archives unpack into one
folder. ``<language>/<split>`` without the top folder, or below ``data``, is also read. File names are
``<number>-<speaker>-<f or m>.m4a``; a WAV copy with the same stem is preferred, because the length of an m4a is known
only after ffmpeg has decoded it, one file at a time.

Licence: CC0 for the packaging, as the release says. Homepage: https://github.com/AI4Bharat/IndicSUPERB
Citation: Javed et al. 2022, IndicSUPERB: a speech processing universal performance benchmark for Indian languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .languages import CODES
from .tables import read_keyed, subfolders

TRANSCRIPT = "transcription_n2w.txt"
SUFFIXES = (".wav", ".flac", ".m4a")
SEXES = {"f": "F", "m": "M"}


def splits(request: Request) -> list[str]:
    """``<language>-<split>``, with ``clean`` or ``noisy`` in between if the top folder has it."""
    return list(_folders(request.source))


def read(request: Request, split: str) -> Iterator[Item]:
    """Clips in the order of the transcripts, then audio without transcript."""
    folder = _folders(request.source)[split]
    table = folder / TRANSCRIPT
    audio_folder = folder / "audio" if (folder / "audio").is_dir() else folder
    # WAV first: of several files with one stem, the first suffix is used.
    audio: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(audio_folder.glob(f"*{suffix}")):
            audio.setdefault(path.stem, path)
    language = folder.parent.resolve().name
    named: set[str] = set()
    for number, name, text in read_keyed(table):
        stem = Path(name).stem
        named.add(stem)
        if stem not in audio:
            yield LeftOut(stem, "audio_missing", f"{table}:{number}: {audio_folder} holds no audio of {name}")
            continue
        parts = stem.split("-")
        speaker = f"{language}-{parts[1]}" if len(parts) == 3 else None
        sex = SEXES.get(parts[2].lower()) if len(parts) == 3 else None
        yield Clip(
            f"{language}-{stem}",
            audio[stem],
            text,
            speaker=speaker,
            lang=CODES.get(language, request.lang),
            custom={"sex": sex} if sex else None,
        )
    for stem in sorted(audio.keys() - named):
        yield LeftOut(stem, "transcript_missing", f"{audio[stem]}: {table.name} does not name it")


def _folders(source: Path) -> dict[str, Path]:
    tops = [source, *(p for p in subfolders(source) if p.name == "data" or p.name.startswith("kb_data_"))]
    folders: dict[str, Path] = {}
    for top in tops:
        condition = next((c for c in ("clean", "noisy") if c in top.resolve().name.split("_")), None)
        for language in subfolders(top):
            for folder in subfolders(language):
                if (folder / TRANSCRIPT).is_file():
                    names = (language.name, condition, folder.name)
                    folders["-".join(n for n in names if n)] = folder
    if not folders:
        raise UserError(
            f"{source}: holds no <language>/<split>/{TRANSCRIPT}; unpack transcripts_n2w.tar and audio into one folder"
        )
    return folders


CORPUS = Corpus(
    name="kathbath",
    title="Kathbath (IndicSUPERB)",
    licence="CC0 packaging, as the release says",
    homepage="https://github.com/AI4Bharat/IndicSUPERB",
    citation="Javed et al. 2022",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
