"""Every sentence ends as kept or rejected, every second as covered or unmatched; the threshold keeps its word."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.metrics.logistic import fit_logistic
from speechkit.mining.confidence import (
    EMISSION_FEATURES,
    TEXT_FEATURES,
    feature_rows,
    load_calibration,
    probabilities,
    threshold_for,
    worst_run,
)
from speechkit.mining.config import SelectionConfig
from speechkit.mining.records import Document, Page, Recording, Sentence, SentenceMatch, WordTime
from speechkit.mining.selection import decide, outcomes_of, resolve_overlaps, unmatched_stretches, utterance_of


def match(
    sentence: int, start: float, end: float, probability: float = 0.99, recording: str = "r", **fields: float
) -> SentenceMatch:
    evidence = {"similarity": 0.9, "edge_cer": 0.0, "margin": 0.5, "characters_per_second": 14.0, **fields}
    return SentenceMatch(
        sentence=f"d-{sentence:05d}",
        recording=recording,
        document="d",
        start=start,
        end=end,
        probability=probability,
        **evidence,
    )


def document(count: int) -> Document:
    text = "A sentence here. " * count
    sentences = [Sentence(f"d-{i:05d}", i, "A sentence here.", 17 * i, 17 * i + 16) for i in range(count)]
    return Document("d", "d.txt", "text", "en", text, [Page(1, 0, len(text))], sentences)


places = st.lists(
    st.tuples(st.integers(0, 9), st.floats(0, 90), st.floats(0.05, 30), st.floats(0, 1), st.sampled_from(["r", "s"])),
    max_size=25,
)


@settings(max_examples=150)
@given(places, st.floats(0.5, 1), st.lists(st.tuples(st.integers(0, 99), st.integers(1, 40)), max_size=5))
def test_sentences_and_seconds_are_accounted_for_exactly_once(
    found: list[tuple[int, float, float, float, str]], precision: float, speech: list[tuple[int, int]]
) -> None:
    unique = {
        (sentence, recording): (sentence, start, length, p, recording)
        for sentence, start, length, p, recording in found
    }
    matches = [match(s, start, min(start + length, 100.0), p, r) for s, start, length, p, r in unique.values()]
    decision = decide(
        matches, {f"d-{i:05d}": 15 for i in range(10)}, SelectionConfig(min_precision=precision, max_seconds=20)
    )
    assert sorted(id(m) for m in matches) == sorted(
        [id(m) for m in decision.kept] + [id(m) for m, _ in decision.rejected]
    )
    kept: dict[str, list[SentenceMatch]] = {}
    rejected: dict[str, list] = {}
    for item in decision.kept:
        kept.setdefault(item.sentence, []).append(item)
    for item, reason in decision.rejected:
        rejected.setdefault(item.sentence, []).append((item, reason))
    outcomes = outcomes_of(document(10), ["a sentence here"] * 10, kept, rejected, True)
    assert [outcome.sentence for outcome in outcomes] == [f"d-{i:05d}" for i in range(10)]
    assert all(outcome.kept == (outcome.reason is None) == (outcome.sentence in kept) for outcome in outcomes)
    if decision.kept:
        assert np.mean([item.probability for item in decision.kept]) >= precision - 1e-9
    regions, last = [], 0
    for begin, length in sorted(speech):
        if begin * 16000 >= last and begin + length <= 100:
            regions.append((begin * 16000, (begin + length) * 16000))
            last = (begin + length) * 16000
    for name in ("r", "s"):
        mine = sorted((item for item in decision.kept if item.recording == name), key=lambda item: item.start)
        for one, two in itertools.pairwise(mine):
            assert one.end - two.start <= 0.1 + 1e-9
        refused = [item for item, _ in decision.rejected if item.recording == name]
        recording = Recording(name, "r.wav", 16000, 1_600_000, 1, regions)
        stretches = unmatched_stretches(
            recording, *([(m.start, m.end) for m in group] for group in (mine, refused)), True
        )
        grid = np.arange(0.0005, 100, 0.05)
        covered = np.zeros(len(grid), int)
        for item in mine:
            covered[(grid > item.start) & (grid < item.end)] = 1
        for stretch in stretches:
            covered[(grid > stretch.start) & (grid < stretch.end)] += 1
        on_edge = np.zeros(len(grid), bool)
        for item in [*mine, *stretches]:
            on_edge |= (np.abs(grid - item.start) < 1e-6) | (np.abs(grid - item.end) < 1e-6)
        assert (covered[~on_edge] == 1).all()


def test_surer_sentence_wins_the_audio_and_the_other_is_told() -> None:
    standing, beaten = resolve_overlaps([match(0, 0, 10, 0.7), match(1, 8, 12, 0.9), match(2, 12.05, 15, 0.8)], 0.1)
    assert [item.sentence for item in sorted(standing, key=lambda m: m.start)] == ["d-00001", "d-00002"]
    assert [item.sentence for item in beaten] == ["d-00000"]


@pytest.mark.parametrize(
    ("item", "characters", "reason"),
    [
        (match(0, 0, 0.1), 20, "too_short"),
        (match(0, 0, 9), 3, "too_short"),
        (match(0, 0, 99), 20, "too_long"),
        (match(0, 0, 9, 0.2), 20, "low_confidence"),
    ],
)
def test_rejected_matches_have_their_reason(item: SentenceMatch, characters: int, reason: str) -> None:
    assert decide([item], {"d-00000": characters}, SelectionConfig()).rejected == [(item, reason)]


def test_sentences_without_a_place_say_why() -> None:
    keys = ["a sentence here", "", "a sentence here"]
    assert [o.reason for o in outcomes_of(document(3), keys, {}, {}, True)] == [
        "not_found",
        "no_speech_characters",
        "not_found",
    ]
    assert [o.reason for o in outcomes_of(document(3), keys, {}, {}, False)] == [
        "no_recording",
        "no_speech_characters",
        "no_recording",
    ]


def test_unmatched_audio_says_why() -> None:
    recording = Recording("r", "r.wav", 16000, 160000, 1, [(16000, 144000)])
    found = unmatched_stretches(recording, [(2, 4)], [(5, 6)], True)
    assert [(s.start, s.end, s.reason) for s in found] == [
        (0, 1, "silence"), (1, 2, "untranscribed"), (4, 5, "untranscribed"), (5, 6, "rejected_sentence"),
        (6, 9, "untranscribed"), (9, 10, "silence"),
    ]  # fmt: skip
    alone = unmatched_stretches(recording, [], [], False)
    assert [s.reason for s in alone] == ["silence", "no_document", "silence"]


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0.01, 1))
def test_threshold_keeps_as_much_as_the_precision_allows(values: list[float], precision: float) -> None:
    probability = np.array(values)
    kept = probability[probability >= threshold_for(probability, precision)]
    assert not len(kept) or kept.mean() >= precision - 1e-12 or len(set(kept.tolist())) < len(kept)
    best = [k for k in range(1, len(values) + 1) if np.sort(probability)[::-1][:k].mean() >= precision]
    assert len(kept) >= (max(best) if best else 0)


@given(st.lists(st.tuples(st.integers(1, 14), st.floats(-12, 0)), max_size=12), st.sampled_from([5, 10]))
def test_worst_run_is_the_lowest_mean_of_all_that_are_just_long_enough(
    words: list[tuple[int, float]], least: int
) -> None:
    found = worst_run([WordTime("a" * length, 0.0, 1.0, score) for length, score in words], least)
    runs = []
    for begin in range(len(words)):
        for end in range(begin + 1, len(words) + 1):
            if sum(length for length, _ in words[begin:end]) >= least:
                runs.append(words[begin:end])
                break
    means = [
        sum(length * max(score, -10) for length, score in run) / sum(length for length, _ in run)
        for run in runs or ([words] if words else [])
    ]
    assert found == pytest.approx(min(means, default=-10.0))


def test_lone_pair_must_be_likely_by_itself_however_sure_the_others_are() -> None:
    matches = [match(i, 10.0 * i, 10 * i + 5, 0.999) for i in range(99)] + [match(99, 2000, 2005, 0.694)]
    characters = {item.sentence: 50 for item in matches}
    assert len(decide(matches, characters, SelectionConfig()).kept) == 99
    assert len(decide(matches, characters, SelectionConfig(min_precision=0.6)).kept) == 100


def test_more_asked_is_never_more_kept() -> None:
    rng = np.random.default_rng(0)
    matches = [match(i, 10.0 * i, 10 * i + 5, p) for i, p in enumerate(rng.beta(6, 1, 80))]
    characters = {item.sentence: 50 for item in matches}
    kept = [
        {item.sentence for item in decide(matches, characters, SelectionConfig(min_precision=asked)).kept}
        for asked in (0.7, 0.9, 0.95, 0.98, 0.99)
    ]
    assert all(more >= fewer for more, fewer in itertools.pairwise(kept))


def test_one_odd_place_of_a_small_recording_is_judged_by_what_is_usual_elsewhere() -> None:
    column = EMISSION_FEATURES.index("relative_similarity")
    alone = feature_rows([match(0, 0, 5, similarity=0.65, ctc_mean=-1.0)], [50], [0], True)
    assert alone[0, column] == pytest.approx(-0.2)
    poor = [match(i, 10 * i, 10 * i + 5, similarity=0.65, ctc_mean=-1.0) for i in range(40)]
    assert feature_rows(poor, [50] * 40, list(range(40)), True)[0, column] == pytest.approx(0.0)


def test_calibration_over_other_evidence_is_refused(tmp_path) -> None:
    found = msgspec.to_builtins(load_calibration())
    found["emissions"]["features"][0] = "loudness"
    (tmp_path / "old.json").write_bytes(msgspec.json.encode(found))
    with pytest.raises(UserError, match=r"old\.json: is a calibration over other evidence \(loudness, similarity\)"):
        load_calibration(tmp_path / "old.json")


def test_fitted_model_recovers_the_probabilities_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6000, 3))
    truth = 1 / (1 + np.exp(-(rows @ np.array([1.5, -2.0, 0.0]) + 0.5)))
    model = fit_logistic(rows, rng.random(6000) < truth, ["a", "b", "c"])
    assert np.abs(model.probability(rows) - truth).mean() < 0.02


def test_shipped_calibration_prefers_good_evidence() -> None:
    calibration = load_calibration()
    assert calibration.emissions.features == list(EMISSION_FEATURES)
    assert calibration.text.features == list(TEXT_FEATURES)
    good = [
        msgspec.structs.replace(
            match(i, 5.0 * i, 5 * i + 4.5, similarity=0.93, ctc_mean=-0.2, ctc_worst=-0.6),
            words=[WordTime("first", 5.0 * i, 5.0 * i + 0.4, -0.2), WordTime("last", 5.0 * i + 4, 5.0 * i + 4.4, -0.2)],
        )
        for i in range(5)
    ]
    bad = [
        match(
            7, 60, 61, similarity=0.34, edge_cer=0.9, margin=0.02, characters_per_second=50, ctc_mean=-2.5, ctc_worst=-4
        )
    ]
    found = probabilities([*good, *bad], [60] * 6, [0, 1, 2, 3, 4, 7], calibration)
    assert found[:5].min() > 0.9
    assert found[5] < 0.1
    assert feature_rows([], [], [], True).shape == (0, len(EMISSION_FEATURES))


def test_utterance_is_cut_at_whole_samples_of_its_own_rate() -> None:
    recording = Recording("r", "r.flac", 44100, 441000, 2, [])
    item = utterance_of(match(0, 1.23456, 9.999999), document(1).sentences[0], recording, "en")
    assert item.offset_samples == round(1.23456 * 44100)
    assert item.offset_samples + item.num_samples <= 441000
    assert item.source is not None
    assert document(1).text[item.source.begin : item.source.end] == item.text
