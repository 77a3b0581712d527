"""Recordings and documents in, a clean aligned data set out: the whole recipe behind one call."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from speechkit.data.manifest import read_jsonl, read_manifest, write_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.atomic import atomic_path, write_json
from speechkit.io.paths import inside
from speechkit.mining.command import command_line
from speechkit.mining.decisions import read_decisions
from speechkit.mining.export.card import DataCard
from speechkit.mining.input_stages import check_pairs
from speechkit.mining.records import Document, RecognizedText, Recording, SelectionSummary
from speechkit.pipeline import DropRecord, outputs, run_recipe
from speechkit.pipeline.discover import load_recipe, shipped_recipe

Backend = Literal["inline", "pool", "ray"]
PUBLISHED = "published.json"
"""Names of the files that an export has put into the folder of a set; beside the stages."""


class MinedSet(msgspec.Struct, frozen=True):
    """Result of a run: its folder, totals, what was left out and why, and curator decisions by kind."""

    folder: str
    manifest: str
    report: str
    summary: SelectionSummary
    recordings: int
    silent_recordings: list[str]
    left_out: list[DropRecord]
    decisions: dict[str, int] = {}

    def utterances(self) -> Iterable[Utterance]:
        """The kept sentences, streamed."""
        return read_manifest(self.manifest)


def mine(
    audio: Path | str,
    documents: Path | str,
    out: Path | str,
    *,
    lang: str = "en",
    recognizer: str = "auto",
    min_precision: float = 0.98,
    pairs: Path | str | None = None,
    formats: Sequence[str] = (),
    clips: Literal["none", "flac", "opus"] = "none",
    overrides: Sequence[str] = (),
    backend: Backend | None = None,
    workers: int = 1,
    force: bool = False,
    quiet: bool = True,
    device: str = "auto",
    separator: str | None = None,
    channels: Literal["together", "each"] = "together",
    decisions: Path | str | None = None,
) -> MinedSet:
    """Mine aligned sentences; run it again to go on after an interruption or with more inputs.

    Args:
        audio: a recording or a folder of recordings.
        documents: a document or a folder of documents.
        out: folder for the data set; the stages' own files go to ``out/stages``.
        lang: language of recordings and documents.
        recognizer: ``auto``, ``embedded``, a Hugging Face CTC name or folder, ``faster-whisper:MODEL``
            or ``words:FILE``.
        min_precision: target precision of the kept pairs, by the calibrated probability.
        pairs: a TSV or CSV list of recording and document; without it they are paired by content.
        formats: of lhotse, shar, webdataset, kaldi, parquet, fairseq, nemo, csv, ctm, textgrid, srt.
        clips: cut the kept sentences to files of their own.
        overrides: further ``key=value`` settings of the stages.
        backend: inline, pool or ray; by default pool if there are several workers, else inline.
        workers: processes of the backend.
        force: do everything again.
        quiet: print no progress.
        device: auto, cpu, cuda …
        separator: separate the speakers of each recording first, by this model, and mine the tracks, which go to
            ``out/separated``; ``pairs`` then names those.
        channels: ``each`` makes a recording of every channel, named ``NAME-channel1`` and so on: one speaker on each.
        decisions: what a curator accepted, rejected and edited, as the page of this run exports it; only the export is
            made again.

    Raises:
        UserError: if an input is missing, nothing can be read, ``out`` cannot be written, or no document has to do
            with any recording.
        SpeechkitError: if a stage failed.
        KeyboardInterrupt: if the run was interrupted; call it again to go on.
    """
    folder = Path(out)
    command = command_line(audio, documents, out, {
        "lang": lang, "recognizer": recognizer, "min_precision": min_precision, "pairs": pairs, "to": tuple(formats),
        "clips": clips, "channels": channels, "separator": separator, "set": tuple(overrides), "backend": backend,
        "workers": workers, "device": device,
    })  # fmt: skip
    for given, name in ((audio, "AUDIO"), (documents, "DOCS")):
        if Path(given).is_dir() and Path(given).resolve() in (folder.resolve(), *folder.resolve().parents):
            raise UserError(f"{out}: lies inside {given}, which {name} names; choose a folder outside of it")
    unseparated: list[DropRecord] = []
    if separator is not None:
        from speechkit.separation.files import separated_recordings

        separated = separated_recordings(audio, folder / "separated", separator, device)
        unseparated = [DropRecord(path, "unreadable_audio", reason) for path, reason in separated.failed.items()]
        audio = folder / "separated"
    arguments: dict[str, Any] = {
        "audio": str(Path(audio).resolve()),
        "documents": str(Path(documents).resolve()),
        "lang": lang,
        "recognizer": recognizer,
        "min_precision": min_precision,
        "files": {"channels": channels},
        "export": {"formats": list(formats), "clips": clips},
        "report": {"command": command},
    }
    if decisions is not None:
        read_decisions(decisions)
        arguments["export"]["decisions"] = str(Path(decisions).resolve())
    if pairs is not None:
        arguments["pairing"] = {"pairs": str(Path(pairs).resolve())}
        check_pairs(Path(pairs), Path(audio), Path(documents), each_channel=channels == "each")
    recipe = load_recipe(shipped_recipe("mining"))
    stages = folder / "stages"
    code = run_recipe(
        recipe,
        stages,
        overrides,
        backend or ("pool" if workers > 1 else "inline"),
        arguments=arguments,
        force=force,
        workers=workers,
        device=device,
        quiet=quiet,
        show_results=False,
    )
    if code:
        raise KeyboardInterrupt
    folders = {stage.name: outputs(recipe, stages, stage.name) for stage in recipe.stages}
    publish(folders["export"] / "export", folder)
    publish_page(folders["report"], folder)
    left_out = [*unseparated, *(drop for stage_folder in folders.values() for drop in _drops(stage_folder))]
    write_jsonl(folder / "left_out.jsonl", left_out)
    recordings, silent = 0, []
    for recording in read_jsonl(folders["regions"] / "recordings.jsonl", Recording):
        recordings += 1
        if not recording.speech:
            silent.append(recording.id)
    summary = msgspec.json.decode((folders["export"] / "export" / "summary.json").read_bytes(), type=SelectionSummary)
    if not summary.kept:  # the page and the lists are there all the same
        _refuse_unrelated(folders, documents, audio, folder / "report.html")
    return MinedSet(
        str(folder),
        str(folder / "manifest.jsonl"),
        str(folder / "report.html"),
        summary,
        recordings,
        silent,
        left_out,
        msgspec.json.decode((folder / "card.json").read_bytes(), type=DataCard).decisions,
    )


def _refuse_unrelated(folders: Mapping[str, Path], documents: Path | str, audio: Path | str, page: Path) -> None:
    """Raise if none of the documents was read in the recordings although speech was recognised.

    Raises:
        UserError: if the documents and recordings are unrelated.
    """
    listed = {document.id for document in read_jsonl(folders["documents"] / "documents.jsonl", Document)}
    dropped = {
        drop.id for name in ("pairing", "selection") for drop in _drops(folders[name]) if drop.reason == "no_recording"
    }
    any_speech = any(
        hypothesis.text for hypothesis in read_jsonl(folders["hypotheses"] / "hypotheses.jsonl", RecognizedText)
    )
    if any_speech and listed and listed <= dropped:
        raise UserError(
            f"{documents}: none of its sentences was found in {audio}; give the documents that were read there, or the "
            f"language and recogniser of the recordings ({page} shows what was compared)"
        )


def _drops(folder: Path) -> list[DropRecord]:
    path = folder / "drops.jsonl"
    return list(read_jsonl(path, DropRecord)) if path.is_file() else []


def publish(source: Path, target: Path) -> None:
    """Bring an export folder to ``target``: manifests get paths relative to it, other files are linked or copied.

    Files of an earlier export that this one lacks (a format, a split) are removed; all others in ``target`` stay.
    """
    record = target / "stages" / PUBLISHED
    before = msgspec.json.decode(record.read_bytes(), type=list[str]) if record.is_file() else []
    files = sorted(path for path in source.rglob("*") if not path.is_dir())
    names = [path.relative_to(source).as_posix() for path in files]
    write_json(record, sorted({*before, *names}))  # an interruption loses track of no file
    for path, name in zip(files, names, strict=True):
        relative = Path(name)
        if path.parent == source and path.suffix == ".jsonl" and path.stem in {"manifest", "train", "dev", "test"}:
            write_manifest(target / relative, _relative(read_manifest(path), target))
        else:
            _copy(path, target / relative)
    for name in sorted(set(before) - set(names)):
        stale = inside(target, name)
        stale.unlink(missing_ok=True)
        if stale.parent != target and stale.parent.is_dir() and not any(stale.parent.iterdir()):
            stale.parent.rmdir()
    write_json(record, names)


def publish_page(source: Path, target: Path) -> None:
    """Bring the page to ``target``, with the audio beside it; audio of an earlier page goes."""
    _copy(source / "report.html", target / "report.html")
    beside, old = source / "report-audio", target / "report-audio"
    wanted = {path.name for path in beside.glob("*.mp3")}
    for path in old.glob("*.mp3"):
        if path.name not in wanted:
            path.unlink()
    for name in sorted(wanted):
        _copy(beside / name, old / name)


def _relative(utterances: Iterable[Utterance], folder: Path) -> Iterator[Utterance]:
    """The same utterances with audio paths relative to ``folder``."""
    base = folder.resolve()
    known: dict[str, str] = {}
    for item in utterances:
        path = item.audio_filepath
        if path not in known:
            known[path] = Path(os.path.relpath(path, base)).as_posix() if Path(path).is_absolute() else path
        yield msgspec.structs.replace(item, audio_filepath=known[path])


def _copy(source: Path, target: Path) -> None:
    """A hard link where the file system has them, a copy elsewhere; in one step either way."""
    if not source.is_file():
        raise UserError(f"{source}: is missing; run the recipe again with --force")
    with atomic_path(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
