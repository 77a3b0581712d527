"""Greedy CTC decoding: the best symbol of every frame, with repetitions and blanks removed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechkit.asr.hypothesis import Emissions, Hypothesis

_BLOCK_FRAMES = 65_536


def best_path(log_probs: NDArray[np.float16]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Best symbol and its log-probability of every frame, in blocks, to avoid a float32 copy of the whole."""
    symbols = np.empty(len(log_probs), np.int64)
    values = np.empty(len(log_probs), np.float32)
    for begin in range(0, len(log_probs), _BLOCK_FRAMES):
        block = log_probs[begin : begin + _BLOCK_FRAMES].astype(np.float32)
        best = block.argmax(axis=1)
        symbols[begin : begin + len(block)] = best
        values[begin : begin + len(block)] = np.take_along_axis(block, best[:, None], axis=1)[:, 0]
    return symbols, values


def greedy_decode(emissions: Emissions, silent: frozenset[int] = frozenset()) -> Hypothesis:
    """Characters with times and scores.

    A character spans its run of frames; its score is the best log-probability in the run. Spaces at the ends and
    repeated spaces are removed, and a space fills the gap between its neighbours.

    Args:
        emissions: log_probs (T, V).
        silent: symbols without text, such as the begin-of-sentence symbol of a tokenizer.
    """
    symbols, values = best_path(emissions.log_probs)
    edges = np.flatnonzero(np.diff(symbols, prepend=-1, append=-1))
    text: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    scores: list[float] = []
    hop = emissions.hop_seconds
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        symbol = int(symbols[begin])
        if symbol == emissions.blank or symbol in silent:
            continue
        written = emissions.vocabulary[symbol]
        score = float(values[begin:end].max())
        for index, character in enumerate(written):
            if character == " " and (not text or text[-1] == " "):
                continue
            text.append(character)
            starts.append((begin + (end - begin) * index / len(written)) * hop)
            ends.append((begin + (end - begin) * (index + 1) / len(written)) * hop)
            scores.append(score)
    while text and text[-1] == " ":
        for column in (text, starts, ends, scores):
            column.pop()
    for index, character in enumerate(text):
        if character == " ":
            starts[index], ends[index] = ends[index - 1], starts[index + 1]
    return Hypothesis(
        "".join(text),
        np.array(starts, np.float64),
        np.array(ends, np.float64),
        np.array(scores, np.float32),
        emissions,
    )
