from __future__ import annotations

import json

import pytest

from speechkit.slue.metrics.measures import Resampling


@pytest.fixture(scope="session")
def golden(shared_data):
    """Values that the reference toolkit's own functions gave."""
    path = shared_data.parent / "golden" / "slue_golden.json"
    if not path.is_file():
        pytest.skip(f"no golden values at {path}")
    return json.loads(path.read_text())


@pytest.fixture
def plain():
    """No intervals: the value alone."""
    return Resampling(resamples=0)
