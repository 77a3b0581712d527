"""Mining what two people say at once: each recording becomes tracks first, and the sentences point into those."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soxr

from speechkit.data.manifest import audio_path
from speechkit.io.audio import read_audio, write_audio
from speechkit.mining import mine
from tests.mining.test_mine import SAMPLE, transcripts  # noqa: F401 - a fixture
from tests.separation.oracles import OracleSeparator


@pytest.mark.slow
def test_both_readers_of_a_mixture_are_mined_from_their_own_tracks(transcripts, tmp_path, monkeypatch):  # noqa: F811
    recordings, words = tmp_path / "recordings", tmp_path / "words"
    recordings.mkdir()
    words.mkdir()
    sources = [read_audio(SAMPLE / "audio" / f"{name}.ogg") for name in ("bees", "harbour")]
    length = max(map(len, sources))
    sources = np.stack([0.5 * np.pad(source, (0, length - len(source))) for source in sources])
    write_audio(recordings / "both.wav", sources.sum(0), 16_000)
    (recordings / "broken.wav").write_text("no sound")
    for place, name in enumerate(("bees", "harbour"), 1):
        shutil.copy(transcripts / f"{name}.json", words / f"both_source{place}.json")
    narrow = np.stack([soxr.resample(source, 16_000, 8000) for source in sources])
    oracle = OracleSeparator(narrow, orders=[(0, 1)] * 99)
    import speechkit.separation.separate as separate

    monkeypatch.setattr(separate, "load_window_separator", lambda *_: oracle)
    monkeypatch.setattr(separate, "separation_digest", lambda _: "oracle")
    out = mine(
        recordings,
        SAMPLE / "documents",
        tmp_path / "out",
        recognizer=f"words:{words}",
        overrides=["regions.vad=energy"],
        separator="oracle",
    )
    assert [(drop.id, drop.reason) for drop in out.left_out if "broken" in drop.id] == [
        (str(recordings / "broken.wav"), "unreadable_audio")
    ]
    kept = list(out.utterances())
    assert {row.custom["recording"] for row in kept} == {"both_source1", "both_source2"}
    for row in (kept[0], kept[-1]):
        path = audio_path(out.manifest, row)
        assert path.resolve().parent == (tmp_path / "out" / "separated").resolve()
        source = sources[int(path.stem[-1]) - 1]
        cut = slice(row.offset_samples, row.offset_samples + row.num_samples)
        found = read_audio(path, offset_samples=row.offset_samples, num_samples=row.num_samples)
        alike = np.corrcoef(found, source[cut])[0, 1]
        assert alike > 0.95  # less than 1 for what lies above 4 kHz
    windows = len(oracle.windows)
    again = mine(
        recordings,
        SAMPLE / "documents",
        tmp_path / "out",
        recognizer=f"words:{words}",
        overrides=["regions.vad=energy"],
        separator="oracle",
    )
    assert again.summary == out.summary
    assert len(oracle.windows) == windows
    assert Path(out.folder, "separated", "separation.json").is_file()
