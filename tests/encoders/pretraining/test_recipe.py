"""The recipe from recordings to an encoder, for every family, on real speech of less than half a minute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from recipes.ssl_pretrain import targets
from recipes.ssl_pretrain.config import TrainConfig
from recipes.ssl_pretrain.recipe import recipe
from recipes.ssl_pretrain.speech import pieces
from recipes.ssl_pretrain.stages import contrastive, new_encoder
from speechkit.data import write_manifest
from speechkit.encoders import load_encoder
from speechkit.errors import UserError
from speechkit.pipeline import outputs, run_recipe

TINY = Path(__file__).resolve().parents[3] / "recipes" / "ssl_pretrain" / "conf" / "tiny.yaml"


@pytest.fixture(scope="module")
def manifests(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("manifests")
    rows = [row for _, row in pieces(shared_data / "LJSpeech-1.1", folder)][:6]
    assert len({row.id for row in rows}) == 6
    write_manifest(folder / "train.jsonl", rows[:4])
    write_manifest(folder / "dev.jsonl", rows[4:])
    return [f"train_manifest={folder / 'train.jsonl'}", f"dev_manifest={folder / 'dev.jsonl'}"]


def run(folder, manifests, *more):
    return run_recipe(recipe, folder, overrides=[*manifests, *more], config_files=[TINY], device="cpu")


@pytest.mark.parametrize("family", ["contrastive", "predictive", "generative"])
@pytest.mark.parametrize("half", [False, True])
def test_every_family_gives_an_encoder_that_loads(family, half, manifests, tmp_path):
    assert run(tmp_path, manifests, f"family={family}", f"train.half={str(half).lower()}") == 0
    folder = outputs(recipe, tmp_path, "train") / "model"
    encoder = load_encoder(str(folder), device="cpu")
    frames = encoder.encode(0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32))
    assert frames.shape == (50, encoder.spec.dim)
    assert np.isfinite(frames).all()
    stored = {value.dtype for value in load_file(folder / "model.safetensors").values()}
    assert stored == {np.dtype("float16" if half else "float32")}


def test_a_second_iteration_takes_its_targets_from_the_first_encoder(manifests, tmp_path):
    assert run(tmp_path / "first", manifests, "family=predictive") == 0
    first = outputs(recipe, tmp_path / "first", "train") / "model"
    more = ["family=predictive", f"targets.encoder={first}", "targets.layer=1", "targets.clusters=6"]
    assert run(tmp_path / "second", manifests, *more) == 0


def test_a_sample_for_clusters_comes_from_few_recordings_and_targets_are_of_all(manifests, tmp_path, monkeypatch):
    encoded, heard = targets.encoded, []
    monkeypatch.setattr(
        targets, "encoded", lambda encoder, rows, context: heard.append(len(rows)) or encoded(encoder, rows, context)
    )
    given = ["family=predictive", "targets.sampled_frames=60", "targets.clusters=20"]
    run_recipe(recipe, tmp_path, overrides=[*manifests, *given], config_files=[TINY], device="cpu", stop=2)
    assert heard == [1, 6]
    made = targets.Targets(outputs(recipe, tmp_path, "targets") / "targets.safetensors")
    assert made.clusters == 20
    assert all(len(made(item)) > 50 for item in range(6))
    with pytest.raises(UserError, match=r"of \d+ frames cannot make 500 clusters; .* or targets.sampled_frames higher"):
        run(tmp_path, manifests, "family=predictive", "targets.sampled_frames=60", "targets.clusters=500")


def test_training_goes_on_in_single_precision_from_what_is_stored_in_half(manifests, tmp_path):
    assert run(tmp_path / "first", manifests, "family=contrastive", "train.half=true") == 0
    first = outputs(recipe, tmp_path / "first", "train") / "model"
    config = TrainConfig(init=str(first))
    assert {value.dtype for value in new_encoder(config).parameters()} == {torch.float32}
    assert run(tmp_path / "second", manifests, "family=predictive", f"train.init={first}") == 0


def test_an_encoder_to_go_on_from_is_whole_but_for_heads(tmp_path):
    encoder = new_encoder(TrainConfig(size="tiny"))
    encoder.save_pretrained(tmp_path)
    assert contrastive(TrainConfig(init=str(tmp_path))).network.network.quantizer.codevectors.std() > 0
    weights = {key: value for key, value in encoder.state_dict().items() if "encoder.layers.0." not in key}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for build in (new_encoder, contrastive):
        with pytest.raises(UserError, match=r"train\.init=.*: its weights lack (wav2vec2\.)?encoder\.layers\.0\."):
            build(TrainConfig(init=str(tmp_path)))


def test_what_is_missing_is_named(manifests, tmp_path):
    with pytest.raises(UserError, match="train_manifest is not set"):
        run_recipe(recipe, tmp_path, overrides=[], device="cpu")
    with pytest.raises(UserError, match=r"train\.teacher is not set"):
        run(tmp_path, manifests, "family=distilled")
    for family in ("contrastive", "predictive", "generative"):
        with pytest.raises(UserError, match=r"train\.init=/nowhere"):
            run(tmp_path, manifests, f"family={family}", "train.init=/nowhere")
    with pytest.raises(UserError, match="cannot make 100000 clusters"):
        run(tmp_path, manifests, "family=predictive", "targets.clusters=100000")
