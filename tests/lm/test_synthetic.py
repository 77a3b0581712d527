"""Languages and their oracle against slow ones; recall rows; models of equal size; the recipe from draw to table."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.lm.synthetic.automata import (
    SEPARATOR,
    VOCABULARY,
    context_ngram,
    distances,
    instance,
    minimal,
    random_automaton,
)
from speechkit.lm.synthetic.comparison import SYSTEMS, SyntheticTask, equal_model
from speechkit.lm.synthetic.recall import long_recall_row, query_mask, recall_row
from speechkit.lm.synthetic.records import Cell, ComparisonConfig
from speechkit.lm.synthetic.waveform_classes import SYSTEMS as WAVEFORM_SYSTEMS
from speechkit.lm.synthetic.waveform_classes import WaveformClassifier, clips_of
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.units.sequences import UnitSequence, write_sequences

CONF = Path(__file__).resolve().parents[2] / "recipes" / "sequence_layers" / "conf"


def accepted(edges, length, begin=0):
    """All strings of a length that an automaton accepts from a state on."""
    found = {((), begin)}
    for _ in range(length):
        found = {((*string, symbol), target) for string, state in found for symbol, target in edges[state]}
    return {string for string, _ in found}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_minimal_automaton_accepts_the_same_strings_whatever_its_states_are_called(seed):
    random = np.random.default_rng(seed)
    states = 6
    edges = tuple(
        tuple((int(symbol), int(random.integers(states))) for symbol in np.sort(random.permutation(3)[:n]))
        for n in random.integers(1, 4, size=states)
    )
    made = minimal(edges)
    for length in range(5):
        assert accepted(made, length) == accepted(edges, length)
    assert minimal(made) == made
    order = [0, *(random.permutation(states - 1) + 1).tolist()]  # the first state stays the first
    renamed = [()] * states
    for old, new in enumerate(order):
        renamed[new] = tuple((symbol, order[target]) for symbol, target in edges[old])
    assert minimal(tuple(renamed)) == made
    # No two states of it foresee the same strings.
    for one, other in itertools.combinations(range(len(made)), 2):
        assert any(accepted(made, n, one) != accepted(made, n, other) for n in range(1, states + 1))


def test_the_oracle_makes_no_mistake_and_a_uniform_guess_is_as_far_as_edges_say():
    random = np.random.default_rng(0)
    edges = random_automaton(random)
    own = instance(edges, random)
    right, apart = distances(own, own.following)
    assert right.all()
    assert not apart.any()
    uniform = np.full((len(own.tokens), VOCABULARY), 1 / VOCABULARY)
    _, apart = distances(own, uniform)
    choices = (own.following[own.scored] > 0).sum(1)
    np.testing.assert_allclose(apart, 1 - choices / VOCABULARY)
    follows = own.tokens[1:][own.scored[:-1]]
    assert (own.following[own.scored][np.arange(len(follows)), follows] > 0).all()
    assert (own.tokens[1:][~own.scored[:-1]] == SEPARATOR).all()


def test_taken_languages_do_not_come_again():
    taken = {random_automaton(np.random.default_rng(seed)) for seed in range(5)}
    for seed in range(5):
        assert random_automaton(np.random.default_rng(seed), taken) not in taken


def test_ngrams_of_an_instance_are_its_counts():
    tokens = np.array([0, 1, 2, 1, 3, 0, 1, 2, 1])
    bigram = context_ngram(tokens, 2)
    # Before the last 1, a 1 was followed by 2, 3 and 2; a separator by 1 each time; at first nothing is known.
    np.testing.assert_allclose(bigram[8, [2, 3]], [2 / 3, 1 / 3])
    assert bigram[5, 1] == 1
    np.testing.assert_allclose(bigram[0, 1:], 1 / 18)
    np.testing.assert_allclose(context_ngram(tokens, 3)[8, 3], 1.0)  # 2 1 was followed by 3
    np.testing.assert_allclose(context_ngram(tokens, 1)[4, [1, 2, 3]], [2 / 4, 1 / 4, 1 / 4])
    assert np.allclose(context_ngram(tokens, 3).sum(1), 1)


def test_a_recall_row_asks_for_each_value_once():
    row = recall_row(np.random.default_rng(0), 5, 8, 8)
    held = dict(zip(row[:10:2], row[1:10:2], strict=True))
    assert sorted(held) == sorted(row[10::2])
    asking = np.flatnonzero(query_mask(5))
    assert [held[row[t]] for t in asking] == row[asking + 1].tolist()
    with pytest.raises(ValueError, match="need as many keys"):
        recall_row(np.random.default_rng(0), 9, 8, 8)


def test_all_systems_have_one_size():
    sizes = [
        sum(weight.numel() for weight in equal_model(layers, 64, 150_000, VOCABULARY).parameters())
        for layers in SYSTEMS.values()
    ]
    assert max(sizes) - min(sizes) < 0.005 * 150_000
    with pytest.raises(ConfigError, match="raise it or reduce"):
        equal_model(SYSTEMS["lstm"], 64, 10_000, VOCABULARY)


def test_training_draws_no_language_of_the_test():
    config = ComparisonConfig(rows=2, judged=4, strings=(2, 3), longest=5)
    judge = SyntheticTask("languages", config, 3)
    tokens, lengths, scored = judge.batch(0)
    assert tokens.shape == scored.shape
    assert [bool(row[length:].any()) for row, length in zip(scored, lengths, strict=True)] == [False, False]
    again = SyntheticTask("languages", config, 3).batch(0)
    assert all(one.equal(other) for one, other in zip((tokens, lengths, scored), again, strict=True))
    cells = {cell.system: cell for cell in judge.untrained()}
    assert cells["oracle"].accuracy == 1.0
    assert cells["oracle"].distance == 0.0


@settings(max_examples=20, deadline=None)
@given(span=st.integers(2, 6), gap=st.integers(1, 30), banked=st.booleans(), seed=st.integers(0, 100))
def test_what_returns_after_a_long_gap_is_told_by_its_first_time_alone(span, gap, banked, seed):
    bank = np.arange(50) if banked else None
    row, marked = long_recall_row(np.random.default_rng(seed), span, gap, 60, bank)
    assert len(row) == 2 * span + gap
    assert row[:span].tolist() == row[-span:].tolist()
    assert np.flatnonzero(marked).tolist() == list(range(span + gap, 2 * span + gap - 1))
    if banked:
        assert (np.diff(row[span : span + gap]) == 1).all()
    places = np.flatnonzero(marked)
    assert row[places + 1].tolist() == row[places + 1 - span - gap].tolist()


def test_long_recall_takes_its_gap_from_speech_where_there_is_some():
    config = ComparisonConfig(rows=2, judged=3, span=3, gap=20)
    judge = SyntheticTask("long_recall", config, 0, (np.full(40, 7), 9))
    assert judge.vocabulary == 9
    assert all((row[3:23] == 7).all() and marked.sum() == 2 for row, marked in judge.recalled)
    _, lengths, scored = judge.batch(0)
    assert lengths.tolist() == [26, 26]
    assert scored.sum(1).tolist() == [2, 2]


def test_clips_are_a_second_of_one_level_and_nobody_who_judges_teaches():
    random = np.random.default_rng(0)
    sounds = [
        random.normal(0, level, length).astype(np.float32) for level, length in ((0.01, 9000), (1, 20_000), (0.1, 0))
    ]
    clips = clips_of(sounds * 2, ["yes", "no", "yes"] * 2, ["A", "B", "C", "A", "B", "D"], 0.4, 0)
    assert clips.waveforms.shape == (6, 16_000)
    assert clips.names == ["no", "yes"]
    assert clips.classes.tolist() == [1, 0, 1, 1, 0, 1]
    np.testing.assert_allclose(np.square(clips.waveforms[0, 3500:12_500]).mean(), 1, rtol=1e-3)
    assert not clips.waveforms[0, :3500].any()
    assert not clips.waveforms[2].any()
    assert clips.training[0] == clips.training[3]
    assert clips.training[1] == clips.training[4]
    assert 0 < clips.training.sum() < 6
    with pytest.raises(UserError, match="1 speakers and 2 texts"):
        clips_of(sounds, ["a", "b", "a"], ["A"] * 3, 0.2, 0)


@pytest.mark.parametrize("system", WAVEFORM_SYSTEMS)
def test_a_classifier_reads_both_rates_and_state_spaces_are_told_theirs(system):
    import torch

    torch.manual_seed(0)
    model = WaveformClassifier(system, 8, 3).eval()
    times = torch.arange(4000) / 4000
    slow = torch.sin(6.283 * 3 * times)[None]
    with torch.no_grad():
        whole, half = model(slow), model(slow[:, ::2])
        assert whole.shape == half.shape == (1, 3)
        if WAVEFORM_SYSTEMS[system][1] == 1 and model.stack is not None:
            model.set_rate(2.0)
            told = model(slow[:, ::2])
            assert (told - whole).abs().max() < (half - whole).abs().max()


def test_tasks_that_need_data_say_which():
    with pytest.raises(ConfigError, match=r"the task units needs compare.train_units"):
        ComparisonConfig(tasks=("units",))
    with pytest.raises(ConfigError, match=r"the task waveforms needs compare.clips"):
        ComparisonConfig(tasks=("waveforms",))


@pytest.mark.slow
def test_layers_are_compared_on_units_and_clips_of_the_user(tmp_path):
    random = np.random.default_rng(0)
    write_sequences(
        [tmp_path / f"{part}.jsonl" for part in ("learnt", "judged")],
        (
            [UnitSequence(f"{part}{n}", (np.arange(30) * 3 % 10).tolist(), [2] * 30, "c0de") for part in "ab"]
            for n in range(4)
        ),
    )
    rows = []
    for n in range(6):
        write_audio(tmp_path / f"{n}.wav", random.normal(0, 0.1, 8000).astype(np.float32), 16_000)
        rows.append(
            Utterance.from_samples(
                id=str(n), audio_filepath=f"{n}.wav", num_samples=8000, sample_rate=16_000, speaker="ABC"[n % 3],
                text=("yes", "no")[n % 2],
            )
        )  # fmt: skip
    rows.append(msgspec.structs.replace(rows[0], id="unnamed", speaker=None))
    write_manifest(tmp_path / "clips.jsonl", rows)
    recipe = recipe_module("sequence_layers").recipe
    given_ = [
        "compare.tasks=[long_recall, units, waveforms]", "compare.systems=[attention, s4d]", "compare.gap=12",
        "compare.context=16", f"compare.train_units={tmp_path / 'learnt.jsonl'}",
        f"compare.test_units={tmp_path / 'judged.jsonl'}", f"compare.clips={tmp_path / 'clips.jsonl'}",
        "compare.waveform_systems=[cnn, attention]", "compare.waveform_rows=2", "compare.waveform_training.steps=2",
    ]  # fmt: skip
    assert run_recipe(recipe, tmp_path / "exp", given_, config_files=[CONF / "tiny.yaml"], device="cpu") == 0
    cells = list(read_jsonl(outputs(recipe, tmp_path / "exp", "compare") / "cells.jsonl", Cell))
    assert [(cell.task, cell.system) for cell in cells] == [
        ("long_recall", "attention"), ("long_recall", "s4d"), ("units", "attention"), ("units", "s4d"),
        ("waveforms", "cnn"), ("waveforms", "attention, pieces of 40"),
    ]  # fmt: skip
    assert all(cell.bits_per_second > 0 for cell in cells[2:4])
    assert all(0 <= cell.half_rate <= 1 for cell in cells[4:])
    assert cells[2].state_kilobytes[1] == pytest.approx(100 * cells[2].state_kilobytes[0], rel=1e-2)
    assert cells[3].state_kilobytes[0] == cells[3].state_kilobytes[1]
    table = (outputs(recipe, tmp_path / "exp", "table") / "table.md").read_text()
    assert "right at half the rate" in table
    assert "kB of a row at 100,000" in table


@pytest.mark.slow
def test_the_recipe_runs_from_draw_to_table(tmp_path):
    recipe = recipe_module("sequence_layers").recipe
    assert run_recipe(recipe, tmp_path, config_files=[CONF / "tiny.yaml"], device="cpu") == 0
    table = (outputs(recipe, tmp_path, "table") / "table.md").read_text()
    assert "oracle" in table
    rows = [line for line in table.splitlines() if line.startswith(("| recall", "| languages", "| long_recall"))]
    assert len(rows) == 3 + 3 + 3 + 5
    assert all("(" in row for row in rows)


def test_unknown_systems_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"systems": ["mamba"]}, ComparisonConfig)
    with pytest.raises(ConfigError, match="as many keys"):
        ComparisonConfig(pairs=9, keys=8)
