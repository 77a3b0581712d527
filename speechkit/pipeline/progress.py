"""Progress of a run: bars for the run and the stage on a terminal, plain lines elsewhere; and the log."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, TextIO

LINE_SECONDS = 10.0


class Progress:
    """Progress of one run. Rates count this run's work only, not what an earlier run had finished."""

    def __init__(self, log: Path | None = None, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._log = log
        self._bars: Any = None
        self._run_task: Any = None
        self._stage_task: Any = None
        self._stage = ""
        self._next_line = 0.0
        if not quiet and self._stream.isatty():
            self._bars = _bars(self._stream)

    def start(self, name: str, stages: int) -> None:
        """Begin a run with this many stages."""
        self.log(f"run of {name}: {stages} stages")
        if self._bars is not None:
            self._bars.start()
            self._run_task = self._bars.add_task(name, total=stages, facts="")

    def close(self) -> None:
        """Restore the terminal."""
        if self._bars is not None:
            self._bars.stop()

    def log(self, line: str) -> None:
        """Write a line to the run's log only."""
        if self._log is None:
            return
        try:
            with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line.rstrip()}\n")
        except OSError:
            pass  # logging must not stop the run; a full disk shows at the next output

    def say(self, line: str) -> None:
        """Write a line for the user, and to the log."""
        self.log(line)
        if self._quiet:
            return
        if self._bars is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self._stream, flush=True)

    def begin_stage(self, label: str, total: int, done: int = 0, audio: tuple[float, float] = (0.0, 0.0)) -> None:
        """A stage of ``total`` items begins, of which ``done`` were finished before.

        ``audio``: seconds of all items and of those done, if known; then progress counts seconds.
        """
        self._stage = label
        self._audio_total, self._audio_before = audio
        self._total, self._before, self._done = total, done, done
        self._dropped, self._audio_seconds = 0, 0.0
        self._began = time.monotonic()
        self._next_line = self._began + LINE_SECONDS
        if self._bars is not None:
            self._stage_task = self._bars.add_task(f"  {label}", **self._counts(), facts="")

    def advance(self, items: int, dropped: int = 0, audio_seconds: float = 0.0) -> None:
        """More items are done."""
        self._done += items
        self._dropped += dropped
        self._audio_seconds += audio_seconds
        self._show()

    def update(self, done: int, total: int | None = None) -> None:
        """For whole-set stages: ``done`` of ``total``; a smaller ``done`` than before starts another pass."""
        if done < self._done:
            self._began, self._before = time.monotonic(), done
        self._done = done
        self._total = self._total if total is None else total
        self._show()

    def end_stage(self) -> None:
        """The stage is over."""
        if self._bars is not None and self._stage_task is not None:
            self._bars.remove_task(self._stage_task)
            self._stage_task = None

    def advance_run(self) -> None:
        """One more stage of the run is done or fresh."""
        if self._bars is not None:
            self._bars.advance(self._run_task)

    def facts(self) -> str:
        """Rate, audio, drops and time left, in words."""
        seconds = max(time.monotonic() - self._began, 1e-6)
        rate = (self._done - self._before) / seconds
        parts = [f"{rate:.1f} items/s"]
        remaining = (self._total - self._done) / rate if rate > 0 else 0.0
        if self._audio_seconds:
            processed = self._audio_before + self._audio_seconds
            of = f" of {_duration(self._audio_total)}" if self._audio_total else ""
            parts.append(f"{_duration(processed)}{of} of audio at {self._audio_seconds / seconds:.1f} times real time")
            remaining = (
                (self._audio_total - processed) * seconds / self._audio_seconds if self._audio_total else remaining
            )
        if self._dropped:
            parts.append(f"{self._dropped} dropped")
        if remaining > 0 and self._total > self._done:
            parts.append(f"{_duration(remaining)} left")
        return ", ".join(parts)

    def _counts(self) -> dict[str, float | None]:
        """Counts of the bar: seconds of audio if known for all items, else items."""
        if self._audio_total:
            processed = self._audio_before + self._audio_seconds
            return {"completed": round(min(processed, self._audio_total)), "total": round(self._audio_total)}
        return {"completed": self._done, "total": self._total or None}

    def _show(self) -> None:
        if self._bars is not None:
            self._bars.update(self._stage_task, **self._counts(), facts=self.facts())
        elif not self._quiet and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            of = f" of {self._total}" if self._total else ""
            print(f"{self._stage}: {self._done}{of}, {self.facts()}", file=self._stream, flush=True)


def _bars(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
    return RichProgress(*columns, console=Console(file=stream))


def _duration(seconds: float) -> str:
    minutes, remainder = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}"
