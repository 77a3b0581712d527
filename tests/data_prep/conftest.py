"""Short real audio and small trees for corpora that are not at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from speechkit.data.corpora import corpora_module
from speechkit.data.manifest import audio_path, read_manifest
from speechkit.data.records import Utterance

load_corpus = corpora_module().load_corpus
LeftOut = corpora_module("corpus").LeftOut
_driver = corpora_module("driver")
Summary = _driver.Summary
prepare = _driver.prepare

RATE = 16000


def write_tone(path: Path, samples: int = RATE // 4, rate: int = RATE, **options: str) -> Path:
    """A sine of ``samples`` samples as an audio file of the suffix's kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(np.arange(samples) * 2 * np.pi * 300 / rate)
    soundfile.write(path, wave, rate, **options)
    return path


def write_text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


class Prepared:
    """What a run wrote, read back as a user of it would."""

    def __init__(self, summary: Summary, out: Path) -> None:
        self.summary, self.out = summary, out

    def split(self, name: str):
        return next(s for s in self.summary.splits if s.split == name)

    def utterances(self, split: str) -> list[Utterance]:
        return list(read_manifest(self.out / f"{split}.jsonl"))

    def left_out(self, split: str) -> list[LeftOut]:
        lines = (self.out / "left_out" / f"{split}.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line, type=LeftOut) for line in lines]

    def reasons(self, split: str) -> dict[str, str]:
        return {item.id: item.reason for item in self.left_out(split)}

    def check_against_soundfile(self) -> None:
        """Every manifest agrees with its audio, its count and its left-out file."""
        for split in self.summary.splits:
            utterances = self.utterances(split.split)
            assert len(utterances) == split.utterances
            assert len({u.id for u in utterances}) == len(utterances)
            seconds = 0.0
            for u in utterances:
                info = soundfile.info(audio_path(self.out / split.manifest, u))
                assert u.sample_rate == info.samplerate
                assert u.offset_samples + u.num_samples <= info.frames
                seconds += u.num_samples / u.sample_rate
            assert split.hours == pytest.approx(seconds / 3600, abs=1e-4)
            assert sum(split.left_out.values()) == len(self.left_out(split.split))


@pytest.fixture
def tone():
    return write_tone


@pytest.fixture
def text():
    return write_text


@pytest.fixture
def run(tmp_path):
    def call(name: str, source: Path, **options) -> Prepared:
        out = tmp_path / "out"
        return Prepared(prepare(load_corpus(name), source, out, **options), out)

    return call


@pytest.fixture
def copy(tmp_path):
    """A copy of some files of a corpus, to be damaged."""

    def call(source: Path, *names: str) -> Path:
        target = tmp_path / "copy" / source.name
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, target / name)
            else:
                shutil.copy(source / name, target / name)
        return target

    return call
