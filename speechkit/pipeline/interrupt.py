"""Ctrl-C: the first requests a stop after the current part, the second stops at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from speechkit.errors import SpeechkitError


class Interrupted(SpeechkitError):  # noqa: N818 - an end, not an error
    """The run was stopped by the user; finished work is kept."""

    exit_code = 130


class StopRequest:
    """Whether a stop was requested."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def listen() -> Iterator[StopRequest]:
    """Turn SIGINT (and SIGTERM, which schedulers send) into a `StopRequest` while the block runs."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # signals are handled in the main thread only
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True
        print("\nstopping after the current part; press again to stop at once", file=sys.stderr, flush=True)

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
