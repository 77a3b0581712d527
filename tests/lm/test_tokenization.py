"""The source has the entropy that is claimed, streams are encoded as rows are, and the recipe runs to its tables."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError
from speechkit.lm.synthetic.markov import (
    CODEBOOK,
    MarkovCell,
    MarkovConfig,
    draw_source,
    encode_stream,
    entropy,
    markov_cells,
    source_nats,
    unigram_nats,
)
from speechkit.units.acoustic_bpe import learn_bpe

CONF = Path(__file__).resolve().parents[2] / "recipes" / "tokenization" / "conf"


@settings(max_examples=20, deadline=None)
@given(number=st.integers(1, 60), lag=st.integers(1, 7), seed=st.integers(0, 1000))
def test_a_symbol_is_the_one_before_its_lag_unless_it_switches(number, lag, seed):
    random = np.random.default_rng(seed)
    switched = random.random(number) < 0.3
    first = random.random(min(lag, number)) < 0.5
    wanted = []
    for place in range(number):
        wanted.append(int(first[place]) if place < lag else wanted[place - lag] ^ int(switched[place]))
    assert draw_source(number, lag, 0.3, np.random.default_rng(seed)).tolist() == wanted


@settings(max_examples=40, deadline=None)
@given(symbols=st.lists(st.integers(0, 1), min_size=1, max_size=80), tokens=st.integers(2, 12))
def test_a_stream_is_encoded_as_its_merges_encode_a_row(symbols, tokens):
    row = np.array(symbols)
    bpe = learn_bpe([row], 2, tokens, CODEBOOK)
    assert encode_stream(row, bpe).tolist() == bpe.encode(symbols)


def test_symbols_alone_cost_ln_2_and_tokens_come_near_the_entropy():
    assert entropy(0.1) == pytest.approx(0.3251, abs=1e-4)
    random = np.random.default_rng(0)
    train, test = draw_source(100_000, 4, 0.1, random), draw_source(40_000, 4, 0.1, random)
    assert unigram_nats(train, test, 2) / len(test) == pytest.approx(math.log(2), abs=1e-3)
    bpe = learn_bpe([train[:40_000]], 2, 64, CODEBOOK)
    nats = unigram_nats(encode_stream(train, bpe), encode_stream(test, bpe), 64) / len(test)
    assert entropy(0.1) < nats < 1.5 * entropy(0.1)


def test_the_source_needs_its_entropy_and_ln_2_for_what_it_begins_with():
    symbols = draw_source(200_000, 3, 0.2, np.random.default_rng(0))
    assert source_nats(symbols, 3, 0.2) == pytest.approx(entropy(0.2), abs=0.005)
    assert source_nats(np.array([0, 1, 0, 0]), 2, 0.2) == pytest.approx(
        (2 * math.log(2) - math.log(0.2) - math.log(0.8)) / 4
    )


def test_cells_of_a_source_go_on_where_they_stopped(tmp_path):
    settings_ = MarkovConfig(symbols=4000, learnt=4000, judged=2000, width=16, layers=1, context=16, rows=2, looks=2)
    settings_ = msgspec.structs.replace(
        settings_, training=msgspec.structs.replace(settings_.training, steps=4, save_every=1)
    )
    whole = markov_cells(1, 8, settings_, tmp_path / "whole", 0, "cpu", lambda: False)
    asked = iter([False, True])
    assert markov_cells(1, 8, settings_, tmp_path / "cut", 0, "cpu", lambda: next(asked)) is None
    again = markov_cells(1, 8, settings_, tmp_path / "cut", 0, "cpu", lambda: False)
    assert [(cell.model, cell.steps, cell.nats) for cell in again] == [
        (cell.model, cell.steps, cell.nats) for cell in whole
    ]
    assert [cell.steps for cell in whole] == [0, 2, 4]
    assert whole[1].symbols_seen > 2 * 2 * 16
    assert all(isinstance(cell, MarkovCell) and cell.nats > 0.3 for cell in whole)


def test_too_few_symbols_to_judge_by_are_refused():
    with pytest.raises(ConfigError, match="8 times the longest lag"):
        MarkovConfig(judged=20)


@pytest.mark.slow
def test_the_recipe_runs_from_source_and_sound_to_its_tables(tmp_path):
    from speechkit.data.manifest import write_manifest
    from speechkit.data.records import Utterance
    from speechkit.io.audio import write_audio
    from speechkit.pipeline import outputs, run_recipe
    from speechkit.pipeline.discover import recipe_module

    random = np.random.default_rng(0)
    rows = []
    for speaker in "ABC":
        for number in range(3):
            sound = np.repeat(random.normal(0, 0.1, (20, 1)), 800, 1).ravel() + random.normal(0, 0.01, 16_000)
            name = f"{speaker}{number}"
            write_audio(tmp_path / f"{name}.wav", sound.astype(np.float32), 16_000)
            rows.append(
                Utterance.from_samples(
                    id=name, audio_filepath=f"{name}.wav", num_samples=16_000, sample_rate=16_000, speaker=speaker
                )
            )
    write_manifest(tmp_path / "all.jsonl", rows)
    manifest = tmp_path / "all.jsonl"
    given_ = [f"train_manifest={manifest}", f"test_manifest={manifest}", "prepare.test_speakers=C"]
    recipe = recipe_module("tokenization").recipe
    exp = tmp_path / "exp"
    assert run_recipe(recipe, exp, given_, config_files=[CONF / "tiny.yaml"], quiet=True, device="cpu") == 0
    table = (outputs(recipe, exp, "table") / "table.md").read_text()
    assert "unigram of tokens" in table
    assert "transformer" in table
    cells = [line for line in table.splitlines() if "network" in line and line.startswith("|")]
    assert len(cells) == 2
    assert all("(" in line for line in cells)
