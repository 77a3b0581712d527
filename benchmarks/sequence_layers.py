"""Sequence layers side by side: a training step, a position after a long row, and what is kept of that row.

Protocol: two layers 128 wide with feed-forwards 344 wide, float32, one thread, a process for each mixer. The training
step is forward and backward over 4 rows of 512 positions, the least of three behind the first. Rows are read 500
positions at a time; then single positions are read, 20 of them behind the first, the least counts. The cache of
layers that keep every position is repeated to reach 100,000 of them. Bytes are those of the state in hand.

Run: python -m benchmarks.sequence_layers
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks import peak_megabytes

WIDTH, FEED, PIECE = 128, 344, 500
LENGTHS = (1_000, 10_000, 100_000)
GROWING = ("attention", "n-gram 3")


def layers():
    from speechkit.nn.sequence.aaren import AarenConfig
    from speechkit.nn.sequence.convolution import ConvolutionConfig
    from speechkit.nn.sequence.gated_recurrent import RecurrentConfig
    from speechkit.nn.sequence.linear_attention import JrtConfig
    from speechkit.nn.sequence.lssl import LsslConfig
    from speechkit.nn.sequence.ngram_head import NgramConfig
    from speechkit.nn.sequence.s4d import S4DConfig
    from speechkit.nn.sequence.softmax_attention import AttentionConfig
    from speechkit.nn.sequence.titans import TitansConfig

    return {
        "attention": AttentionConfig(),
        "window 64": AttentionConfig(window=64),
        "LSTM": RecurrentConfig(),
        "GRU": RecurrentConfig(kind="gru"),
        "S4D": S4DConfig(),
        "LSSL": LsslConfig(),
        "Aaren": AarenConfig(),
        "JRT-RNN": JrtConfig(),
        "Titans LMM": TitansConfig(variant="lmm"),
        "Titans MAG": TitansConfig(variant="mag"),
        "Titans MAL": TitansConfig(variant="mal"),
        "Titans MAC": TitansConfig(variant="mac"),
        "convolution 3": ConvolutionConfig(),
        "n-gram 3": NgramConfig(order=3, feed_forward=True),
    }


def measure(name: str) -> dict[str, object]:
    """Parameters, CPU milliseconds and bytes of one mixer."""
    import torch

    from speechkit.nn.sequence.mixer import row_bytes
    from speechkit.nn.sequence.stack import Stack, StackConfig
    from speechkit.runtime import limit_threads

    limit_threads(1)
    torch.manual_seed(0)
    stack = Stack(StackConfig(layers=(layers()[name],) * 2, width=WIDTH, feed_width=FEED))

    def inputs(rows: int, length: int):
        return torch.randn(rows, length, WIDTH), torch.randint(0, 100, (rows, length))

    training = []
    for _ in range(4):
        x, tokens = inputs(4, 512)
        began = time.process_time()
        stack(x, tokens=tokens).square().mean().backward()
        training.append(time.process_time() - began)
        stack.zero_grad()
    stack.eval()
    state, had, steps, held, peaks = stack.start(1, "cpu", torch.float32), 0, {}, {}, {}
    with torch.inference_mode():
        for length in LENGTHS:
            if name in GROWING and length == LENGTHS[-1]:
                state = repeated(state, length // had)
                had = length
            while had < length:
                x, tokens = inputs(1, PIECE)
                state = stack.prefill(x, state, tokens=tokens)[1]
                had += PIECE
            single = []
            for _ in range(21):
                x, tokens = inputs(1, 1)
                began = time.process_time()
                stack.step(x[:, 0], state, tokens=tokens[:, 0])
                single.append(time.process_time() - began)
            steps[length], held[length], peaks[length] = 1e3 * min(single[1:]), row_bytes(state), peak_megabytes()
            if held[length] != stack.state_bytes(length):
                raise SystemExit(f"{name}: {held[length]} bytes after {length}, {stack.state_bytes(length)} declared")
    parameters = sum(weight.numel() for weight in stack.parameters())
    return {"parameters": parameters, "training": 1e3 * min(training[1:]), "steps": steps, "held": held, "peaks": peaks}


def repeated(state, times: int):
    """A cache so many times as long: its columns are the second dimension from the end, or the last of tokens."""
    import torch

    made = {}
    for name, part in state.items():
        column = {"keys": 2, "values": 2, "tokens": 1, "vectors": 1}.get(name.split(".")[-1])
        made[name] = part * times if column is None else torch.cat([part] * times, column)
    return made


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
        return
    print("## Sequence layers: time and memory against length\n")
    print(
        f"Two layers {WIDTH} wide, one thread: CPU ms of a training step over 4 x 512 positions; CPU ms of one "
        "position, and kB kept of a row, after 1,000, 10,000 and 100,000 positions.\n"
    )
    print("| mixer | parameters | training step | 1,000 | 10,000 | 100,000 | kB at 1,000 | 10,000 | 100,000 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in layers():
        command = [sys.executable, "-m", "benchmarks.sequence_layers", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        times = " | ".join(f"{found['steps'][str(length)]:.2f}" for length in LENGTHS)
        held = " | ".join(f"{found['held'][str(length)] / 1e3:.1f}" for length in LENGTHS)
        print(f"| {name} | {found['parameters']:,} | {found['training']:.0f} | {times} | {held} |", flush=True)


if __name__ == "__main__":
    main()
