"""The recipe from recordings to a page, in seconds; test speakers teach nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.tts.scores.summary import SynthesisScores
from speechkit.tts.vocoder import load_vocoder

recipe = recipe_module("vocoder").recipe
TINY = Path(__file__).resolve().parents[2] / "recipes" / "vocoder" / "conf" / "tiny.yaml"


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    rows = []
    for speaker, pitch in (("a", 110), ("b", 160), ("c", 210)):
        for number in range(4):
            seconds = 0.8 + 0.1 * number
            times = np.arange(round(seconds * 16_000)) / 16_000
            voice = sum(0.1 * np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 12))
            name = f"{speaker}{number}"
            write_audio(folder / f"{name}.flac", voice + random.normal(0, 0.005, len(times)), 16_000)
            rows.append(
                Utterance.from_samples(
                    id=name,
                    audio_filepath=f"{name}.flac",
                    num_samples=len(times),
                    sample_rate=16_000,
                    text="ah oh",
                    speaker=speaker,
                    lang="en",
                )
            )
    brief = msgspec.structs.replace(rows[0], id="brief", duration=0.3)
    gone = msgspec.structs.replace(rows[0], id="gone", audio_filepath="gone.flac")
    write_manifest(folder / "train.jsonl", [*rows, brief, gone])
    write_manifest(folder / "test.jsonl", rows[-4:])
    write_manifest(folder / "extra.jsonl", [msgspec.structs.replace(rows[5], id="more"), rows[0]])
    return folder


def run(folder: Path, speech: Path, *more: str, **options: object) -> int:
    manifests = [f"{part}_manifest={speech / part}.jsonl" for part in ("train", "test")]
    return run_recipe(recipe, folder, overrides=[*manifests, *more], config_files=[TINY], device="cpu", **options)


def test_recordings_are_kept_apart_and_what_is_left_out_is_named(speech, tmp_path):
    assert run(tmp_path, speech, f"extra_manifest={speech / 'extra.jsonl'}", stop=1) == 0
    folder = outputs(recipe, tmp_path, "prepare")
    parts = {part: [row.id for row in read_manifest(folder / f"{part}.jsonl")] for part in ("train", "dev", "test")}
    assert len(parts["dev"]) == 1
    assert len(parts["test"]) == 2
    assert not {name[0] for name in parts["train"] + parts["dev"]} & {"c"}
    assert "more" in parts["train"] + parts["dev"]
    assert len(parts["train"] + parts["dev"]) == 9
    drops = (folder / "drops.jsonl").read_text()
    for reason in ("test_speaker", "too_short", "unreadable_audio", "same_id", "beyond_limit"):
        assert reason in drops


def test_manifests_must_be_given_and_hold_something(speech, tmp_path):
    with pytest.raises(ConfigError, match="test_manifest is not set"):
        run_recipe(recipe, tmp_path, overrides=[f"train_manifest={speech / 'train.jsonl'}"], config_files=[TINY])
    with pytest.raises(UserError, match="0 recordings are left to learn from"):
        run(tmp_path, speech, "prepare.min_seconds=9", stop=1)


@pytest.mark.slow
def test_all_stages_run_to_a_page_and_a_vocoder_of_another_input_begins_with_the_first(speech, tmp_path):
    assert run(tmp_path / "mel", speech) == 0
    page = outputs(recipe, tmp_path / "mel", "report")
    scores = msgspec.json.decode((page / "scores.json").read_bytes(), type=SynthesisScores)
    assert [system.name for system in scores.systems] == ["recordings", "vocoder"]
    assert "cer_added" in scores.systems[1].figures
    assert "Recordings made again" in (page / "report.html").read_text()
    model = outputs(recipe, tmp_path / "mel", "adversarial") / "model"
    first = load_vocoder(model)
    assert first.scale.min() > 0
    assert first.mean.abs().max() > 0.1
    more = ("input=encoder", "encoder=log-mel", "spectral.speaker=true", "spectral.noise=2", f"spectral.init={model}")
    assert run(tmp_path / "frames", speech, *more, stop=5) == 0
    second = load_vocoder(outputs(recipe, tmp_path / "frames", "adversarial") / "model")
    assert second.speaker is not None
    assert second.config.input.encoder.model == "log-mel"


@pytest.mark.slow
def test_hifigan_and_units_go_through_both_trainings(speech, tmp_path):
    more = ("input=units", "spectral.generator=hifigan", "spectral.hifigan.channels=32", "spectral.speaker=true")
    rates = ("spectral.hifigan.rates=[5,4,4,2,2]", "spectral.hifigan.kernels=[11,8,8,4,4]")
    assert run(tmp_path, speech, *more, *rates, stop=5) == 0
    assert len(list(read_manifest(outputs(recipe, tmp_path, "synthesis") / "made.jsonl"))) == 2
