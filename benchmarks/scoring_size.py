"""`speechkit score` on large test sets: CPU seconds and peak memory of the whole command.

Protocol: (a) 300,000 made-up utterances of 3 to 22 words with speakers and audio paths in a manifest, about 10 % word
errors, one system, two normalisers; (b) the ten Earnings-21 calls at hand repeated to 34, seven systems (three
recognisers' output and copies of it with words left out), three normalisers. Each row is a process of its own that
writes the JSON, all tables and the page.

Run: SPEECHKIT_DATA=... python -m benchmarks.scoring_size [utterances] [calls]
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

UTTERANCES, SPEAKERS = 300_000, 1_500
CALLS, SYSTEMS = 34, 7
NORMALIZERS = ("none", "simple", "english")


def make_utterances(folder: Path, count: int = UTTERANCES) -> list[str]:
    """A manifest, a hypothesis file, and the arguments that score them."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlucm", k=draw.randint(1, 9))) for _ in range(40_000)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(len(words))))
    reference, hypothesis = folder / "reference.jsonl", folder / "hypothesis.jsonl"
    with reference.open("w", encoding="utf-8") as said_file, hypothesis.open("w", encoding="utf-8") as heard_file:
        for index in range(count):
            said = draw.choices(words, cum_weights=weights, k=draw.randint(3, 22))
            heard = [draw.choice(words) if draw.random() < 0.06 else word for word in said if draw.random() > 0.03]
            row = {
                "id": f"utterance-{index:07d}",
                "audio_filepath": f"audio/{index % 2000:05d}.flac",
                "offset": float(index // 2000),
                "duration": 5.0,
                "text": " ".join(said).capitalize() + ".",
                "speaker": f"speaker{index % SPEAKERS}",
            }
            said_file.write(json.dumps(row) + "\n")
            heard_file.write(json.dumps({"id": row["id"], "pred_text": " ".join(heard)}) + "\n")
    return [str(reference), str(hypothesis)]


def make_calls(folder: Path, data: Path) -> list[str]:
    """Kaldi texts of hour-long calls of seven systems, and the arguments that score them."""
    from speechkit.metrics.transcripts import read_transcripts

    def texts(part: str) -> dict[str, str]:
        return {t.id: t.text or "" for t in read_transcripts(data / part)}

    said = texts("transcripts/nlp_references")
    heard = {name: texts(f"output/{name}") for name in ("google", "kaldi_org/librispeech/nlp", "speechmatics")}
    names = sorted(said)

    def write(path: Path, of: dict[str, str], left_out: int) -> str:
        with path.open("w", encoding="utf-8") as file:
            for index in range(CALLS):
                words = of[names[index % len(names)]].split()
                kept = (word for number, word in enumerate(words) if not left_out or number % (20 + 10 * left_out))
                file.write(f"call{index:02d} {' '.join(kept)}\n")
        return str(path)

    systems = [
        write(folder / f"system{number}", list(heard.values())[number % 3], number // 3) for number in range(SYSTEMS)
    ]
    return [write(folder / "reference", said, 0), *systems, *(w for n in NORMALIZERS for w in ("--normalizer", n))]


def measured() -> Iterator[tuple[str, list[str], Path]]:
    """Name, arguments and folder of each case that was asked for."""
    asked = sys.argv[1:] or ["utterances", "calls"]
    if "utterances" in asked:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{UTTERANCES:,} utterances", make_utterances(Path(folder)), Path(folder)
    if "calls" in asked:
        data = os.environ.get("SPEECHKIT_DATA")
        if not data:
            raise SystemExit("set SPEECHKIT_DATA to the folder that holds earnings21-text")
        with tempfile.TemporaryDirectory() as folder:
            calls = f"{CALLS} calls, {SYSTEMS} systems, {len(NORMALIZERS)} normalisers"
            yield calls, make_calls(Path(folder), Path(data) / "earnings21-text"), Path(folder)


def main() -> None:
    print("## Scoring of large test sets\n")
    print(" ".join((__doc__ or "").split("Protocol: ")[1].split("\n\nRun:")[0].split()) + "\n")
    print("| test set | CPU s | peak MB |\n|---|---|---|")
    for name, arguments, folder in measured():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The child tells its own peak: that of all children would be the largest so far.
        command = (
            "import resource, sys; from speechkit.cli.main import call; code = call(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024); sys.exit(code)"
        )
        out = ["--out", str(folder / "scores")]
        words = [sys.executable, "-c", command, "score", *arguments, *out]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"| {name} | {seconds:.1f} | {float(done.stdout.splitlines()[-1]):.0f} |", flush=True)


if __name__ == "__main__":
    main()
