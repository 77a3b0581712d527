"""What exactness costs a base-size HuBERT in float32: beside the plain transformers loop cut behind the same layer.

Protocol: random weights, to layer 9, in one process and in turns, so that a busy machine slows all ways alike; the
least CPU seconds of some rounds count. "short" are utterances of 0.6 to 2.5 s, "2 to 4 s" and "of 3 s" what their names
say, "long" ones of 5 to 12 s. The plain loop is one utterance at a time, as the model cards show it; padded batches of
it would be other frames than those. The last column is the share of what the processor multiplies at best, in a product
of two square matrices: no way that does the same multiplications can be faster than 100 %.

Run: python -m benchmarks.encoder_exactness
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.encoder_ceiling import ceiling, operations
from speechkit.encoders import load_encoder

LAYER = 9
SETS = {"short": (12, 0.6, 2.5), "2 to 4 s": (8, 2.0, 4.0), "of 3 s": (8, 3.0, 3.0), "long": (2, 5.0, 12.0)}


def main() -> int:
    """Print the table."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the utterances")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        HubertModel(HubertConfig(num_hidden_layers=LAYER)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
        plain = HubertModel.from_pretrained(folder).eval()
        ours = load_encoder(folder, device="cpu", dtype="float32", compat=True)
    print("## What exactness costs\n")
    best = ceiling("cpu", torch.float32, time.process_time)
    rate = f"{best / 1e9:.0f} Gflop in a CPU second at best"
    print(f"{arguments.threads} threads, float32, layer {LAYER}, random weights; {rate}.\n")
    print("| utterances | way | CPU s | plain cut loop / this | largest difference to the plain loop | of the best |")
    print("|---|---|---|---|---|---|")
    for name in arguments.sets:
        count, least, most = SETS[name]
        waveforms = [
            (0.1 * random.standard_normal(int(16_000 * seconds))).astype(np.float32)
            for seconds in random.uniform(least, most, max(1, round(count * arguments.share)))
        ]

        def loop(items: list[np.ndarray] = waveforms) -> list[np.ndarray]:
            answers = []
            with torch.inference_mode():
                for item in items:
                    ready = torch.from_numpy((item - item.mean()) / np.sqrt(item.var() + 1e-7))[None]
                    answers.append(plain(ready).last_hidden_state[0].numpy())
            return answers

        ways: dict[str, Callable[[], list[np.ndarray]]] = {
            "transformers, cut": loop,
            "speechkit, one at a time": lambda items=waveforms: [ours.encode(item) for item in items],
            "speechkit, encode_batch": lambda items=waveforms: ours.encode_batch(items),
        }
        seconds = dict.fromkeys(ways, float("inf"))
        answers: dict[str, list[np.ndarray]] = {}
        for _ in range(arguments.rounds):
            for way, run in ways.items():
                began = time.process_time()
                answers[way] = run()
                seconds[way] = min(seconds[way], time.process_time() - began)
        work = operations([len(waveform) for waveform in waveforms], LAYER)
        for way, least_seconds in seconds.items():
            pairs = zip(answers[way], answers["transformers, cut"], strict=True)
            difference = max(float(np.abs(a - b).max()) for a, b in pairs)
            ratio = seconds["transformers, cut"] / least_seconds
            share = work / least_seconds / best
            print(
                f"| {len(waveforms)} {name} | {way} | {least_seconds:.2f} | {ratio:.2f} | {difference:.0e} | "
                f"{share:.0%} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
