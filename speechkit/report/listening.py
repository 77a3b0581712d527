"""Write whole recordings next to a page that cannot embed them, in a format that every browser plays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from speechkit.errors import AudioError, UserError
from speechkit.io.atomic import atomic_path
from speechkit.io.paths import safe_id
from speechkit.mining.records import Recording
from speechkit.report.player import CLIP_RATE
from speechkit.runtime import available_cpus

COMPRESSION = 0.85
"""32 kbit/s at 16 kHz, constant, so that a browser can seek without reading the whole file."""


def write_recordings(
    recordings: Sequence[Recording], paths: Mapping[str, Path], folder: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Write ``folder/ID.mp3`` of the mined channel of each recording, 14 MB per hour.

    Args:
        recordings: the recordings, with the channel that was mined.
        paths: paths of their audio, by id.
        folder: created if absent.

    Returns:
        File names by recording, and the reasons for recordings that could not be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}

    def write(recording: Recording) -> tuple[str, str]:
        name = f"{safe_id(recording.id)}.mp3"
        try:
            _write_mp3(paths[recording.id], recording.channel, folder / name)
        except (AudioError, UserError) as error:
            failures[recording.id] = str(error)
            return recording.id, ""
        return recording.id, name

    with ThreadPoolExecutor(available_cpus()) as pool:
        written = dict(pool.map(write, recordings))
    return {name: file for name, file in written.items() if file}, failures


def _write_mp3(source: Path, channel: int | None, target: Path) -> None:
    import soundfile

    from speechkit.io.audio import stream_audio

    with (
        atomic_path(target) as temporary,
        soundfile.SoundFile(
            temporary, "w", CLIP_RATE, 1, "MPEG_LAYER_III", format="MP3",
            bitrate_mode="CONSTANT", compression_level=COMPRESSION,
        ) as file,
    ):  # fmt: skip
        for block in stream_audio(source, sample_rate=CLIP_RATE, channel=channel):
            file.write(np.clip(block, -1.0, 1.0))
