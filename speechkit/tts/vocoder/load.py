"""Vocoders by name: those inside the package, and folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.errors import UserError

if TYPE_CHECKING:
    from speechkit.tts.vocoder.vocoder import Vocoder

MODELS = Path(__file__).resolve().parent.parent / "models"
EMBEDDED = "embedded"
"""The vocoder inside the package: log-mel frames at 16 kHz, for any speaker."""


def load_vocoder(name: str | Path = EMBEDDED, device: str = "cpu") -> Vocoder:
    """A vocoder of a folder, or ``embedded``.

    Raises:
        UserError: if there is none, or a file of it is missing or damaged.
    """
    from speechkit.tts.vocoder.vocoder import Vocoder

    model = Vocoder.from_pretrained(vocoder_folder(name))
    model.name = f"the vocoder {name}"
    return model.to(device)


def vocoder_folder(name: str | Path) -> Path:
    """Where a vocoder's files lie.

    Raises:
        UserError: if the package has no weights of the embedded one.
    """
    if str(name) != EMBEDDED or Path(name).is_dir():
        return Path(name)
    folder = MODELS / "vocoder"
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{folder}: the weights of the embedded vocoder are not there; install the package again, or name the "
            "folder of another vocoder"
        )
    return folder


def vocoder_digest(name: str) -> str:
    """What a vocoder's name stands for: the content of its files."""
    from speechkit.io.hashing import digest_file

    folder = vocoder_folder(name)
    files = [folder / each for each in ("config.json", "model.safetensors")]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: no such file; give the folder of a vocoder")
    return " ".join(digest_file(path) for path in files)
