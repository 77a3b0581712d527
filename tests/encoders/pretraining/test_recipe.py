"""The recipe from recordings to an encoder, for every family, on real speech of less than half a minute."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from speechkit.data import write_manifest
from speechkit.data.manifest import read_manifest
from speechkit.encoders import load_encoder
from speechkit.encoders.pretraining import targets
from speechkit.encoders.pretraining.families import FamilyConfig, contrastive, new_encoder
from speechkit.errors import UserError
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.shipped import load_module

recipe = recipe_module("ssl_pretrain").recipe
pieces = load_module(Path(__file__).parents[3] / "scripts", "speech_manifests").pieces

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


def damaged(row, folder):
    """A row for each way in which a recording cannot be read."""
    waveform = np.zeros(32_000, np.float32)
    waveform[1000] = np.nan
    soundfile.write(folder / "nan.wav", waveform, 16_000, subtype="FLOAT")
    (folder / "text.wav").write_text("no audio at all")
    changes = {
        "gone": {"audio_filepath": "gone.wav"},
        "text": {"audio_filepath": "text.wav"},
        "nan": {"audio_filepath": "nan.wav", "duration": 2.0, "sample_rate": 16_000},
        "beyond": {"duration": row.duration + 5},
        "rate": {"sample_rate": 8000},
        "brief": {"duration": 0.5},
    }
    return [msgspec.structs.replace(row, id=name, **change) for name, change in changes.items()]


def test_recordings_that_cannot_be_read_are_dropped_with_the_reason(manifests, tmp_path):
    train, dev = (Path(setting.partition("=")[2]) for setting in manifests)
    rows = list(read_manifest(train))
    bad = damaged(rows[0], train.parent)
    write_manifest(train.parent / "bad.jsonl", [*bad[:3], *rows, *bad[3:]])
    write_manifest(train.parent / "bad-dev.jsonl", [*bad, *read_manifest(dev)])
    given = [f"train_manifest={train.parent / 'bad.jsonl'}", f"dev_manifest={train.parent / 'bad-dev.jsonl'}"]
    assert run(tmp_path / "bad", given, "family=generative") == 0
    assert run(tmp_path / "good", manifests, "family=generative") == 0
    drops = (outputs(recipe, tmp_path / "bad", "prepare") / "drops.jsonl").read_text().splitlines()
    found = [(json.loads(line)["id"], json.loads(line)["reason"]) for line in drops]
    expected = [(row.id, "too_short" if row.id == "brief" else "unreadable_audio") for row in bad]
    assert found == expected * 2
    weights = [(outputs(recipe, tmp_path / n, "train") / "model" / "model.safetensors") for n in ("bad", "good")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_nothing_to_learn_from_is_the_users_to_mend(manifests, tmp_path):
    train = Path(manifests[0].partition("=")[2])
    write_manifest(train.parent / "lost.jsonl", damaged(next(iter(read_manifest(train))), train.parent))
    (train.parent / "empty.jsonl").write_text("")
    for name, sentence in (
        ("lost", r"lost\.jsonl: none of 6 recordings is usable; the first, gone: unreadable_audio: "),
        ("empty", r"empty\.jsonl: none of 0 recordings is usable; give a manifest with rows"),
    ):
        with pytest.raises(UserError, match=sentence):
            run(tmp_path, [f"train_manifest={train.parent / name}.jsonl", manifests[1]])


def test_a_second_iteration_takes_its_targets_from_the_first_encoder(manifests, tmp_path):
    assert run(tmp_path / "first", manifests, "family=predictive") == 0
    first = outputs(recipe, tmp_path / "first", "train") / "model"
    more = ["family=predictive", f"targets.encoder={first}", "targets.layer=1", "targets.clusters=6"]
    assert run(tmp_path / "second", manifests, *more) == 0


def test_a_sample_for_clusters_comes_from_few_recordings_and_targets_are_of_all(manifests, tmp_path, monkeypatch):
    encoded, heard = targets.encoded, []
    monkeypatch.setattr(
        targets, "encoded", lambda encoder, rows, progress: heard.append(len(rows)) or encoded(encoder, rows, progress)
    )
    given = ["family=predictive", "targets.sampled_frames=60", "targets.clusters=20"]
    run_recipe(recipe, tmp_path, overrides=[*manifests, *given], config_files=[TINY], device="cpu", stop=2)
    assert heard == [1, 6]
    made = targets.Targets(outputs(recipe, tmp_path, "targets") / "targets.safetensors")
    assert made.clusters == 20
    assert all(len(made(item)) > 50 for item in range(6))
    with pytest.raises(UserError, match=r"\d+ frames is too small for 500 clusters.*targets.sampled_frames higher"):
        run(tmp_path, manifests, "family=predictive", "targets.sampled_frames=60", "targets.clusters=500")


def test_training_goes_on_in_single_precision_from_what_is_stored_in_half(manifests, tmp_path):
    assert run(tmp_path / "first", manifests, "family=contrastive", "train.half=true") == 0
    first = outputs(recipe, tmp_path / "first", "train") / "model"
    config = FamilyConfig(init=str(first))
    assert {value.dtype for value in new_encoder(config).parameters()} == {torch.float32}
    assert run(tmp_path / "second", manifests, "family=predictive", f"train.init={first}") == 0


def test_an_encoder_to_go_on_from_is_whole_but_for_heads(tmp_path):
    encoder = new_encoder(FamilyConfig(size="tiny"))
    encoder.save_pretrained(tmp_path)
    assert contrastive(FamilyConfig(init=str(tmp_path)), 0).network.quantizer.codevectors.std() > 0
    weights = {key: value for key, value in encoder.state_dict().items() if "encoder.layers.0." not in key}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for build in (new_encoder, lambda config: contrastive(config, 0)):
        with pytest.raises(UserError, match=r"train\.init=.*: its weights lack (wav2vec2\.)?encoder\.layers\.0\."):
            build(FamilyConfig(init=str(tmp_path)))


def test_what_is_missing_is_named(manifests, tmp_path):
    with pytest.raises(UserError, match="train_manifest is not set"):
        run_recipe(recipe, tmp_path, overrides=[], device="cpu")
    with pytest.raises(UserError, match=r"train\.teacher is not set"):
        run(tmp_path, manifests, "family=distilled")
    for family in ("contrastive", "predictive", "generative"):
        with pytest.raises(UserError, match=r"train\.init=/nowhere"):
            run(tmp_path, manifests, f"family={family}", "train.init=/nowhere")
    with pytest.raises(UserError, match="too small for 100000 clusters"):
        run(tmp_path, manifests, "family=predictive", "targets.clusters=100000")


@pytest.mark.slow
def test_two_processes_share_each_step_as_accumulation_would_layers_dropped_and_all(manifests, tmp_path, capsys):
    same = ["family=contrastive", "train.layer_drop=0.5", "train.dropout=0.1"]
    trained = {}
    for name, more in {"one": "train.loop.accumulation=2", "two": "train.processes=2"}.items():
        assert run(tmp_path / name, manifests, *same, more) == 0
        assert "step 4: loss" in capsys.readouterr().err
        folder = outputs(recipe, tmp_path / name, "train")
        assert (folder / "metrics.jsonl").read_text()
        trained[name] = load_file(folder / "model" / "model.safetensors")
    for name, weights in trained["one"].items():
        np.testing.assert_allclose(trained["two"][name], weights, rtol=1e-3, atol=1e-5)
