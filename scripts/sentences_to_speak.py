"""English sentences from open texts for a synthetic voice: lists for `speechkit run tts_corpus`.

    python scripts/sentences_to_speak.py DATA OUT

DATA holds texts in their published layouts: LibriSpeech/*/…/*.trans.txt, LJSpeech-1.1/metadata.csv,
slu-text/slurp_*.jsonl(.gz), slu-text/spoken_squad*.json(.gz) (its questions), and earnings21-text/**/nlp_references.
What is absent is named and left out. OUT receives ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` with every sentence
once: equal sentences, whatever their marks and capitals, are never in two of them. ``digits.train.jsonl`` and
``digits.test.jsonl`` hold strings of digits as words, no string in both.

Sentences with digits, signs or abbreviations are left out, since their letters do not say how they are read.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from speechkit.data.corpora import corpora_module
from speechkit.data.manifest import write_jsonl
from speechkit.errors import SpeechkitError
from speechkit.tts.stages import TextRow

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKABLE = re.compile(r"[A-Za-z][A-Za-z',.;:?! -]*\Z")
ABBREVIATED = re.compile(r"(?<!')\b(?:[A-Z]{2,}\b|[A-Za-z]\.|[Mm]rs?\.|[Dd]r\.|[Ss]t\.|etc\.|[b-hj-zB-HJ-Z]\b(?!'))")
SENTENCE = re.compile(r"(?<=[.?!])\s+")


def librispeech(data: Path) -> Iterator[str]:
    """Transcripts in lower case; the corpus is in upper case without punctuation."""
    for path in sorted((data / "LibriSpeech").glob("*/*/*/*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield line.partition(" ")[2].lower()


def ljspeech(data: Path) -> Iterator[str]:
    """Texts as read."""
    for line in (data / "LJSpeech-1.1" / "metadata.csv").read_text(encoding="utf-8").splitlines():
        yield line.rpartition("|")[2]


def slurp(data: Path) -> Iterator[str]:
    """Utterances to voice assistants."""
    for path in sorted((data / "slu-text").glob("slurp_*.jsonl*")):
        for row in corpora_module("slu_texts").slurp_rows(path):
            yield row["text"]


def spoken_squad(data: Path) -> Iterator[str]:
    """Questions; the passages are the output of a recogniser."""
    for path in sorted((data / "slu-text").glob("spoken_squad*.json*")):
        for row in corpora_module("slu_texts").squad_rows(path):
            yield row["question"]


def earnings21(data: Path) -> Iterator[str]:
    """Sentences of earnings calls, joined from tokens and their punctuation."""
    for path in sorted((data / "earnings21-text").glob("**/nlp_references/*.nlp*")):
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
        words: list[str] = []
        speaker = ""
        for fields in (line.split("|") for line in text.splitlines()[1:]):
            if fields[1] != speaker and words:
                yield " ".join(words)
                words = []
            speaker = fields[1]
            words.append(fields[0] + fields[4])
            if fields[4] in (".", "?", "!"):
                yield " ".join(words)
                words = []


SOURCES = {
    "librispeech": librispeech,
    "ljspeech": ljspeech,
    "slurp": slurp,
    "spoken_squad": spoken_squad,
    "earnings21": earnings21,
}


def plain(text: str) -> str:
    """Lower case and single spaces: the key by which sentences are compared."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def part_of(text: str) -> str:
    """train, dev or test in 94 : 3 : 3 by a hash of the plain text."""
    number = int.from_bytes(hashlib.blake2b(plain(text).encode(), digest_size=8).digest(), "big") % 100
    return "test" if number < 3 else "dev" if number < 6 else "train"


def fits(text: str, shortest: int, longest: int) -> bool:
    """Whether a text's reading is unambiguous and its number of words is within bounds."""
    return (
        shortest <= len(text.split()) <= longest
        and SPEAKABLE.match(text) is not None
        and ABBREVIATED.search(text) is None
    )


def digit_strings(count: int, seed: int = 0) -> list[str]:
    """Distinct strings of three to eight digits as words, in random order."""
    generator = random.Random(seed)
    strings: dict[str, None] = {}
    while len(strings) < count:
        strings[" ".join(generator.choice(DIGITS) for _ in range(generator.randint(3, 8)))] = None
    return list(strings)


def main() -> int:
    """Write the lists and print the number of sentences of each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shortest", type=int, default=3, help="words")
    parser.add_argument("--longest", type=int, default=30, help="words")
    parser.add_argument("--digits", type=int, default=2000, help="strings of digits")
    arguments = parser.parse_args()
    parts: dict[str, list[TextRow]] = defaultdict(list)
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    try:
        for source, read in SOURCES.items():
            try:
                texts = [" ".join(text.replace("\u2019", "'").split()) for text in read(arguments.data)]
            except FileNotFoundError as error:
                print(f"{source} is left out: {error.filename} is absent")
                continue
            for text in texts:
                if plain(text) in taken or not fits(text, arguments.shortest, arguments.longest):
                    continue
                taken.add(plain(text))
                counts[source] += 1
                parts[part_of(text)].append(TextRow(id=f"{source}-{counts[source]:05d}", text=text, source=source))
            print(f"{source}: {counts[source]} of {len(texts)} sentences")
        for number, text in enumerate(digit_strings(arguments.digits)):
            part = "digits.test" if number % 10 == 0 else "digits.train"
            parts[part].append(TextRow(id=f"digits-{number:05d}", text=text, source="digits"))
        for part, rows in parts.items():
            # In a drawn order, so that the first rows are a sample of all.
            random.Random(0).shuffle(rows)
            write_jsonl(arguments.out / f"{part}.jsonl", rows)
            print(f"{part}: {len(rows)} texts, {sum(len(row.text) for row in rows)} characters")
    except SpeechkitError as error:
        print(f"sentences_to_speak: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
