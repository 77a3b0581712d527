"""Reports training frames that are not finite by the name of their recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError


class NotFiniteError(UserError):
    """Training frames hold NaN or infinity."""


class Recordings(Protocol):
    """A store of features: ids, and the frames (T, D) of each."""

    def ids(self) -> Sequence[str]:
        """In their order."""

    def __getitem__(self, id: str, /) -> NDArray[Any]:  # noqa: A002 - the record's own word
        """Frames (T, D)."""


@contextmanager
def naming_recordings(store: Recordings) -> Iterator[None]:
    """Context manager that attributes non-finite frames of a store to their recording.

    Raises:
        UserError: in place of `NotFiniteError`, naming the recording and its frame.
    """
    try:
        yield
    except NotFiniteError as error:
        for name in store.ids():
            bad = ~np.isfinite(np.asarray(store[name], np.float32)).all(axis=1)
            if bad.any():
                raise UserError(
                    f"{name}: frame {int(np.argmax(bad))} of the features holds NaN or infinity; encode the recording "
                    "again"
                ) from error
        raise
