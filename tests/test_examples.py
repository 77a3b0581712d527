"""The examples run, and their notebooks say the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import speechkit

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
QUICK = {"features", "units"}
PRINTS = {
    "features": "layers: (",
    "mine": "minutes; page: mined/report.html",
    "recognise_and_score": "embedded: WER ",
    "units": "frames a unit each: ",
}


@pytest.mark.parametrize(
    "script",
    [pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else pytest.mark.slow) for path in SCRIPTS],
)
def test_an_example_runs_from_an_empty_folder(script, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert PRINTS[script.stem] in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_is_its_script(script):
    spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "scripts" / "make_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = script.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == module.notebook_of(script.read_text(encoding="utf-8"))
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), script.name, "exec")


def test_the_first_names_are_offered_and_load_late():
    assert set(speechkit.__all__) <= set(dir(speechkit))
    for name in speechkit.__all__:
        assert getattr(speechkit, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = speechkit.nothing
    code = "import sys, speechkit; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
