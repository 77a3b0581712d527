"""A training step of transformer layers on a processor: PyTorch's own layers and ours, with the same weights.

Protocol: four layers of the embedded encoder's size with a dropout of 0.1, none of attention, on 3000 frames of noise
in items of 500 and of 1500 frames, one of which is a fifth shorter; forward and backward. A process for each way, one
thread; the least CPU seconds of its steps behind the first, and the peak of the process. In evaluation mode both give
the same frames, or the benchmark fails.

Run: python -m benchmarks.transformer_step
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import nullcontext

from benchmarks import compare_steps, peak_megabytes

STEPS, FRAMES, WIDTH, HEADS, INNER, LAYERS, DROPOUT = 5, 3000, 384, 6, 1536, 4, 0.1
WAYS = ("torch", "speechkit")


def measure(precision: str, length: int, way: str) -> dict[str, float]:
    """CPU seconds of a step, megabytes, and the sum of squares of what comes out in evaluation mode."""
    import torch
    from torch import nn

    from speechkit.runtime import limit_threads
    from speechkit.units.invariant.upper_layers import LayerShape, UpperLayers

    limit_threads(1)
    torch.manual_seed(0)
    layers = UpperLayers(LayerShape(LAYERS, WIDTH, HEADS, INNER, True), DROPOUT)
    if way == "torch":
        theirs = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, DROPOUT, "gelu", batch_first=True, norm_first=True)
            for _ in range(LAYERS)
        )
        theirs.load_state_dict(layers.layers.state_dict())
        for layer in theirs:
            layer.self_attn.dropout = 0.0
        layers.layers = theirs
    items = FRAMES // length
    frames = torch.randn(items, length, WIDTH, generator=torch.Generator().manual_seed(1))
    padding = torch.arange(length).expand(items, -1) >= torch.tensor([[length]] * (items - 1) + [[length * 4 // 5]])
    with torch.no_grad():
        given = float(layers.eval()(frames, padding)[~padding].square().sum())
    layers.train()
    times = []
    for _ in range(STEPS):
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext():
            loss = layers(frames, padding).float().square().mean()
        loss.backward()
        times.append(time.process_time() - began)
        layers.zero_grad()
    peak = peak_megabytes()
    return {"seconds": min(times[1:]), "megabytes": peak, "given": given}


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
        return
    print("## A training step of transformer layers\n")
    print(
        f"{LAYERS} layers, {FRAMES} frames {WIDTH} wide, one thread, forward and backward; both give the same frames.\n"
    )
    print("| precision | frames an item | way | CPU s | torch / this | peak MB |")
    print("|---|---|---|---|---|---|")
    for precision in ("bfloat16", "float32"):
        for length in (500, 1500):
            compare_steps("benchmarks.transformer_step", [precision, length], WAYS, "given", 1e-4)


if __name__ == "__main__":
    main()
