"""MUCS 2021: Hindi, Marathi, Odia and others, and code-switching Hindi-English and Bengali-English lectures.

Layouts, each as unpacked from its archive, up to three folders below the source:
one file per utterance (subtask 1): ``transcription.txt`` (id and text) beside ``audio/`` or ``Audios/`` or the audio;
Kaldi (subtask 2): ``transcripts/{text,segments,wav.scp,utt2spk}`` beside the recordings. Entries of wav.scp are matched
by file name next to ``transcripts``; commands in it are never executed. A split is named after its folders.

Licence: CC BY-SA 4.0 (subtask 2), research licence of the data owners (subtask 1). Homepages:
https://www.openslr.org/103 and https://www.openslr.org/104
Citation: Diwan et al. 2021, MUCS 2021: multilingual and code-switching ASR challenges for low resource languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechkit.errors import UserError

from .corpus import Clip, Corpus, Item, LeftOut, Request
from .languages import CODES
from .tables import read_keyed, read_map, require_file, subfolders

AUDIO_FOLDERS = ("audio", "Audios", "audios", "Audio")
SUFFIXES = (".wav", ".flac")
SHORT_NAMES = {f"{code}-in": code for code in CODES.values()}


def splits(request: Request) -> list[str]:
    """Folders with one of the two layouts."""
    return list(_folders(request.source))


def read(request: Request, split: str) -> Iterator[Item]:
    """Utterances in the order of the published tables."""
    folder = _folders(request.source)[split]
    lang = request.lang or _language(folder)
    if (folder / "transcription.txt").is_file():
        return _files(folder, lang)
    return _segments(folder, lang)


def _folders(source: Path) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    level = [source]
    for _ in range(4):
        for folder in level:
            if (folder / "transcription.txt").is_file() or (folder / "transcripts" / "wav.scp").is_file():
                parts = folder.relative_to(source).parts or (folder.resolve().name,)
                folders["-".join(parts)] = folder
        level = [p for folder in level for p in subfolders(folder) if p.name not in AUDIO_FOLDERS]
    if not folders:
        raise UserError(
            f"{source}: holds neither transcription.txt nor transcripts/wav.scp; give the folder of unpacked archives"
        )
    return folders


def _language(folder: Path) -> str | None:
    """Language from the folder names, innermost first; two languages for code-switching lectures."""
    for name in (folder.resolve().name, folder.resolve().parent.name):
        lower = name.lower().replace("_", "-")
        for short, code in SHORT_NAMES.items():
            if lower.startswith(short):
                return code
        words = lower.split("-")
        for word in words:
            if word in CODES:
                return f"{CODES[word]}-en" if "english" in words else CODES[word]
    return None


def _files(folder: Path, lang: str | None) -> Iterator[Item]:
    table = folder / "transcription.txt"
    audio_folder = next((folder / name for name in AUDIO_FOLDERS if (folder / name).is_dir()), folder)
    audio: dict[str, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(audio_folder.glob(f"*{suffix}")):
            audio.setdefault(path.stem, path)
    named: set[str] = set()
    for number, name, text in read_keyed(table):
        named.add(name)
        if name in audio:
            yield Clip(name, audio[name], text, lang=lang)
        else:
            yield LeftOut(name, "audio_missing", f"{table}:{number}: {audio_folder} holds no audio of {name}")
    for name in sorted(audio.keys() - named):
        yield LeftOut(name, "transcript_missing", f"{audio[name]}: transcription.txt does not name it")


def _segments(folder: Path, lang: str | None) -> Iterator[Item]:
    home = folder / "transcripts"
    texts, repeated = read_map(require_file(home / "text", "unpack the archive whole"))
    yield from repeated
    speakers = read_map(home / "utt2spk")[0] if (home / "utt2spk").is_file() else {}
    recordings = _recordings(home / "wav.scp", folder)
    segments = require_file(home / "segments", "unpack the archive whole")
    named: set[str] = set()
    for number, name, rest in read_keyed(segments):
        named.add(name)
        location = f"{segments}:{number}"
        try:
            recording, begin, end = rest.split()
            times = float(begin), float(end)
        except ValueError:
            yield LeftOut(name, "bad_line", f"{location}: is not: utterance, recording, start, end")
            continue
        if name not in texts:
            yield LeftOut(name, "transcript_missing", f"{location}: text has no line for {name}")
        elif recording not in recordings:
            yield LeftOut(name, "audio_missing", f"{location}: wav.scp has no recording {recording}")
        else:
            yield Clip(
                name,
                recordings[recording],
                texts[name],
                speaker=speakers.get(name),
                lang=lang,
                start_seconds=times[0],
                end_seconds=times[1],
            )
    for name in sorted(texts.keys() - named):
        yield LeftOut(name, "audio_missing", f"{segments}: has no line for {name}")


def _recordings(scp: Path, folder: Path) -> dict[str, Path]:
    recordings: dict[str, Path] = {}
    for number, name, path in read_keyed(scp):
        if not path or path.endswith("|"):
            raise UserError(f"{scp}:{number}: names no file; commands are never run, write the file name there")
        candidates = (folder / path, folder / Path(path).name)
        recordings[name] = next((p for p in candidates if p.is_file()), candidates[0])
    return recordings


CORPUS = Corpus(
    name="mucs",
    title="MUCS 2021",
    licence="CC BY-SA 4.0 (code switching); see the homepage for the others",
    homepage="https://www.openslr.org/103 and https://www.openslr.org/104",
    citation="Diwan et al. 2021",
    splits=splits,
    read=read,
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
