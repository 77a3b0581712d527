"""Claims about probes: they read what is there, weigh the layer that holds it, and repeat themselves."""

from __future__ import annotations

import numpy as np
import pytest

from speechkit.encoders import EncoderSpec
from speechkit.encoders.probing import discrimination
from speechkit.encoders.probing.discrimination import ACROSS, PHONE_TASKS, WITHIN, WORD_TASKS, probe_phones, probe_words
from speechkit.encoders.probing.phone_abx import PhoneCell, PhoneToken
from speechkit.encoders.probing.pooled_probe import pool_statistics, train_pooled_probe
from speechkit.encoders.probing.tasks import ProbeItem, probe_labels, probe_symbols
from speechkit.encoders.probing.word_tokens import WordToken
from speechkit.encoders.stages import write_layers
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError

DIM = 6
ALPHABET = "abcd"


class ToldEncoder:
    """Layer 0 is noise; layer 1 shows the symbols that the waveform spells, 4 frames each and 2 of silence."""

    num_layers = 1
    spec = EncoderSpec(model="toy", weights="w", layer="1", normalization="none", dim=DIM)

    def encode_layers(self, waveform):
        symbols = waveform[::320].astype(int)
        generator = np.random.default_rng(int(symbols.sum()) + len(symbols))
        noise = generator.normal(0, 0.1, (2, len(symbols), DIM)).astype(np.float32)
        noise[1] += np.eye(DIM, dtype=np.float32)[symbols]
        return noise

    def stream_layers(self, blocks):
        yield self.encode_layers(np.concatenate(list(blocks)))


def spelled(text):
    frames = [number for letter in text for number in [ALPHABET.index(letter) + 1] * 4 + [0] * 2]
    return np.repeat(np.array(frames, np.float32), 320)


