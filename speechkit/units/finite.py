"""Reports training frames that are not finite by the name of their recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechkit.errors import UserError


class NotFiniteError(UserError):
    """Training frames contain NaN or infinity."""


class Recordings(Protocol):
    """A store of features: ids, and the frames (T, D) of each."""

    def ids(self) -> Sequence[str]:
        """Ids in the order of the store."""

    def __getitem__(self, id: str, /) -> NDArray[Any]:  # noqa: A002 - the record's own word
        """Frames (T, D)."""


@contextmanager
def naming_recordings(store: Recordings) -> Iterator[None]:
    """Context manager that attributes non-finite frames of a store to their recording.

    Raises:
        UserError: instead of `NotFiniteError`, naming the recording and the frame.
    """
    try:
        yield
    except NotFiniteError as error:
        for name in store.ids():
            invalid = ~np.isfinite(np.asarray(store[name], np.float32)).all(axis=1)
            if invalid.any():
                raise UserError(
                    f"{name}: frame {int(np.argmax(invalid))} of the features contains NaN or infinity; encode the "
                    "recording again"
                ) from error
        raise
