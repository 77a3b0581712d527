"""The doctor names what is wrong and the line that mends it."""

from __future__ import annotations

import json

import pytest

from speechkit.cli import doctor
from speechkit.cli.main import call
from speechkit.errors import EXTRA_OF


@pytest.mark.parametrize(
    ("torch", "torchaudio", "state"),
    [
        ("2.11.0+cpu", "2.11.0", "ok"),
        ("2.11.1", "2.11.0", "ok"),
        ("2.13.0", "2.11.0", "wrong"),
        (None, "2.11.0", "wrong"),
        ("2.11.0", None, "wrong"),
    ],
)
def test_torch_and_torchaudio_must_be_one_release(torch, torchaudio, state):
    finding = doctor.pair(torch, torchaudio)
    assert finding.state == state
    assert bool(finding.mend) is (state == "wrong")


def test_this_installation_is_sound_and_every_extra_is_listed(capsys):
    assert call(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    names = [finding["name"] for finding in findings]
    for extra in EXTRA_OF.values():
        assert f"extra {extra}" in names
    assert {"python", "torch/torchaudio", "device", "tesseract", "ffmpeg", "disk"} <= set(names)


def test_a_torchaudio_built_for_another_torch_is_found_by_loading_it(tmp_path, monkeypatch):
    (tmp_path / "torchaudio.py").write_text("raise OSError('undefined symbol: torch_of_next_year')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = doctor._devices()
    assert finding.state == "wrong"
    assert "undefined symbol: torch_of_next_year" in finding.detail
    assert "torchaudio==2.11.0" in finding.mend


def test_what_is_missing_comes_with_its_install_line(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "_devices", list)  # they are asked for in another process, which takes seconds
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["extra ray"].mend == 'pip install "speechkit[ray]"'
    assert findings["tesseract"].mend == "apt-get install tesseract-ocr"


def test_something_wrong_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.setattr(doctor, "_devices", list)
    assert call(["doctor"]) == 1
    assert "-> pip install" in capsys.readouterr().out
