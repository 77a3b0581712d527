"""Claims about the space of concepts, documents, baselines and scores, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.lm.concepts.baselines import Ridge, context_mean, copy_last
from speechkit.lm.concepts.documents import DocumentBatches, SegmentVector, documents
from speechkit.lm.concepts.retrieval import TestDocument, chance, draw_targets, gain, score_targets, summarize
from speechkit.lm.concepts.space import ConceptSpace, robust_scale, speaker_means, speaker_share

ENCODER = EncoderSpec("planted", "0", "1", "none", 2, 16_000, 320)


def speech(random, speakers=8, each=30, width=10, between=5.0, directions=2):
    """Vectors of speakers whose means differ in a few directions alone, and are otherwise alike."""
    axes = np.linalg.qr(random.normal(size=(width, directions)))[0].T
    names = np.repeat([f"s{n}" for n in range(speakers)], each)
    offsets = random.normal(0, between, (speakers, directions)) @ axes
    vectors = 3 + random.normal(size=(speakers * each, width)) + np.repeat(offsets, each, 0)
    return vectors.astype(np.float32), names.tolist(), axes


def test_normalised_and_denormalised_vectors_are_the_same():
    random = np.random.default_rng(0)
    space = ConceptSpace(6, 0).double()
    vectors = random.standard_t(3, (500, 6)) * random.uniform(0.1, 30, 6) + random.normal(0, 9, 6)
    space.fit(vectors, ["a"] * 250 + ["b"] * 250)
    rows = torch.from_numpy(vectors)
    assert torch.allclose(space.invert(space(rows)), rows, rtol=1e-6, atol=1e-6)


def test_heavy_tails_are_scaled_by_their_quartiles_and_not_by_their_extremes():
    random = np.random.default_rng(1)
    tails = random.standard_t(3, (200_000, 1))
    assert float(robust_scale(tails)[1][0]) == pytest.approx(1.134, abs=0.02)
    assert float(robust_scale(random.normal(2, 3, (200_000, 1)))[1][0]) == pytest.approx(3, abs=0.05)
    assert robust_scale(np.ones((5, 2)))[1].tolist() == [1, 1]


def test_the_median_and_quartiles_of_training_become_0_and_those_of_a_normal_law():
    random = np.random.default_rng(2)
    vectors, names, _ = speech(random)
    space = ConceptSpace(10, 2)
    space.fit(vectors, names)
    concepts = space(torch.from_numpy(vectors)).numpy()
    assert np.median(concepts, 0) == pytest.approx(np.zeros(10), abs=1e-4)
    quartiles = np.percentile(concepts, [25, 75], axis=0)
    assert quartiles[1] - quartiles[0] == pytest.approx(np.full(10, 1.349), abs=1e-3)


def test_what_training_speakers_differ_by_is_gone_from_speakers_never_heard():
    random = np.random.default_rng(3)
    vectors, names, axes = speech(random, speakers=12)
    space = ConceptSpace(10, 2)
    space.fit(vectors, names)
    assert abs(np.linalg.det(space.directions.numpy() @ axes.T)) > 0.99
    others = (random.normal(0, 5, (6, 2)) @ axes).repeat(20, 0) + random.normal(size=(120, 10))
    speakers = np.repeat(list("uvwxyz"), 20).tolist()
    after = space(torch.from_numpy(others.astype(np.float32))).numpy()
    assert speaker_share(others, speakers) > 0.7
    assert speaker_share(after.astype(np.float64), speakers) < 0.15
    unfitted = ConceptSpace(10, 0)
    unfitted.fit(vectors, names)
    kept = unfitted(torch.from_numpy(others.astype(np.float32))).numpy()
    assert speaker_share(kept.astype(np.float64), speakers) > 0.5


def test_the_mean_that_is_taken_away_weighs_training_speakers_alike():
    vectors = np.array([[1.0, 0], [1, 0], [1, 0], [5, 2]], np.float32)
    space = ConceptSpace(2, 0)
    space.fit(vectors, ["a", "a", "a", "b"])
    assert space.mean.tolist() == [3, 1]


def test_too_few_speakers_and_broken_vectors_are_refused():
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    with pytest.raises(UserError, match="set speaker_directions to 2 or less"):
        ConceptSpace(4, 3).fit(vectors, list("aabbcc"))
    with pytest.raises(ConfigError, match="give fewer"):
        ConceptSpace(4, 4).fit(vectors, list("abcdef"))
    vectors[2, 1] = np.nan
    with pytest.raises(UserError, match="training vector 2"):
        ConceptSpace(4, 0).fit(vectors, list("abcdef"))


def test_share_between_speakers_is_that_of_the_sums_of_squares():
    random = np.random.default_rng(4)
    vectors, names = random.normal(size=(30, 3)), random.choice(list("abc"), 30).tolist()
    means, counts = speaker_means(vectors, names)
    within = sum(
        ((vectors[np.array(names) == name] - means[place]) ** 2).sum()
        for place, name in enumerate(dict.fromkeys(names))
    )
    total = ((vectors - vectors.mean(0)) ** 2).sum()
    assert counts.sum() == 30
    assert speaker_share(vectors, names) == pytest.approx(1 - within / total)
    assert speaker_share(np.ones((4, 2)), list("aabb")) == 0


def row(recording, start, speaker="s"):
    return SegmentVector(
        id=f"train/{recording}-{start}", recording=recording, part="train", speaker=speaker, start=start, seconds=1.0,
        frames=50, encoder=ENCODER,
    )  # fmt: skip


def test_recordings_of_a_chapter_are_one_document_in_the_order_of_their_ids():
    rows = [("7-1-0001", 0.5), ("7-2-0000", 0.0), ("7-1-0000", 3.0), ("7-1-0000", 0.1), ("8-1-0000", 0.0)]
    given_ = [(row(name, start, name[0]), np.array([n, 0], np.float32)) for n, (name, start) in enumerate(rows)]
    made = documents(given_, r"\d+-\d+-")
    assert [(each.name, each.speaker, each.vectors[:, 0].tolist()) for each in made] == [
        ("7-1-", "7", [3, 2, 0]),
        ("7-2-", "7", [1]),
        ("8-1-", "8", [4]),
    ]
    assert len(documents(given_)) == 4
    with pytest.raises(UserError, match="7-1-0001: its id does not begin"):
        documents(given_, "x")
    with pytest.raises(ConfigError, match="not a valid regular expression"):
        documents(given_, "(")


@settings(max_examples=20)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(2, 9), st.integers(1, 4), st.integers(0, 50))
def test_an_epoch_holds_each_place_that_can_teach_once_and_batches_follow_their_number(lengths, context, rows, seed):
    concepts = [np.arange(100 * n, 100 * n + length)[:, None].astype(np.float32) for n, length in enumerate(lengths)]
    if max(lengths) == 1:
        with pytest.raises(UserError, match="no training document has two segments"):
            DocumentBatches(concepts, context, rows, seed)
        return
    batches, again = DocumentBatches(concepts, context, rows, seed), DocumentBatches(concepts, context, rows, seed)
    for epoch in range(2):
        first = sum(batches.batches(number) for number in range(epoch))
        seen = []
        for number in range(first, first + batches.batches(epoch)):
            padded, sizes = batches[number]
            assert padded.shape[0] <= rows
            assert padded.shape[1] == sizes.max() <= context
            for values, size in zip(padded[:, :, 0], sizes, strict=True):
                assert np.array_equal(np.diff(values[:size]), np.ones(size - 1))
                assert not values[size:].any()
                seen += values[:size].tolist()
        assert len(set(seen)) == len(seen)
        # What is left out: single concepts, and the lone last or first place of a cut.
        assert set(seen) <= {float(value) for each in concepts for value in each[:, 0]}
        assert len(seen) >= sum(length for length in lengths if length > 1) - 2 * len(lengths)
    last = first + batches.batches(1) - 1
    assert np.array_equal(batches[last][0], again[last][0])
    assert np.array_equal(batches[0][0], again[0][0])


def test_baselines_are_what_their_names_say():
    concepts = np.array([[1.0, 2], [3, 4], [8, 0]], np.float32)
    assert copy_last(concepts).tolist() == [[0, 0], [1, 2], [3, 4]]
    assert context_mean(concepts).tolist() == [[0, 0], [1, 2], [2, 3]]


def test_ridge_finds_a_linear_law_and_the_penalty_that_held_out_documents_like():
    random = np.random.default_rng(5)
    turn = np.array([[0.0, 0.9], [-0.9, 0.0]])

    def document(length):
        rows = [random.normal(size=2)]
        for _ in range(length - 1):
            rows.append(rows[-1] @ turn + 0.5 + random.normal(0, 0.05, 2))
        return np.array(rows, np.float32)

    ridge = Ridge([document(20) for _ in range(20)], [document(20) for _ in range(5)])
    fresh = document(40)
    error = np.abs(ridge(fresh)[1:] - fresh[1:]).mean()
    assert error < 0.06
    assert error < 0.5 * np.abs(copy_last(fresh)[1:] - fresh[1:]).mean()
    noise = [random.normal(size=(20, 2)).astype(np.float32) for _ in range(10)]
    assert Ridge(noise[:5], noise[5:]).penalty > ridge.penalty
    with pytest.raises(UserError, match="for ridge regression"):
        Ridge([np.ones((1, 2), np.float32)])


def spoken(random, lengths=((5, 4), (6, 3)), width=4):
    return [
        TestDocument(f"d{n}", f"s{speaker}", random.normal(size=(length, width)).astype(np.float32))
        for speaker, sizes in enumerate(lengths)
        for n, length in enumerate(sizes)
    ]


def test_negatives_are_of_the_same_speaker_and_neither_the_target_nor_its_neighbours():
    found = spoken(np.random.default_rng(6))
    owners = [(number, place) for number, each in enumerate(found) for place in range(len(each.concepts))]
    targets = draw_targets(found, 100, 0)
    assert len(targets) == sum(len(each.concepts) - 1 for each in found)
    for target in targets:
        wanted = {
            owner
            for owner in owners
            if found[owner[0]].speaker == found[target.document].speaker
            and not (owner[0] == target.document and abs(owner[1] - target.position) <= 1)
        }
        assert {owners[number] for number in target.negatives} == wanted
        assert {owners[number] for number in target.of_document} == {
            owner for owner in wanted if owner[0] == target.document
        }
    few = draw_targets(found, 2, 0)
    assert all(len(set(target.negatives)) == 2 for target in few)
    assert [each.negatives.tolist() for each in few] == [each.negatives.tolist() for each in draw_targets(found, 2, 0)]


def test_an_oracle_is_always_right_and_noise_is_right_by_chance():
    random = np.random.default_rng(7)
    found = spoken(random, ((30, 30), (30, 30), (30, 30)))
    targets = draw_targets(found, 20, 0)
    oracle = summarize("oracle", score_targets(found, targets, lambda rows, name: rows))
    assert (oracle.contrastive_accuracy, oracle.direction_accuracy, oracle.document_accuracy) == (1, 1, 1)
    assert (oracle.first, oracle.reciprocal_rank, oracle.distance) == (1, 1, 0)
    assert oracle.copying == pytest.approx(1)
    lot = score_targets(found, targets, lambda rows, name: random.normal(size=rows.shape).astype(np.float32))
    drawn, expected = summarize("lot", lot), chance(targets)
    assert drawn.contrastive_accuracy == pytest.approx(0.5, abs=0.06)
    assert drawn.direction_accuracy == pytest.approx(0.5, abs=0.06)
    assert drawn.document_accuracy == pytest.approx(0.5, abs=0.06)
    assert drawn.first == pytest.approx(expected.first, abs=0.05)
    assert drawn.reciprocal_rank == pytest.approx(expected.reciprocal_rank, abs=0.05)
    assert expected.first == pytest.approx(1 / 21)
    assert expected.reciprocal_rank == pytest.approx(sum(1 / rank for rank in range(1, 22)) / 21)
    share, interval = gain(score_targets(found, targets, lambda rows, name: rows), lot)
    assert share == pytest.approx(1 - drawn.direction_accuracy)
    assert interval.low > 0.3


def test_scores_are_those_of_a_slow_count_by_hand():
    concepts = np.array([[1.0, 0], [0, 2], [2, 2], [0, -1], [3, 0]], np.float32)
    found = [TestDocument("d", "s", concepts)]
    targets = draw_targets(found, 10, 0)
    scores = score_targets(found, targets, lambda rows, name: copy_last(rows))
    # Target 2 from (0, 2): itself is 2 away; its possible negatives 0 and 4 are 5 ** .5 and 13 ** .5 away.
    place = [target.position for target in targets].index(2)
    assert scores.farther[place] == 1
    assert scores.distance[place] == 2
    assert scores.context_cosine[place] == 1
    assert scores.true_context_cosine[place] == pytest.approx(0.5**0.5)
    # Target 4 from (0, -1): 10 ** .5 away; 0, 1 and 2 are 2 ** .5, 3 and 13 ** .5 away: one of three is farther.
    place = [target.position for target in targets].index(4)
    assert scores.farther[place] == pytest.approx(1 / 3)
    # By cosine it is 0, as 0 is; 1 is -1 and 2 is -.5 ** .5: two are less and one is equal.
    assert scores.aligned[place] == pytest.approx(2.5 / 3)
    assert scores.reciprocal_rank[place] == pytest.approx(1 / 1.5)
    assert scores.first[place] == 0


def test_ties_count_half():
    found = [TestDocument("d", "s", np.ones((6, 2), np.float32))]
    made = summarize("", score_targets(found, draw_targets(found, 10, 0), lambda rows, name: rows))
    assert made.contrastive_accuracy == made.direction_accuracy == made.document_accuracy == 0.5
    assert made.first == 0


def test_a_short_guess_in_the_right_direction_is_found_by_cosine_and_not_by_distance():
    random = np.random.default_rng(9)
    found = spoken(random, ((40,), (40,)), width=8)
    found = [TestDocument(e.name, e.speaker, e.concepts * random.uniform(0.5, 3, (len(e.concepts), 1))) for e in found]
    made = summarize("", score_targets(found, draw_targets(found, 30, 0), lambda rows, name: 0.01 * rows))
    assert made.direction_accuracy == 1
    assert made.first == 1
    assert made.contrastive_accuracy < 0.7


def test_intervals_are_wider_where_speakers_differ():
    random = np.random.default_rng(8)
    found = spoken(random, ((20,), (20,), (20,), (20,)))
    half = {"s0", "s1"}
    scores = score_targets(found, draw_targets(found, 10, 0), lambda rows, name: rows)
    values = [float(name in half) for name in scores.speakers]
    mixed = summarize(
        "", type(scores)(**{**{f: getattr(scores, f) for f in scores.__struct_fields__}, "farther": values})
    )
    assert mixed.contrastive_interval.low < 0.2
    assert mixed.contrastive_interval.units == 4


def test_nothing_to_tell_apart_is_said():
    with pytest.raises(UserError, match="no test segment has another"):
        draw_targets([TestDocument("d", "s", np.ones((2, 2), np.float32))], 5, 0)
