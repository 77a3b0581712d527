"""Encoding with a base-size HuBERT: times real time and peak memory, beside the plain Hugging Face loop.

Protocol: 40 recordings drawn from all speech at hand keep its distribution of lengths. The weights are random (speed
does not depend on them), the layer is the ninth, which units are mostly made of. Each row is a process of its own that
loads the model, encodes one recording to warm up, and is then timed. "plain loop": one utterance at a time, float32,
all hidden states, as the model cards show it; "batches of 8": the same with padding in the order of the list. Ours
leaves the layers above the ninth out; "cut behind layer 9" does too, so that the rest is compared. Units are those of
200-means on the frames of float32; the share of equal units says what rounding (bfloat16) or padding (batches) changes.
A network with random weights says little about that, so it is measured again on the encoder inside the package.

Run: SPEECHKIT_DATA=... python -m benchmarks.encoder_speed
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import peak_megabytes
from speechkit.shipped import load_module

CORPORA = ("LibriSpeech", "LJSpeech-1.1", "kerstin-de", "cv-corpus-6.1", "speechocean762", "barista-intents")
WAYS = {
    "plain loop": "transformers, one at a time, float32",
    "batches of 8": "transformers, padded, float32",
    "plain, 9 layers": "transformers, cut behind layer 9, float32",
    "float32": "speechkit, float32",
    "auto": "speechkit, as it chooses",
}
LAYER = 9


def make(folder: Path, data: Path, count: int) -> float:
    """A random checkpoint and the waveforms; seconds of audio."""
    import random

    import torch
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    pieces = load_module(Path(__file__).parent.parent / "scripts", "speech_manifests").pieces
    from speechkit.data.audio import read_waveform
    from speechkit.io.arrays import write_arrays

    rows = [row for corpus in CORPORA for _, row in pieces(data / corpus, folder)]
    chosen = random.Random(0).sample(rows, count)
    waveforms = {f"{index:03d}": read_waveform(row, folder / "m.jsonl") for index, row in enumerate(chosen)}
    write_arrays(folder / "speech.safetensors", waveforms)
    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder / "model")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder / "model")
    return sum(map(len, waveforms.values())) / 16_000


def timed(work: Callable[[], list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
    """Seconds, and what the work gives."""
    began = time.perf_counter()
    answer = work()
    return time.perf_counter() - began, answer


def encode(way: str, folder: Path) -> tuple[float, list[np.ndarray]]:
    """Seconds of work and the frames of every recording."""
    import torch

    from speechkit.io.arrays import read_arrays

    waveforms = [np.array(value) for _, value in sorted(read_arrays(folder / "speech.safetensors").items())]
    if way in ("float32", "auto"):
        from speechkit.encoders import load_encoder

        encoder = load_encoder(str(folder / "model"), layer=LAYER, dtype="float32" if way == "float32" else "auto")
        encoder.encode(waveforms[0])
        return timed(lambda: [encoder.encode(w) for w in waveforms])
    from transformers import HubertModel

    model = HubertModel.from_pretrained(folder / "model").eval()
    if way == "plain, 9 layers":
        model.encoder.layers = model.encoder.layers[:LAYER]

    def run(batch: list[np.ndarray]) -> list[np.ndarray]:
        normal = [(w - w.mean()) / np.sqrt(w.var() + 1e-7) for w in batch]
        longest = max(map(len, normal))
        inputs = torch.from_numpy(np.stack([np.pad(w, (0, longest - len(w))) for w in normal]))
        with torch.inference_mode():
            hidden = model(inputs, output_hidden_states=True).hidden_states[LAYER]
        counts = model._get_feat_extract_output_lengths(torch.tensor([len(w) for w in batch])).tolist()
        return [item[:count].numpy() for item, count in zip(hidden, counts, strict=True)]

    size = 8 if way == "batches of 8" else 1
    run(waveforms[:1])
    return timed(lambda: [f for i in range(0, len(waveforms), size) for f in run(waveforms[i : i + size])])


def measure(way: str, folder: Path) -> None:
    """What a child process prints: seconds and memory; the frames go to a file."""
    from speechkit.io.arrays import write_arrays

    seconds, frames = encode(way, folder)
    rows = {f"{index:03d}": frame for index, frame in enumerate(frames)}
    write_arrays(folder / f"{way.replace(' ', '_')}.safetensors", rows)
    peak = peak_megabytes()
    print(json.dumps({"seconds": seconds, "megabytes": peak}))


def equal_units(found: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """Share of frames with the same unit of 200-means on the reference."""
    from speechkit.units.kmeans import KMeansConfig, train_kmeans

    codebook = train_kmeans(
        lambda: iter([np.concatenate(reference)]), KMeansConfig(clusters=200, normalization="standardized")
    ).codebook
    # Where the convolutions do not fill the last frame, the plain loop has one less than the 50 Hz grid.
    pairs = [(a[: len(b)], b[: len(a)]) for a, b in zip(found, reference, strict=True)]
    same = [codebook.assign(a) == codebook.assign(b) for a, b in pairs]
    return float(np.concatenate(same).mean())


def frames_of(folder: Path, way: str) -> list[np.ndarray]:
    """The frames that a child process wrote."""
    from speechkit.io.arrays import read_arrays

    rows = read_arrays(folder / f"{way.replace(' ', '_')}.safetensors")
    return [np.asarray(value) for _, value in sorted(rows.items())]


def equal_in_the_small(folder: Path) -> float:
    """Equal units of the encoder inside the package in bfloat16 and in float32."""
    from speechkit.encoders import load_encoder
    from speechkit.io.arrays import read_arrays

    waveforms = [np.array(value) for _, value in sorted(read_arrays(folder / "speech.safetensors").items())]
    half, full = (load_encoder("embedded", dtype=dtype) for dtype in ("bfloat16", "float32"))
    return equal_units([half.encode(w) for w in waveforms], [full.encode(w) for w in waveforms])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure[0], Path(arguments.measure[1]))
        return 0
    data = Path(os.environ.get("SPEECHKIT_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        audio = make(folder, data.resolve(), arguments.count)
        results = {}
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.encoder_speed", "--measure", way, str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[way] = json.loads(done.stdout.strip().splitlines()[-1])
        print("## Encoders: a base-size HuBERT to layer 9\n")
        print(f"{arguments.count} recordings, {audio:.0f} s of audio.\n")
        print("| way | s | times real time | ratio to the plain loop | peak memory | equal units |")
        print("|---|---|---|---|---|---|")
        plain = results["plain loop"]["seconds"]
        for way, label in WAYS.items():
            seconds = results[way]["seconds"]
            reference = "float32" if way == "auto" else "plain loop"
            same = "–"
            if way not in ("plain loop", "float32"):
                share = equal_units(frames_of(folder, way), frames_of(folder, reference))
                same = f"{share:.4f} of {'ours in float32' if way == 'auto' else 'the plain loop'}"
            print(
                f"| {label} | {seconds:.1f} | {audio / seconds:.1f} | {plain / seconds:.2f} | "
                f"{results[way]['megabytes']:.0f} MB | {same} |"
            )
        share = equal_in_the_small(folder)
        print(
            f"\nThe encoder inside the package, bfloat16 against float32, last layer: {share:.4f} of the units equal."
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
