"""A small corpus with everything that a record can hold, and strategies that make records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from speechkit.data import AlignmentItem, Source, Utterance
from speechkit.io.audio import write_audio

RATES = {"rec/one two.wav": 16000, "rec/zwei.flac": 22050, "drei.wav": 8000}
SECONDS = 3


def make_audio(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, rate in RATES.items():
        write_audio(folder / name, rng.uniform(-0.5, 0.5, SECONDS * rate), rate)


# No control characters or lone surrogates: they are errors elsewhere, tested by themselves.
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
texts = st.lists(words, max_size=5).map(" ".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
finite = st.floats(0, 3, allow_nan=False)
items = st.builds(AlignmentItem, words, finite, finite, st.none() | finite)
tiers = st.dictionaries(st.sampled_from(["word", "char"]), st.lists(items, max_size=3))
sources = st.builds(Source, words, st.integers(0, 9), st.integers(0, 9), st.none() | st.just(1))
customs = st.dictionaries(words.map(lambda key: f"my {key}"), json_values, min_size=1, max_size=3)


@st.composite
def utterances(draw: st.DrawFn, *, max_rows: int = 4) -> list[Utterance]:
    rows = []
    for index in range(draw(st.integers(1, max_rows))):
        audio = draw(st.sampled_from(sorted(RATES)))
        rate = RATES[audio]
        begin = draw(st.integers(0, SECONDS * rate - 2000))
        rows.append(
            Utterance.from_samples(
                offset_samples=begin,
                num_samples=draw(st.integers(1000, SECONDS * rate - begin)),
                sample_rate=rate,
                id=f"{draw(words)}{index}",
                audio_filepath=audio,
                text=draw(st.none() | texts),
                speaker=draw(st.none() | words),
                lang=draw(st.none() | st.sampled_from(["en", "hi", "pa-IN"])),
                alignment=draw(st.none() | tiers),
                units=draw(st.none() | st.lists(st.integers(0, 5000), max_size=5)),
                features=draw(st.none() | st.just("feats/a.safetensors#3")),
                score=draw(st.none() | st.floats(0, 1)),
                source=draw(st.none() | sources),
                custom=draw(st.none() | customs),
            )
        )
    return rows
