"""The recipe from manifest to scores, on real speech of less than 30 seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file, save_file

from speechkit.asr import load_recognizer
from speechkit.data import Utterance, write_manifest
from speechkit.errors import UserError
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module

recipe = recipe_module("asr_ctc").recipe

CONF = Path(__file__).resolve().parents[2] / "recipes" / "asr_ctc" / "conf"


@pytest.fixture(scope="module")
def manifests(shared_data, tmp_path_factory):
    """Six short utterances of the first corpus, two of them to be judged by."""
    folder = tmp_path_factory.mktemp("manifests")
    rows = []
    for line in (shared_data / "LJSpeech-1.1" / "metadata.csv").read_text(encoding="utf-8").splitlines():
        name, _, text = line.split("|")
        waveform, rate = soundfile.read(shared_data / "LJSpeech-1.1" / "wavs" / f"{name}.flac", dtype="float32")
        if len(waveform) < 5 * rate and text.isascii():
            soundfile.write(folder / f"{name}.wav", waveform, rate)
            rows.append(
                Utterance.from_samples(
                    id=name, audio_filepath=f"{name}.wav", num_samples=len(waveform), sample_rate=rate, text=text
                )
            )
        if len(rows) == 6:
            break
    assert sum(row.duration for row in rows) < 30
    write_manifest(folder / "train.jsonl", rows[:4])
    write_manifest(folder / "test.jsonl", rows[4:])
    return folder


def overrides(manifests):
    return [f"train_manifest={manifests / 'train.jsonl'}", f"test_manifest={manifests / 'test.jsonl'}"]


def test_recipe_runs_from_manifest_to_scores_and_its_model_loads(manifests, tmp_path):
    code = run_recipe(recipe, tmp_path, overrides=overrides(manifests), config_files=[CONF / "tiny.yaml"], device="cpu")
    assert code == 0
    scores = json.loads((outputs(recipe, tmp_path, "score") / "scores.json").read_text())
    assert scores["utterances"] == 2
    assert scores["cer"] > 0
    folder = outputs(recipe, tmp_path, "train")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6
    assert any("dev_cer" in line for line in lines)
    recognizer = load_recognizer(str(folder / "model"), device="cpu", window_seconds=10.0)
    assert recognizer.spec.name == "speechkit-ctc"
    vocabulary = json.loads((outputs(recipe, tmp_path, "prepare") / "vocabulary.json").read_text())
    emissions = recognizer.recognize(str(next(manifests.glob("*.wav")))).emissions
    assert emissions.vocabulary == tuple(vocabulary)
    again = run_recipe(
        recipe, tmp_path, overrides=overrides(manifests), config_files=[CONF / "tiny.yaml"], device="cpu"
    )
    assert again == 0


def test_a_hugging_face_encoder_is_tuned_and_loads_like_any_checkpoint(manifests, tmp_path):
    import torch
    import transformers as hf

    torch.manual_seed(0)
    config = hf.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0,
    )
    hf.Wav2Vec2Model(config).save_pretrained(tmp_path / "encoder")
    settings = [*overrides(manifests), "train.family=huggingface", f"train.init={tmp_path / 'encoder'}"]
    assert (
        run_recipe(recipe, tmp_path / "exp", overrides=settings, config_files=[CONF / "tiny.yaml"], device="cpu") == 0
    )
    folder = outputs(recipe, tmp_path / "exp", "train") / "model"
    recognizer = load_recognizer(str(folder), device="cpu")
    emissions = recognizer.recognize(str(next(manifests.glob("*.wav")))).emissions
    assert emissions.vocabulary[:2] == ("<blank>", " ")
    assert emissions.blank == 0
    assert np.isfinite(emissions.log_probs.astype(np.float32)).all()
    path = tmp_path / "encoder" / "model.safetensors"
    lost = {name: value for name, value in load_file(path).items() if not name.startswith("feature_projection.")}
    save_file(lost, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"encoder:.*weights lack wav2vec2\.feature_projection\..*1 more"):
        run_recipe(recipe, tmp_path / "torn", overrides=settings, config_files=[CONF / "tiny.yaml"], device="cpu")


def test_frozen_layers_stay_as_they_are_and_the_rest_learns(manifests, tmp_path):
    import torch

    from speechkit.asr.ctc_model import CtcConfig, CtcModel

    torch.manual_seed(0)
    start = CtcModel(CtcConfig(width=32, heads=2, encoder_layers=2, top_layers=1))
    start.save_pretrained(tmp_path / "start")
    start = CtcModel.from_pretrained(tmp_path / "start")
    settings = [*overrides(manifests), f"train.init={tmp_path / 'start'}", "train.frozen_layers=1", "train.variants=2"]
    code = run_recipe(
        recipe, tmp_path / "exp", overrides=settings, config_files=[CONF / "tiny.yaml"], device="cpu", stop=2
    )
    assert code == 0
    after = CtcModel.from_pretrained(outputs(recipe, tmp_path / "exp", "train") / "model")
    assert torch.equal(after.layers[0].feed_in.weight, start.layers[0].feed_in.weight)
    assert torch.equal(after.conv1.weight, start.conv1.weight)
    assert not torch.equal(after.layers[1].feed_in.weight, start.layers[1].feed_in.weight)


def test_missing_manifest_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="train_manifest"):
        run_recipe(recipe, tmp_path, config_files=[CONF / "tiny.yaml"], device="cpu")
