"""Claims about unit models: sizes, files, Llama's twin, warm starts, durations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from speechkit.errors import ConfigError, UserError
from speechkit.lm.continuation import continue_units
from speechkit.lm.decoding.sampling import SamplingConfig
from speechkit.lm.duration_head import DurationHead
from speechkit.lm.llama import export_llama
from speechkit.lm.networks import load_unit_network
from speechkit.lm.objectives.next_token import next_token
from speechkit.lm.sizes import sized_stack
from speechkit.lm.unit_costs import network_costs
from speechkit.lm.unit_model import UnitModel, UnitModelConfig, parameter_count
from speechkit.lm.vocabulary import UnitVocabulary
from speechkit.lm.warm_model import warm_start
from speechkit.nn.checkpoints import load_pretrained, skip_meta_init
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence
from tests.lm.planted_networks import UNITS, text_model, unit_model

TOKENS = torch.tensor([[7, 0, 3, 2, 6, 1, 1, 5]])


@pytest.mark.parametrize(
    ("size", "least", "most"), [("tiny", 1.2e6, 2e6), ("small", 9e6, 11e6), ("base", 115e6, 135e6)]
)
def test_sizes_are_what_they_are_called(size, least, most):
    config = UnitModelConfig(vocabulary=UnitVocabulary(UnitSet("x", 500, 50.0)), stack=sized_stack(size))
    with torch.device("meta"), skip_meta_init():
        assert least < parameter_count(UnitModel(config)) < most


def test_a_saved_model_is_the_model(tmp_path):
    model = unit_model(spans=2, duration_bins=4)
    model.save_pretrained(tmp_path)
    loaded = load_unit_network(tmp_path)
    assert loaded.config == model.config
    torch.testing.assert_close(loaded(TOKENS), model(TOKENS), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"spans": 3}, {"duration_bins": 4}])
def test_the_exported_llama_gives_the_same_probabilities(tmp_path, options):
    from transformers import AutoModelForCausalLM

    model = unit_model(**options)
    export_llama(model, tmp_path)
    twin = load_pretrained(AutoModelForCausalLM, tmp_path, use_safetensors=True)
    assert type(twin).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(twin(TOKENS).logits, model(TOKENS), rtol=1e-5, atol=1e-5)
    assert (twin.config.bos_token_id, twin.config.eos_token_id) == (7, 7)


@pytest.mark.parametrize("layer", ["lstm", "windowed attention"])
def test_what_is_no_llama_is_not_called_one(tmp_path, layer):
    with pytest.raises(UserError, match="cannot be exported as Llama"):
        export_llama(unit_model(layer), tmp_path)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt"])
def test_a_warm_start_keeps_the_layers_and_draws_the_units(tmp_path, kind):
    text = text_model(kind, tmp_path / "text")
    model = warm_start(str(tmp_path / "text"), UnitVocabulary(UNITS, spans=1), 32)
    kept = dict(text.base_model.named_parameters())
    tables = {"embed_tokens.weight", "wte.weight", "decoder.embed_tokens.weight"}
    for name, value in model.decoder.base_model.named_parameters():
        if name not in tables:
            torch.testing.assert_close(value, kept[name], rtol=0, atol=0)
    assert model(TOKENS).shape == (1, 8, model.vocabulary.size)
    model.save_pretrained(tmp_path / "units")
    loaded = load_unit_network(tmp_path / "units")
    assert loaded.vocabulary == model.vocabulary
    torch.testing.assert_close(loaded(TOKENS), model.eval()(TOKENS))


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_a_warm_model_learns_keeps_and_tells_durations(tmp_path, kind):
    text_model(kind, tmp_path / "text")
    torch.manual_seed(0)
    model = warm_start(str(tmp_path / "text"), UnitVocabulary(UNITS), 32, duration_bins=5)
    batch = {
        "tokens": torch.tensor([[7, 1, 2, 3]]), "targets": torch.tensor([[1, 2, 3, 7]]),
        "durations": torch.tensor([[0, 2, 9, 1]]), "durations_before": torch.tensor([[0, 0, 2, 9]]),
    }  # fmt: skip
    loss, numbers = next_token(model, batch)
    loss.backward()
    assert numbers["duration_nats"] > 0
    assert all(weight.grad is not None for weight in model.duration_head.parameters())
    row = UnitSequence("a", [1, 2, 3], [2, 9, 1], UNITS.digest)
    model.save_pretrained(tmp_path / "units")
    loaded = load_unit_network(tmp_path / "units")
    (cost,), (again,) = network_costs(model, [row]), network_costs(loaded, [row])
    assert cost.duration_nats == pytest.approx(again.duration_nats, rel=1e-6)
    assert cost.unit_nats == pytest.approx(again.unit_nats, rel=1e-6)
    model.save_pretrained(tmp_path / "half", half=True)
    (halved,) = network_costs(load_unit_network(tmp_path / "half"), [row])
    assert halved.duration_nats == pytest.approx(cost.duration_nats, rel=1e-2)
    continued = continue_units(loaded, [row], 0.3, SamplingConfig(), [0])[0].sequence
    assert len(continued.durations) == len(continued.units)
    (tmp_path / "units/durations.safetensors").unlink()
    with pytest.raises(UserError, match=r"durations\.safetensors"):
        load_unit_network(tmp_path / "units")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_continuation_beyond_the_positions_of_a_text_model_is_refused(tmp_path, kind):
    text_model(kind, tmp_path)
    model = warm_start(str(tmp_path), UnitVocabulary(UNITS), 32)
    model.decoder.get_output_embeddings().weight.data[UNITS.clusters] = 0
    prompt = UnitSequence("a", [1, 2, 3], [2, 9, 1], UNITS.digest)
    with pytest.raises(UserError, match="more than the 64 positions"):
        continue_units(model, [prompt], 60.0, SamplingConfig(max_tokens=500, temperature=0.0), [0])


def test_a_head_of_durations_of_another_size_is_refused(tmp_path):
    text_model("llama", tmp_path / "text")
    warm_start(str(tmp_path / "text"), UnitVocabulary(UNITS), 32, duration_bins=5).save_pretrained(tmp_path / "a")
    warm_start(str(tmp_path / "text"), UnitVocabulary(UNITS), 32, duration_bins=6).save_pretrained(tmp_path / "b")
    (tmp_path / "b/durations.safetensors").replace(tmp_path / "a/durations.safetensors")
    with pytest.raises(UserError, match="get the files of one checkpoint"):
        load_unit_network(tmp_path / "a")


def test_documents_of_a_warm_model_do_not_see_each_other(tmp_path):
    text_model("llama", tmp_path)
    model = warm_start(str(tmp_path), UnitVocabulary(UNITS), 32).eval()
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    packed = model.hidden(TOKENS, documents=documents)
    torch.testing.assert_close(packed[:, 3:], model.hidden(TOKENS[:, 3:]), rtol=1e-5, atol=1e-5)


def test_checkpoints_that_are_none_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="no config"):
        load_unit_network(tmp_path)
    text_model("llama", tmp_path / "text")
    with pytest.raises(UserError, match="is not a unit language model"):
        load_unit_network(tmp_path / "text")
    unit_model().save_pretrained(tmp_path / "units")
    config = json.loads((tmp_path / "units/config.json").read_text())
    config["stack"]["layers"] = config["stack"]["layers"][:1]
    (tmp_path / "units/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="get the files of one checkpoint"):
        load_unit_network(tmp_path / "units")
    with pytest.raises(UserError, match="choose a context"):
        warm_start(str(tmp_path / "text"), UnitVocabulary(UNITS), 65)


def test_a_text_model_without_attention_is_refused(tmp_path):
    from transformers import MambaConfig, MambaForCausalLM

    MambaForCausalLM(MambaConfig(vocab_size=13, hidden_size=16, num_hidden_layers=1, state_size=4)).save_pretrained(
        tmp_path
    )
    with pytest.raises(UserError, match="give a decoder with attention"):
        warm_start(str(tmp_path), UnitVocabulary(UNITS), 32)


def test_durations_of_any_length_have_probabilities_that_sum_to_one():
    torch.manual_seed(0)
    head = DurationHead(8, 5)
    head.tail.data.fill_(0.7)
    hidden = torch.randn(1, 8).expand(400, 8)
    nats = head.nats(hidden, torch.full((400,), 3), torch.arange(1, 401))
    assert float((-nats).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_drawn_durations_have_their_law():
    torch.manual_seed(1)
    head = DurationHead(8, 4)
    hidden = torch.randn(1, 8)
    generator = np.random.default_rng(0)
    drawn = np.array([head.sample(hidden, generator)[0] for _ in range(1500)])
    law = (-head.nats(hidden.expand(8, 8), torch.zeros(8, dtype=torch.int64), torch.arange(1, 9))).exp().detach()
    for duration, chance in enumerate(law.tolist(), 1):
        assert abs((drawn == duration).mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / 1500) + 1e-3


def test_one_bin_of_durations_is_refused():
    with pytest.raises(ConfigError, match="at least 2"):
        UnitModelConfig(vocabulary=UnitVocabulary(UNITS), stack=sized_stack("tiny"), duration_bins=1)
