"""How much of what a device can multiply an encoder makes use of: a base-size HuBERT to its last layer.

Protocol: the recordings of `benchmarks.encoder_speed`, drawn from all speech at hand, with random weights. The ceiling
is measured: the best of several products of two square matrices, in the number format that the encoder chooses for the
device. The work is counted: multiplications and additions of the stock model on every recording as long as it is, so
that padding counts for nothing. "one at a time" encodes them in their order; "batches" together, sorted by length, as
many as fit so many seconds. Reading the audio is not timed; bringing the frames back to the processor's memory is.

Run: SPEECHKIT_DATA=... python -m benchmarks.encoder_ceiling
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import peak_megabytes
from benchmarks.encoder_speed import make
from speechkit.encoders import load_encoder
from speechkit.io.arrays import read_arrays
from speechkit.runtime.device import autocast_dtype, choose_device

RATE = 16_000


def seconds_of(
    work: Callable[[], object], device: str, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The least time of several runs, behind one to warm up."""
    times = []
    for _ in range(repeats + 1):
        began = clock()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(clock() - began)
    return min(times[1:])


def ceiling(device: str, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> float:
    """Operations a second of a product of square matrices."""
    size = 8192 if device.startswith("cuda") else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: left @ right, device, 10, clock)


def operations(lengths: list[int], layers: int = 12) -> int:
    """Of the stock model on recordings of so many samples, each alone; nothing is computed for it."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import HubertConfig, HubertModel

    with torch.device("meta"):
        model = HubertModel(HubertConfig(num_hidden_layers=layers, attn_implementation="eager")).eval()
    total = 0
    for length in lengths:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, length, device="meta"))
        total += counter.get_total_flops()
    return total


def batches(waveforms: list[np.ndarray], seconds: float) -> list[list[np.ndarray]]:
    """Recordings of like length, together no longer than so many seconds with padding, or one alone."""
    made: list[list[np.ndarray]] = []
    for waveform in sorted(waveforms, key=len):
        if not made or (len(made[-1]) + 1) * len(waveform) > seconds * RATE:
            made.append([])
        made[-1].append(waveform)
    return made


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-seconds", type=float, nargs="+", help="40, and on a GPU 320 too")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    most = arguments.batch_seconds or ([40.0, 320.0] if device.startswith("cuda") else [40.0])
    dtype = autocast_dtype(device) or torch.float32
    data = Path(os.environ.get("SPEECHKIT_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        audio = make(folder, data.resolve(), arguments.count)
        waveforms = [np.array(value) for _, value in sorted(read_arrays(folder / "speech.safetensors").items())]
        encoder = load_encoder(str(folder / "model"), device=device)
    best, work = ceiling(device, dtype), operations([len(waveform) for waveform in waveforms])
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    format_name = str(dtype).removeprefix("torch.")
    print("## Encoders: the share of what the device multiplies\n")
    print(f"{arguments.count} recordings, {audio:.0f} s of audio, {work / audio / 1e9:.1f} Gflop for a second of it.")
    print(f"{device} ({name}): {best / 1e12:.3g} Tflop/s in {format_name}.\n")
    print("| way | s | times real time | Tflop/s | share of the ceiling | peak memory |")
    print("|---|---|---|---|---|---|")
    ways = {"one at a time": [[waveform] for waveform in waveforms]}
    ways |= {f"batches of {seconds:g} s": batches(waveforms, seconds) for seconds in most}
    for way, groups in ways.items():
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        seconds = seconds_of(lambda: [encoder.encode_batch(group) for group in groups], device, 1)  # noqa: B023
        peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else peak_megabytes()
        print(
            f"| {way} | {seconds:.1f} | {audio / seconds:.1f} | {work / seconds / 1e12:.3g} | "
            f"{100 * work / seconds / best:.0f} % | {peak:.0f} MB |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
