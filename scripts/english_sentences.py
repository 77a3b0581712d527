"""Sentences of open English texts in spoken form, one per line: the corpus of the words of the embedded recogniser.

    python scripts/english_sentences.py DATA OUT.txt --books BOOK.txt … --wordnet FOLDER

DATA holds LibriSpeech/dev-clean (the held-out readers' transcripts are left out), LJSpeech-1.1 and slu-text in their
published layouts. Books are plain text in which a blank line ends a paragraph; of WordNet the definitions and examples
are taken. Sentences with digits are left out, since their letters do not say how they are read.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.english_manifests import HELD_OUT, librispeech, ljspeech, sentences, spoken_form
from scripts.sentences_to_speak import slurp
from speechkit.io.atomic import write_text


def wordnet(folder: Path) -> Iterator[str]:
    """Definitions and quoted examples of WordNet's data files."""
    for path in sorted(folder.glob("data.*")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            _, bar, gloss = line.partition(" | ")
            if bar:
                yield re.sub(r'"[^"]*"', "", gloss)
                yield from re.findall(r'"([^"]+)"', gloss)


def main() -> int:
    """Write the sentences and print how many each source has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--books", type=Path, nargs="*", default=[])
    parser.add_argument("--wordnet", type=Path, help="folder with WordNet's data.noun and others")
    arguments = parser.parse_args()
    read = {
        "LibriSpeech": (text for _, text, speaker in librispeech(arguments.data) if speaker not in HELD_OUT),
        "LJSpeech": (text for _, text, _ in ljspeech(arguments.data)),
        "SLURP": slurp(arguments.data),
        "WordNet": iter(()) if arguments.wordnet is None else wordnet(arguments.wordnet),
    }
    spoken = {source: [line for text in texts if (line := spoken_form(text))] for source, texts in read.items()}
    spoken |= {str(book): sentences([book]) for book in arguments.books}
    for source, lines in spoken.items():
        print(f"{source}: {len(lines)} sentences, {sum(len(line.split()) for line in lines)} words")
    write_text(arguments.out, "\n".join([*(line for lines in spoken.values() for line in lines), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
