"""Stages 0 to 2 of mining: the input files, the sentences of the documents, the speech of the recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from speechkit.data.recordings import channel_id
from speechkit.errors import AudioError, DocumentError, MissingExtraError, UserError, shown
from speechkit.io.audio import audio_info
from speechkit.io.containers import AUDIO_SUFFIXES
from speechkit.io.folders import find_audio
from speechkit.io.hashing import digest_bytes, digest_file, digest_obj
from speechkit.io.paths import is_unicode, safe_id
from speechkit.mining.config import DocumentsConfig, RegionsConfig
from speechkit.mining.pairing import known_names, read_pairs
from speechkit.mining.records import Document, Recording, SourceFile
from speechkit.mining.regions import find_speech
from speechkit.mining.voice_activity import SileroDetector
from speechkit.pipeline import Context, Drop, Value, Worker


def input_file(folder: Path | str, relative: str) -> Path:
    """A file of an input folder, or the input itself when a single file was given."""
    base = Path(folder)
    return base if base.is_file() else base / relative


def list_files(context: Context) -> None:
    """Stage 0: name every input file, with a digest, so that later stages notice what changed."""
    from speechkit.mining.documents import FoundDocuments, scan_folder

    audio, documents = Path(context.config.audio), Path(context.config.documents)
    for path, what in ((audio, "audio"), (documents, "documents")):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give the folder that holds the {what}")
    recordings, others = find_audio(audio)
    if not recordings:
        raise UserError(f"{audio}: holds no audio files; the suffixes are {' '.join(sorted(AUDIO_SUFFIXES))}")
    scanned = FoundDocuments([documents], []) if documents.is_file() else scan_folder(documents)
    skipped = [(item.path, documents, f"{item.reason}") for item in scanned.skipped if item.path not in recordings]
    if not scanned.documents:
        links = [f"{path.relative_to(base)} {reason}" for path, base, reason in skipped if "link" in reason]
        why = f"{links[0]}, and links are not followed: copy what they lead to" if links else "give their folder"
        raise UserError(
            f"{documents}: holds no documents that can be read (PDF, HTML, DOCX, EPUB, TXT, SRT, VTT, images); {why}"
        )
    for path, base, reason in skipped:
        name = shown(path.relative_to(base).as_posix())
        context.drop(name, "not_a_document", f"{name}: {reason}")
    named = set(scanned.documents) | {path for path, _, _ in skipped}
    for path, problem in others:
        if path not in named:  # documents may lie beside the recordings
            name = shown(path.relative_to(audio).as_posix())
            context.drop(name, "not_audio", f"{name}: {problem}")
    for output, files, base in (
        ("audio_files.jsonl", recordings, audio), ("document_files.jsonl", scanned.documents, documents)
    ):  # fmt: skip
        for path in files:
            if not is_unicode(path):
                name = shown(path.name)
                context.drop(name, "undecodable_name", f"{name}: its name is not UTF-8; rename it")
        listed = _listed(files, base)
        if base is audio and context.config.channels == "each":
            listed = (channel for file in listed for channel in _channels(file, audio))
        context.write(output, listed)


def check_pairs(pairs: Path, audio: Path, documents: Path, *, each_channel: bool = False) -> None:
    """Read a list of pairs against the files that lie there, before anything is recognised.

    Raises:
        UserError: if it cannot be read, or names a recording or document that is not there.
    """
    from speechkit.mining.documents import find_documents

    recordings = [SourceFile(identifier, name, "", 0) for identifier, name in _names(find_audio(audio).files, audio)]
    if each_channel:
        recordings = [channel for file in recordings for channel in _channels(file, audio)]
    named = _names([documents] if documents.is_file() else find_documents(documents), documents)
    read_pairs(pairs, names_of(recordings), known_names(named))


def names_of(files: Iterable[SourceFile]) -> dict[str, str]:
    """`known_names` of files; the name of a file that is split into channels would be that of all of them."""
    return known_names((file.id, file.path if file.channel is None else None) for file in files)


def _channels(file: SourceFile, folder: Path) -> list[SourceFile]:
    """A recording for each channel of a file; one that cannot be read stays whole, and the next stage says why."""
    try:
        count = audio_info(input_file(folder, file.path)).channels
    except AudioError:
        return [file]
    if count == 1:
        return [file]
    return [msgspec.structs.replace(file, id=channel_id(file.id, n), channel=n) for n in range(count)]


def _names(paths: list[Path], folder: Path) -> Iterator[tuple[str, str]]:
    """Id and name relative to the folder of each file whose name is UTF-8."""
    paths = [path for path in paths if is_unicode(path)]
    relative = [path.name if folder.is_file() else path.relative_to(folder).as_posix() for path in paths]
    stems = Counter(str(Path(name).with_suffix("")) for name in relative)
    taken: set[str] = set()
    for name in relative:
        stem = str(Path(name).with_suffix(""))
        identifier = safe_id((stem if stems[stem] == 1 else name).replace("/", "-"))
        while identifier in taken:
            identifier = safe_id(f"{identifier}-{digest_bytes(name.encode())[:6]}")
        taken.add(identifier)
        yield identifier, name


def _listed(paths: list[Path], folder: Path) -> Iterator[SourceFile]:
    for identifier, name in _names(paths, folder):
        path = input_file(folder, name)
        yield SourceFile(identifier, name, digest_file(path), path.stat().st_size)


def ocr_digest(setting: str) -> str:
    """What can be recognised on this machine: documents are read again once a missing program has been installed."""
    from importlib.util import find_spec
    from shutil import which

    if setting == "never":
        return setting
    there = [name for name in ("pytesseract", "PIL") if find_spec(name)]
    return digest_obj([setting, there, which("tesseract") is not None])


class ReadDocuments(Worker):
    """Stage 1: one file into clean sentences; a file that cannot be read is dropped with the reason."""

    config: DocumentsConfig

    def process(self, batch: list[SourceFile]) -> list[Document | Drop]:
        """A document for each file."""
        from speechkit.mining.documents import DocumentLimits, read_document

        answers: list[Document | Drop] = []
        limits = DocumentLimits(max_seconds=self.config.max_seconds)
        for file in batch:
            path = input_file(self.config.documents, file.path)
            root = path.parent if Path(self.config.documents).is_file() else Path(self.config.documents)
            try:
                document = read_document(path, root=root, lang=self.config.lang, ocr=self.config.ocr, limits=limits)
            except DocumentError as error:
                answers.append(Drop("unreadable_document", str(error)))
                continue
            except MissingExtraError as error:
                answers.append(Drop("missing_extra", f"{file.path}: {error}"))
                continue
            if not document.sentences:
                answers.append(Drop("no_sentences", f"{file.path}: holds no text; check that it opens in a viewer"))
                continue
            sentences = [
                msgspec.structs.replace(sentence, id=f"{file.id}-{sentence.index:05d}")
                for sentence in document.sentences
            ]
            answers.append(msgspec.structs.replace(document, id=file.id, path=file.path, sentences=sentences))
        return answers


class FindSpeech(Worker):
    """Stage 2: speech regions and loudness of one recording; what is not sound audio is dropped with the reason."""

    config: RegionsConfig
    detector: SileroDetector | None = None

    def setup(self, device: str) -> None:
        """Read the detector's weights."""
        if self.config.vad == "silero":
            self.detector = SileroDetector()

    def process(self, batch: list[SourceFile]) -> list[Value | Drop]:
        """A recording for each file; a silent one has no regions."""
        answers: list[Value | Drop] = []
        for file in batch:
            path = input_file(self.config.audio, file.path)
            try:
                info = audio_info(path)
                of_all = None if self.config.channel < 0 else self.config.channel
                chosen = of_all if file.channel is None else file.channel
                speech, levels = find_speech(path, self.config, self.detector, channel=chosen, advance=self.advance)
            except AudioError as error:
                answers.append(Drop("unreadable_audio", str(error)))
                continue
            recording = Recording(file.id, file.path, info.sample_rate, info.num_samples, info.channels, speech)
            recording = msgspec.structs.replace(recording, channel=chosen)
            answers.append(Value(recording, {"levels": levels.astype(np.float16)}))
        return answers
