import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, HubertConfig, HubertModel

from speechkit.asr.ctc_model import CtcConfig, CtcModel
from speechkit.encoders.checkpoint import load_whole
from speechkit.errors import UserError
from speechkit.nn.checkpoints import checkpoint_folder, read_network, write_network


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hubert")
    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    config = HubertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, **convolutions
    )
    HubertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(hubert, tmp_path):
    return Path(shutil.copytree(hubert, tmp_path / "model"))


def change(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def refused(folder, match, load=lambda folder: load_whole(AutoModel, str(folder))):
    with pytest.raises(UserError, match=match) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def shard(folder, names):
    """Two weights files and an index that gives them other names."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    halves = sorted(weights)[::2], sorted(weights)[1::2]
    for file, keys in zip(("a.safetensors", "b.safetensors"), halves, strict=True):
        save_file({key: weights[key] for key in keys}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    weight_map = {key: name for name, keys in zip(names, halves, strict=True) for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_networks_without_memory_are_made_without_loading_a_compiler():
    code = (
        "import sys, torch\n"
        "from speechkit.nn.checkpoints import skip_meta_init\n"
        "with torch.device('meta'), skip_meta_init():\n"
        "    assert torch.nn.Embedding(3, 4).weight.is_meta\n"
        "    torch.nn.init.normal_(torch.empty(3, 4), std=0.1)\n"
        "with skip_meta_init():\n"
        "    assert torch.nn.init.normal_(torch.zeros(3)).all()\n"
        "sys.exit('sympy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shards_of_the_folder_are_the_whole(hubert, folder):
    shard(folder, ("a.safetensors", "b.safetensors"))
    whole, parts = (load_whole(AutoModel, str(name))[0].state_dict() for name in (hubert, folder))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(
    "name", ["b.bin", "../outside/b.safetensors", "/b.safetensors", "c.safetensors", "..", "x\\b.safetensors"]
)
def test_a_shard_is_a_plain_safetensors_file_of_its_folder(folder, tmp_path, name):
    shard(folder, ("a.safetensors", name))
    (tmp_path / "outside").mkdir()
    for copy in (folder / "b.bin", tmp_path / "outside" / "b.safetensors"):
        shutil.copy(folder / "b.safetensors", copy)
    refused(folder, "lists the shard")


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"weight_map": {"a": 3}}', b'{"weight_map": 5}', b"\xff"])
def test_a_damaged_index_is_one_sentence(folder, index):
    shard(folder, ("a.safetensors", "b.safetensors"))
    (folder / "model.safetensors.index.json").write_bytes(index)
    refused(folder, r"index\.json: cannot be read")


def test_code_of_a_checkpoint_never_runs_and_nobody_is_asked(folder, tmp_path, monkeypatch):
    code = "from pathlib import Path\nfrom transformers import PretrainedConfig, PreTrainedModel\n"
    code += f"Path({str(tmp_path / 'ran')!r}).touch()\nclass C(PretrainedConfig):\n    model_type = 'own'\n"
    (folder / "own.py").write_text(code + "class M(PreTrainedModel):\n    config_class = C\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    auto_map = {"AutoConfig": "own.C", "AutoModel": "own.M"}
    change(folder, model_type="own", auto_map=auto_map)
    refused(folder, "code of its own")
    for kind in ("AutoFeatureExtractor", "AutoTokenizer"):
        change(folder, model_type="hubert", auto_map=auto_map | {kind: "own.C"})
        load_whole(AutoModel, str(folder))  # transformers has this architecture; its own class is what loads
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("hidden_size", 10**9),
        ("conv_dim", [8] * 100_000),
        ("hidden_size", 2**20),
        ("intermediate_size", 2**23),
        ("num_hidden_layers", "many"),
        ("conv_kernel", None),
    ],
)
def test_a_configuration_larger_than_its_weights_takes_no_memory(folder, field, value):
    change(folder, **{field: value})
    refused(folder, "model")


def test_deep_and_large_configurations_are_refused(folder):
    (folder / "config.json").write_text("[" * 200_000)
    refused(folder, r"config\.json")
    with (folder / "config.json").open("wb") as file:
        file.truncate(100 * 2**20)
    refused(folder, "100 MB")


def test_a_repository_once_fetched_loads_without_a_network(hubert, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = tmp_path / "models--somebody--hubert-tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(hubert, cached / "snapshots" / ("0" * 40))
    model, _ = load_whole(AutoModel, "somebody/hubert-tiny")
    assert model.config.model_type == "hubert"
    refused("somebody/else", "not available from the hub")


@pytest.mark.parametrize("name", ["", "a/b/c", "../up", "https://x/y", "a b", "."])
def test_what_is_neither_folder_nor_hub_id_is_said_so(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == ".":
        refused(name, "has no model.safetensors")
    else:
        refused(name, "nor a hub id", load=checkpoint_folder) if name else None


class Shape(msgspec.Struct, frozen=True):
    width: int = 4


def linear(shape):
    return nn.Linear(shape.width, shape.width)


def test_a_network_comes_back_as_it_was_written(tmp_path):
    network = linear(Shape())
    write_network(tmp_path / "a", Shape(), network)
    write_network(tmp_path / "b", Shape(), network, half=True)
    same, half = (read_network(tmp_path / name, Shape, linear, "a line") for name in "ab")
    assert torch.equal(same.weight, network.weight)
    assert torch.equal(half.weight, network.weight.half().float())
    assert not same.training


def wide(shape):
    return nn.Sequential(nn.Conv1d(shape.width, 64, 9), nn.Linear(64, 128), nn.LayerNorm(128))


def test_int8_weights_are_within_half_a_scale_and_a_quarter_of_the_size(tmp_path):
    network = wide(Shape(16))
    with torch.no_grad():
        network[1].weight[3] = 0
        network[1].weight[4] *= 1e4
    write_network(tmp_path / "whole", Shape(16), network)
    write_network(tmp_path / "int8", Shape(16), network, int8=True)
    back = read_network(tmp_path / "int8", Shape, wide, "a line")
    for name, value in network.state_dict().items():
        got = back.state_dict()[name]
        if value.ndim < 2:
            assert torch.equal(got, value.half().float())
            continue
        largest = value.flatten(1).abs().amax(1).view(-1, *[1] * (value.ndim - 1))
        assert ((got - value).abs() <= largest / 127 * 0.502 + 1e-7).all()
    assert not back[1].weight[3].any()
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "int8")]
    assert sizes[1] < 0.32 * sizes[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda weights: weights.pop("1.weight"),
        lambda weights: weights.update({"1.weight.int8_scale": torch.ones(127).half()}),
        lambda weights: weights.update({"1.bias.int8_scale": torch.ones(128).half()}),
        lambda weights: weights.update({"1.weight.int8_scale": torch.ones(128)}),
    ],
)
def test_scales_of_other_arrays_are_refused(damage, tmp_path):
    write_network(tmp_path, Shape(16), wide(Shape(16)), int8=True)
    weights = load_file(tmp_path / "model.safetensors")
    damage(weights)
    save_file(weights, tmp_path / "model.safetensors")
    refused(tmp_path, "does not fit the rows of an int8 array", lambda name: read_network(name, Shape, wide, "a line"))


def test_networks_of_other_sizes_than_their_weights_are_never_made(tmp_path):
    write_network(tmp_path, Shape(), linear(Shape()))
    (tmp_path / "config.json").write_text('{"width": 1000000}')
    refused(tmp_path, "weight is .*4.* by config", lambda name: read_network(name, Shape, linear, "a line"))
    (tmp_path / "model.safetensors").rename(tmp_path / "model.pt")
    refused(tmp_path, "can execute code", lambda name: read_network(name, Shape, linear, "a line"))
    (tmp_path / "config.json").unlink()
    refused(tmp_path, "has no config", lambda name: read_network(name, Shape, linear, "a line"))


def test_a_recogniser_with_a_wide_configuration_is_refused(tmp_path):
    CtcModel(CtcConfig(width=8, heads=2, encoder_layers=1, top_layers=1)).save_pretrained(tmp_path)
    for fields in ({"encoder_layers": 10**6}, {"width": 16384, "encoder_layers": 64}):
        CtcModel(CtcConfig(width=8, heads=2, encoder_layers=1, top_layers=1)).save_pretrained(tmp_path)
        change(tmp_path, **fields)
        refused(tmp_path, r"config\.json|encoder_layers", CtcModel.from_pretrained)


def test_a_configuration_that_never_ends_is_refused(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match="not a regular file"):
        checkpoint_folder(tmp_path)
