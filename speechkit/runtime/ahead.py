"""Prefetching iterator: items are made ahead of time in another thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, with at most ``depth`` of them made in advance.

    Useful if producer and consumer release the interpreter's lock: decoding, matrix products, compiled kernels. An
    error is raised in place of its item. Leaving early stops and closes ``items``.

    Raises:
        ValueError: if ``depth`` is less than 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth}")
    return _ahead(iter(items), depth)


def _ahead(source: Iterator[Item], depth: int) -> Iterator[Item]:
    def make() -> list[Item]:
        """The next item, or nothing: a future cannot hold StopIteration."""
        for item in source:
            return [item]
        return []

    # One thread, so that calls to the source do not overlap.
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        pending: list[Future[list[Item]]] = [thread.submit(make) for _ in range(depth)]
        try:
            while made := pending.pop(0).result():
                pending.append(thread.submit(make))
                yield made[0]
        finally:
            for future in pending:
                future.cancel()
            thread.submit(_close, source).result()


def _close(source: Iterator[Item]) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
