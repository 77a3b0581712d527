"""Claims about encoders that are stored as their difference from the embedded one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from speechkit.encoders import load_encoder
from speechkit.encoders.derived import DERIVED, pack_difference
from speechkit.encoders.load import checkpoint_name, encoder_digest, load_speech_encoder
from speechkit.errors import ConfigError, UserError

WAVEFORM = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
NAME = "embedded-syllables"


@pytest.fixture
def student(tmp_path):
    """A folder of the embedded encoder with other weights in its second layer."""
    encoder = load_speech_encoder("embedded", trainable=True)
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.transformer.layers[1].parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    encoder.save(tmp_path / "student")
    return tmp_path / "student"


def test_an_encoder_comes_back_from_its_difference(student, tmp_path, monkeypatch):
    count = pack_difference(student, tmp_path / "packed")
    layer = [key for key in load_speech_encoder("embedded").network.state_dict() if ".layers.1." in key]
    assert count == len(layer)
    assert (tmp_path / "packed/model.safetensors").stat().st_size < 2_000_000  # 1.8 million weights in int8
    monkeypatch.setitem(DERIVED, NAME, tmp_path / "packed")
    trained, again, base = (load_encoder(str(name), device="cpu") for name in (student, NAME, "embedded"))
    frames, packed, before = (each.encode(WAVEFORM) for each in (trained, again, base))
    error = np.linalg.norm(packed - frames) / np.linalg.norm(frames)
    assert error < 0.03 < 0.3 < np.linalg.norm(before - frames) / np.linalg.norm(frames)
    assert again.spec.model.endswith(NAME)
    assert again.spec.weights not in (base.spec.weights, trained.spec.weights)
    first = load_encoder(NAME, layer=1, device="cpu").encode(WAVEFORM)
    np.testing.assert_array_equal(first, load_encoder("embedded", layer=1, device="cpu").encode(WAVEFORM))
    load_speech_encoder(NAME).save(tmp_path / "whole")  # a folder for transformers
    np.testing.assert_allclose(
        load_encoder(str(tmp_path / "whole"), device="cpu").encode(WAVEFORM), packed, atol=1e-4, rtol=1e-4
    )


def test_encoders_that_were_not_trained_from_it_are_refused(student, tmp_path):
    config = json.loads((student / "config.json").read_text())
    short = load_speech_encoder("embedded", trainable=True)
    short.shorten(config["num_hidden_layers"] - 1)
    short.save(tmp_path / "short")
    with pytest.raises(UserError, match="is not as in the embedded encoder"):
        pack_difference(tmp_path / "short", tmp_path / "packed")
    load_speech_encoder("embedded", trainable=True).save(tmp_path / "same")
    with pytest.raises(UserError, match="does not differ"):
        pack_difference(tmp_path / "same", tmp_path / "packed")


def test_a_difference_that_does_not_fit_or_is_missing_is_refused(student, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    monkeypatch.setitem(DERIVED, NAME, tmp_path / "packed")
    with pytest.raises(UserError, match="are missing; install the package again"):
        load_encoder(NAME)
    pack_difference(student, tmp_path / "packed")
    path = tmp_path / "packed/model.safetensors"
    arrays = load_file(path)
    save_file({**arrays, "other": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="other does not fit the embedded encoder"):
        load_encoder(NAME)
    scale = next(key for key in arrays if key.endswith("int8_scale"))
    save_file({**arrays, scale: arrays[scale][1:]}, path)
    with pytest.raises(UserError, match="does not fit the rows of an int8 array"):
        load_encoder(NAME)


def test_it_has_no_folder_and_a_digest_of_both_parts(student, tmp_path, monkeypatch):
    pack_difference(student, tmp_path / "packed")
    monkeypatch.setitem(DERIVED, NAME, tmp_path / "packed")
    with pytest.raises(ConfigError, match=r"save\(FOLDER\), and give that"):
        checkpoint_name(NAME)
    assert encoder_digest(NAME).startswith(encoder_digest("embedded") + " ")
