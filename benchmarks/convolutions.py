"""The convolutions of wav2vec 2.0-shaped encoders with a frame a row, beside those of transformers: 10 s, float32."""

from __future__ import annotations

import json
import sys
import time

from benchmarks import compare_steps, peak_megabytes

SECONDS = 10
WAYS = ("transformers", "rows")
KINDS = {
    "embedded size, layer norm": (128, "layer"),
    "base size, layer norm": (512, "layer"),
    "base size, group norm": (512, "group"),
}


def measure(kind: str, way: str) -> dict[str, float]:
    """Least seconds of five, peak memory, and what the frames weigh."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from speechkit.encoders.convolutions import RowConvolutions
    from speechkit.encoders.padding import make_padding_invariant

    torch.set_num_threads(2)
    torch.manual_seed(0)
    width, norm = KINDS[kind]
    config = Wav2Vec2Config(
        conv_dim=(width,) * 7, feat_extract_norm=norm, conv_bias=norm == "layer", num_hidden_layers=0
    )
    model = Wav2Vec2Model(config).eval()
    waveform = torch.randn(1, SECONDS * 16_000 + 80)
    network = model.feature_extractor
    if way == "rows":
        network = RowConvolutions(network, make_padding_invariant(model))
    times = []
    with torch.inference_mode():
        for _ in range(6):
            began = time.perf_counter()
            frames = network(waveform)
            times.append(time.perf_counter() - began)
    return {"seconds": min(times[1:]), "megabytes": peak_megabytes(), "frames": float(frames.abs().sum())}


def main() -> None:
    """Print the section, or measure one way in this process."""
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
        return
    print("## Convolutions of encoders of waveforms\n")
    print(f"{SECONDS} s of audio, float32, two threads; both give the same frames.\n")
    print("| network | way | s | transformers / this | peak MB |")
    print("|---|---|---|---|---|")
    for kind in KINDS:
        compare_steps("benchmarks.convolutions", [kind], WAYS, "frames", 1e-4)


if __name__ == "__main__":
    main()
