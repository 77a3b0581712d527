"""All families behind one interface: shapes, padding, saving and loading."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.separation.model import Separator, load_separator, new_separator, separator_config

SMALL = {
    "mossformer2-tiny": {
        "filters": 12, "width": 8, "blocks": 2, "query_key": 8, "rotary": 4, "group": 16, "memory": 6, "kernel": 8,
        "memory_taps": 5, "taps": 3, "dropout": 0.0,
    },
    "conv-tasnet-tiny": {"filters": 12, "kernel": 8, "width": 6, "hidden": 10, "layers": 3, "stacks": 2},
}  # fmt: skip
FAMILIES = sorted(SMALL)


def separator(name: str, seed: int = 0, **changes) -> Separator:
    """A very small one with weights that are far from where training begins."""
    torch.manual_seed(seed)
    made = new_separator(separator_config(name, **{**SMALL[name], **changes}))
    for value in made.parameters():
        if value.requires_grad:
            value.data += 0.3 * torch.randn_like(value)
    return made.eval()


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_padded_batch_equals_single_items(name, data):
    lengths = data.draw(st.lists(st.integers(1, 400), min_size=1, max_size=4))
    network = separator(name, speakers=data.draw(st.integers(1, 3)))
    longest = max(lengths) + data.draw(st.integers(0, 50))
    mixture = torch.full((len(lengths), longest), torch.nan)  # what lies behind an end is not looked at
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    for row, length in zip(mixture, lengths, strict=True):
        row[:length] = torch.randn(length, generator=generator)
    with torch.no_grad():
        together = network(mixture, torch.tensor(lengths))
        for row, tracks, length in zip(mixture, together, lengths, strict=True):
            alone = network(row[None, :length])[0]
            torch.testing.assert_close(tracks[:, :length], alone, atol=1e-5, rtol=1e-4)
            assert not tracks[:, length:].any()


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_separators_load_to_the_same_tracks(name, tmp_path):
    network = separator(name)
    network.save_pretrained(tmp_path / "whole")
    mixture = torch.randn(2, 333)
    with torch.no_grad():
        expected = network(mixture)
        assert torch.equal(load_separator(tmp_path / "whole", device="cpu")(mixture), expected)
        network.save_pretrained(tmp_path / "half", half=True)
        loaded = Separator.from_pretrained(tmp_path / "half")
        assert next(loaded.parameters()).dtype == torch.float32
        torch.testing.assert_close(loaded(mixture), expected, atol=0.05, rtol=0.05)
    assert loaded.config == network.config


def test_what_is_no_separator_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_separator(tmp_path)
    separator("mossformer2-tiny").save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(UserError, match="missing or damaged"):
        load_separator(tmp_path)
    separator("mossformer2-tiny", blocks=3).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"blocks\.2"):
        load_separator(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "sepformer"}')
    with pytest.raises(UserError, match="sepformer"):
        load_separator(tmp_path)


@pytest.mark.parametrize(
    ("name", "field"),
    [("mossformer2-tiny", "blocks"), ("mossformer2-tiny", "memory_layers"), ("conv-tasnet-tiny", "stacks")],
)
def test_a_depth_that_would_never_be_built_is_refused(name, field):
    with pytest.raises(ConfigError, match=f"{field} is 1000000000; give 256 at most"):
        separator_config(name, **{field: 10**9})


def test_wrong_configurations_are_refused_with_their_values():
    with pytest.raises(ConfigError, match="mossformer2-tiny"):
        separator_config("mossformer3")
    with pytest.raises(ConfigError, match="no_field"):
        separator_config("mossformer2-tiny", no_field=1)
    with pytest.raises(ConfigError, match="speakers is 0"):
        separator_config("mossformer2-tiny", speakers=0)
    with pytest.raises(ConfigError, match="memory_taps is 4; make it odd"):
        separator_config("mossformer2-tiny", memory_taps=4)


@pytest.mark.parametrize("rate", [1, 10**9])
def test_a_sample_rate_that_no_audio_has_is_refused(rate):
    with pytest.raises(ConfigError, match=f"sample_rate is {rate}; give 1000 to 768000"):
        separator_config("mossformer2-tiny", speakers=2, sample_rate=rate)
