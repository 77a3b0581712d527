"""Texts and paths are Unicode whatever the locale says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from speechkit.io.audio import write_audio

NAME, TEXT = "Bienenstöcke–蜂.wav", "Die Bienen hören zu: naïve 蜂群"


def run(folder, *arguments):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    command = [sys.executable, "-m", "speechkit", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)


def test_the_c_locale_reads_and_prints_unicode(tmp_path):
    write_audio(tmp_path / NAME, np.full(8000, 0.1, np.float32), 16_000)
    row = {"id": "蜂", "audio_filepath": NAME, "duration": 0.5, "sample_rate": 16_000, "text": TEXT, "speaker": "Zoë"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    done = run(tmp_path, "manifest", "convert", "m.jsonl", "kaldi", "--to", "kaldi")
    assert done.returncode == 0, done.stderr
    assert TEXT in (tmp_path / "kaldi" / "text").read_text(encoding="utf-8")
    assert NAME in (tmp_path / "kaldi" / "wav.scp").read_text(encoding="utf-8")
    (tmp_path / "b.txt").write_text(TEXT.replace("naïve", "naiv"), encoding="utf-8")
    (tmp_path / "Wörter.txt").write_text(TEXT, encoding="utf-8")
    done = run(tmp_path, "align", "text", "Wörter.txt", "b.txt", "--words")
    assert "hören" in done.stdout.decode(), done.stderr
    done = run(tmp_path, "align", "text", "Wörter.txt", "zählt nicht.txt")
    assert done.stderr.decode().startswith("speechkit: zählt nicht.txt: cannot be read"), done.stderr
