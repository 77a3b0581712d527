"""Lhotse reads the same trees: two independent readers must see the same utterances."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("lhotse", reason="Lhotse is the oracle; it comes with the extra lhotse")


def ours(done, split, spaces=True):
    return sorted(
        (
            u.text if spaces else u.text.replace(" ", ""),
            u.speaker,
            round(u.offset, 6),
            round(u.duration, 6),
        )
        for u in done.utterances(split)
    )


def theirs(supervisions, spaces=True):
    return sorted(
        (s.text if spaces else s.text.replace(" ", ""), s.speaker, round(s.start, 6), round(s.duration, 6))
        for s in supervisions
    )


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def test_librispeech(run, tmp_path, tone, text):
    from lhotse.recipes.librispeech import prepare_librispeech

    root = tmp_path / "LibriSpeech"
    for speaker, chapter, count in (("84", "121123", 3), ("1272", "5", 2)):
        names = [f"{speaker}-{chapter}-{k:04d}" for k in range(count)]
        folder = root / "dev-clean" / speaker / chapter
        for k, name in enumerate(names):
            tone(folder / f"{name}.flac", 4000 + 37 * k)
        text(folder / f"{speaker}-{chapter}.trans.txt", "".join(f"{n} WORDS OF {n}\n" for n in names))
    expected = quietly(prepare_librispeech, root, dataset_parts=["dev-clean"])["dev-clean"]["supervisions"]
    done = run("librispeech", root)
    assert ours(done, "dev-clean") == theirs(expected)
    assert {u.id for u in done.utterances("dev-clean")} == {s.id for s in expected}


def test_ljspeech(run, tmp_path, tone, text):
    from lhotse.recipes.ljspeech import prepare_ljspeech

    root = tmp_path / "LJSpeech-1.1"
    names = [f"LJ001-{k:04d}" for k in range(1, 5)]
    for k, name in enumerate(names):
        tone(root / "wavs" / f"{name}.wav", 4410 + 441 * k, rate=22050)
    text(root / "metadata.csv", "".join(f"{n}|Chapter {k}.|Chapter number {k}.\n" for k, n in enumerate(names)))
    expected = quietly(prepare_ljspeech, root)["supervisions"]
    done = run("ljspeech", root)
    found = {u.id: (round(u.duration, 6), u.custom["written"], u.text) for u in done.utterances("all")}
    assert found == {s.recording_id: (round(s.duration, 6), s.text, s.custom["normalized_text"]) for s in expected}


def test_aishell(run, tmp_path, tone, text):
    from lhotse.recipes.aishell import prepare_aishell

    root = tmp_path / "data_aishell"
    lines = []
    for k, (split, speaker) in enumerate((("train", "S0002"), ("dev", "S0724"), ("test", "S0764"))):
        for number in (121, 122):
            name = f"BAC009{speaker}W0{number}"
            tone(root / "wav" / split / speaker / f"{name}.wav", 4000 + 100 * k + number)
            lines.append(f"{name} 广州 市 {'而对'[k % 2]}")
    text(root / "transcript" / "aishell_transcript_v0.8.txt", "\n".join(lines) + "\n")
    expected = quietly(prepare_aishell, tmp_path)
    done = run("aishell1", tmp_path)
    for split in ("train", "dev", "test"):
        assert ours(done, split) == theirs(expected[split]["supervisions"], spaces=False)
