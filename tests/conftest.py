"""What every test may use: the folder of real speech, where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora named by SPEECHKIT_DATA; a test that needs it is skipped where it is absent."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SPEECHKIT_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set SPEECHKIT_DATA to the folder that holds them")
    return folder
