"""MossFormer2 is the published network: its size, its tracks with the same weights, and its checkpoints."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from safetensors.torch import save_file

from speechkit.errors import UserError
from speechkit.separation.model import load_separator, new_separator, separator_config
from speechkit.separation.mossformer2 import MossFormer2, MossFormer2Config
from speechkit.separation.published import load_published, published_weights
from tests.separation.published_graph import (
    PARAMETERS_THAT_ARE_FIXED,
    authors_names,
    published_state,
    published_tracks,
)

SMALL = MossFormer2Config(
    filters=12, width=12, blocks=2, query_key=40, group=16, memory=8, memory_taps=5, taps=5, kernel=8
)  # fmt: skip


LARGE = "mossformer2-large"


@pytest.mark.parametrize(
    ("name", "speakers", "published"), [(LARGE, 2, 55_735_410), (LARGE, 3, 55_998_066), (f"{LARGE}-16k", 2, 55_735_410)]
)
def test_large_has_the_published_number_of_weights(name, speakers, published):
    with torch.device("meta"):
        network = new_separator(separator_config(name, speakers=speakers))
    assert sum(value.numel() for value in network.parameters()) == published


@pytest.mark.parametrize(("name", "most"), [("tiny", 1e6), ("small", 4.5e6), ("base", 26e6)])
def test_smaller_configurations_keep_to_their_sizes(name, most):
    for suffix in ("", "-16k"):
        with torch.device("meta"):
            network = new_separator(separator_config(f"mossformer2-{name}{suffix}"))
        assert most / 2 < sum(value.numel() for value in network.parameters()) <= most


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    speakers=st.integers(1, 3),
    samples=st.integers(12, 700),  # frames: two, fewer than a group, whole groups, and a part of one
    layers=st.integers(1, 3),
    multiplied=st.booleans(),
)
def test_tracks_equal_those_of_the_published_graph(seed, speakers, samples, layers, multiplied):
    config = replace(SMALL, speakers=speakers, memory_layers=layers, multiplied=multiplied)
    state = published_state(config, seed)
    found, weights = published_weights(state, "state", multiplied=multiplied)
    assert replace(found, group=config.group) == config  # which no weight tells
    mixture = torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = published_tracks(state, config, mixture)
        assume(rounding_effect(state, config, mixture) < 2e-5)
        torch.testing.assert_close(loaded(config, weights)(mixture), expected, atol=1e-4, rtol=1e-4)


def rounding_effect(state, config, mixture):
    """How far tracks move where every weight is rounded once: rare random networks amplify that to over 1e-3."""
    weights = {key: value.double() for key, value in state.items()}
    draws = torch.Generator().manual_seed(0)
    rounded = {key: value * (1 + 6e-8 * torch.randn(value.shape, generator=draws)) for key, value in weights.items()}
    tracks = [published_tracks(each, config, mixture.double()) for each in (weights, rounded)]
    return float((tracks[0] - tracks[1]).abs().max())


def loaded(config: MossFormer2Config, weights: dict[str, torch.Tensor]) -> MossFormer2:
    network = MossFormer2(config).eval()
    network.load_state_dict(weights)
    return network


def test_gradients_equal_those_of_the_published_graph():
    state = published_state(SMALL, seed=3)
    network = loaded(SMALL, published_weights(state, "state")[1])
    draws = torch.Generator().manual_seed(0)
    mixture, above = torch.randn(2, 500, generator=draws), torch.randn(2, 2, 500, generator=draws)
    (network(mixture) * above).sum().backward()
    for name, value in state.items():
        value.requires_grad_(not name.endswith(PARAMETERS_THAT_ARE_FIXED))
    (published_tracks(state, SMALL, mixture) * above).sum().backward()
    gradients = {name: value if value.grad is None else value.grad for name, value in state.items()}
    expected = published_weights(gradients, "gradients")[1]
    for name, value in network.named_parameters():
        if value.requires_grad:
            scale = float(expected[name].abs().max())
            assert value.grad is not None, name
            # The scale of positions is one number that sums over every frame, so that float32 cancels digits.
            most = 1e-2 if name == "position_scale" else 1e-3
            assert float((value.grad - expected[name]).abs().max()) <= most * scale + 1e-5, name


@pytest.mark.parametrize("lengths", [None, [500, 123]])
def test_computing_parts_twice_changes_no_gradient(lengths):
    network = loaded(replace(SMALL, dropout=0.0), published_weights(published_state(SMALL), "state")[1]).train()
    mixture, counts = torch.randn(2, 500), None if lengths is None else torch.tensor(lengths)
    gradients = []
    for network.checkpointing in (False, True):
        network.zero_grad()
        network(mixture, counts).square().sum().backward()
        gradients.append({name: value.grad for name, value in network.named_parameters() if value.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, msg=name)


def test_dropout_acts_in_training_alone():
    network = new_separator(replace(SMALL, dropout=0.5))
    mixture = torch.randn(1, 300)
    assert not torch.equal(network.train()(mixture), network(mixture))
    assert torch.equal(network.eval()(mixture), network(mixture))


def test_bfloat16_gives_nearly_the_same_tracks():
    torch.manual_seed(0)
    network = new_separator(separator_config("mossformer2-tiny")).eval()
    mixture = torch.randn(1, 8_000) * 0.1
    with torch.inference_mode():
        exact = network(mixture)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(mixture)
    assert rounded.dtype == torch.float32
    error = 10 * torch.log10(exact.square().sum() / (exact - rounded).square().sum())
    assert error > 30


def test_published_checkpoints_of_both_names_become_folders_of_ours(tmp_path):
    state = published_state(SMALL)
    mixture = torch.randn(1, 300)
    with torch.no_grad():
        expected = published_tracks(state, replace(SMALL, group=256), mixture)
    torch.save({"model": OrderedDict(state), "optimizer": {"state": {0: torch.ones(3)}}, "step": 7}, tmp_path / "a.pt")
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "b.pt")
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "c.safetensors")
    (tmp_path / "d").mkdir()
    for part in ("encoder", "masknet", "decoder"):
        own = {
            name.removeprefix(f"{part}."): value
            for name, value in authors_names(state).items()
            if name.startswith(f"{part}.")
        }
        torch.save(own, tmp_path / "d" / f"{part}.ckpt")
    for name in ("a.pt", "b.pt", "c.safetensors", "d"):
        load_published(tmp_path / name, sample_rate=16_000).save_pretrained(tmp_path / "ours")
        separator = load_separator(tmp_path / "ours", device="cpu")
        assert (separator.sample_rate, separator.speakers) == (16_000, 2)
        torch.testing.assert_close(separator(mixture), expected, atol=1e-4, rtol=1e-4)


def test_checkpoints_of_other_networks_are_refused_in_one_sentence(tmp_path):
    state = published_state(SMALL)
    gate = "mask_net.mdl.intra_mdl.mossformerM.fsmn.1.gated_fsmn"
    for change, message in [
        ({"mask_net.prelu.weight": None}, r"has no weight mask_net\.prelu\.weight"),
        ({"extra.weight": torch.ones(2)}, r"has extra\.weight"),
        ({f"{gate}.fsmn.linear.weight": torch.ones(8, 9)}, r"blocks\.1\.recurrence\.widen\.weight is \(8, 9\)"),
        ({"mask_net.conv1d_encoder.weight": torch.ones(())}, "do not fit"),
    ]:
        changed = {name: value for name, value in {**state, **change}.items() if value is not None}
        with pytest.raises(UserError, match=message):
            published_weights(changed, "state")
    with pytest.raises(UserError, match="no such file"):
        load_published(tmp_path / "absent.pt")
    with pytest.raises(UserError, match="conv1d"):
        published_weights({"weight": torch.ones(2)}, "state")
