"""Synthesise SLURP's sentences with flite: spoken intents and entities without SLURP's recordings.

    python scripts/spoken_slurp.py devel.jsonl OUT

OUT receives ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` with their audio, split as recipes/slue splits the
sentences. The voice of the test sentences is used for no others. Results on clear synthetic speech compare encoders,
and do not predict results on human speech.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts.flite import flite_program, say
from speechkit.data import Utterance, write_manifest
from speechkit.data.corpora import corpora_module
from speechkit.errors import SpeechkitError
from speechkit.io.audio import audio_info

TAUGHT, JUDGED = ("slt", "awb", "kal16"), ("rms",)
TAG_OF = {
    "date": "DATE",
    "general_frequency": "DATE",
    "time": "TIME",
    "timeofday": "TIME",
    "place_name": "GPE",
    "person": "PERSON",
    "artist_name": "PERSON",
    "audiobook_author": "PERSON",
    "business_name": "ORG",
    "transport_agency": "ORG",
    "radio_name": "ORG",
}
"""SLUE's tag for those of SLURP's types that mean about the same; the other types are no entities here."""


def slue_entities(entities: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """[TYPE, start, length] of SLURP as [TAG, start, length] of SLUE in the order of the text."""
    spans = [[TAG_OF[kind], begin, length] for kind, begin, length in entities if kind in TAG_OF]
    return sorted(spans, key=lambda entity: entity[1])


def main() -> int:
    """Write the corpus and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="SLURP's jsonl, gzipped or not")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    try:
        speak(arguments.source, arguments.out.resolve())
    except SpeechkitError as error:
        print(f"spoken_slurp: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def speak(source: Path, out: Path) -> None:
    """Write the corpus; prints a line for each split, and what was left out.

    Raises:
        UserError: if flite is not installed, or the source is no file of SLURP.
    """
    texts = corpora_module("slu_texts")
    program = flite_program()
    rows = list(texts.slurp_rows(source))
    (out / "audio").mkdir(parents=True, exist_ok=True)
    unique = {row["text"]: row for row in rows}

    def spoken(item: tuple[int, dict[str, Any]]) -> tuple[str, Utterance]:
        number, row = item
        split, path = texts.split_of(row["text"]), out / "audio" / f"{row['id']}.wav"
        voice = say(program, row["text"], number, path, JUDGED if split == "test" else TAUGHT)
        info = audio_info(path)
        return split, Utterance.from_samples(
            id=row["id"],
            audio_filepath=os.path.relpath(path, out),
            num_samples=info.num_samples,
            sample_rate=info.sample_rate,
            text=row["text"],
            speaker=f"flite-{voice}",
            lang="en",
            custom={"intent": row["intent"], "ner": slue_entities(row["ner"])},
        )

    parts: dict[str, list[Utterance]] = defaultdict(list)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for split, row in pool.map(spoken, enumerate(unique.values())):
            parts[split].append(row)
    for split, part in parts.items():
        write_manifest(out / f"{split}.jsonl", part)
        tags = Counter(tag for row in part for tag, _, _ in (row.custom or {})["ner"])
        print(f"{split}: {len(part)} sentences, {sum(row.duration for row in part) / 3600:.2f} h, {dict(tags)}")
    dropped = Counter(kind for row in unique.values() for kind, _, _ in row["ner"] if kind not in TAG_OF)
    print(f"left out: {len(rows) - len(unique)} sentences that stand twice, {dropped.total()} entities of other types")


if __name__ == "__main__":
    raise SystemExit(main())
