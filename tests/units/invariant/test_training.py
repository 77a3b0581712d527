"""Claims about the training of invariant quantizers: changes that the head has learnt are undone."""

from __future__ import annotations

import itertools
import json

import msgspec
import numpy as np
import pytest
import torch

from speechkit.encoders.feature_statistics import feature_statistics
from speechkit.encoders.store import FeatureStore
from speechkit.errors import ConfigError, UserError
from speechkit.units.codebook import Codebook
from speechkit.units.invariant.batches import Batches
from speechkit.units.invariant.bigram import estimate_bigram
from speechkit.units.invariant.config import InvariantConfig
from speechkit.units.invariant.head import HeadConfig
from speechkit.units.invariant.reclustering import Stopped, recluster
from speechkit.units.invariant.training import train_invariant
from speechkit.units.smoothed import SmoothedCodebook, Smoothing
from speechkit.units.ued import count_edits, ued_score
from tests.units.planted import CLUSTERS, DIM, ENCODER, SMALL, planted, quantizer


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "convolution"])
def test_a_trained_head_says_the_clean_units_of_changed_audio(kind, tmp_path):
    codebook, store, versions = planted()
    _, unseen, _ = planted(20, seed=1)
    head = msgspec.structs.replace(SMALL, kind=kind, width=32)
    config = InvariantConfig(head, epochs=(20, 20), batch_frames=300, learning_rate=5e-3)
    result = train_invariant([codebook], versions, store.__getitem__, config, tmp_path)
    assert result.left_out == [0, 0]
    assert result.quantizers[0].spec.rounds == 2
    assert result.quantizers[0].spec.teacher == codebook.spec.digest

    def distance(system, kind):
        clean = {str(n): system.units(unseen[str(n)]) for n in range(20)}
        return ued_score([count_edits(clean, {n: system.units(unseen[f"{n}+{kind}"]) for n in clean})]).ued

    assert distance(codebook, "bent") > 0.5
    assert distance(result.quantizers[0], "bent") < 0.25
    truth = {str(n): codebook.units(unseen[str(n)]) for n in range(20)}
    said = {name: result.quantizers[0].units(unseen[name]) for name in truth}
    assert ued_score([count_edits(truth, said)]).ued < 0.2


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    codebook, store, versions = planted(12)
    config = InvariantConfig(SMALL, epochs=(3, 3), batch_frames=200)
    whole = train_invariant([codebook], versions, store.__getitem__, config, tmp_path / "a")
    calls = itertools.count()
    for _ in range(30):
        limit = next(calls)
        polls = itertools.count()
        result = train_invariant(
            [codebook],
            versions,
            store.__getitem__,
            config,
            tmp_path / "b",
            should_stop=lambda polls=polls: next(polls) >= 4,
        )
        if result is not None:
            break
    assert limit > 1
    assert result.quantizers[0].spec == whole.quantizers[0].spec


def test_settings_that_make_no_head_or_training_are_refused():
    with pytest.raises(ConfigError, match=r"kernel.*4.*33.*not divide"):
        HeadConfig(kernel=4, width=33)
    with pytest.raises(ConfigError, match=r"1.*more.*each round"):
        InvariantConfig(epochs=(3, 0))
    with pytest.raises(ConfigError, match="price is -1"):
        InvariantConfig(price=-1)


def test_what_cannot_be_learnt_from_is_counted_or_refused(tmp_path):
    codebook, store, versions = planted(6)
    store["0+bent"] = store["0+bent"][:3]
    config = InvariantConfig(SMALL, epochs=(1,), batch_frames=200)
    result = train_invariant([codebook], versions, store.__getitem__, config, tmp_path / "a")
    assert (result.left_out, result.versions) == ([1], 18)
    often = {item: [*names, *names[1:]] for item, names in versions.items()}
    repeated = train_invariant([codebook], often, store.__getitem__, config, tmp_path / "often")
    assert (repeated.left_out, repeated.versions) == ([1], 18)
    with pytest.raises(UserError, match=r"no item.*features.*changed audio"):
        train_invariant([codebook], {"0": ["0"]}, store.__getitem__, config, tmp_path / "b")
    with pytest.raises(UserError, match="which encoder"):
        train_invariant([Codebook(np.eye(DIM), None)], versions, store.__getitem__, config, tmp_path / "c")
    short = {name: frames[:0] for name, frames in store.items()}
    with pytest.raises(UserError, match="have no frame"):
        train_invariant([codebook], versions, short.__getitem__, config, tmp_path / "d")


