"""Mixtures and their sources in manifests."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.data.manifest import read_manifest, rebase, write_manifest
from speechkit.data.mixtures import Mixture, mixture_of, read_sources, with_mixture
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.audio import write_audio

RATE = 8000


def tone(hertz: float, samples: int = RATE) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * hertz * np.arange(samples) / RATE)).astype(np.float32)


@pytest.fixture
def row(tmp_path):
    for name, hertz in (("s1/a.wav", 300.0), ("s2/a.wav", 700.0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_audio(tmp_path / name, tone(hertz), RATE)
    (tmp_path / "mix").mkdir()
    write_audio(tmp_path / "mix/a.wav", tone(300) + tone(700), RATE)
    plain = Utterance.from_samples(id="a", audio_filepath="mix/a.wav", num_samples=RATE, sample_rate=RATE)
    return with_mixture(plain, Mixture(sources=["../s1/a.wav", "../s2/a.wav"], gains=[1.0, 0.5]))


def test_sources_are_found_after_the_manifest_moved(tmp_path, row):
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists/moved.jsonl"
    write_manifest(path, rebase([row], tmp_path, tmp_path / "lists"))
    (moved,) = read_manifest(path)
    assert mixture_of(moved, path).gains == [1.0, 0.5]
    first, second = read_sources(moved, path, RATE)
    np.testing.assert_allclose(first, tone(300), atol=1e-4)
    np.testing.assert_allclose(second, tone(700), atol=1e-4)


def test_sources_cover_the_stretch_of_their_row(tmp_path, row):
    import msgspec

    piece = msgspec.structs.replace(row, offset=0.25, duration=0.5)
    (first, _) = read_sources(piece, tmp_path / "m.jsonl", RATE)
    np.testing.assert_allclose(first, tone(300)[RATE // 4 : 3 * RATE // 4], atol=1e-4)


def test_a_row_without_sources_says_so(tmp_path):
    plain = Utterance.from_samples(id="a", audio_filepath="a.wav", num_samples=1, sample_rate=RATE)
    with pytest.raises(UserError, match=r"'a' has no custom\.mixture"):
        mixture_of(plain, "m.jsonl")


def test_a_source_that_is_too_short_or_of_another_rate_is_refused(tmp_path, row):
    write_audio(tmp_path / "s2/a.wav", tone(700, RATE // 2), RATE)
    with pytest.raises(AudioError, match=r"s2/a\.wav"):
        read_sources(row, tmp_path / "m.jsonl", RATE)
    write_audio(tmp_path / "s2/a.wav", tone(700), 16000)
    with pytest.raises(AudioError, match="16000 Hz, but its mixture 8000 Hz"):
        read_sources(row, tmp_path / "m.jsonl", RATE)


def test_a_list_of_another_length_is_refused(row):
    import msgspec

    wrong = msgspec.structs.replace(row, custom={"mixture": {"sources": ["a", "b"], "speakers": ["one"]}})
    with pytest.raises(UserError, match="2 sources have 1 speakers"):
        mixture_of(wrong, "m.jsonl")


def test_a_check_of_a_manifest_opens_the_sources_too(tmp_path, row):
    import msgspec

    from speechkit.data.check import check_manifest

    path = tmp_path / "m.jsonl"
    malformed = msgspec.structs.replace(row, id="b", custom={"mixture": {"sources": "a"}})
    write_manifest(path, [row, malformed])
    assert check_manifest(path).problems == {"bad source": 1}
    write_audio(tmp_path / "s2/a.wav", tone(700, RATE // 2), RATE)
    (tmp_path / "s1/a.wav").unlink()
    report = check_manifest(path)
    assert report.problems == {"bad source": 3}
    assert "needs the source" in report.examples[0]
    assert "ends after its source" in report.examples[1]
    write_audio(tmp_path / "s2/a.wav", tone(700), 16000)
    assert "8000 Hz, but its source" in check_manifest(path).examples[1]
    assert check_manifest(path, audio=False).ok
