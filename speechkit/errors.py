"""The errors that a command turns into one sentence and an exit code.

A message says what is wrong, where (file, line or cut id) and what to do, so that it can be acted on alone.
"""

from __future__ import annotations

import importlib
from types import ModuleType

EXTRA_OF = {
    "ray": "ray",
    "pytesseract": "ocr",
    "pypdfium2": "ocr",
    "PIL": "ocr",
    "faster_whisper": "whisper",
    "lhotse": "lhotse",
    "pyarrow": "parquet",
    "uroman": "romanize",
    "tensorboard": "tensorboard",
    "faiss": "faiss",
    "matplotlib": "plots",
}


class SpeechkitError(Exception):
    """A failure that the system caused: the command prints one line and ends with 1."""

    exit_code = 1


class UserError(SpeechkitError):
    """A failure that the user can mend: the command prints one line and ends with 2."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration holds unknown keys, wrong types or bad choices; all of them are listed."""


class AudioError(UserError):
    """An audio file is missing, empty, truncated or not audio."""


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
        raise MissingExtraError(f'{module} is not installed; run: pip install "speechkit[{extra}]"') from error
