"""Typed decorators for compiled kernels; loading this module loads numba."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be reordered, for vectorisation; NaN is preserved.
SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}

_warned = False


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call, cache the machine code next to the source, and release the interpreter's lock."""
    return _compiled(function)


def compiled_reordering(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, with sums in any order: faster, and equal up to rounding between processors."""
    return _compiled(function, fastmath=SUMS_IN_ANY_ORDER)


def _compiled(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Without a writable cache folder (a read-only package and no home, as in containers), compile at each start."""
    global _warned
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        kernel = njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        if not _warned:
            print(
                "speechkit: no writable folder for compiled kernels, so every start compiles them again; "
                "set NUMBA_CACHE_DIR to a writable folder",
                file=sys.stderr,
            )
            _warned = True
        kernel = njit(**options)(function)
    return cast("Callable[P, R]", kernel)
