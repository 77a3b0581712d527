"""Recordings as rows of manifests: one for every channel, named alike by every command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from speechkit.data.manifest import read_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError, shown
from speechkit.io.audio import audio_info
from speechkit.io.paths import is_unicode


def is_manifest(path: Path) -> bool:
    """Whether a path is that of a manifest, by its suffix; others are recordings."""
    return path.suffix in (".jsonl", ".gz")


def channel_id(recording: str, channel: int) -> str:
    """Id of a channel, from 0, of a recording with several; the id counts from 1, as CTM files do."""
    return f"{recording}-channel{channel + 1}"


def recording_rows(path: Path) -> list[Utterance]:
    """A row for every channel of a recording, with a path relative to the recording's folder.

    The id is the name of the file without suffix; with several channels, that of `channel_id`.

    Raises:
        AudioError: if the recording cannot be read.
    """
    info = audio_info(path)
    name = shown(path.stem)
    return [
        Utterance.from_samples(
            id=name if info.channels == 1 else channel_id(name, channel),
            audio_filepath=path.name,
            num_samples=info.num_samples,
            sample_rate=info.sample_rate,
            channel=channel,
        )
        for channel in range(info.channels)
    ]


def read_cuts(
    inputs: Iterable[Path], unreadable: Callable[[Path, AudioError], None] | None = None
) -> Iterator[tuple[Utterance, Path]]:
    """Rows of manifests and of recordings, each with the manifest that its path is relative to.

    Args:
        inputs: manifests and recordings.
        unreadable: called for recordings that cannot be read, or whose name a manifest cannot hold; they are skipped.

    Raises:
        UserError: if a manifest cannot be read, or a recording without ``unreadable``.
    """
    for path in inputs:
        if is_manifest(path):
            yield from ((row, path) for row in read_manifest(path))
            continue
        try:
            rows = recording_rows(path)
            if not is_unicode(path):
                name = shown(path)
                raise AudioError(f"{name}: the file name is not UTF-8, which a manifest cannot hold; rename the file")
        except AudioError as error:
            if unreadable is None:
                raise
            unreadable(path, error)
            continue
        yield from ((row, path.parent / "recordings.jsonl") for row in rows)


def require_unique_ids(inputs: Iterable[Path]) -> None:
    """Check, before any work, that the inputs hold rows and that no two of them have one id.

    Raises:
        UserError: naming the input of the second row, if there are duplicate ids, no rows, or a manifest that cannot be
            read. Recordings that cannot be read are left to the command.
    """
    path_of: dict[str, Path] = {}
    paths = list(inputs)
    unreadable = 0
    for path in paths:
        try:
            rows: Iterable[Utterance] = read_manifest(path) if is_manifest(path) else recording_rows(path)
        except AudioError:
            unreadable += 1
            continue
        for row in rows:
            if row.id in path_of:
                again = "twice" if path_of[row.id] == path else f"as in {shown(path_of[row.id])}"
                raise UserError(
                    f"{shown(path)}: duplicate id {row.id!r}, {again}; rename one, or process them separately"
                )
            path_of[row.id] = path
    if not path_of and not unreadable:
        names = ", ".join(map(shown, paths))
        raise UserError(f"{names}: holds no recordings; give a manifest with rows")
