"""CTC alignment of an hour of speech, beside the peers.

An hour is 180,000 frames of 20 ms and 54,000 characters in 600 sentences; the vocabulary has 32 symbols, a fifth of
the spoken characters are misrecognised. `refine_all` gets each sentence with two seconds of context on both sides, as
mining does; `best_path` and the peers align the whole recording at once. Every row ran in its own process; memory is
the peak of the process, so that of the emissions (23 MB), interpreter and libraries is included.

Run: python -m benchmarks.ctc_refinement
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks import peak_megabytes

HOUR = 180_000
METHODS = {
    "refine_all": "1 h",
    "refine_all 10 h": "10 h",
    "best_path, band of 2,000": "1 h",
    "best_path, band of 2,000, 10 h": "10 h",
    "ctc_segmentation": "1 h",
    "torchaudio forced_align": "1 h",
    "torchaudio forced_align 10 min": "10 min",
}
HOURS = {"1 h": 1.0, "10 h": 10.0, "10 min": 1 / 6}
LIMIT_BYTES = 14_000_000_000


def recording(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Emissions (T, 32) float32, tokens (L,) and the true first frame of each token."""
    rng = np.random.default_rng(seed)
    count = frames * 3 // 10
    tokens = rng.integers(1, 32, count)
    starts = np.sort(rng.choice(frames // 2 - 2, count, replace=False)) * 2
    logits = rng.normal(size=(frames, 32)).astype(np.float32) * 0.5
    top = np.zeros(frames, np.int64)
    top[starts] = np.where(rng.random(count) < 0.2, rng.integers(1, 32, count), tokens)
    logits[np.arange(frames), top] += 6
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    return logits, tokens, starts


def measure(method: str) -> dict[str, float]:
    seconds = {"1 h": 3600, "10 h": 36000, "10 min": 600}[METHODS[method]]
    emissions, tokens, starts = recording(seconds * 50)
    size = len(tokens) // (seconds // 6)
    found = np.zeros(0)
    if method.startswith("refine_all"):
        from speechkit.asr.refinement import refine, refine_all

        emissions = emissions.astype(np.float16)
        refine(emissions[:100], tokens[:5], 0)
        groups = [slice(begin, begin + size) for begin in range(0, len(tokens), size)]
        windows = [(int(starts[group][0]) - 100, int(starts[group][-1]) + 100) for group in groups]
        began = time.process_time()
        results = refine_all(emissions, [tokens[group] for group in groups], windows, 0)
        cpu = time.process_time() - began
        found = np.concatenate([result.token_frames[:, 0] for result in results])
    elif method.startswith("best_path"):
        from speechkit.asr.refinement import refine
        from speechkit.asr.refinement.viterbi import best_path, state_sequence

        refine(emissions[:100], tokens[:5], 0)
        anchors = np.arange(0, len(tokens), 200)
        centre = np.interp(np.arange(len(emissions)), starts[anchors], 2 * anchors + 1).astype(np.int64)
        began = time.process_time()
        path = best_path(emissions, state_sequence(tokens, 0, 32), 0, star_penalty=0.5, centre=centre, width=2000)
        cpu = time.process_time() - began
        found = np.searchsorted(path, 2 * np.arange(len(tokens)) + 1)
    elif method == "ctc_segmentation":
        from ctc_segmentation import CtcSegmentationParameters, ctc_segmentation, prepare_token_list

        config = CtcSegmentationParameters(char_list=[chr(97 + i) for i in range(32)], index_duration=0.02)
        texts = [tokens[begin : begin + size] for begin in range(0, len(tokens), size)]
        began = time.process_time()
        ground_truth, _ = prepare_token_list(config, texts)
        ctc_segmentation(config, emissions, ground_truth)
        cpu = time.process_time() - began
    else:
        import torch
        from torchaudio.functional import forced_align

        torch.set_num_threads(1)
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        began = time.process_time()
        labels, _ = forced_align(torch.from_numpy(emissions)[None], torch.from_numpy(tokens)[None], blank=0)
        cpu = time.process_time() - began
        labels = labels[0].numpy()
        first = np.flatnonzero((labels != 0) & (np.concatenate([[-1], labels[:-1]]) != labels))
        found = first if len(first) == len(tokens) else np.zeros(0)
    memory = peak_megabytes()
    error = float(np.quantile(np.abs(found - starts), 0.95)) * 0.02 if len(found) else -1.0
    return {"cpu": cpu, "mb": memory, "error": error}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=list(METHODS))
    arguments = parser.parse_args()
    if arguments.method:
        print(json.dumps(measure(arguments.method)))
        return
    print("| method | audio | CPU s | an hour costs, by refine_all | peak MB | start error p95 (s) |")
    print("|---|---|---|---|---|---|")
    ours = 0.0
    for method, audio in METHODS.items():
        command = [sys.executable, "-m", "benchmarks.ctc_refinement", "--method", method]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["killed"])[-1][:80]
            print(f"| {method} | {audio} | fails under {LIMIT_BYTES // 10**9} GB: {reason} | | | |", flush=True)
            continue
        got = json.loads(done.stdout)
        error = f"{got['error']:.2f}" if got["error"] >= 0 else ""
        hour = got["cpu"] / HOURS[audio]
        ours = ours or hour
        print(
            f"| {method} | {audio} | {got['cpu']:.2f} | {hour / ours:.1f} x | {got['mb']:.0f} | {error} |", flush=True
        )
    print("\nThe band of `best_path` follows every two-hundredth true token, as anchors of a text alignment would.")


if __name__ == "__main__":
    main()
