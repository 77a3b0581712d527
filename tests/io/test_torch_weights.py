"""Checkpoints of PyTorch are read as numbers, and nothing of them is run."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from speechkit.errors import UserError
from speechkit.io.torch_weights import read_torch_weights


def test_tensors_of_every_kind_and_layout_are_read(tmp_path):
    torch.manual_seed(0)
    whole = torch.randn(6, 5)
    state = OrderedDict(
        plain=whole,
        turned=whole.T,
        part=whole[1:4, ::2],
        half=whole.half(),
        brief=whole.bfloat16(),
        count=torch.tensor(7),
        none=torch.zeros(0, 3),
        learnt=torch.nn.Parameter(whole),
    )
    file = tmp_path / "last_best_checkpoint.pt"
    torch.save({"model": state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": whole}}, "lr": 1e-3}}, file)
    found = read_torch_weights(file)
    assert sorted(found) == sorted(f"model.{name}" for name in state)
    for name, value in state.items():
        np.testing.assert_array_equal(found[f"model.{name}"], value.detach().float().numpy())


def test_state_of_a_module_is_read(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv1d(1, 3, 4), torch.nn.BatchNorm1d(3))
    torch.save(network.state_dict(), tmp_path / "encoder.ckpt")
    found = read_torch_weights(tmp_path / "encoder.ckpt")
    assert list(found) == list(network.state_dict())


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harm()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"names '\w+\.system'.*nothing of the file was run"):
        read_torch_weights(tmp_path / "bad.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_torch_weights(tmp_path / "module.pt")
    assert not Path("harmed").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(UserError, match="holds no weights as PyTorch saves them"):
        read_torch_weights(tmp_path / "bad.pt")
    with pytest.raises(UserError, match="no such file"):
        read_torch_weights(tmp_path / "absent.pt")


def test_damaged_and_dishonest_checkpoints_are_refused(tmp_path):
    torch.save({"a": torch.ones(100)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good:
        parts = {name: good.read(name) for name in good.namelist()}

    def changed(what: str, change) -> Path:
        with zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad:
            for name, content in parts.items():
                bad.writestr(name, change(content) if name.endswith(what) else content)
        return tmp_path / "bad.pt"

    for what, change, message in [
        ("data/0", lambda content: content[:40], "larger than its storage"),
        ("byteorder", lambda _: b"big", "little-endian"),
        ("data.pkl", lambda content: content[:-3], "since 1.6"),
        ("data.pkl", lambda content: content.replace(b"FloatStorage", b"WhatStorage_"[:12]), "WhatStorage_"),
    ]:
        with pytest.raises(UserError, match=message):
            read_torch_weights(changed(what, change))


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def tensor(shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    sizes, steps = (b"(" + b"".join(b"J" + n.to_bytes(4, "little") for n in each) + b"t" for each in (shape, strides))
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + sizes + steps + b"\x89}tR"


def nested(levels: int) -> bytes:
    """A dictionary of two references to a dictionary of two references and so on, down to a tensor."""
    program = b"}q\x00" + text("w") + tensor((2,), (1,)) + b"s0"
    for level in range(1, levels):
        inner = b"h" + bytes([level - 1]) + b"s"
        program += b"}q" + bytes([level]) + text("a") + inner + text("b") + inner + b"0"
    return program + b"h" + bytes([levels - 1])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"}q\x00" + text("a") + b"h\x00s", "contain one another without end"),
        (nested(60), "contain one another without end"),
        (b"}" + text("w") + tensor((2**30, 4), (0, 0)) + b"s", "many times larger than the file"),
    ],
)
def test_checkpoints_without_end_are_refused_in_bounded_time_and_memory(tmp_path, monkeypatch, program, message):
    monkeypatch.setattr("speechkit.io.torch_weights.MAX_ENTRIES", 1000)

    def write(content: bytes) -> Path:
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("w/data.pkl", b"\x80\x02" + content + b".")
            archive.writestr("w/data/0", np.arange(4, dtype="<f4").tobytes())
        return tmp_path / "w.pt"

    with pytest.raises(UserError, match=message):
        read_torch_weights(write(program))
    found = read_torch_weights(write(nested(3)))
    assert sorted(found) == ["a.a.w", "a.b.w", "b.a.w", "b.b.w"]
    assert all(value.tolist() == [0.0, 1.0] for value in found.values())