def test_a_pass_takes_one_version_of_every_item():
    _, store, versions = planted(20)
    config = InvariantConfig(SMALL, batch_frames=300, time_masks=1)
    listed = [[(name, len(store[name])) for name in names] for names in versions.values()]
    targets = [np.full(len(store[name]), place % CLUSTERS) for place, name in enumerate(versions)]
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


def test_a_second_round_may_learn_clusters_of_the_network_s_space_and_is_resumed_to_the_same_bytes(tmp_path):
    codebook, store, versions = planted(12)
    config = InvariantConfig(SMALL, epochs=(20, 10), next_round="clusters", batch_frames=400, learning_rate=5e-3)
    teachers = [SmoothedCodebook(codebook, Smoothing(price=price), 1.0) for price in (0.0, 0.2)]
    asked = itertools.count()
    whole = train_invariant(
        teachers, versions, store.__getitem__, config, tmp_path / "a", should_stop=lambda: next(asked) < 0
    )
    kept = tmp_path / "a" / "round-2"
    hidden = FeatureStore(kept / "space")
    clean = [names[0] for names in versions.values()]
    assert hidden.ids() == clean
    assert hidden[clean[0]].shape == (len(store[clean[0]]), SMALL.width)
    assert [each.name for each in (kept / "teachers").iterdir()] == [f"k-{CLUSTERS}-frames-1"]  # one for both prices
    for made in whole.quantizers:
        assert (made.num_units, made.spec.rounds) == (CLUSTERS, 2)
        said = {kind: {name: made.units(store[name + kind]) for name in versions} for kind in ("", "+slow")}
        assert len(np.unique(np.concatenate(list(said[""].values())))) > 2
        assert ued_score([count_edits(said[""], said["+slow"])]).ued < 0.3
    stops = iter([False] * (next(asked) - 10))  # within the second round
    stopped = train_invariant(
        teachers, versions, store.__getitem__, config, tmp_path / "b", should_stop=lambda: next(stops, True)
    )
    assert stopped is None
    again = train_invariant(teachers, versions, store.__getitem__, config, tmp_path / "b")
    assert [each.spec for each in again.quantizers] == [each.spec for each in whole.quantizers]


def test_training_may_go_on_from_quantizers_and_cluster_their_space_with_the_teachers_features(tmp_path):
    codebook, store, versions = planted(12)
    first = InvariantConfig(SMALL, epochs=(20,), batch_frames=400, learning_rate=5e-3)
    start = train_invariant([codebook], versions, store.__getitem__, first, tmp_path / "a").quantizers
    before = start[0].arrays()
    still = msgspec.structs.replace(first, epochs=(1,), learning_rate=1e-9, next_round="clusters", recluster_share=0.25)
    result = train_invariant([codebook], versions, store.__getitem__, still, tmp_path / "b", start=start)
    (made,) = result.quantizers
    assert (made.spec.rounds, made.spec.teacher) == (2, codebook.spec.digest)
    np.testing.assert_allclose(made.hidden(store["3+bent"]), start[0].hidden(store["3+bent"]), atol=1e-4)
    assert not np.array_equal(made.arrays()["leave.weight"], before["leave.weight"])  # its units are new
    for name, array in start[0].arrays().items():
        np.testing.assert_array_equal(array, before[name])
    assert [each.name for each in (tmp_path / "b" / "round-1" / "teachers").iterdir()] == [
        f"k-{CLUSTERS}-frames-1-share-0.25"
    ]
    third = msgspec.structs.replace(first, epochs=(20,))  # without new clusters its units teach
    result = train_invariant([codebook], versions, store.__getitem__, third, tmp_path / "c", start=start)
    said = {name: start[0].units(store[name]) for name in versions}
    assert result.quantizers[0].spec.rounds == 2
    assert ued_score([count_edits(said, {name: result.quantizers[0].units(store[name]) for name in said})]).ued < 0.5


