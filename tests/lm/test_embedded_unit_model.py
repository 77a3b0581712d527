"""The unit model in the package: it knows the order of units in speech, continues a recording, and is small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from speechkit import load_tokenizer
from speechkit.cli.main import call
from speechkit.errors import UserError
from speechkit.io.audio import read_audio
from speechkit.lm import networks
from speechkit.lm.load import open_model
from speechkit.lm.networks import EMBEDDED, MODELS, load_unit_network
from speechkit.units.quantizers import load_quantizer, unit_sets
from speechkit.units.sequences import UnitSequence, read_sequences

SAMPLE = Path(__file__).parents[2] / "recipes/mining/sample/audio/bees.ogg"


@pytest.fixture(scope="module")
def spoken():
    """Units of 20 s of speech."""
    tokens = load_tokenizer(EMBEDDED)(read_audio(SAMPLE, sample_rate=16_000)[: 20 * 16_000])
    digest = unit_sets(load_quantizer(EMBEDDED))[0].digest
    return UnitSequence("bees", list(tokens.units), list(tokens.durations), digest)


def test_the_order_of_units_in_speech_is_cheaper_than_another(spoken):
    model = open_model(EMBEDDED)
    random = np.random.default_rng(0)
    shuffled = replace(spoken, units=random.permutation(spoken.units).tolist())
    backwards = replace(spoken, units=spoken.units[::-1])
    forwards, *others = (cost.unit_nats / cost.units for cost in model.costs([spoken, backwards, shuffled]))
    assert forwards < 0.5 * min(others)
    assert forwards < 0.5 * np.log(100)  # half of the uniform distribution's cost


def test_a_plain_install_scores_and_continues(spoken, tmp_path, capsys):
    out = tmp_path / "continued.jsonl"
    arguments = ["continue", str(SAMPLE), "--prompt-seconds", "3", "--seconds", "2", "-o", str(out), "--json"]
    assert call([*arguments, "--device", "cpu"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["prompt_seconds"] == pytest.approx(3.0)
    row = read_sequences([out], spoken.codebook)[0]
    assert 0 < sum(row.durations) <= 100
    assert call(["lm", "score", EMBEDDED, str(out), "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["units"] == len(row.units)


def test_the_model_is_small_and_has_a_card():
    assert (MODELS / EMBEDDED / "model.safetensors").stat().st_size <= 5_000_000
    assert "bits" in (MODELS / EMBEDDED / "README.md").read_text()


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(networks, "MODELS", tmp_path)
    with pytest.raises(UserError, match="weights of the embedded unit model are missing"):
        load_unit_network(EMBEDDED)
