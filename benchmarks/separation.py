"""Separators beside the published graph and torchaudio's Conv-TasNet, and the cost of long recordings.

Protocol: MossFormer2 of the published size at 8 kHz with the weights of the published graph in plain PyTorch
(`tests/separation/published_graph.py`), two threads, float32 unless another precision is named. A process for each way;
CPU seconds of one pass, and the most memory that the process held beyond what it held before. Both ways give
tracks of one mean square, to 1e-4 of it, or the benchmark fails. Gradients of 4 s by the published graph take 14 GB;
with less than 20 GB free they are those of 1 s. Then long recordings in one piece.

Run: python -m benchmarks.separation
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks import peak_megabytes

RATE = 8_000
THREADS = 2
WAYS = ("published graph", "this", "this, bfloat16", "this, parts computed twice")
SECONDS = 4
SPACIOUS_GIGABYTES = 20
LONG = {"mossformer2-tiny": (30, 120, 600), "mossformer2-large": (4, 16)}
TASNET = ("torchaudio", "this")


def free_gigabytes() -> float:
    """Memory that may be taken without moving anything else out."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 2**20


def measure(way: str, seconds: str, learning: str) -> dict[str, float]:
    """CPU seconds, megabytes, and the mean square of the tracks."""
    import torch

    from speechkit.separation.mossformer2 import MossFormer2, MossFormer2Config
    from speechkit.separation.published import published_weights
    from tests.separation.published_graph import PARAMETERS_THAT_ARE_FIXED, published_state, published_tracks

    learns = learning == "True"
    config = MossFormer2Config(dropout=0.0)
    state = published_state(config, spread=0.05)
    mixture = torch.randn(1, int(seconds) * RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    if way == WAYS[0]:
        for name, value in state.items():
            value.requires_grad_(learns and not name.endswith(PARAMETERS_THAT_ARE_FIXED))

        def run() -> Any:
            return published_tracks(state, config, mixture)

    else:
        network = MossFormer2(config).train(learns)
        network.load_state_dict(published_weights(state, "state")[1])
        network.checkpointing = way == WAYS[3]
        del state

        def run() -> Any:
            with torch.autocast("cpu", torch.bfloat16) if way == WAYS[2] else nullcontext():
                return network(mixture)

    return timed(run, learns)


def timed(run: Any, learns: bool) -> dict[str, float]:
    """See `measure`."""
    import torch

    torch.set_num_threads(THREADS)
    before, began = peak_megabytes(), time.process_time()
    with nullcontext() if learns else torch.inference_mode():
        tracks = run()
        if learns:
            tracks.square().mean().backward()
    return {
        "seconds": time.process_time() - began,
        "megabytes": peak_megabytes() - before,
        "tracks": float(tracks.detach().square().mean()),
    }


def measure_length(name: str, seconds: str) -> dict[str, float]:
    """Of tracks from one piece of so many seconds."""
    import torch

    from speechkit.separation.model import new_separator, separator_config

    torch.manual_seed(0)
    network = new_separator(separator_config(name)).eval()
    mixture = torch.randn(1, int(seconds) * RATE) * 0.1
    return timed(lambda: network(mixture), False)


def measure_tasnet(way: str, seconds: str, learns: str) -> dict[str, float]:
    """Of Conv-TasNet's published size on 4 s, torchaudio's or ours with its weights."""
    import torch
    from torchaudio.models import conv_tasnet_base

    from speechkit.separation.model import new_separator, separator_config
    from speechkit.separation.published import torchaudio_weights

    torch.manual_seed(0)
    theirs = conv_tasnet_base()
    mixture = torch.randn(1, int(seconds) * RATE) * 0.1
    if way == "torchaudio":
        return timed(lambda: theirs(mixture[:, None]), learns == "True")
    ours = new_separator(separator_config("conv-tasnet-base"))
    ours.load_state_dict(torchaudio_weights(theirs.state_dict()))
    return timed(lambda: ours(mixture), learns == "True")


def in_a_process(*words: object) -> dict[str, float]:
    """What a measurement prints in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.separation", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(kind: str, ways: tuple[str, ...], seconds: int, learns: bool, shown: str) -> None:
    """Rows of a table, the peer first."""
    found = {way: in_a_process(kind, way, seconds, learns) for way in ways}
    peer = found[ways[0]]
    shown = f"{shown}, {'forward and backward' if learns else 'tracks'} of {seconds} s"
    for way, made in found.items():
        tolerance = 0.05 if "bfloat16" in way else 1e-4
        if abs(made["tracks"] - peer["tracks"]) > tolerance * peer["tracks"]:
            raise SystemExit(f"{shown}, {way}: tracks differ, {made['tracks']} and {peer['tracks']}")
        speed, memory = peer["seconds"] / made["seconds"], made["megabytes"] / peer["megabytes"]
        print(f"| {shown} | {way} | {made['seconds']:.1f} | {speed:.2f} | {made['megabytes']:.0f} | {memory:.2f} |")


def main() -> None:
    """Print the section, or measure one way in this process."""
    if len(sys.argv) > 1:
        kind, *words = sys.argv[1:]
        kinds = {"mossformer2": measure, "length": measure_length, "tasnet": measure_tasnet}
        print(json.dumps(kinds[kind](*words)))
        return
    print("## Separation of speakers\n")
    print(f"8 kHz, {THREADS} threads, CPU seconds of both together; ratios are to the first way of each task.\n")
    print("| task | way | CPU s | times as fast | MB more | share of its memory |")
    print("|---|---|---|---|---|---|")
    learnt = SECONDS if free_gigabytes() > SPACIOUS_GIGABYTES else 1
    compare("mossformer2", WAYS[:3], SECONDS, False, "MossFormer2 large")
    compare("mossformer2", WAYS, learnt, True, "MossFormer2 large")
    for learns in (False, True):
        compare("tasnet", TASNET, SECONDS, learns, "Conv-TasNet base")
    print("\n| separator | seconds in one piece | CPU s | CPU s for a second | MB more |")
    print("|---|---|---|---|---|")
    for name, lengths in LONG.items():
        for seconds in lengths:
            made = in_a_process("length", name, seconds)
            each = made["seconds"] / seconds
            print(f"| {name} | {seconds} | {made['seconds']:.1f} | {each:.3f} | {made['megabytes']:.0f} |")


if __name__ == "__main__":
    main()
