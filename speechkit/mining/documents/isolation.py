"""Readers that may hang, crash or eat memory run in a process of their own, with a clock and a memory limit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from speechkit.errors import DocumentError

# The child takes this process's search path; the folder of the script must not come first, or its modules would
# shadow the standard library's.
_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); runpy.run_path(sys.argv[2], run_name='__main__')"
)


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
        command = [sys.executable, "-I", "-c", _START, json.dumps([entry for entry in sys.path if entry])]
        command += [str(Path(__file__).with_name(script)), str(question), str(answer)]
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                start_new_session=True,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
            try:
                status = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired as expired:
                raise DocumentError(
                    f"{document}: reading took more than {seconds:.0f} s; split the document or raise the time limit"
                ) from expired
            finally:
                _end(process)
            if status == 0 and answer.is_file():
                content: dict[str, Any] = json.loads(answer.read_text("utf-8"))
                if "error" in content:
                    raise DocumentError(f"{document}: {content['error']}")
                return content
            size = complaints.seek(0, os.SEEK_END)
            complaints.seek(max(0, size - 4000))
            tail = complaints.read().decode("utf-8", "replace").strip().splitlines()
    if status == -signal.SIGXCPU:
        raise DocumentError(
            f"{document}: reading took more than {seconds:.0f} s; split the document or raise the time limit"
        )
    reason = f"exit status {status}" + (f", {tail[-1][:200]}" if tail else "")
    raise DocumentError(f"{document}: the reader crashed ({reason}); the file is damaged or hostile, save it anew")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started; the group is the child's own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
