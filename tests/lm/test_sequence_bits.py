"""Claims about n-grams over units: bits are those of a proper distribution, held-out speech is held out."""

from __future__ import annotations

import json
import math

import msgspec
import numpy as np
import pytest

from speechkit.cli.main import call
from speechkit.errors import UserError
from speechkit.lm.ngram_training import estimate
from speechkit.lm.sequence_bits import sequence_bits, unit_words
from speechkit.units.acoustic_bpe import learn_bpe
from speechkit.units.codebook import Codebook
from speechkit.units.sequences import UnitSequence, write_sequences
from speechkit.units.token_sequences import encode_sequence

BOOK = Codebook(np.eye(6, dtype=np.float32), None)


def chain(name, length, seed, states=5):
    """Units of which each mostly fixes the next."""
    random = np.random.default_rng(seed)
    units = [int(random.integers(states))]
    while len(units) < length:
        step = 1 if random.random() < 0.8 else int(random.integers(1, states))
        units.append((units[-1] + step) % states)
    return UnitSequence(name, units, random.integers(1, 5, length).tolist(), BOOK.spec.digest)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ngram")
    BOOK.save(folder / "book")
    parts = {
        part: [chain(f"{part}{number}", 200, 10 * seed + number) for number in range(count)]
        for seed, (part, count) in enumerate({"train": 8, "dev": 3}.items())
    }
    for part, found in parts.items():
        write_sequences([folder / f"{part}.jsonl"], ([row] for row in found))
    return folder, parts


def by_hand(model, found, numbers):
    """Every probability one by one."""
    total = 0.0
    for row in found:
        state = model.begin()
        for word in (*unit_words(row), "</s>"):
            value, state = model.score(state, word)
            total -= value / math.log(2)
            if word not in model.entries:
                total += math.log2(sum(str(unit) not in model.entries for unit in range(numbers)))
    return total


@pytest.mark.parametrize("order", [1, 2, 3])
def test_bits_are_those_of_every_unit_and_end_by_hand(files, order):
    _, parts = files
    model, _ = estimate(map(unit_words, parts["train"]), order)
    strange = msgspec.structs.replace(parts["dev"][0], units=[5, *parts["dev"][0].units[1:]])
    found = [strange, *parts["dev"][1:]]
    cost = sequence_bits(model, found, 6, 25.0)
    bits = by_hand(model, found, 6)
    assert cost.bits_per_unit == pytest.approx(bits / 600)
    assert cost.bits_per_second == pytest.approx(bits / (sum(sum(row.durations) for row in found) / 25))
    assert cost.perplexity == pytest.approx(2 ** (bits / 603))
    assert (cost.sequences, cost.units, cost.unknown) == (3, 600, pytest.approx(1 / 600))


@pytest.mark.parametrize("numbers", [6, 9])
def test_what_no_model_has_seen_still_leaves_probabilities_that_sum_to_one(files, numbers):
    _, parts = files
    model, _ = estimate(map(unit_words, parts["train"]), 2)
    follow = [
        math.exp(model.score(("3",), str(unit))[0]) / (1 if str(unit) in model.entries else numbers - 5)
        for unit in range(numbers)
    ]
    assert sum(follow) + math.exp(model.score(("3",), "</s>")[0]) == pytest.approx(1, abs=1e-6)


def test_a_longer_memory_foresees_more_of_what_depends_on_the_unit_before(files):
    _, parts = files
    costs = [
        sequence_bits(estimate(map(unit_words, parts["train"]), order)[0], parts["dev"], 6).bits_per_unit
        for order in (1, 2)
    ]
    assert costs[0] == pytest.approx(math.log2(5), abs=0.1)
    truth = -0.8 * math.log2(0.8) - 0.2 * math.log2(0.2)  # a step, and where else then: little more than 2 bits of it
    assert truth < costs[1] < truth + 0.2 * 2 + 0.1


def test_the_shell_trains_measures_and_measures_again(files, tmp_path, capsys):
    folder, parts = files
    train = ["units", "ngram", str(folder / "train.jsonl"), "--codebook", str(folder / "book"), "--order", "2"]
    assert call([*train, "--dev", str(folder / "dev.jsonl"), "--out", str(tmp_path / "m"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    model, used = estimate(map(unit_words, parts["train"]), 2)
    assert facts["smoothing"] == used
    assert facts["bits_per_unit"] == pytest.approx(sequence_bits(model, parts["dev"], 6).bits_per_unit)
    again = ["units", "perplexity", str(tmp_path / "m"), str(folder / "dev.jsonl"), "--json"]
    assert call(again) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_second"] == pytest.approx(facts["bits_per_second"], rel=1e-5)
    arpa = tmp_path / "m/ngram.arpa"
    arpa.write_text(arpa.read_text() + "\n")
    assert call(again) == 2
    assert "does not describe" in capsys.readouterr().err


def test_tokens_are_measured_with_their_merges_alone(files, tmp_path, capsys):
    folder, parts = files
    learnt = learn_bpe((row.units for row in parts["train"]), 6, 12, BOOK.spec.digest)
    learnt.save(tmp_path / "bpe.json")
    for part, found in parts.items():
        write_sequences([tmp_path / f"{part}.jsonl"], ([encode_sequence(row, learnt)] for row in found))
    train = ["units", "ngram", str(tmp_path / "train.jsonl"), "--codebook", str(folder / "book")]
    more = ["--dev", str(tmp_path / "dev.jsonl"), "--out", str(tmp_path / "m"), "--json"]
    assert call([*train, "--bpe", str(tmp_path / "bpe.json"), *more]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["units"] == sum(len(learnt.encode(row.units)) for row in parts["dev"]) < 600
    assert call([*train, *more]) == 2
    assert "holds tokens" in capsys.readouterr().err
    assert call(["units", "perplexity", str(tmp_path / "m"), str(folder / "dev.jsonl")]) == 2
    assert "is of the codebook" in capsys.readouterr().err
    strange = learn_bpe([[0, 1, 0, 1]], 6, 7, "another")
    strange.save(tmp_path / "strange.json")
    assert call([*train, "--bpe", str(tmp_path / "strange.json"), *more]) == 2
    assert "joins units of another codebook" in capsys.readouterr().err


def test_recordings_that_taught_do_not_judge(files, tmp_path, capsys):
    folder, _ = files
    train = ["units", "ngram", str(folder / "train.jsonl"), "--codebook", str(folder / "book")]
    assert call([*train, "--dev", str(folder / "train.jsonl"), "--out", str(tmp_path / "m")]) == 2
    assert "--dev: 'train0' is training data too" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_nothing_and_other_units_are_refused(files):
    model, _ = estimate([["0", "1"]], 1)
    with pytest.raises(UserError, match="no units to measure"):
        sequence_bits(model, [UnitSequence("a", [], [], "x")], 2)
    with pytest.raises(UserError, match=r"a:.*unit.*out of range.*2"):
        sequence_bits(model, [UnitSequence("a", [2], [1], "x")], 2)
