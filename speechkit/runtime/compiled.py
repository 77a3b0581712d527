"""One decorator for the compiled kernels, typed as what it decorates; numba is loaded with this module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be taken in any order, which makes them vectors; NaN stays NaN and is found.
SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}

_told = False


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile at the first call, keep the machine code beside the source, and let other threads run meanwhile."""
    return _compiled(function)


def compiled_reordering(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, with sums in any order: fast, and equal to rounding between processors."""
    return _compiled(function, fastmath=SUMS_IN_ANY_ORDER)


def _compiled(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Without a folder for machine code (a read-only package and no home, as in containers), compile at each start."""
    global _told
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        if not _told:
            print(
                "speechkit: no folder for compiled kernels can be written, so every start compiles them anew; "
                "set NUMBA_CACHE_DIR to one that can",
                file=sys.stderr,
            )
            _told = True
        made = njit(**options)(function)
    return cast("Callable[P, R]", made)
