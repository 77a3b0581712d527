r"""Write manifests of all recordings in folders; no text is needed.

    python scripts/speech_manifests.py FOLDER … --out DIR --held-out GLOB …

OUT receives ``train.jsonl`` and ``dev.jsonl``, the files whose path matches a ``--held-out`` pattern. Long recordings
are listed in segments of at most a minute, which training crops further. ``--speaker`` finds the speaker's name in the
path, as in LibriSpeech's: ``--speaker '(\d+)-\d+-\d+'``.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

from speechkit.data import Utterance, write_manifest
from speechkit.errors import AudioError
from speechkit.io.audio import audio_info

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}
PIECE_SECONDS = 60


def pieces(folder: Path, out: Path, speaker: re.Pattern[str] | None = None) -> Iterator[tuple[Path, Utterance]]:
    """Every recording below a folder with its rows, in order of path; ids are paths, so that they are unique."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            info = audio_info(path)
        except AudioError as error:
            print(f"left out: {error}")
            continue
        match = speaker.search(path.relative_to(folder).as_posix()) if speaker else None
        step = PIECE_SECONDS * info.sample_rate
        name = path.relative_to(folder).with_suffix("").as_posix().replace("/", "-").replace(" ", "_")
        for number, begin in enumerate(range(0, info.num_samples, step)):
            yield (
                path,
                Utterance.from_samples(
                    id=f"{folder.name}-{name}" + (f"-{number}" if number else ""),
                    audio_filepath=os.path.relpath(path, out),
                    offset_samples=begin,
                    num_samples=min(step, info.num_samples - begin),
                    sample_rate=info.sample_rate,
                    speaker=match[1] if match else None,
                ),
            )


def main() -> int:
    """Write both manifests and print the hours of each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--held-out", nargs="*", action="extend", default=[], help="patterns of whole paths, as */dev-clean/84/*/*"
    )
    parser.add_argument("--speaker", type=re.compile, help="pattern whose first group, in a path, is the speaker")
    arguments = parser.parse_args()
    if arguments.speaker is not None and not arguments.speaker.groups:
        parser.error(f"--speaker {arguments.speaker.pattern!r} has no group; put the speaker's part in brackets")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    train: list[Utterance] = []
    dev: list[Utterance] = []
    for folder in arguments.folders:
        before = sum(row.duration for row in train)
        for path, row in pieces(folder.resolve(), out, arguments.speaker):
            (dev if any(path.match(pattern) for pattern in arguments.held_out) else train).append(row)
        print(f"{folder}: {(sum(row.duration for row in train) - before) / 3600:.2f} h")
    write_manifest(out / "train.jsonl", train)
    write_manifest(out / "dev.jsonl", dev)
    print(f"train {len(train)} rows, dev {len(dev)} rows")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
