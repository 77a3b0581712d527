"""Scores of syllables equal their slow definitions."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from speechkit.errors import ConfigError, UserError
from speechkit.syllables.evaluation import PROTOCOLS, SHIFTS_SECONDS, count_item, rates, score, tune_shift
from speechkit.syllables.matching import boundary_hits, largest_overlap, overlap_matching, token_hits
from speechkit.syllables.purity import LabelledSegments, purity, without_stress

# Steps of 5 ms make distances of exactly the tolerance frequent.
EDGES = st.lists(st.integers(0, 300), max_size=24, unique=True).map(sorted)


@st.composite
def segments(draw, smallest=0):
    """Disjoint segments (n, 2) in milliseconds, some of them touching."""
    edges = draw(st.lists(st.integers(0, 300), min_size=2 * smallest, max_size=24, unique=True).map(sorted))
    pairs = list(itertools.pairwise(edges)) if draw(st.booleans()) else list(zip(edges[::2], edges[1::2], strict=False))
    kept = draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    chosen = [pair for pair, keep in zip(pairs, kept, strict=True) if keep] or pairs[:smallest]
    return np.array(chosen, np.int64).reshape(-1, 2) * 5


def largest_matching(fits):
    if not fits.size:
        return 0
    return int((maximum_bipartite_matching(csr_matrix(fits)) >= 0).sum())


@settings(max_examples=80)
@given(EDGES, EDGES, st.integers(0, 15))
def test_no_pairing_of_boundaries_has_more_hits(reference, predicted, tolerance):
    left, right = np.array(reference, np.int64), np.array(predicted, np.int64)
    fits = np.abs(left[:, None] - right[None]) <= tolerance
    assert boundary_hits(left, right, tolerance) == largest_matching(fits)


@settings(max_examples=80)
@given(segments(), segments(), st.integers(0, 60))
def test_no_pairing_of_tokens_has_more_hits(reference, predicted, tolerance):
    fits = (np.abs(reference[:, None] - predicted[None]) <= tolerance).all(2)
    assert token_hits(reference, predicted, tolerance) == largest_matching(fits)


def overlap_share(a, b):
    common = min(a[1], b[1]) - max(a[0], b[0])
    return common / (max(a[1], b[1]) - min(a[0], b[0])) if common > 0 else 0.0


@settings(max_examples=80)
@given(segments(), segments())
def test_pairs_have_the_overlap_of_the_hungarian_assignment(reference, predicted):
    shares = np.array([[overlap_share(a, b) for b in predicted] for a in reference]).reshape(
        len(reference), len(predicted)
    )
    pairs = overlap_matching(reference, predicted)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    wanted = shares[linear_sum_assignment(shares, maximize=True)].sum() if shares.size else 0.0
    assert sum(shares[i, j] for i, j in pairs) == pytest.approx(wanted)


@given(segments(), segments())
def test_each_segment_goes_with_the_reference_that_it_shares_most_with(reference, predicted):
    wanted = []
    for j, b in enumerate(predicted):
        shared = [min(a[1], b[1]) - max(a[0], b[0]) for a in reference]
        if shared and max(shared) > 0:
            wanted.append([shared.index(max(shared)), j])
    assert largest_overlap(reference, predicted).tolist() == wanted


def slow_counts(reference, predicted, protocol, tolerance, shift=0):
    """The protocols in plain Python, in milliseconds."""
    reference = [(a + shift, b + shift) for a, b in reference.tolist()]
    predicted = predicted.tolist()

    def hits(left, right):
        fits = np.array([[abs(a - b) <= tolerance for b in right] for a in left]).reshape(len(left), len(right))
        return largest_matching(fits)

    def tokens(left, right):
        fits = [[abs(a[0] - b[0]) <= tolerance and abs(a[1] - b[1]) <= tolerance for b in right] for a in left]
        return largest_matching(np.array(fits).reshape(len(left), len(right)))

    every = sorted({t for pair in reference for t in pair})
    if protocol == "sdhubert":
        edges = [start for start, _ in predicted]
    else:
        edges = sorted({t for pair in predicted for t in pair})
    if protocol != "zerosyl":
        token = [tokens(reference, predicted), len(predicted), len(reference)]
        return [hits(every, edges), len(edges), len(every), *token]
    stretches = []
    for pair in reference:
        if stretches and stretches[-1][-1][1] == pair[0]:
            stretches[-1].append(pair)
        else:
            stretches.append([pair])
    counts = np.zeros(6, int)
    for stretch in stretches:
        begin, end = stretch[0][0], stretch[-1][1]
        left = [t for t in every if begin + tolerance < t < end - tolerance]
        right = [t for t in edges if begin + tolerance < t < end - tolerance]
        own = [pair for pair in predicted if begin <= (pair[0] + pair[1]) / 2 < end]
        counts += [hits(left, right), len(right), len(left), tokens(stretch, own), len(own), len(stretch)]
    return counts.tolist()


@settings(max_examples=80)
@given(segments(), segments(), st.sampled_from(PROTOCOLS), st.sampled_from([0, 20, 50]), st.sampled_from([0, -35, 20]))
def test_counts_equal_the_slow_protocols(reference, predicted, protocol, tolerance, shift):
    found = count_item(
        reference / 1000, predicted / 1000, protocol, tolerance_seconds=tolerance / 1000, shift_seconds=shift / 1000
    )
    assert found.tolist() == slow_counts(reference, predicted, protocol, tolerance, shift)


def slow_r_value(hits, predicted, reference):
    precision, recall = hits / predicted, hits / reference
    surplus = recall / precision - 1
    first = math.sqrt((1 - recall) ** 2 + surplus**2)
    second = (-surplus + recall - 1) / math.sqrt(2)
    return 1 - (abs(first) + abs(second)) / 2


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50))
def test_rates_equal_their_formulas(hits, more_predicted, more_reference):
    predicted, reference = hits + more_predicted, hits + more_reference
    found = {name: float(value[0]) for name, value in rates(np.array([[hits, predicted, reference]])).items()}
    precision, recall = hits / predicted, hits / reference
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["r_value"] == pytest.approx(slow_r_value(hits, predicted, reference))


def test_the_same_segments_score_one_with_and_fewer_points_without_their_ends():
    times = np.array([[0.1, 0.3], [0.3, 0.5], [0.8, 1.0]])
    for protocol in PROTOCOLS:
        found = score([(times, times)], protocol)
        assert found.tokens["f1"].value == 1
        assert found.boundaries["precision"].value == 1
    # Only starts are predicted: the ends before pauses are missed, as published.
    assert score([(times, times)], "sdhubert").boundaries["recall"].value == pytest.approx(3 / 5)
    assert score([(times, times)], "plain").boundaries["recall"].value == 1


def test_the_tuned_shift_finds_a_constant_delay_and_both_scores_can_be_shown():
    random = np.random.default_rng(0)
    items = []
    for _ in range(5):
        edges = np.cumsum(random.uniform(0.12, 0.3, 30))
        reference = np.stack([edges[:-1], edges[1:]], 1)
        items.append((reference, reference - 0.035))
    assert tune_shift(items, tolerance_seconds=0.002) == pytest.approx(-0.035)
    shifted = score(items, "plain", tolerance_seconds=0.002, shift_seconds=-0.035)
    assert shifted.boundaries["f1"].value == 1
    assert score(items, "plain", tolerance_seconds=0.002).boundaries["f1"].value < 0.2
    assert tune_shift([(items[0][0], items[0][0])]) == 0
    assert (min(SHIFTS_SECONDS), len(SHIFTS_SECONDS)) == (-0.05, 20)
    assert max(SHIFTS_SECONDS) == pytest.approx(0.045)


def test_intervals_hold_the_value_and_speakers_widen_them():
    random = np.random.default_rng(1)
    items, speakers = [], []
    for number in range(40):
        edges = np.cumsum(random.uniform(0.12, 0.3, 20))
        moved = edges + random.normal(0, 0.01 + 0.08 * (number % 4 == 0), 20)
        moved = np.sort(moved)
        items.append((np.stack([edges[:-1], edges[1:]], 1), np.stack([moved[:-1], moved[1:]], 1)))
        speakers.append(number % 4)
    alone = score(items, "plain", resamples=500).boundaries["f1"]
    grouped = score(items, "plain", resamples=500, groups=speakers).boundaries["f1"]
    assert alone.interval.low < alone.value < alone.interval.high
    assert grouped.interval.units == 4
    assert grouped.interval.high - grouped.interval.low > alone.interval.high - alone.interval.low
    again = score(items, "plain", resamples=500).boundaries["f1"]
    assert again == alone


LABELS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), min_size=1, max_size=40)


@given(LABELS)
def test_purity_and_information_equal_their_definitions(pairs):
    times = np.array([[0.1 * n, 0.1 * n + 0.1] for n in range(len(pairs))])
    item = LabelledSegments(times, [syllable for syllable, _ in pairs], times, [unit for _, unit in pairs])
    found = purity([item])
    total = len(pairs)
    by_unit = [Counter(s for s, u in pairs if u == unit) for unit in {u for _, u in pairs}]
    by_syllable = [Counter(u for s, u in pairs if s == syllable) for syllable in {s for s, _ in pairs}]
    assert found.syllable_purity.value == pytest.approx(sum(max(c.values()) for c in by_unit) / total)
    assert found.cluster_purity.value == pytest.approx(sum(max(c.values()) for c in by_syllable) / total)
    joint, first, second = Counter(pairs), Counter(s for s, _ in pairs), Counter(u for _, u in pairs)
    information = sum(n / total * math.log2(n * total / (first[s] * second[u])) for (s, u), n in joint.items())
    entropy = -sum(n / total * math.log2(n / total) for n in first.values())
    assert found.mutual_information.value == pytest.approx(information, abs=1e-9)
    wanted = information / entropy if entropy > 0 else 0
    assert found.normalized_mutual_information.value == pytest.approx(wanted, abs=1e-9)
    assert (found.pairs, found.syllables, found.units) == (total, len(first), len(second))


def test_pairing_stress_and_intervals_of_purity():
    reference = np.array([[0.0, 0.4], [0.4, 0.6]])
    predicted = np.array([[0.0, 0.1], [0.1, 0.45], [0.45, 0.6]])
    item = LabelledSegments(reference, ["HH AE1", "P IY0"], predicted, [7, 1, 2])
    assert purity([item], "hungarian").pairs == 2
    assert purity([item], "overlap").pairs == 3
    assert without_stress("HH AE1 P0") == "HH AE P"
    found = purity([item] * 10, resamples=50)
    assert found.syllable_purity.interval.units == 10
    assert found.syllable_purity.value == 1


def test_bad_segments_protocols_and_labels_are_refused():
    times = np.array([[0.0, 0.2], [0.2, 0.4]])
    with pytest.raises(UserError, match=r"talk, hypothesis: 0\.200 to 0\.100 s runs backwards"):
        score([(times, [[0.2, 0.1]])], "plain", names=["talk"])
    with pytest.raises(UserError, match="overlaps the previous segment"):
        score([([[0.0, 0.3], [0.2, 0.4]], times)], "plain")
    with pytest.raises(UserError, match="NaN or infinite"):
        score([(times, [[0.0, np.nan]])], "plain")
    with pytest.raises(ConfigError, match="choose sdhubert, zerosyl, plain"):
        score([(times, times)], "timit")
    with pytest.raises(ConfigError, match="tolerance is -1"):
        score([(times, times)], "plain", tolerance_seconds=-1)
    with pytest.raises(UserError, match="no recordings"):
        score([], "plain")
    with pytest.raises(UserError, match=r"2 non-empty segments but 1 labels"):
        purity([LabelledSegments(times, ["a"], times, [1, 2])])
    with pytest.raises(ConfigError, match="choose hungarian, overlap"):
        purity([LabelledSegments(times, ["a", "b"], times, [1, 2])], "nearest")
    with pytest.raises(UserError, match="no segment overlaps"):
        purity([LabelledSegments(times, ["a", "b"], times + 9, [1, 2])])


def test_nothing_predicted_scores_nothing():
    found = score([([[0.0, 0.2]], np.zeros((0, 2)))], "plain", resamples=10)
    assert found.boundaries["f1"].value == found.boundaries["precision"].value == found.tokens["f1"].value == 0
    assert found.counts == {
        "hits": 0,
        "predicted": 0,
        "reference": 2,
        "token_hits": 0,
        "token_predicted": 0,
        "token_reference": 1,
    }
