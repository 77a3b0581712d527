"""fairseq's wav2vec manifests: NAME.tsv (root folder, then path and length in samples), NAME.ltr and NAME.wrd.

fairseq reads whole mono files, so a cut of a longer recording is written as a separate FLAC clip beside the manifest.
The format stores text on one line; it cannot represent speaker, language, alignment, units, features, score, source or
custom. ``NAME.id`` stores the utterance ids; fairseq ignores it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import TextIO

from speechkit.data.audio import read_cut
from speechkit.data.formats.identity import AbsoluteAudio, FileNames, Identifiers, relative_audio
from speechkit.data.formats.losses import Losses, Written
from speechkit.data.records import Utterance
from speechkit.errors import ManifestError
from speechkit.io.atomic import atomic_path
from speechkit.io.audio import audio_info, write_audio

HELD = frozenset({"offset", "channel", "text"})


def write_fairseq(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write ``path`` (``.tsv``), its ``.ltr``, ``.wrd``, ``.id``, and clips in the folder ``NAME-clips`` beside it."""
    losses, absolute = Losses(HELD), AbsoluteAudio(folder)
    file_names = FileNames()
    root = Path(path.parent).resolve()
    clips = path.with_name(f"{path.stem}-clips")
    others = [path.with_suffix(suffix) for suffix in (".ltr", ".wrd", ".id")]
    with ExitStack() as stack:
        table, letters, words, names = (
            stack.enter_context(stack.enter_context(atomic_path(file)).open("w", encoding="utf-8", newline="\n"))
            for file in (path, *others)
        )
        table.write(f"{root}\n")
        for record in losses.passing(records):
            audio = absolute.of(record)
            header = audio_info(audio)
            is_whole_file = (
                record.offset_samples == 0 and record.num_samples == header.num_samples and header.channels == 1
            )
            if not is_whole_file:
                waveform = read_cut(audio, record)
                audio = str(clips.resolve() / file_names.give(record.id, ".flac"))
                write_audio(audio, waveform, header.sample_rate)
                losses.changed["cuts of longer or multi-channel recordings, written as clips"] += 1
            if "\t" in audio or "\n" in audio:
                raise ManifestError(f"{audio!r}: a tsv cannot hold a path with a tab or line end; rename the file")
            table.write(f"{relative_audio(root, audio)}\t{record.num_samples}\n")
            if record.text is None:
                losses.changed["text missing, written as an empty line"] += 1
            text = " ".join((record.text or "").split())
            if record.text is not None and text != record.text:
                losses.changed["text, spaces and line ends"] += 1
            letters.write(f"{' '.join(text.replace(' ', '|'))} |\n" if text else "\n")
            words.write(f"{text}\n")
            names.write(f"{' '.join(record.id.splitlines())}\n")
    return losses.written(path, *others)


def read_fairseq(path: Path, folder: Path) -> Iterator[Utterance]:
    """The rows of a ``.tsv`` and its ``.wrd`` (or ``.ltr``) as utterances for a manifest in ``folder``.

    Raises:
        ManifestError: with ``file:line`` if a row is malformed or the files differ in length.
    """
    identifiers = Identifiers()
    with ExitStack() as stack:
        table = stack.enter_context(_lines(path))
        texts, names = _beside(stack, path, (".wrd", ".ltr")), _beside(stack, path, (".id",))
        root = path.parent / table.readline().rstrip("\n")
        number = 1
        for number, line in enumerate(table, 2):
            location = f"{path}:{number}"
            audio, _, length = line.rstrip("\n").partition("\t")
            if not length.isdigit():
                raise ManifestError(f"{location}: is not 'path<tab>samples'; fix the line")
            full = root / audio
            header = audio_info(full)
            if header.num_samples != int(length):
                raise ManifestError(
                    f"{location}: gives {length} samples, but {full} holds {header.num_samples}; make the tsv again"
                )
            text, name = next(texts, ""), next(names, "")
            if text is None or name is None:
                raise ManifestError(f"{location}: the text or id file beside it has fewer lines; make them again")
            yield Utterance.from_samples(
                num_samples=int(length),
                sample_rate=header.sample_rate,
                id=name or identifiers.give(audio, 0),
                audio_filepath=relative_audio(folder, full),
                text=text or None,
            )
        if next(texts, None) or next(names, None):
            raise ManifestError(f"{path}:{number}: the text or id file beside it has more lines; make them again")


def _beside(stack: ExitStack, path: Path, suffixes: tuple[str, ...]) -> Iterator[str | None]:
    """Lines of the first file that exists, then None without end; an empty iterator if no file exists."""
    for suffix in suffixes:
        file = path.with_suffix(suffix)
        if file.is_file():
            lines = (line.rstrip("\n") for line in stack.enter_context(_lines(file)))
            plain = (line.replace(" ", "").replace("|", " ").strip() if suffix == ".ltr" else line for line in lines)
            return _then_none(plain)
    return iter(())


def _then_none(lines: Iterator[str]) -> Iterator[str | None]:
    yield from lines
    yield from repeat(None)


def _lines(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8", newline="\n")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}; check the path") from error
