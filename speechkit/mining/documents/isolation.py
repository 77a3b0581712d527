"""Run readers that may hang, crash or exhaust memory in a separate process, with limits of time and memory.

PDF and pictures get a new process each, as their libraries crash most often; the other formats share one process, which
is reused from document to document.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from speechkit.errors import DocumentError

# The child takes this process's search path; the folder of the script must not come first, or its modules would
# shadow the standard library's.
_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
)
START_SECONDS = 120.0  # for the parsing process to import what it needs, on the busiest machine


def run_reader(
    script: str, request: dict[str, Any], document: Path, *, seconds: float, memory_bytes: int
) -> dict[str, Any]:
    """Run a reader script of this folder on a request and return its answer.

    Raises:
        DocumentError: if the document cannot be read, or its reader ran out of time or memory, or crashed.
    """
    with tempfile.TemporaryDirectory(prefix="speechkit-") as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        question.write_text(json.dumps({**request, "memory_bytes": memory_bytes, "seconds": seconds}), "utf-8")
        command = [*_command(script), str(question), str(answer)]
        with tempfile.TemporaryFile() as error_output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=error_output,
                stderr=error_output,
                start_new_session=True,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
            try:
                status = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired as expired:
                raise _timed_out(document, seconds) from expired
            finally:
                _end(process)
            if status == 0 and answer.is_file():
                content: dict[str, Any] = json.loads(answer.read_text("utf-8"))
                if "error" in content:
                    raise DocumentError(f"{document}: {content['error']}")
                return content
            tail = _last_line(error_output)
    if status == -signal.SIGXCPU:
        raise _timed_out(document, seconds)
    raise _crash(document, status, tail)


class ParsingProcess:
    """A process that runs ``parse_child.py`` for one document after another; it is replaced when a document ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._error_output: IO[bytes] | None = None

    def ask(self, request: bytes, document: Path, seconds: float) -> bytes:
        """The answer to a request about a document.

        Raises:
            DocumentError: if it did not come in time, or the process crashed.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start(document)
            return self._exchange(request, document, seconds)

    def replace(self) -> None:
        """Start a new process for the next request."""
        with self._lock:
            self._end()

    def _start(self, document: Path) -> None:
        self._end()
        self._error_output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            _command("parse_child.py"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._error_output,
            start_new_session=True,
            env={**os.environ, "OMP_THREAD_LIMIT": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._exchange(b"", document, START_SECONDS)

    def _exchange(self, request: bytes, document: Path, seconds: float) -> bytes:
        process, error_output = self._process, self._error_output
        assert process is not None
        assert error_output is not None
        guard, over, late = threading.Lock(), threading.Event(), threading.Event()

        def stop() -> None:
            with guard:
                if not over.is_set():
                    late.set()
                    _end(process)

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            answer = _send(process, request)
        except BaseException:  # interrupted: a late answer must not be read as that of the next request
            self._end()
            raise
        finally:
            timer.cancel()
            with guard:  # a timer that fires now must not end the process during its next document
                over.set()
        if answer is None:
            _end(process, patience_seconds=1.0)
            tail = _last_line(error_output)
            self._end()
            if late.is_set() or process.returncode == -getattr(signal, "SIGXCPU", 0):
                raise _timed_out(document, seconds)
            raise _crash(document, process.returncode, tail)
        if late.is_set():
            self._end()
        return answer

    def _end(self) -> None:
        if self._process is not None:
            _end(self._process)
            for stream in (self._process.stdin, self._process.stdout, self._error_output):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process = self._error_output = None


_PARSING: dict[int, ParsingProcess] = {}


def parsing_process() -> ParsingProcess:
    """The parsing process of this process; a forked child gets its own."""
    return _PARSING.setdefault(os.getpid(), ParsingProcess())


@atexit.register
def _end_parsing() -> None:
    if own := _PARSING.pop(os.getpid(), None):
        own.replace()


def _command(script: str) -> list[str]:
    path = json.dumps([entry for entry in sys.path if entry])
    return [sys.executable, "-I", "-c", _START, path, str(Path(__file__).with_name(script))]


def _send(process: subprocess.Popen[bytes], request: bytes) -> bytes | None:
    """The answer, or None if the process ended before it was whole."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(len(request).to_bytes(8, "little") + request)
        process.stdin.flush()
    except OSError:  # a broken pipe
        return None
    header = process.stdout.read(8)
    length = int.from_bytes(header, "little")
    answer = process.stdout.read(length) if len(header) == 8 else b""
    return answer if len(header) == 8 and len(answer) == length else None


def _last_line(error_output: IO[bytes]) -> str:
    size = error_output.seek(0, os.SEEK_END)
    error_output.seek(max(0, size - 4000))
    lines = error_output.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else ""


def _timed_out(document: Path, seconds: float) -> DocumentError:
    return DocumentError(
        f"{document}: reading took more than {seconds:g} s; split the document or raise the time limit"
    )


def _crash(document: Path, status: int, last_line: str) -> DocumentError:
    reason = f"exit status {status}" + (f", {last_line}" if last_line else "")
    return DocumentError(f"{document}: the reader crashed ({reason}); the file is damaged or hostile, save it again")


def _end(process: subprocess.Popen[bytes], patience_seconds: float = 0.0) -> None:
    """Kill the child and what it started, unless it ends by itself within the patience; the group is the child's."""
    if patience_seconds:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
