"""Manifests for the embedded English model, from public corpora, Whisper's labels and synthetic voices.

    python scripts/english_manifests.py DATA OUT --whisper FOLDER --texts BOOK.txt …

DATA holds the corpora in their published layouts: LibriSpeech/dev-clean with texts and a folder of untranscribed
LibriSpeech utterances, LJSpeech-1.1, speechocean762, cv-corpus-6.1/en, barista-intents. A corpus that is absent is
named and left out. The voices read sentences of the corpora and of the plain text files given: words that the
recordings lack. OUT receives ``train.jsonl``, ``test.jsonl`` (the held-out speakers) and the synthetic speech.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from scripts.flite import flite_program, say
from speechkit.data import Utterance, read_manifest, write_manifest
from speechkit.errors import require
from speechkit.io.audio import audio_info
from speechkit.text import split_sentences

HELD_OUT = ("84", "2428")
"""LibriSpeech speakers, one female and one male, that training never hears."""
CALIBRATING = ("251", "1272", "1462", "2035")
"""Four more, left out with ``--calibrating``: what is calibrated on them holds for unheard readers."""

SPELLED = ((r"\bmr\b\.?", "mister"), (r"\bmrs\b\.?", "missus"), (r"\bdr\b\.?", "doctor"), (r"&", "and"))


def spoken_form(text: str) -> str | None:
    """Lower-case letters, spaces and apostrophes inside words; None if digits or money leave the reading open."""
    text = text.lower().replace("\u2019", "'")
    for pattern, spelled in SPELLED:
        text = re.sub(pattern, spelled, text)
    if re.search(r"[0-9$%£]", text):
        return None
    text = re.sub(r"[^a-z' ]", " ", text)
    return " ".join(re.sub(r"(?<![a-z])'|'(?![a-z])", " ", text).split()) or None


def librispeech(data: Path) -> Iterator[tuple[Path, str, str]]:
    """Audio, text and speaker of the transcribed part."""
    for listing in sorted((data / "LibriSpeech" / "dev-clean").glob("*/*/*.trans.txt")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            name, text = line.split(" ", 1)
            audio = next(path for path in sorted(listing.parent.glob(f"{name}.*")) if path.suffix != ".txt")
            yield audio, text, name.split("-")[0]


def ljspeech(data: Path) -> Iterator[tuple[Path, str, str]]:
    """Audio, normalised text and speaker."""
    folder = data / "LJSpeech-1.1"
    for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines():
        name, _, text = line.split("|")
        yield next(folder.glob(f"wavs/{name}.*")), text, "lj"


def speechocean(data: Path, share: float) -> Iterator[tuple[Path, str, str]]:
    """Audio, text and speaker of a share of the training half: learners, half of them children."""
    generator = random.Random(0)
    folder = data / "speechocean762"
    paths = dict(line.split(None, 1) for line in (folder / "train/wav.scp").read_text().splitlines())
    speakers = dict(line.split() for line in (folder / "train/utt2spk").read_text().splitlines())
    for line in (folder / "train/text").read_text().splitlines():
        name, text = line.split(None, 1)
        if generator.random() < share:
            yield folder / paths[name].strip(), text, f"so-{speakers[name]}"


def common_voice(data: Path) -> Iterator[tuple[Path, str, str]]:
    """Audio, text and speaker of validated English clips."""
    folder = data / "cv-corpus-6.1" / "en"
    with (folder / "validated.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            for audio in folder.glob(f"clips/{Path(row['path']).stem}.*"):
                yield audio, row["sentence"], f"cv-{row['client_id'][:12]}"


def labelled_by_whisper(data: Path, whisper: Path, done: Path) -> Iterator[tuple[Path, str, str]]:
    """Audio and Whisper's text of the untranscribed corpora, without uncertain ones.

    Digits and symbols are forbidden, so that Whisper spells everything out. ``done`` keeps labels between runs.
    """
    audios = sorted((data / "LibriSpeech" / "train-clean-100-untranscribed").glob("*.flac"))
    audios += sorted((data / "barista-intents").glob("clean/*"))
    known = {}
    if done.is_file():
        known = {row["audio"]: row for row in map(json.loads, done.read_text(encoding="utf-8").splitlines())}
    model: Any = None
    if any(str(audio.relative_to(data)) not in known for audio in audios):
        vocabulary = json.loads((whisper / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
        symbols = [
            i for token, i in vocabulary.items() if re.search(r"[0-9$%£€&#@+=*/\\<>\[\]()]", token) and i < 50256
        ]
        model = require("faster_whisper").WhisperModel(str(whisper), device="cpu", compute_type="int8")
    with done.open("a", encoding="utf-8", buffering=1) as file:  # by lines: an interrupted run keeps its labels
        for audio in audios:
            name = str(audio.relative_to(data))
            if name not in known:
                segments, _ = model.transcribe(
                    str(audio),
                    language="en",
                    beam_size=5,
                    temperature=0.0,
                    condition_on_previous_text=False,
                    without_timestamps=True,
                    suppress_tokens=[-1, *symbols],
                )
                parts = list(segments)
                known[name] = {
                    "audio": name,
                    "text": " ".join(part.text.strip() for part in parts),
                    "log_probability": min((part.avg_logprob for part in parts), default=-9.0),
                }
                file.write(json.dumps(known[name]) + "\n")
            if known[name]["log_probability"] > -0.8:
                speaker = audio.name.split("-")[0] if audio.suffix == ".flac" else "barista"
                yield audio, known[name]["text"], speaker


def sentences(files: list[Path]) -> list[str]:
    """Sentences of plain text files in spoken form, of 20 to 200 characters."""
    kept = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        spoken = (spoken_form(text[begin:end]) for begin, end in split_sentences(text, "en"))
        kept += [sentence for sentence in spoken if sentence and 20 <= len(sentence) <= 200]
    return kept


def synthetic(texts: list[str], folder: Path, count: int) -> Iterator[tuple[Path, str, str]]:
    """At most ``count`` texts, synthesised by flite with random voices, pitch and tempo."""
    program = flite_program()
    folder.mkdir(parents=True, exist_ok=True)

    def speak(item: tuple[int, str]) -> tuple[Path, str, str]:
        number, text = item
        path = folder / f"{number:05d}.wav"
        return path, text, f"flite-{say(program, text, number, path)}"

    chosen = random.Random(0).sample(texts, min(count, len(texts)))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(speak, enumerate(chosen))


def spoken_before(manifest: Path, unheard: set[str]) -> Iterator[tuple[Path, str, str]]:
    """Synthetic speech that another voice made (`recipes/tts_corpus`), without the sentences of ``unheard``."""
    for row in read_manifest(manifest):
        if row.text and spoken_form(row.text) not in unheard:
            yield manifest.parent / row.audio_filepath, row.text, row.speaker or "synthetic"


def main() -> int:
    """Write both manifests and print the hours of each corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--whisper", type=Path, help="CTranslate2 folder of Whisper tiny.en, for the untranscribed")
    parser.add_argument("--synthetic", type=int, default=2000, help="synthetic utterances")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="plain text files with sentences to speak")
    parser.add_argument("--accented", type=float, default=0.25, help="share of speechocean762 to take")
    parser.add_argument("--repeat", type=int, default=1, help="how often to list each recording of a fluent reader")
    parser.add_argument("--spoken", type=Path, nargs="*", default=[], help="manifests of other synthetic speech")
    parser.add_argument("--calibrating", action="store_true", help="keep four more readers out of the training")
    arguments = parser.parse_args()
    kept_out = {*HELD_OUT, *(CALIBRATING if arguments.calibrating else ())}
    data, out = arguments.data.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    train: list[Utterance] = []
    test: list[Utterance] = []
    calibrating: list[Utterance] = []
    hours: dict[str, float] = {}

    def take(corpus: str, rows: Iterator[tuple[Path, str, str]]) -> None:
        try:
            for audio, text, speaker in rows:
                spoken = spoken_form(text)
                if spoken is None:
                    continue
                info = audio_info(audio)
                row = Utterance.from_samples(
                    id=f"{corpus}-{audio.stem}",
                    audio_filepath=os.path.relpath(audio, out),
                    num_samples=info.num_samples,
                    sample_rate=info.sample_rate,
                    text=spoken,
                    speaker=speaker,
                    lang="en",
                )
                read = corpus == "librispeech" and speaker in kept_out
                (train if not read else test if speaker in HELD_OUT else calibrating).append(row)
                hours[corpus] = hours.get(corpus, 0.0) + row.duration / 3600
        except FileNotFoundError as error:
            print(f"{corpus} is left out: {error.filename} is absent")

    take("librispeech", librispeech(data))
    take("ljspeech", ljspeech(data))
    take("speechocean762", speechocean(data, arguments.accented))
    take("common_voice", common_voice(data))
    if arguments.whisper is not None:
        take("whisper", labelled_by_whisper(data, arguments.whisper, out / "whisper.jsonl"))
    unheard = {row.text for row in (*test, *calibrating) if row.text}
    for number, manifest in enumerate(arguments.spoken, 1):
        take(f"spoken{number}", spoken_before(manifest.resolve(), unheard))
    texts = [row.text for row in train if row.text and not row.id.startswith(("speechocean", "spoken"))]
    texts += sentences(arguments.texts)
    take("synthetic", synthetic(texts, out / "synthetic", arguments.synthetic) if arguments.synthetic else iter(()))
    fluent = [
        row
        for row in train
        if row.speaker != "barista" and not row.id.startswith(("speechocean", "spoken", "synthetic"))
    ]
    for number in range(2, arguments.repeat + 1):
        train += [msgspec.structs.replace(row, id=f"{row.id}-{number}") for row in fluent]
    write_manifest(out / "train.jsonl", train)
    write_manifest(out / "test.jsonl", test)
    if calibrating:
        write_manifest(out / "calibrating.jsonl", calibrating)
    for corpus, amount in hours.items():
        print(f"{corpus}: {amount:.2f} h")
    print(f"train {len(train)} utterances, test {len(test)} utterances of speakers {', '.join(HELD_OUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