def test_training_may_go_on_with_the_network_and_the_units_it_gives(tmp_path):
    codebook, store, versions = planted(12)
    first = InvariantConfig(SMALL, epochs=(4,), batch_frames=400, learning_rate=5e-3)
    start = train_invariant([codebook], versions, store.__getitem__, first, tmp_path / "a").quantizers

    def gone_on(folder, **settings):
        config = msgspec.structs.replace(first, next_round="same", **settings)
        found = train_invariant([codebook], versions, store.__getitem__, config, tmp_path / folder, start=start)
        return found.quantizers[0]

    still = gone_on("b", epochs=(1,), learning_rate=1e-9)
    np.testing.assert_allclose(still.scores(store["3+bent"]), start[0].scores(store["3+bent"]), atol=1e-4)
    assert (still.spec.rounds, still.spec.teacher) == (2, codebook.spec.digest)
    better = gone_on("c", epochs=(20,))

    def distance(quantizer):
        said, changed = ({name: quantizer.units(store[name + kind]) for name in versions} for kind in ("", "+slow"))
        return ued_score([count_edits(said, changed)]).ued

    assert distance(better) < distance(start[0])


def test_new_units_may_be_learned_on_a_network_that_stays(tmp_path):
    codebook, store, versions = planted(12)
    shape = msgspec.structs.replace(SMALL, dropout=0.3)
    first = InvariantConfig(shape, epochs=(20,), batch_frames=400, learning_rate=5e-3)
    start = train_invariant([codebook], versions, store.__getitem__, first, tmp_path / "a").quantizers * 2
    clusters = {"next_round": "clusters", "recluster_share": (0.25, 0.5)}
    config = msgspec.structs.replace(
        first, epochs=(60,), learning_rate=3e-2, learns="units", frame_weight=1.0, **clusters
    )
    made = train_invariant([codebook] * 2, versions, store.__getitem__, config, tmp_path / "b", start=start).quantizers
    assert {each.network for each in made} == {start[0].network}  # dropout or not
    values = [json.loads(line) for line in (tmp_path / "b/round-1/metrics.jsonl").read_text().splitlines()]
    assert all("ctc" not in each for each in values)
    for each, share in zip(made, ("0.25", "0.5"), strict=True):
        codebooks = tmp_path / "b" / "round-1" / "teachers" / f"k-{CLUSTERS}-frames-1-share-{share}"
        book = SmoothedCodebook.load(codebooks).codebook
        parts = [[each.hidden(store[name]) for name in versions], [store[name] for name in versions]]
        scales = [
            np.sqrt(part_share / np.concatenate(part).var(0).sum())
            for part, part_share in zip(parts, (1 - float(share), float(share)), strict=True)
        ]
        taught = [book.assign(np.concatenate([h * scales[0], x * scales[1]], 1)) for h, x in zip(*parts, strict=True)]
        right = [each.assign(store[f"{name}+bent"]) == units for name, units in zip(versions, taught, strict=True)]
        assert np.mean(np.concatenate(right)) > 0.8
    again = train_invariant(
        [codebook], versions, store.__getitem__, msgspec.structs.replace(first, epochs=(1,), next_round="same"),
        tmp_path / "c", start=made[:1],
    )  # fmt: skip
    assert again.quantizers[0].network != made[0].network  # all of it learns again
    with pytest.raises(UserError, match=r"units alone.*learned.*network.*trained before"):
        train_invariant([codebook] * 2, versions, store.__getitem__, config, tmp_path / "d")
    with pytest.raises(ConfigError, match=r"next_round fresh.*no network.*learn"):
        InvariantConfig(learns="units")


def test_each_quantizer_may_have_its_own_price(tmp_path):
    codebook, store, versions = planted(4)
    config = InvariantConfig(SMALL, epochs=(1,), batch_frames=400, price=(0.5, 0.25))
    result = train_invariant([codebook, codebook], versions, store.__getitem__, config, tmp_path)
    assert [made.spec.price for made in result.quantizers] == [0.5, 0.25]
    with pytest.raises(UserError, match=r"price.*2 numbers.*1 teachers"):
        train_invariant([codebook], versions, store.__getitem__, config, tmp_path)
    with pytest.raises(ConfigError, match="price is -1"):
        InvariantConfig(price=(0.5, -1))


def test_units_are_read_with_a_bigram_of_those_of_clean_speech(tmp_path):
    codebook, store, versions = planted(6)
    config = InvariantConfig(SMALL, epochs=(6,), batch_frames=400, learning_rate=5e-3, bigram_weight=(0.2, 0))
    both = train_invariant([codebook, codebook], versions, store.__getitem__, config, tmp_path).quantizers
    assert [made.spec.bigram_weight for made in both] == [0.2, 0]
    assert both[1].bigram is None
    free = both[0].at_price(0.0, 0.0)
    expected = estimate_bigram([free.assign(store[name]) for name in versions], CLUSTERS)
    np.testing.assert_array_equal(both[0].bigram, expected)
    assert np.abs(expected).max() > 0.5


