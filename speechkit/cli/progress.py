"""Progress of a command, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

LINE_SECONDS = 10.0  # between lines, without a terminal
SHOWN_SECONDS = 0.2  # between updates, on a terminal


def progress_line(items: str) -> Callable[[int, int], None]:
    """Shows "N of M WHAT": one line that is updated on a terminal, otherwise a line every ten seconds."""
    terminal = sys.stderr.isatty()
    pause = SHOWN_SECONDS if terminal else LINE_SECONDS
    following = time.monotonic() + pause

    def show(done: int, total: int) -> None:
        nonlocal following
        now = time.monotonic()
        if now < following and not (terminal and done == total):
            return
        following = now + pause
        end = "" if terminal and done < total else "\n"
        print(f"{chr(13) if terminal else ''}{done:,} of {total:,} {items}", end=end, file=sys.stderr, flush=True)

    return show