@pytest.fixture(scope="module")
def texts():
    generator = np.random.default_rng(0)
    return {f"u{i}": "".join(generator.choice(list(ALPHABET), 6)) for i in range(40)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("layers")
    write_layers(folder, ToldEncoder(), ((name, spelled(text)) for name, text in texts.items()))
    return FeatureStore(folder, "all")


def symbol_items(texts):
    return [ProbeItem(name, "letters", int(name[1:]) % 4, list(text)) for name, text in texts.items()]


def test_symbols_are_read_and_the_layer_that_holds_them_is_weighed_most(cache, texts):
    score = probe_symbols("letters", symbol_items(texts), cache, epochs=20, learning_rate=0.05, batch_utterances=4)
    assert score.value < 0.15
    assert score.interval.low <= score.value <= score.interval.high
    assert score.layer_weights[1] > 0.6
    assert sum(score.layer_weights) == pytest.approx(1)
    assert (score.items, score.unit, score.details["training_utterances"]) == (10, "utterance", 30)


def test_the_same_seed_gives_the_same_score_and_another_head_another(cache, texts):
    first, second = (
        probe_symbols("letters", symbol_items(texts), cache, hidden=8, epochs=2, seed=5).layer_weights for _ in range(2)
    )
    assert first == second
    other = probe_symbols("letters", symbol_items(texts), cache, hidden=8, epochs=2, seed=6)
    assert other.layer_weights != first


def test_training_utterances_that_do_not_fit_are_counted_and_test_ones_stay(cache, texts):
    items = symbol_items(texts)
    items[1] = ProbeItem(items[1].id, "letters", 1, list("ab" * 40))
    items[4] = ProbeItem(items[4].id, "letters", 0, list("ab" * 40))
    score = probe_symbols("letters", items, cache, epochs=1)
    assert score.details["training_left_out"] == 1
    assert score.items == 10
    assert score.value > 0.3


def test_speakers_are_the_unit_where_there_are_enough(cache, texts):
    items = [ProbeItem(i.id, i.task, i.fold, i.symbols, speaker=i.id) for i in symbol_items(texts)]
    assert probe_symbols("letters", items, cache, epochs=1).unit == "speaker"


def test_classes_are_found_and_chance_is_the_most_common_class(cache, texts):
    items = [
        ProbeItem(name, "first", int(name[1:]) % 5, labels={"many a": "yes" if text.count("a") > 1 else "no"})
        for name, text in texts.items()
    ]
    once = probe_labels("first", items, cache)
    assert once.items == 8
    score = probe_labels("first", items, cache, folds=5)
    assert score.items == 40
    assert score.value > 0.85 > score.chance
    assert score.layer_weights[1] > 0.6
    assert (
        probe_labels("first", items, cache, folds=5) == pytest.approx(score)
        or score.details["accuracy"] == (probe_labels("first", items, cache, folds=5).details["accuracy"])
    )


def test_pooling_gives_mean_and_deviation_of_each_layer():
    layers = np.random.default_rng(0).normal(size=(2, 7, 3))
    pooled = pool_statistics(layers)
    assert np.allclose(pooled[1], [*layers[1].mean(0), *layers[1].std(0)])
    assert not pool_statistics(np.zeros((2, 0, 3))).any()


def test_words_take_the_layer_that_is_best_on_other_speakers(cache, texts):
    def tokens_of(names, speakers):
        return [
            WordToken(name, texts[name][k], speakers[index % 2], 6 * k, 6 * k + 4)
            for index, name in enumerate(names)
            for k in range(3)
        ]

    test, dev = tokens_of(list(texts)[:10], "st"), tokens_of(list(texts)[10:20], "uv")
    scores = {score.task: score for score in probe_words(test, dev, cache)}
    assert len(scores) == 4
    for score in scores.values():
        assert score.layer_weights == [0.0, 1.0]
        assert (score.value < 0.05) if not score.higher_is_better else (score.value > 0.9)
    assert scores[WITHIN].details["development"][0] > 0.3
    assert scores[ACROSS].details["speakers"] == 2


def test_phones_take_the_layer_that_is_best_on_other_speakers(cache, texts, monkeypatch):
    def cells_by_means(tokens, segments, *, across, seed):
        """What fastabx gives, of means instead of warped frames."""
        means = [segment.mean(0) for segment in segments]
        cells = []
        for phone, other, speaker in {
            (a.phone, b.phone, a.speaker) for a in tokens for b in tokens if a.phone < b.phone
        }:
            mine = [n for n, token in enumerate(tokens) if token.phone == phone and token.speaker == speaker]
            theirs = [n for n, token in enumerate(tokens) if token.phone == other and token.speaker == speaker]
            xs = [n for n, t in enumerate(tokens) if t.phone == phone and across == (t.speaker != speaker)]
            wrong = [
                np.linalg.norm(means[x] - means[a]) > np.linalg.norm(means[x] - means[b])
                for x in xs for a in mine for b in theirs if x != a
            ]  # fmt: skip
            if wrong:
                cells.append(PhoneCell(phone, other, speaker, float(np.mean(wrong)), len(wrong)))
        return sorted(cells)

    monkeypatch.setattr(discrimination, "phone_cells", cells_by_means)

    def tokens_of(names, speakers):
        return [
            PhoneToken(name, texts[name][k], "A", "B", speakers[index % 2], 6 * k, 6 * k + 4)
            for index, name in enumerate(names)
            for k in range(3)
        ]

    test, dev = tokens_of(list(texts)[:10], "st"), tokens_of(list(texts)[10:20], "uv")
    scores = probe_phones(test, dev, cache)
    assert [score.task for score in scores] == list(PHONE_TASKS)
    for score in scores:
        assert score.layer_weights == [0.0, 1.0]
        assert score.value < 0.05 < 0.3 < score.details["development"][0]
        assert (score.metric, score.unit) == ("ABX error", "phone")


def test_a_score_for_which_tokens_are_too_few_leaves_the_others(cache, texts):
    def tokens_of(names):
        return [WordToken(name, texts[name][k], "one", 6 * k, 6 * k + 4) for name in names for k in range(3)]

    test, dev = tokens_of(list(texts)[:10]), tokens_of(list(texts)[10:20])
    with pytest.raises(UserError, match="two speakers"):
        probe_words(test, dev, cache)
    lost: dict[str, str] = {}
    (score,) = probe_words(test, dev, cache, leave_out=lost.__setitem__)
    assert score.task == WITHIN
    assert score.layer_weights == [0.0, 1.0]
    assert set(lost) == set(WORD_TASKS) - {WITHIN}


def test_impossible_tasks_are_refused(cache, texts):
    with pytest.raises(UserError, match="0 training"):
        probe_symbols("letters", [ProbeItem("u0", "letters", 0, ["a"])], cache)
    with pytest.raises(UserError, match="same label fields"):
        probe_labels("first", [ProbeItem("u0", "first", 0)], cache)
    with pytest.raises(UserError, match="40 test and 0 training"):
        probe_labels("first", [ProbeItem(n, "first", 0, labels={"x": "y"}) for n in texts], cache, folds=2)
    with pytest.raises(UserError, match="two classes"):
        train_pooled_probe(np.zeros((3, 1, 2), np.float32), ["a", "a", "a"])
    with pytest.raises(UserError, match="NaN"):
        train_pooled_probe(np.full((2, 1, 2), np.nan, np.float32), ["a", "b"])
    with pytest.raises(UserError, match="0 test and 0 development"):
        probe_words([], [], cache)
