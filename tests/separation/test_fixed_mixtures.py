"""Mixtures that stay: what is read back adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.augment.speakers import MixedSpeech, Turn
from speechkit.data.audio import read_waveform
from speechkit.data.mixtures import mixture_of, read_sources
from speechkit.io.audio import read_audio
from speechkit.separation.fixed_mixtures import write_mixture

RATE = 8000


def mixed(seed: int, count: int, noisy: bool, peak: float) -> MixedSpeech:
    generator = np.random.default_rng(seed)
    parts = generator.standard_normal((3, 2000)).astype(np.float32)
    sources, noise = parts[:2] * (np.arange(2) < count)[:, None], parts[2] * np.float32(noisy)
    scale = np.float32(peak / np.abs(sources.sum(0) + noise).max())
    sources, noise = sources * scale, noise * scale
    turns = tuple(Turn(f"speaker-{number}", (f"cut-{number}",), 0, 2000, 0.5 + number) for number in range(count))
    return MixedSpeech(sources.sum(0) + noise, sources, noise, turns)


@given(seed=st.integers(0, 1000), count=st.integers(1, 2), noisy=st.booleans(), peak=st.floats(0.05, 0.99))
@settings(max_examples=25, deadline=None)
def test_what_is_read_back_adds_up_to_the_last_bit(tmp_path_factory, seed, count, noisy, peak):
    folder = tmp_path_factory.mktemp("mixtures")
    drawn = mixed(seed, count, noisy, peak)
    row = write_mixture(folder, "pair-0001", drawn, RATE)
    manifest = folder / "test.jsonl"
    sources = read_sources(row, manifest, RATE)
    facts = mixture_of(row, manifest)
    noise = read_audio(folder / "mix" / facts.noise, sample_rate=RATE) if facts.noise else np.float32(0)
    assert np.array_equal(read_waveform(row, manifest, sample_rate=RATE), sum(sources) + noise)
    assert (len(sources), facts.noise is not None) == (count, noisy)
    for source, true in zip(sources, drawn.sources, strict=False):
        np.testing.assert_allclose(source, true, atol=1.1 / 32768)


def test_a_row_says_who_speaks_how_loud_and_from_which_cuts(tmp_path):
    row = write_mixture(tmp_path, "pair-0001", mixed(0, 2, False, 0.5), RATE)
    facts = mixture_of(row, tmp_path / "test.jsonl")
    assert facts.speakers == ["speaker-0", "speaker-1"]
    assert facts.gains == pytest.approx([0.5, 1.5])
    assert facts.overlap == 1.0
    assert row.custom["cuts"] == [["cut-0"], ["cut-1"]]
    assert (row.num_samples, row.sample_rate) == (2000, RATE)
