"""The command line of a mining run, as its page shows it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEFAULTS: dict[str, Any] = {
    "lang": "en",
    "recognizer": "auto",
    "min_precision": 0.98,
    "pairs": None,
    "to": (),
    "clips": "none",
    "channels": "together",
    "separator": None,
    "set": (),
    "backend": None,
    "workers": 1,
    "device": "auto",
}
"""Options of `speechkit mine` by name, with the values that need not be written."""


def command_line(audio: Path | str, documents: Path | str, out: Path | str, options: Mapping[str, Any]) -> str:
    """`speechkit mine` with the options that were given, to be typed again.

    Absolute paths are written by their last part: a page may be passed on, and where the inputs lay is nobody's
    business.

    Args:
        audio: as given.
        documents: as given.
        out: as given.
        options: by the names of `DEFAULTS`; ``set`` are settings of stages.
    """
    words = ["speechkit", "mine", *(without_place(str(path)) for path in (audio, documents)), "--out"]
    words.append(without_place(str(out)))
    for name, default in DEFAULTS.items():
        value = options.get(name, default)
        if value == default or (not value and not default):
            continue
        if name == "separator":
            words += ["--separate", *(["--separator", without_place(value)] if value != "embedded" else [])]
        elif name == "to":
            words += ["--to", ",".join(value)]
        elif name == "set":
            words += [word for setting in value for word in _setting(setting)]
        else:
            shown = f"{value:.12g}" if isinstance(value, float) else str(value)
            words += [f"--{name.replace('_', '-')}", without_place(shown)]
    return shlex.join(words)


def _setting(setting: str) -> list[str]:
    key, _, value = setting.partition("=")
    return ["--vad", value] if key == "regions.vad" else ["--set", without_place(setting)]


def without_place(text: str) -> str:
    """The text with an absolute path in it, alone or after ``words:`` or ``key=``, cut down to its last part."""
    return re.sub(
        r"^((?:[\w.-]{2,}[=:])?)((?:[A-Za-z]:)?[/\\].*)$", lambda match: match[1] + _last(match[2]), text, flags=re.S
    )


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path
