"""Vocoders on a processor: the small Vocos of the recipe against HiFi-GAN V1, from log-mel frames at 16 kHz.

Protocol: drawn weights, which cost what trained ones do; 4 s of frames of noise, the whole at once, and as a stream in
chunks of two seconds behind a first of 0.12. All vocoders in one process, in turn, on one thread; the least time of
three. CPU seconds are those of the process, so that other work on the machine changes them little.

Run: python -m benchmarks.vocoder
"""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS, ROUNDS, THREADS = 4, 3, 1


def least(work: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Wall and CPU seconds of the quickest of some rounds."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def main() -> None:
    import numpy as np

    from speechkit.runtime import limit_threads
    from speechkit.tts.vocoder.config import HarmonicConfig, HifiGanConfig, VocoderConfig, VocosConfig
    from speechkit.tts.vocoder.copy_synthesis import synthesize
    from speechkit.tts.vocoder.vocoder import Vocoder, without_weight_norm

    limit_threads(THREADS)
    generators = {
        "HiFi-GAN V1": HifiGanConfig(),
        "Vocos, paper": VocosConfig(),
        "Vocos, small": VocosConfig(width=256, inner=512),
        "the same, harmonic source": VocosConfig(width=256, inner=512, harmonics=HarmonicConfig()),
    }
    frames = np.random.default_rng(0).standard_normal((SECONDS * 100, 80)).astype(np.float32) - 5
    print("## Vocoders\n")
    print(f"{SECONDS} s of log-mel frames at 16 kHz, one thread, float32; a stream in chunks of 2 s.\n")
    print("| vocoder | weights | CPU s | times real time | HiFi-GAN / this, CPU | wall | stream CPU s | first ms |")
    print("|---|---|---|---|---|---|---|---|")
    first: tuple[float, float] | None = None
    for name, generator in generators.items():
        vocoder = without_weight_norm(Vocoder(VocoderConfig(generator=generator))).eval()
        weights = sum(parameter.numel() for parameter in vocoder.parameters())
        vocoder.generate(frames[:50])
        wall, cpu = least(lambda vocoder=vocoder: vocoder.generate(frames))  # type: ignore[misc]
        first = first or (wall, cpu)
        _, streamed = least(lambda vocoder=vocoder: synthesize(vocoder, frames), 1)  # type: ignore[misc]
        delays = [synthesize(vocoder, frames[:60]).first_seconds for _ in range(ROUNDS)]
        print(
            f"| {name} | {weights / 1e6:.1f} M | {cpu:.2f} | {SECONDS / cpu:.1f} | {first[1] / cpu:.1f} | "
            f"{first[0] / wall:.1f} | {streamed:.2f} | {min(delays) * 1000:.0f} |"
        )


if __name__ == "__main__":
    main()
