"""What windows change: units of long recordings by windows of several lengths, beside those of the recording at once.

Protocol: the utterances of one chapter of each of some LibriSpeech speakers, joined, to two minutes. The encoder inside
the package and cepstra; units are those of the quantizers inside the package and of 200-means on the frames of the
whole recordings. "beyond the context" leaves the windows as they are and gives every one the mean and variance of the
whole recording, so that what is left is what attention hears.

Run: SPEECHKIT_DATA=... python -m benchmarks.windows
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from speechkit.encoders import load_encoder
from speechkit.encoders.encoder import Encoder
from speechkit.io.arrays import Float
from speechkit.units.kmeans import KMeansConfig, train_kmeans
from speechkit.units.quantizers import load_quantizer

PLANS = ((10.0, 1.0), (20.0, 2.0), (20.0, 5.0), (30.0, 5.0), (30.0, 10.0), (60.0, 5.0))
RATE = 16_000


def chapters(data: Path, speakers: int, seconds: float) -> list[Float]:
    """The beginning of a chapter of each speaker."""
    from speechkit.io.audio import read_audio

    found = []
    for folder in sorted((data / "LibriSpeech" / "dev-clean").iterdir())[:speakers]:
        parts: list[Float] = []
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".mp3", ".flac")):
            parts.append(read_audio(path, sample_rate=RATE))
            if sum(map(len, parts)) >= seconds * RATE:
                break
        found.append(np.concatenate(parts)[: int(seconds * RATE)])
    return found


def equal(found: list[Float], whole: list[Float], assign: Callable[[Float], Float]) -> float:
    """Share of frames with the same unit."""
    same = [assign(a) == assign(b) for a, b in zip(found, whole, strict=True)]
    return float(np.concatenate(same).mean())


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speakers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    data = Path(os.environ.get("SPEECHKIT_DATA", "../shared/data"))
    recordings = chapters(data, arguments.speakers, arguments.seconds)
    print("## Windows\n")
    print(f"{len(recordings)} speakers, {arguments.seconds:.0f} s each; equal units, in percent.\n")
    for name, layer in (("embedded", 0), ("embedded", 2), ("embedded", 4), ("mfcc", None)):
        encoder = load_encoder(name, layer=layer, device="cpu", dtype="float32")
        whole = [encoder.encode(waveform) for waveform in recordings]
        book = train_kmeans(
            lambda frames=whole: iter(frames), KMeansConfig(clusters=200, normalization="standardized")
        ).codebook
        judges: dict[str, Callable[[Float], Float]] = {"200-means": book.assign}
        if layer == 0:
            for size in (50, 100, 500):
                judges[f"embedded-{size}"] = load_quantizer(f"embedded-{size}").assign
        print(f"{name}, layer {encoder.spec.layer}\n")
        print(f"| window + context | {' | '.join(judges)} |")
        print("|---|" + "---|" * len(judges))
        for window, context in PLANS:
            for label, given in (("", recordings), (", beyond the context", None)):
                if given is None and name != "embedded":
                    continue
                found = [np.concatenate(list(stream(encoder, x, window, context, given is None))) for x in recordings]
                shares = " | ".join(f"{100 * equal(found, whole, judge):.1f}" for judge in judges.values())
                print(f"| {window:g} + {context:g} s{label} | {shares} |", flush=True)
        print()
    return 0


def stream(encoder: Encoder, waveform: Float, window: float, context: float, alike: bool) -> list[Float]:
    """Frames by windows; ``alike`` with the mean and the variance of the whole recording in each."""
    if not alike:
        return list(encoder.stream([waveform], window, context))
    mean, scale = waveform.mean(), np.sqrt(waveform.var() + 1e-7)
    before = encoder.model.prepare
    try:
        encoder.model.prepare = lambda part: np.asarray((part - mean) / scale, np.float32)  # type: ignore[method-assign]
        return list(encoder.stream([waveform], window, context))
    finally:
        encoder.model.prepare = before  # type: ignore[method-assign]


if __name__ == "__main__":
    raise SystemExit(main())
