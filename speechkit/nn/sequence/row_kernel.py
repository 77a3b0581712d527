"""Compiled kernels for single-row decoding: softmax attention and gated feed-forward at one position.

Decoding one row on a CPU is bound by reading the weights, and PyTorch's call overhead dominates for such small tensors.
The kernels run at memory bandwidth (`benchmarks.unit_lm`).

Notation used for shapes: D width, H heads, G key heads, E width of a head, C positions of the cache, K inner width of
the feed-forward.
"""

from __future__ import annotations

import numpy as np

from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled_reordering


@compiled_reordering
def product(weight: Float, x: Float, out: Float) -> None:
    """Matrix-vector product of (N, M) and (M,) into (N,)."""
    for row in range(weight.shape[0]):
        weights, total = weight[row], np.float32(0.0)
        for column in range(weight.shape[1]):
            total += weights[column] * x[column]
        out[row] = total


@compiled_reordering
def normalized(x: Float, scale: Float, eps: float, out: Float) -> None:
    """RMS norm of (D,) with a scale, into (D,)."""
    total = np.float32(0.0)
    for index in range(len(x)):
        total += x[index] * x[index]
    factor = np.float32(1.0 / np.sqrt(total / len(x) + eps))
    for index in range(len(x)):
        out[index] = x[index] * factor * scale[index]


@compiled_reordering
def rotate(heads: Float, cos: Float, sin: Float) -> None:
    """Rotate pairs (i, i + E / 2) of each head (N, E) in place by angles (E / 2,)."""
    half = heads.shape[1] // 2
    for head in range(heads.shape[0]):
        for index in range(half):
            first, second = heads[head, index], heads[head, index + half]
            heads[head, index] = first * cos[index] - second * sin[index]
            heads[head, index + half] = second * cos[index] + first * sin[index]


@compiled_reordering
def attend(queries: Float, keys: Float, values: Float, apart: int, count: int, out: Float) -> None:
    """Softmax attention of queries (H, E) into (H, E).

    Args:
        queries: (H, E).
        keys: flat memory of the G key heads, from the first to the last column.
        values: likewise.
        apart: stride between key heads.
        count: C.
        out: (H, E).
    """
    heads, width = queries.shape
    groups = (len(keys) - count * width) // apart + 1
    scores = np.empty(count, np.float32)
    scale = np.float32(1.0 / np.sqrt(width))
    for head in range(heads):
        begin, query, mean = head * groups // heads * apart, queries[head], out[head]
        largest = np.float32(-np.inf)
        for column in range(count):
            key, total = keys[begin + column * width : begin + (column + 1) * width], np.float32(0.0)
            for index in range(width):
                total += query[index] * key[index]
            scores[column] = total * scale
            largest = max(largest, scores[column])
        mass = np.float32(0.0)
        mean[:] = np.float32(0.0)
        for column in range(count):
            weight = np.exp(scores[column] - largest)
            mass += weight
            value = values[begin + column * width : begin + (column + 1) * width]
            for index in range(width):
                mean[index] += weight * value[index]
        for index in range(width):
            mean[index] /= mass


@compiled_reordering
def attention_row(
    x: Float,
    norm: Float,
    eps: float,
    query: Float,
    key: Float,
    value: Float,
    out: Float,
    cos: Float,
    sin: Float,
    keys: Float,
    values: Float,
    apart: int,
    count: int,
) -> None:
    """Add the attention output to ``x`` (D,), and write its key and value to the last column of the cache.

    Args:
        x: (D,), modified.
        norm: scale (D,) of the pre-norm.
        eps: of the norm.
        query: (H E, D).
        key: (G E, D).
        value: (G E, D).
        out: (D, H E).
        cos: (E / 2,) of the position.
        sin: (E / 2,).
        keys: see `attend`; the last column of each head is written.
        values: likewise.
        apart: see `attend`.
        count: C, including that column.
    """
    width = 2 * len(cos)
    normed = np.empty_like(x)
    normalized(x, norm, eps, normed)
    queries = np.empty(len(query), np.float32)
    both = np.empty((2, len(key)), np.float32)
    product(query, normed, queries)
    product(key, normed, both[0])
    product(value, normed, both[1])
    heads = queries.reshape(-1, width)
    rotate(heads, cos, sin)
    rotate(both[0].reshape(-1, width), cos, sin)
    for group in range(len(key) // width):
        last = group * apart + (count - 1) * width
        keys[last : last + width] = both[0, group * width : (group + 1) * width]
        values[last : last + width] = both[1, group * width : (group + 1) * width]
    means = np.empty_like(heads)
    attend(heads, keys, values, apart, count, means)
    product(out, means.reshape(-1), normed)
    for index in range(len(x)):
        x[index] += normed[index]


@compiled_reordering
def feed_row(x: Float, norm: Float, eps: float, gate: Float, up: Float, down: Float) -> None:
    """Add the output of the gated feed-forward (K, D), (K, D), (D, K) to ``x`` (D,)."""
    normed = np.empty_like(x)
    normalized(x, norm, eps, normed)
    gates, inner = np.empty(len(gate), np.float32), np.empty(len(gate), np.float32)
    product(gate, normed, gates)
    product(up, normed, inner)
    for index in range(len(gate)):
        inner[index] *= gates[index] / (np.float32(1.0) + np.exp(-gates[index]))
    product(down, inner, normed)
    for index in range(len(x)):
        x[index] += normed[index]
