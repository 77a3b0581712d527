"""Script run by `isolation`: parses documents one after another, each within limits of memory and processor time.

A request and an answer are MessagePack behind their length in 8 bytes; an empty request is answered by an empty answer.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from pathlib import Path

import msgspec

from speechkit.errors import UserError
from speechkit.mining.documents.reading import Answer, Parsing, parse, unforeseen

SPENT_SHARE = 4  # a process that still holds this part of its memory limit makes room for a new one


def limit(memory_bytes: int, seconds: float) -> None:
    """Bound the address space, and the processor time from now on, where the system can.

    Only the soft limits change, so that the next document gets its own. The parent enforces the time limit; that on
    processor time applies if the parent has died.
    """
    try:
        import resource
    except ImportError:  # not on Windows: the parent's clock remains
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds) + 5
    for kind, bound in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, until)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):  # macOS takes no bound on the address space
            resource.setrlimit(kind, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


def address_space() -> int:
    """Bytes of this process's address space; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def answer(message: bytes) -> bytes:
    """The encoded `Answer` to an encoded `Parsing`."""
    if not message:
        return b""
    request = msgspec.msgpack.decode(message, type=Parsing)
    memory_bytes = request.limits.max_memory_bytes
    limit(memory_bytes, request.limits.max_seconds)
    if request.folder:
        os.chdir(request.folder)
    try:
        document = parse(request)
        spent = address_space() > memory_bytes // SPENT_SHARE
        return msgspec.msgpack.encode(Answer(document=document, spent=spent))
    except MemoryError:
        pass  # answered below, where nothing holds what was parsed
    except UserError as error:
        spent = address_space() > memory_bytes // SPENT_SHARE
        return msgspec.msgpack.encode(Answer(error=str(error), error_type=type(error).__name__, spent=spent))
    except Exception as error:  # an unexpected error of one file must not end the run
        sentence, location = unforeseen(request.file, error)
        return msgspec.msgpack.encode(Answer(error=str(sentence), location=location, spent=True))
    needs = f"{request.shown}: needs more than {memory_bytes // 10**6} MB to read; split it"
    return msgspec.msgpack.encode(Answer(error=needs, spent=True))


def main() -> None:
    """Answer the requests of standard input on standard output until there is none."""
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # library output must not mix with answers
    while len(header := sys.stdin.buffer.read(8)) == 8:
        reply = answer(sys.stdin.buffer.read(int.from_bytes(header, "little")))
        answers.write(len(reply).to_bytes(8, "little") + reply)
        answers.flush()


if __name__ == "__main__":
    main()
