"""Claims about the training of invariant quantizers: perturbations that the head has learnt are undone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from speechkit.encoders.feature_statistics import feature_statistics
from speechkit.encoders.store import FeatureStore
from speechkit.errors import ConfigError, UserError
from speechkit.units.codebook import Codebook
from speechkit.units.invariant.batches import Batches
from speechkit.units.invariant.bigram import estimate_bigram
from speechkit.units.invariant.config import HeadConfig, InvariantConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.reclustering import Stopped, recluster
from speechkit.units.invariant.shared_head import SharedHead
from speechkit.units.invariant.training import train_invariant
from speechkit.units.smoothed import SmoothedCodebook, Smoothing
from speechkit.units.ued import count_edits, ued_score
from tests.units.planted import CLUSTERS, DIM, SMALL, planted, quantizer

QUICK = {"width": 16, "dropout": 0.0, "batch_frames": 400, "learning_rate": 5e-3}
PLAIN = {"switch_penalty": 0.0, "bigram_weight": 0.0}


@pytest.mark.slow
def test_a_trained_head_gives_perturbed_audio_the_units_of_clean_audio(tmp_path):
    teacher, store, versions = planted()
    _, unseen, _ = planted(20, seed=1)
    config = InvariantConfig(32, 0.0, (30,), batch_frames=300, learning_rate=5e-3, frame_weight=0.0, **PLAIN)
    result = train_invariant([teacher], versions, store.__getitem__, config, tmp_path)
    assert result.left_out == [0]
    assert (result.quantizers[0].spec.rounds, result.quantizers[0].spec.teacher) == (1, teacher.spec.digest)

    def distance(system, kind):
        clean = {str(n): system.units(unseen[str(n)]) for n in range(20)}
        return ued_score([count_edits(clean, {n: system.units(unseen[f"{n}+{kind}"]) for n in clean})]).ued

    assert distance(teacher, "bent") > 0.5
    assert distance(result.quantizers[0], "bent") < 0.25
    truth = {str(n): teacher.units(unseen[str(n)]) for n in range(20)}
    units = {name: result.quantizers[0].units(unseen[name]) for name in truth}
    assert ued_score([count_edits(truth, units)]).ued < 0.2


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    teacher, store, versions = planted(12)
    config = InvariantConfig(epochs=(3, 3), **QUICK)
    whole = train_invariant([teacher], versions, store.__getitem__, config, tmp_path / "a")
    calls = itertools.count()
    for _ in range(30):
        limit = next(calls)
        polls = itertools.count()
        result = train_invariant(
            [teacher],
            versions,
            store.__getitem__,
            config,
            tmp_path / "b",
            should_stop=lambda polls=polls: next(polls) >= 20,
        )
        if result is not None:
            break
    assert limit > 1
    assert result.quantizers[0].spec == whole.quantizers[0].spec


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": (3, 0)}, r"epochs.*one or 2 numbers of 1 or more"),
        ({"epochs": (3, 3, 3)}, r"epochs.*one or 2 numbers"),
        ({"epochs": ()}, "epochs"),
        ({"switch_penalty": -1}, "switch_penalty is -1"),
        ({"bigram_weight": -1}, "bigram_weight is -1"),
        ({"teacher_share": 1.5}, r"teacher_share.*1\.5.*must lie from 0 to 1"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_settings_that_make_no_training_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        InvariantConfig(**settings)


def test_shapes_that_make_no_head_are_refused():
    with pytest.raises(ConfigError, match=r"kernel.*4.*odd.*dropout"):
        HeadConfig(kernel=4, dropout=1.0)


def test_what_cannot_be_learnt_from_is_counted_or_refused(tmp_path):
    teacher, store, versions = planted(6)
    store["0+bent"] = store["0+bent"][:3]
    config = InvariantConfig(epochs=(1,), **QUICK)
    result = train_invariant([teacher], versions, store.__getitem__, config, tmp_path / "a")
    assert (result.left_out, result.versions) == ([1], 18)
    with pytest.raises(UserError, match=r"no item.*features.*perturbed audio"):
        train_invariant([teacher], {"0": ["0"]}, store.__getitem__, config, tmp_path / "b")
    nameless = SmoothedCodebook(Codebook(np.eye(DIM), None), Smoothing(), 1.0)
    with pytest.raises(UserError, match="which encoder"):
        train_invariant([nameless], versions, store.__getitem__, config, tmp_path / "c")
    short = {name: frames[:0] for name, frames in store.items()}
    with pytest.raises(UserError, match="have no frame"):
        train_invariant([teacher], versions, short.__getitem__, config, tmp_path / "d")


def test_a_pass_takes_one_version_of_every_item():
    _, store, versions = planted(20)
    config = InvariantConfig(batch_frames=300)
    listed = [[(name, len(store[name])) for name in names] for names in versions.values()]
    targets = [np.full(len(store[name]), index % CLUSTERS) for index, name in enumerate(versions)]
    batches = Batches(listed, [targets], store.__getitem__, config, 1, 0)
    seen = [batches(number) for number in range(batches.steps)]
    assert sum(len(batch["frames"]) for batch in seen) == 20
    assert sorted(torch.cat([batch["targets"][0] for batch in seen]).tolist()) == sorted(int(t[0]) for t in targets)
    for batch in seen:
        assert batch["features"].shape[:2] == (len(batch["frames"]), int(batch["frames"].max()))
        (aligned,), (wanted,) = batch["aligned"], batch["targets"]
        known = aligned >= 0
        assert known.sum(1).tolist() == batch["frames"].tolist()
        assert [aligned[row][known[row]].unique().tolist() for row in range(len(known))] == [
            [unit] for unit in wanted.tolist()
        ]


def test_the_second_round_learns_clusters_of_the_network_and_is_resumed_to_the_same_bytes(tmp_path):
    teacher, store, versions = planted(12)
    wide = SmoothedCodebook(teacher.codebook, Smoothing(switch_penalty=0.2), 1.0)
    config = InvariantConfig(epochs=(20, 10), teacher_share=0.25, **QUICK)
    asked = itertools.count()
    whole = train_invariant(
        [wide], versions, store.__getitem__, config, tmp_path / "a", should_stop=lambda: next(asked) < 0
    )
    kept = tmp_path / "a" / "round-2"
    hidden = FeatureStore(kept / "space")
    clean = [names[0] for names in versions.values()]
    assert hidden.ids() == clean
    assert hidden[clean[0]].shape == (len(store[clean[0]]), 16)
    reclustered = SmoothedCodebook.load(kept / "teachers" / f"k-{CLUSTERS}")
    assert reclustered.spec.smoothing == wide.spec.smoothing
    assert reclustered.centroids.shape == (CLUSTERS, 16 + DIM)
    (made,) = whole.quantizers
    assert (made.num_units, made.spec.rounds, made.spec.teacher) == (CLUSTERS, 2, wide.spec.digest)
    assert (made.spec.switch_penalty, made.spec.bigram_weight) == (config.switch_penalty, config.bigram_weight)
    units = {kind: {name: made.units(store[name + kind]) for name in versions} for kind in ("", "+slow")}
    assert len(np.unique(np.concatenate(list(units[""].values())))) > 2
    assert ued_score([count_edits(units[""], units["+slow"])]).ued < 0.3
    stops = iter([False] * (next(asked) - 30))  # within the second round
    stopped = train_invariant(
        [wide], versions, store.__getitem__, config, tmp_path / "b", should_stop=lambda: next(stops, True)
    )
    assert stopped is None
    again = train_invariant([wide], versions, store.__getitem__, config, tmp_path / "b")
    assert [each.spec for each in again.quantizers] == [each.spec for each in whole.quantizers]


def test_units_are_decoded_with_a_bigram_of_those_of_clean_speech(tmp_path):
    teacher, store, versions = planted(6)
    config = InvariantConfig(epochs=(6,), **QUICK)
    (made,) = train_invariant([teacher], versions, store.__getitem__, config, tmp_path / "a").quantizers
    without = made.with_penalty(config.switch_penalty, 0.0)
    expected = estimate_bigram([without.assign(store[name]) for name in versions], CLUSTERS)
    np.testing.assert_array_equal(made.bigram, expected)
    assert np.abs(expected).max() > 0.5
    plain = InvariantConfig(epochs=(1,), **QUICK, **PLAIN)
    (made,) = train_invariant([teacher], versions, store.__getitem__, plain, tmp_path / "b").quantizers
    assert made.bigram is None


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_clustered_space_has_its_share_of_the_encoders_variance(share, tmp_path):
    _, store, versions = planted(12)
    first = quantizer()

    def made():
        return recluster(
            [first], [Smoothing()], list(versions), store.__getitem__, tmp_path, 0, lambda line: None,
            encoder_features=store.__getitem__, share=share,
        )  # fmt: skip

    (codebook,), read = made()
    frames = np.concatenate([np.asarray(read(name), np.float64) for name in versions])
    assert codebook.spec.encoder.dim == frames.shape[1] == SMALL.width + (DIM if share else 0)
    if share:
        network, features = frames[:, : SMALL.width].var(0).sum(), frames[:, SMALL.width :].var(0).sum()
        assert (network, features) == (pytest.approx(1 - share, abs=0.01), pytest.approx(share, abs=0.01))
    else:
        np.testing.assert_allclose(read("3"), first.hidden(store["3"]), atol=1e-2)  # kept at half precision
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert made()[0][0].spec == codebook.spec
    assert kept == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}


def test_reclustering_resumes_where_it_was_stopped(tmp_path):
    _, store, versions = planted(12)
    asked = []

    def stop_at(count):
        asked.clear()
        return lambda: len(asked) >= count or asked.append(None)

    def made(folder, should_stop):
        return recluster(
            [quantizer()], [Smoothing()], list(versions), store.__getitem__, folder, 0, lambda line: None,
            encoder_features=store.__getitem__, share=0.0, should_stop=should_stop,
        )  # fmt: skip

    (whole,), _ = made(tmp_path / "whole", lambda: False)
    for items in (0, 5, 12):
        with pytest.raises(Stopped):
            made(tmp_path / "parts", stop_at(items))
    (parts,), _ = made(tmp_path / "parts", lambda: False)
    assert parts.spec == whole.spec
    assert hashes(tmp_path / "parts") == hashes(tmp_path / "whole")


def hashes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_classifiers_are_reset_and_split_over_one_network():
    head = InvariantHead(DIM, CLUSTERS, SMALL, np.zeros(DIM, np.float32), np.ones(DIM, np.float32))
    shared = SharedHead(head, [3]).eval()
    features, lengths = torch.randn(1, 9, DIM), torch.tensor([9])
    together = shared(features, lengths)
    assert [each.shape[-1] for each in together] == [CLUSTERS + 1, 4]
    for alone, scores in zip(shared.split(), together, strict=True):
        torch.testing.assert_close(alone.eval()(features, lengths), scores)
    (parameters,) = shared.parameter_groups()
    assert len(parameters) == len(list(shared.parameters()))
    hidden = head.hidden(features, lengths)
    shared.reset_classifiers()
    torch.testing.assert_close(head.hidden(features, lengths), hidden)
    assert all(not torch.equal(a, b) for a, b in zip(shared(features, lengths), together, strict=True))


def test_no_version_is_taken_twice_before_all_were():
    _, store, versions = planted(5)
    names = list(versions.values())
    listed = [[(name, len(store[name])) for name in each] for each in names]
    taken_names: list[str] = []

    def read(name):
        taken_names.append(name)
        return store[name]

    config = InvariantConfig(batch_frames=10_000)
    batches = Batches(listed, [[np.zeros(3, int)] * 5], read, config, 6, 0)
    assert batches.steps == 6  # one a pass
    passes = []
    for number in range(6):
        taken_names.clear()
        batches(number)
        passes.append(sorted(taken_names))
    for each in names:
        taken = [next(name for name in taken if name in each) for taken in passes]
        assert sorted(taken[:3]) == sorted(taken[3:]) == sorted(each)
    again = Batches(listed, [[np.zeros(3, int)] * 5], read, config, 6, 0)
    taken_names.clear()
    again(4)
    assert sorted(taken_names) == passes[4]  # whatever came before


def test_a_stretched_item_has_its_units_where_they_were():
    frames = np.zeros((9, DIM), np.float32)
    config = InvariantConfig(batch_frames=300, frame_weight=0.2)
    batches = Batches([[("slow", 9)]], [[np.array([4, 4, 2])]], {"slow": frames}.__getitem__, config, 4, 0)
    assert batches(0)["aligned"][0].tolist() == [[4] * 6 + [2] * 3]
    assert batches(0)["targets"][0].tolist() == [4, 2]
    assert [round(batches.frame_weight(number), 2) for number in range(4)] == [1, 0.6, 0.2, 0.2]


def test_statistics_are_those_of_all_frames():
    random = np.random.default_rng(0)
    store = {name: random.standard_normal((n, 3)) * [1, 2, 0] + 5 for name, n in (("a", 40), ("b", 7))}
    mean, deviation = feature_statistics(store.__getitem__, ["a", "b"])
    together = np.concatenate(list(store.values()))
    np.testing.assert_allclose(mean, together.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, [*together.std(0)[:2], 1], rtol=1e-5)
