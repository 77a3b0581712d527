"""Slow, obvious versions of the segmenters."""

import itertools

import numpy as np


def cosine(left, right):
    scale = np.sqrt((left @ left) * (right @ right))
    return left @ right / scale if scale > 0 else 0.0


def greedy_first_pass(features, norm, merge, longest=None):
    """Segments as (start, end), and whether each touches the one before."""
    frames = features.astype(np.float64)
    segments, start = [], None
    for t, frame in enumerate(frames):
        speech = np.sqrt(frame @ frame) >= norm
        if start is not None:
            room = longest is None or t - start < longest
            if speech and room and cosine(frames[start:t].mean(0), frame) >= merge:
                continue
            segments.append((start, t))
            start = None
        if speech:
            start = t
    if start is not None:
        segments.append((start, len(frames)))
    return segments


def greedy(features, norm, merge, longest=None):
    frames = features.astype(np.float64)
    settled = []
    for start, end in greedy_first_pass(features, norm, merge, longest):
        if not settled or settled[-1][1] != start:
            settled.append((start, end))
            continue
        left, _ = settled.pop()
        left_mean, right_mean = frames[left:start].mean(0), frames[start:end].mean(0)
        if cosine(left_mean, right_mean) >= merge and (longest is None or end - left <= longest):
            settled.append((left, end))
            continue
        begin, stop = (left + start) // 2, (start + end) // 2

        def worth(place, left_mean=left_mean, right_mean=right_mean, begin=begin, stop=stop):
            before = sum(cosine(frames[t], left_mean) for t in range(begin, place))
            return before + sum(cosine(frames[t], right_mean) for t in range(place, stop))

        places = [b for b in range(begin, stop + 1) if left < b < end]
        best = max(places, key=worth)  # the first of equals
        settled += [(left, best), (best, end)]
    return settled


def greedy_as_released(features, norm, merge):
    """The released rule: counts go on where segments touch, and a left segment may lose all its frames."""
    frames = features.astype(np.float64)
    pieces, touching = [], []
    for begin, end in run_lengths(np.sqrt((frames**2).sum(1)) >= norm):
        mean, seen, start = frames[begin], 1, begin
        for t in range(begin + 1, end):
            if cosine(mean, frames[t]) >= merge:
                mean = (mean * seen + frames[t]) / (seen + 1)
            else:
                pieces.append([start, t])
                touching.append(len(pieces) - 1)
                mean, start = frames[t], t
            seen += 1
        pieces.append([start, end])
    merged = set()
    for left in touching:
        (a, b), (_, c) = pieces[left], pieces[left + 1]
        means = frames[a:b].mean(0), frames[b:c].mean(0)
        if cosine(*means) >= merge:
            pieces[left + 1][0] = a
            merged.add(left)
            continue
        first, stop = max(a, b - max(1, (b - a) // 2)), min(c, b + max(1, (c - b) // 2))

        def worth(place, means=means, first=first, stop=stop):
            before = sum(cosine(frames[t], means[0]) for t in range(first, place))
            return before + sum(cosine(frames[t], means[1]) for t in range(place, stop))

        best = max(range(first, stop), key=worth)
        pieces[left][1] = pieces[left + 1][0] = best
    return [tuple(piece) for n, piece in enumerate(pieces) if n not in merged and piece[0] < piece[1]]


def run_lengths(mask):
    """Maximal runs of True as (start, end)."""
    runs = []
    for value, group in itertools.groupby(enumerate(mask), key=lambda pair: bool(pair[1])):
        if value:
            places = [t for t, _ in group]
            runs.append((places[0], places[-1] + 1))
    return runs


def dynamic_cost(frames, segments, penalty):
    spread = sum(((frames[s:e] - frames[s:e].mean(0)) ** 2).sum() for s, e in segments)
    return spread + penalty * len(segments)


def every_segmentation(length, shortest, longest):
    """All ways to cut ``length`` frames into pieces of allowed lengths."""
    if length == 0:
        yield []
        return
    for last in range(shortest, min(longest, length) + 1):
        for rest in every_segmentation(length - last, shortest, longest):
            yield [*rest, (length - last, length)]


def syllables(seed, count=12, dim=6, noise=0.3):
    """Frames of made-up syllables: each a direction held for some frames, with pauses of small norm."""
    random = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        length = int(random.integers(1, 12))
        if random.random() < 0.25:
            pieces.append(0.2 * random.standard_normal((length, dim)))
        else:
            centre = 4 * random.standard_normal(dim) / np.sqrt(dim)
            pieces.append(centre + noise * random.standard_normal((length, dim)))
    return np.concatenate(pieces).astype(np.float32)
