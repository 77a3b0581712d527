"""One position of one row through softmax attention and a gated feed-forward, as one compiled kernel.

A step over one row reads every weight once, and on a processor nothing else takes as long; operations on tensors of one
row cost more to call than to do. The kernel reads weights as fast as the memory gives them (`benchmarks.unit_lm`).

Notation used for shapes: D width, H heads, G heads of keys, E width of a head, C positions of the cache, K width inside
of the feed-forward.
"""

from __future__ import annotations

import numpy as np

from speechkit.io.arrays import Float
from speechkit.runtime.compiled import compiled_reordering


@compiled_reordering
def product(weight: Float, x: Float, out: Float) -> None:
    """(N, M) times (M,) into (N,)."""
    for row in range(weight.shape[0]):
        weights, total = weight[row], np.float32(0.0)
        for column in range(weight.shape[1]):
            total += weights[column] * x[column]
        out[row] = total


@compiled_reordering
def normalized(x: Float, scale: Float, eps: float, out: Float) -> None:
    """(D,) by its root mean square, times the scale, into (D,)."""
    total = np.float32(0.0)
    for place in range(len(x)):
        total += x[place] * x[place]
    factor = np.float32(1.0 / np.sqrt(total / len(x) + eps))
    for place in range(len(x)):
        out[place] = x[place] * factor * scale[place]


@compiled_reordering
def turned(heads: Float, cos: Float, sin: Float) -> None:
    """Pairs (i, i + E / 2) of each head (N, E) turned in place by angles (E / 2,)."""
    half = heads.shape[1] // 2
    for head in range(heads.shape[0]):
        for place in range(half):
            first, second = heads[head, place], heads[head, place + half]
            heads[head, place] = first * cos[place] - second * sin[place]
            heads[head, place + half] = second * cos[place] + first * sin[place]


@compiled_reordering
def attended(queries: Float, keys: Float, values: Float, apart: int, count: int, out: Float) -> None:
    """Means of values by the softmax of products with keys: (H, E) into (H, E).

    Args:
        queries: (H, E).
        keys: all numbers from the first column of the first of G heads to the last of the last.
        values: likewise.
        apart: numbers between one head of keys and the next.
        count: C.
        out: (H, E).
    """
    heads, width = queries.shape
    groups = (len(keys) - count * width) // apart + 1
    scores = np.empty(count, np.float32)
    scale = np.float32(1.0 / np.sqrt(width))
    for head in range(heads):
        begin, query, mean = head * groups // heads * apart, queries[head], out[head]
        most = np.float32(-np.inf)
        for column in range(count):
            key, total = keys[begin + column * width : begin + (column + 1) * width], np.float32(0.0)
            for place in range(width):
                total += query[place] * key[place]
            scores[column] = total * scale
            most = max(most, scores[column])
        mass = np.float32(0.0)
        mean[:] = np.float32(0.0)
        for column in range(count):
            weight = np.exp(scores[column] - most)
            mass += weight
            value = values[begin + column * width : begin + (column + 1) * width]
            for place in range(width):
                mean[place] += weight * value[place]
        for place in range(width):
            mean[place] /= mass


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
    """Add to ``x`` (D,) what attention gives, and write its key and value into the last column of the cache.

    Args:
        x: (D,), changed.
        norm: (D,) scale of what is read.
        eps: of the norm.
        query: (H E, D).
        key: (G E, D).
        value: (G E, D).
        out: (D, H E).
        cos: (E / 2,) of the position.
        sin: (E / 2,).
        keys: see `attended`; the last column of each head is written.
        values: likewise.
        apart: see `attended`.
        count: C, that column among them.
    """
    width = 2 * len(cos)
    given = np.empty_like(x)
    normalized(x, norm, eps, given)
    queries = np.empty(len(query), np.float32)
    both = np.empty((2, len(key)), np.float32)
    product(query, given, queries)
    product(key, given, both[0])
    product(value, given, both[1])
    heads = queries.reshape(-1, width)
    turned(heads, cos, sin)
    turned(both[0].reshape(-1, width), cos, sin)
    for group in range(len(key) // width):
        last = group * apart + (count - 1) * width
        keys[last : last + width] = both[0, group * width : (group + 1) * width]
        values[last : last + width] = both[1, group * width : (group + 1) * width]
    means = np.empty_like(heads)
    attended(heads, keys, values, apart, count, means)
    product(out, means.reshape(-1), given)
    for place in range(len(x)):
        x[place] += given[place]


@compiled_reordering
def feed_row(x: Float, norm: Float, eps: float, gate: Float, up: Float, down: Float) -> None:
    """Add to ``x`` (D,) what the feed-forward (K, D), (K, D), (D, K) gives."""
    given = np.empty_like(x)
    normalized(x, norm, eps, given)
    gates, inner = np.empty(len(gate), np.float32), np.empty(len(gate), np.float32)
    product(gate, given, gates)
    product(up, given, inner)
    for place in range(len(gate)):
        inner[place] *= gates[place] / (np.float32(1.0) + np.exp(-gates[place]))
    product(down, inner, given)
    for place in range(len(x)):
        x[place] += given[place]