def test_without_rounds_what_is_there_is_read_anew(tmp_path):
    codebook, store, versions = planted(4)
    start = [quantizer()]
    config = InvariantConfig(SMALL, epochs=(), price=0.3, bigram_weight=0.2)
    (read,) = train_invariant([codebook], versions, store.__getitem__, config, tmp_path, start=start).quantizers
    assert (read.network, read.spec.rounds, read.spec.teacher) == (start[0].network, 1, "t")
    assert (read.spec.price, read.spec.bigram_weight) == (0.3, 0.2)
    priced = start[0].at_price(0.3)
    np.testing.assert_array_equal(
        read.bigram, estimate_bigram([priced.assign(store[name]) for name in versions], CLUSTERS)
    )
    with pytest.raises(UserError, match=r"no rounds.*training.*nothing.*start"):
        train_invariant([codebook], versions, store.__getitem__, config, tmp_path)
    wrong = msgspec.structs.replace(config, bigram_weight=(0.1, 0.2))
    with pytest.raises(UserError, match=r"bigram_weight.*2 numbers.*1 teachers"):
        train_invariant([codebook], versions, store.__getitem__, wrong, tmp_path, start=start)
    with pytest.raises(ConfigError, match="bigram_weight is -1"):
        InvariantConfig(bigram_weight=-1)


def test_each_codebook_may_have_its_own_share_of_the_features_beside_the_network(tmp_path):
    _, store, versions = planted(12)
    first, shares = quantizer(), (0.25, 0.0, 0.25)

    def made():
        return recluster(
            [first] * 3, [Smoothing()] * 3, list(versions), store.__getitem__, tmp_path, 0, lambda line: None,
            beside=store.__getitem__, shares=shares,
        )  # fmt: skip

    answers = made()
    for (codebook, read), share in zip(answers, shares, strict=True):
        frames = np.concatenate([np.asarray(read(name), np.float64) for name in versions])
        assert codebook.spec.encoder.dim == frames.shape[1] == SMALL.width + (DIM if share else 0)
        if share:
            network, features = frames[:, : SMALL.width].var(0).sum(), frames[:, SMALL.width :].var(0).sum()
            assert (network, features) == (pytest.approx(1 - share, abs=0.01), pytest.approx(share, abs=0.01))
        else:
            np.testing.assert_allclose(read("3"), first.hidden(store["3"]), atol=1e-2)  # kept at half precision
    assert answers[0][0].spec == answers[2][0].spec != answers[1][0].spec
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert [codebook.spec for codebook, _ in made()] == [codebook.spec for codebook, _ in answers]
    assert kept == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}


def test_clusters_may_be_sought_from_several_seeds(tmp_path):
    _, store, versions = planted(12)
    answers = recluster(
        [quantizer()] * 3, [Smoothing()] * 3, list(versions), store.__getitem__, tmp_path / "a", 4, lambda line: None,
        further_seeds=(0, 7, 0),
    )  # fmt: skip
    (plain, _), (other, _), (again, _) = answers
    assert plain.spec == again.spec != other.spec
    (alone, _), *_ = recluster(
        [quantizer()], [Smoothing()], list(versions), store.__getitem__, tmp_path / "b", 11, lambda line: None
    )
    np.testing.assert_array_equal(alone.codebook.centroids, other.codebook.centroids)  # the seeds are added up
    with pytest.raises(ConfigError, match=r"recluster_seed.*-1.*must.*0.*more"):
        InvariantConfig(recluster_seed=-1)


def test_clusters_are_sought_on_where_the_search_was_stopped(tmp_path):
    _, store, versions = planted(12)
    asked = []

    def stop_at(count):
        asked.clear()
        return lambda: len(asked) >= count or asked.append(None)

    def made(folder, should_stop):
        return recluster(
            [quantizer()], [Smoothing()], list(versions), store.__getitem__, folder, 0, lambda line: None,
            should_stop=should_stop,
        )  # fmt: skip

    whole = made(tmp_path / "whole", lambda: False)
    for items in (0, 5, 12):
        with pytest.raises(Stopped):
            made(tmp_path / "parts", stop_at(items))
    assert [codebook.spec for codebook, _ in made(tmp_path / "parts", lambda: False)] == [c.spec for c, _ in whole]
    assert hashes(tmp_path / "parts") == hashes(tmp_path / "whole")


