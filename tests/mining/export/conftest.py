"""TextGrids are read back by praatio, so that another library judges what ours writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Tiers = dict[str, list[tuple[float, float, str]]]


@pytest.fixture(scope="session")
def read_tiers() -> Callable[[Path | str], Tiers]:
    praat = pytest.importorskip("praatio.textgrid")

    def read(path: Path | str) -> Tiers:
        grid = praat.openTextgrid(str(path), includeEmptyIntervals=True, reportingMode="error")
        return {tier.name: [tuple(entry) for entry in tier.entries] for tier in grid.tiers}

    return read
