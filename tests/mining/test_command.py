"""The command that the page of a run shows is the one that was given."""

from __future__ import annotations

import inspect
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import speechkit.mining.mined_set as mining
from speechkit.cli.main import call
from speechkit.errors import UserError
from speechkit.mining.command import DEFAULTS, command_line, without_place


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--lang de --recognizer words:spoken --min-precision 0.9",
        "--pairs 'my pairs.tsv' --to kaldi,srt --clips flac --channels each",
        "--separate --vad energy --set pairing.min_score=0.03 --set export.max_clipped=0.1",
        "--separate --separator models/large --backend pool --workers 4 --device cpu",
    ],
)
def test_command_is_the_one_that_was_given(options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = []

    def note(*arguments):
        shown.append(command_line(*arguments))
        raise UserError("the run would begin now")

    monkeypatch.setattr(mining, "command_line", note)
    given = f"speechkit mine recordings 'the documents' --out mined {options}".strip()
    assert call(shlex.split(given)[1:]) == 2
    assert shown == [given]


def test_defaults_are_those_of_the_function() -> None:
    parameters = inspect.signature(mining.mine).parameters
    names = {"to": "formats", "set": "overrides"}
    for name, value in DEFAULTS.items():
        assert parameters[names.get(name, name)].default == value, name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/somebody/audio", "audio"), ("audio/here/", "audio/here/"), ("words:/a/b.ctm", "words:b.ctm"),
        ("key.of=/a/b", "key.of=b"), ("C:\\data\\talks", "talks"), ("faster-whisper:/models/w", "faster-whisper:w"),
        ("ai4bharat/indicwav2vec-hindi", "ai4bharat/indicwav2vec-hindi"), ("/", "/"),
    ],
)  # fmt: skip
def test_absolute_paths_are_cut_to_their_last_part(text: str, shown: str) -> None:
    assert without_place(text) == shown


def test_the_function_mine_is_meant_however_its_module_was_loaded():
    code = (
        "import speechkit.mining.mined_set, speechkit; from speechkit.mining import mine; "
        "print(callable(mine), speechkit.mine is mine)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert said.split() == ["True", "True"]