def hashes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_reading_that_is_stopped_gives_nothing(tmp_path):
    codebook, store, versions = planted(4)
    config = InvariantConfig(SMALL, epochs=(), bigram_weight=0.2)
    stops = iter([False, False, True])
    given = ([codebook], versions, store.__getitem__, config, tmp_path)
    assert train_invariant(*given, start=[quantizer()], should_stop=lambda: next(stops)) is None
    assert train_invariant(*given, start=[quantizer()]) is not None


def test_shares_that_are_not_one_for_each_teacher_are_refused(tmp_path):
    codebook, store, versions = planted(4)
    config = InvariantConfig(SMALL, next_round="clusters", recluster_share=(0.1, 0.2))
    with pytest.raises(UserError, match=r"2 numbers.*1 teachers"):
        train_invariant([codebook], versions, store.__getitem__, config, tmp_path)
    with pytest.raises(ConfigError, match=r"recluster_share.*1\.5.*must lie.*0 to 1"):
        InvariantConfig(SMALL, recluster_share=(0.1, 1.5))


def test_what_training_cannot_go_on_from_is_refused(tmp_path):
    codebook, store, versions = planted(4)

    def refused(message, start, teachers=(codebook,)):
        with pytest.raises(UserError, match=message):
            train_invariant(teachers, versions, store.__getitem__, InvariantConfig(SMALL), tmp_path / "x", start=start)

    refused(r"have \[5, 5\] units, the teachers \[5\]", [quantizer(), quantizer()])
    refused("were not trained together", [quantizer(), quantizer(seed=1)], (codebook, codebook))
    refused("kind='convolution'.* is asked for", [quantizer("mlp")])
    other = Codebook(codebook.centroids, msgspec.structs.replace(ENCODER, layer="4"))
    with pytest.raises(UserError, match="what training starts from"):
        train_invariant(
            [other], versions, store.__getitem__, InvariantConfig(SMALL), tmp_path / "x", start=[quantizer()]
        )


def test_no_version_is_taken_twice_before_all_were():
    _, store, versions = planted(5)
    names = list(versions.values())
    listed = [[(name, len(store[name])) for name in each] for each in names]
    heard: list[str] = []

    def read(name):
        heard.append(name)
        return store[name]

    config = InvariantConfig(SMALL, batch_frames=10_000)
    batches = Batches(listed, [[np.zeros(3, int)] * 5], read, config, 6, 0)
    assert batches.steps == 6  # one a pass
    passes = []
    for number in range(6):
        heard.clear()
        batches(number)
        passes.append(sorted(heard))
    for each in names:
        taken = [next(name for name in taken if name in each) for taken in passes]
        assert sorted(taken[:3]) == sorted(taken[3:]) == sorted(each)
    again = Batches(listed, [[np.zeros(3, int)] * 5], read, config, 6, 0)
    heard.clear()
    again(4)
    assert sorted(heard) == passes[4]  # whatever came before


def test_a_stretched_item_has_its_units_where_they_were():
    frames = np.zeros((9, DIM), np.float32)
    config = InvariantConfig(SMALL, batch_frames=300, frame_share=0.5, frame_weight=0.2)
    batches = Batches([[("slow", 9)]], [[np.array([4, 4, 2])]], {"slow": frames}.__getitem__, config, 4, 0)
    assert batches(0)["aligned"][0].tolist() == [[4] * 6 + [2] * 3]
    assert batches(0)["targets"][0].tolist() == [4, 2]
    assert [round(batches.frame_weight(number), 2) for number in range(4)] == [1, 0.6, 0.2, 0.2]
    published = InvariantConfig(SMALL, batch_frames=300, frame_share=0, frame_weight=0)
    fresh = Batches([[("slow", 9)]], [[np.zeros(3, int)]], {"slow": frames}.__getitem__, published, 1, 0)
    assert fresh.frame_weight(0) == 0


def test_statistics_are_those_of_all_frames():
    random = np.random.default_rng(0)
    store = {name: random.standard_normal((n, 3)) * [1, 2, 0] + 5 for name, n in (("a", 40), ("b", 7))}
    mean, deviation = feature_statistics(store.__getitem__, ["a", "b"])
    together = np.concatenate(list(store.values()))
    np.testing.assert_allclose(mean, together.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, [*together.std(0)[:2], 1], rtol=1e-5)
