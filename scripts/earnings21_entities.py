"""Earnings-21's texts as rows for the tagger: sentences with entities, and the outputs of real recognisers.

    python scripts/earnings21_entities.py earnings21 data/earnings21 google=output/google kaldi=output/kaldi/nlp

Every call's reference is aligned with a recogniser's output for the whole call; the call is then split after sentences,
and each piece takes the recognised words that are aligned with it. Words are lower case without hyphens and
apostrophes. Entities of the references that lie in no other become spans with the tag ENTITY (their types stand in
sidecar files that not every copy has). Calls go to train, dev and test by their order: the last three are the test,
the one before them is dev. ``--dev`` and ``--test`` draw so many pieces of the latter two, by their ids.
"""

from __future__ import annotations

import argparse
import ast
import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from speechkit.errors import UserError
from speechkit.io.atomic import write_json
from speechkit.metrics.error_rates import word_errors
from speechkit.runtime import item_seed
from speechkit.slue.sensitivity_noise import word_outcomes

MIN_WORDS = 12
TEST_CALLS = 3
TAG = "ENTITY"
INSIDE = str.maketrans("", "", "-'’")
EDGES = '.,!?;:"()[]'


def nlp_words(path: Path) -> list[dict[str, str]]:
    """Rows of an .nlp file, plain or gzipped, whose token is a word.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with path.open("rb") as packed, gzip.open(packed) if path.suffix == ".gz" else packed as file:
            lines = file.read().decode("utf-8").splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); use the file as published") from error
    rows = list(csv.DictReader(lines, delimiter="|", quoting=csv.QUOTE_NONE))
    if rows and "token" not in rows[0]:
        raise UserError(f"{path}: has no column token; use the file as published")
    return [row for row in rows if row["token"] and _word(row["token"]) and not row["token"].startswith("<")]


def _word(token: str) -> str:
    return token.lower().translate(INSIDE).strip(EDGES)


def call_pieces(reference: Path, systems: dict[str, Path]) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Rows of a call's pieces with their entities, and the text of each piece by system."""
    rows = nlp_words(reference)
    words = [_word(row["token"]) for row in rows]
    recognised: dict[str, list[str]] = {}
    for name, path in systems.items():
        text = " ".join(_word(row["token"]) for row in nlp_words(path))
        aligned = word_errors([" ".join(words)], [text]).utterances[0]
        recognised[name] = [" ".join(filter(None, (became, *extra))) for _, became, extra in word_outcomes(aligned)]
    begin = 0
    call = reference.name.split(".")[0]
    for index, row in enumerate(rows):
        ends = (row["punctuation"] or "") in (".", "?", "!") and index + 1 - begin >= MIN_WORDS
        if ends or index + 1 == len(rows):
            part = slice(begin, index + 1)
            piece: dict[str, Any] = {"id": f"{call}-{begin:05d}", "call": call, "text": " ".join(words[part])}
            piece["ner"] = _spans(words[part], [_tags(r.get("wer_tags") or "") for r in rows[part]])
            yield piece, {name: " ".join(" ".join(became[part]).split()) for name, became in recognised.items()}
            begin = index + 1


def _tags(cell: str) -> list[str]:
    try:
        return [str(tag) for tag in ast.literal_eval(cell)] if cell.strip() not in ("", "[]") else []
    except (ValueError, SyntaxError) as error:
        raise UserError(f"wer_tags {cell[:60]!r} are no list; use the file as published") from error


def _spans(words: Sequence[str], tags: Sequence[Sequence[str]]) -> list[list[Any]]:
    """Outermost entities, as [ENTITY, first character, length]."""
    starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
    ranges: dict[str, list[int]] = {}
    for index, each in enumerate(tags):
        for tag in each:
            ranges.setdefault(tag, [index, index])[1] = index
    spans: list[list[Any]] = []
    last = -1
    for begin, end in sorted(ranges.values(), key=lambda span: (span[0], -span[1])):
        if begin > last and any(c.isalnum() for word in words[begin : end + 1] for c in word):
            spans.append([TAG, starts[begin], starts[end] + len(words[end]) - starts[begin]])
            last = end
    return spans


def write_rows(
    source: Path, out: Path, systems: dict[str, str], drawn: dict[str, int | None] | None = None
) -> dict[str, int]:
    """Write ``train.jsonl``, ``dev.jsonl``, ``test.jsonl``, and ``<system>-{pairs,test}.jsonl``; returns their lengths.

    ``drawn`` has the number of pieces to keep of a part; other parts are complete. The pairs, to which noise is fitted,
    are always those of all train and dev pieces.

    Raises:
        UserError: if the folder holds too few calls, or a system lacks one.
    """
    from speechkit.data.manifest import write_jsonl

    folder = source / "transcripts" / "nlp_references"
    calls = sorted(path for path in folder.glob("*.nlp*") if not path.name.startswith(".")) if folder.is_dir() else []
    if len(calls) < TEST_CALLS + 2:
        raise UserError(f"{folder}: holds {len(calls)} calls; {TEST_CALLS + 2} or more are needed")
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    texts: dict[str, list[dict[str, Any]]] = {f"{name}-{part}": [] for name in systems for part in ("pairs", "test")}
    for number, call in enumerate(calls):
        left = len(calls) - number
        part = "test" if left <= TEST_CALLS else "dev" if left == TEST_CALLS + 1 else "train"
        paths = {name: source / where / call.name for name, where in systems.items()}
        for piece, recognised in call_pieces(call, paths):
            parts[part].append(piece)
            for name, text in recognised.items():
                texts[f"{name}-{'test' if part == 'test' else 'pairs'}"].append({"id": piece["id"], "pred_text": text})
    pairs = [*parts["train"], *parts["dev"]]
    for part, most in (drawn or {}).items():
        parts[part] = drawn_rows(parts[part], most)
    kept = {row["id"] for row in parts["test"]}
    for name in systems:
        texts[f"{name}-test"] = [row for row in texts[f"{name}-test"] if row["id"] in kept]
    counts = {name: write_jsonl(out / f"{name}.jsonl", rows) for name, rows in {**parts, **texts}.items()}
    counts["pairs"] = write_jsonl(out / "pairs.jsonl", pairs)
    write_json(out / "counts.json", counts)
    return counts


def drawn_rows(rows: list[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    """Draw at most ``most`` rows by a hash of their ids, keeping their order."""
    if most is None or most >= len(rows):
        return rows
    chosen = {row["id"] for row in sorted(rows, key=lambda row: item_seed(0, row["id"]))[:most]}
    return [row for row in rows if row["id"] in chosen]


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("systems", nargs="+", help="NAME=FOLDER below source")
    parser.add_argument("--dev", type=int, help="draw so many pieces of the call that chooses the weights")
    parser.add_argument("--test", type=int, help="draw so many pieces of the calls that judge")
    given = parser.parse_args()
    systems = {name: where for name, _, where in (each.partition("=") for each in given.systems)}
    for name, count in write_rows(given.source, given.out, systems, {"dev": given.dev, "test": given.test}).items():
        print(f"{name}: {count:,}")


if __name__ == "__main__":
    main()
