"""The doctor names what is wrong and the line that mends it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechkit.cli import doctor
from speechkit.cli.main import call
from speechkit.errors import EXTRA_OF, install_line


@pytest.mark.parametrize(
    ("torch", "state"), [("2.11.0+cpu", "ok"), ("2.14.1", "ok"), ("3.0", "ok"), ("2.10.1", "wrong"), (None, "wrong")]
)
def test_torch_may_be_2_11_or_any_later_release(monkeypatch, torch, state):
    monkeypatch.setattr(doctor, "_version", lambda name: torch)
    finding = doctor._torch()
    assert finding.state == state
    assert bool(finding.fix) is (state == "wrong")


def test_this_installation_is_sound_and_every_extra_is_listed(capsys):
    assert call(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    names = [finding["name"] for finding in findings]
    for extra in set(EXTRA_OF.values()) - {"torchaudio"}:
        assert f"extra {extra}" in names
    assert {"python", "torch", "torchaudio", "device", "tesseract", "ffmpeg", "disk"} <= set(names)


@pytest.mark.parametrize("library", ["torch", "torchaudio"])
def test_a_library_that_does_not_load_is_found_by_loading_it(tmp_path, monkeypatch, library):
    (tmp_path / f"{library}.py").write_text("raise OSError('undefined symbol: torch_of_next_year')")
    monkeypatch.setattr(doctor, "_version", lambda name: "2.11.0")  # torchaudio may be absent
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(doctor.__file__).parents[2]}")
    finding = doctor._torchaudio() if library == "torchaudio" else doctor._devices()[0]
    assert "undefined symbol: torch_of_next_year" in finding.detail
    assert finding.fix
    assert finding.state == "wrong"


def test_what_is_missing_comes_with_its_install_line(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "_devices", list)  # they are asked for in another process, which takes seconds
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["extra ray"].fix == install_line("ray")
    assert findings["tesseract"].fix == "apt-get install tesseract-ocr"


def test_something_wrong_ends_with_1(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.setattr(doctor, "_devices", list)
    assert call(["doctor"]) == 1
    assert "-> pip install" in capsys.readouterr().out
