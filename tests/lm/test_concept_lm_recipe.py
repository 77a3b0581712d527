"""Claims about the recipe: from sound to scores; nobody who judges teaches, and a segment hears nothing but itself."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.cli.main import call
from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders import load_encoder
from speechkit.io.audio import read_audio, write_audio
from speechkit.lm.concepts.documents import SegmentVector
from speechkit.lm.concepts.model import ConceptModel
from speechkit.lm.concepts.records import ConceptReport
from speechkit.pipeline import outputs, read_record_arrays, run_recipe
from speechkit.pipeline.discover import recipe_module

recipe = recipe_module("concept_lm").recipe
TINY = Path(__file__).parents[2] / "recipes/concept_lm/conf/tiny.yaml"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Six tones with pauses between them, by five speakers."""
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    rows = []
    for speaker in "ABCDE":
        for number in range(3):
            pieces = []
            for pitch in 300 * 1.3 ** random.integers(0, 5, 6):
                tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(9600) / 16_000)
                pieces += [tone, np.zeros(4800)]
            sound = np.concatenate(pieces) + random.normal(0, 1e-4, 6 * 14_400)
            write_audio(folder / f"{speaker}{number}.wav", sound.astype(np.float32), 16_000)
            rows.append(
                Utterance.from_samples(
                    id=f"{speaker}{number}",
                    audio_filepath=f"{speaker}{number}.wav",
                    num_samples=len(sound),
                    sample_rate=16_000,
                    speaker=speaker,
                )
            )
    write_manifest(folder / "all.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def done(speech, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    manifest = speech / "all.jsonl"
    given = [f"train_manifest={manifest}", f"test_manifest={manifest}", "prepare.test_speakers=D,E"]
    run_recipe(recipe, exp, given, config_files=[TINY], quiet=True, device="cpu")
    return exp


def vectors(done):
    return list(read_jsonl(outputs(recipe, done, "encode") / "vectors.jsonl", SegmentVector))


@pytest.mark.slow
def test_all_systems_are_judged_by_the_same_targets_of_unseen_speakers(done):
    folder = outputs(recipe, done, "report")
    report = msgspec.json.decode((folder / "report.json").read_bytes(), type=ConceptReport)
    assert [each.system for each in report.systems] == [
        *("copy of the last", "mean of the context", "ridge regression", "base (squared error)"),
        *("two towers (diffusion)", "quantized, codes", "quantized, vectors"),
    ]
    assert {each.targets for each in report.systems} == {30}
    assert all(0 <= each.contrastive_accuracy <= 1 and each.distance > 0 for each in report.systems)
    assert report.fit.speakers == {"train": 2, "dev": 1, "test": 2}
    assert set(report.gains) == {each.system for each in report.systems[3:]}
    table = (folder / "table.md").read_text()
    assert "by lot" in table
    assert "two towers" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_nobody_who_judges_teaches_and_each_tone_is_a_segment(done):
    rows = vectors(done)
    speakers = {part: {row.speaker for row in rows if row.part == part} for part in ("train", "dev", "test")}
    assert speakers["test"] == {"D", "E"}
    assert not speakers["train"] & (speakers["dev"] | speakers["test"])
    assert len(rows) == 15 * 6


@pytest.mark.slow
def test_a_vector_is_the_mean_of_frames_of_its_segment_alone(done, speech):
    manifest = outputs(recipe, done, "encode") / "vectors.jsonl"
    row = vectors(done)[4]
    sound = read_audio(speech / f"{row.recording}.wav")
    begin = round(row.start * 16_000)
    alone = load_encoder("embedded").encode(sound[begin : begin + round(row.seconds * 16_000)])
    stored = read_record_arrays(manifest, row.features)["vector"]
    assert len(alone) == row.frames
    assert stored == pytest.approx(alone.mean(0), abs=0.05 * float(np.abs(alone.mean(0)).max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "two_tower", "quantized_codes", "quantized_vectors"])
def test_stored_models_can_be_used_alone(done, name):
    model = ConceptModel.from_pretrained(outputs(recipe, done, name) / "model")
    rows = model.concepts(np.random.default_rng(0).normal(size=(20, 384)).astype(np.float32))
    assert np.isfinite(model.predict_document(rows)).all()


@pytest.mark.slow
def test_the_shell_orders_recordings_by_what_is_foreseen(done, speech, capsys):
    model = outputs(recipe, done, "base") / "model"
    among = [part for name in ("D1", "E0", "E1") for part in ("--among", str(speech / f"{name}.wav"))]
    command = ["lm", "follows", str(model), str(speech / "D0.wav"), *among, "--pause", "0.1", "--vad", "energy"]
    assert call([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    distances = [row["distance"] for row in found["candidates"]]
    assert distances == sorted(distances)
    assert {Path(row["file"]).stem for row in found["candidates"]} == {"D1", "E0", "E1"}
    assert call(command) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("1  ")


@pytest.mark.slow
def test_silence_and_another_encoder_are_refused(done, speech, tmp_path, capsys):
    model = str(outputs(recipe, done, "base") / "model")
    write_audio(tmp_path / "silence.wav", np.zeros(32_000, np.float32), 16_000)
    context, silence = str(speech / "D0.wav"), str(tmp_path / "silence.wav")
    assert call(["lm", "follows", model, silence, "--among", context]) == 2
    assert "contains no speech" in capsys.readouterr().err
    assert call(["lm", "follows", model, context, "--among", context, "--vad", "energy", "--encoder", "log-mel"]) == 2
    assert "log-mel" in capsys.readouterr().err
    assert call(["lm", "follows", model, context, "--among", context, "--vad", "ears"]) == 2
    assert "vad" in capsys.readouterr().err
