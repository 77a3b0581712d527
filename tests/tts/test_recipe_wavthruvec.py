"""The recipe from recordings to a page, on a few seconds of real speech and networks that know nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from speechkit.data import Utterance, write_manifest
from speechkit.data.manifest import read_jsonl, read_manifest
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import audio_info
from speechkit.nn.mel_spec import MelSpec
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.pipeline.stage import DropRecord
from speechkit.tts.text import read_front_end
from speechkit.tts.text2vec import Text2Vec
from speechkit.tts.vocoder.config import EncoderInput, MelInput, VocoderConfig, VocosConfig
from speechkit.tts.vocoder.vocoder import Vocoder

recipe = recipe_module("wavthruvec").recipe
TINY = Path(__file__).resolve().parents[2] / "recipes" / "wavthruvec" / "conf" / "tiny.yaml"


def row(path: Path, text: str | None, name: str) -> Utterance:
    info = audio_info(path)
    return Utterance.from_samples(
        id=name,
        audio_filepath=str(path),
        num_samples=info.num_samples,
        sample_rate=info.sample_rate,
        text=text,
        speaker="kerstin",
        lang="de",
    )


@pytest.fixture(scope="module")
def manifests(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wavthruvec")
    source = shared_data / "kerstin-de"
    lines = [line.split("|") for line in (source / "metadata.csv").read_text(encoding="utf-8").splitlines()[:40]]
    rows = [row((source / "wavs" / f"{name}.opus").resolve(), text, name) for name, text in lines]
    short = [each for each in rows if 2 < each.duration < 5][:8]
    parts = {"train": short[:4], "dev": short[4:6], "test": short[6:]}
    for part, kept in parts.items():
        write_manifest(folder / f"{part}.jsonl", kept)
    return folder


def settings(folder: Path, *more: str) -> list[str]:
    return [*(f"{part}_manifest={folder / f'{part}.jsonl'}" for part in ("train", "dev", "test")), "lang=de", *more]


def run(folder, overrides, stop: int | None = None):
    return run_recipe(recipe, folder, overrides=overrides, config_files=[TINY], device="cpu", stop=stop)


def vocoder_of(source, folder: Path) -> Path:
    generator = VocosConfig(width=8, inner=8, layers=1, kernel=3, mel_magnitudes=isinstance(source, MelInput))
    Vocoder(VocoderConfig(input=source, generator=generator)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_all_stages_run_and_the_page_plays_the_test(manifests, tmp_path):
    vocoder = vocoder_of(MelInput(), tmp_path / "vocoder")
    given = settings(manifests, f"vocoder={vocoder}", "normalizer=simple", "measures=[acoustics]", "aligner=null")
    assert run(tmp_path / "exp", given) == 0
    spoken = list(read_manifest(outputs(recipe, tmp_path / "exp", "clips") / "manifest.jsonl"))
    assert [each.id for each in spoken] == [each.id for each in read_manifest(manifests / "test.jsonl")]
    page = outputs(recipe, tmp_path / "exp", "report") / "report" / "report.html"
    assert page.read_text(encoding="utf-8").count('id="clip-') >= 2 * len(spoken)
    model = Text2Vec.from_pretrained(outputs(recipe, tmp_path / "exp", "train") / "model")
    assert model.config.target == MelSpec()
    assert model.config.text.lang == "de"


@pytest.mark.slow
def test_frames_of_an_encoder_are_learnt_and_need_a_vocoder_of_that_layer(manifests, tiny_checkpoint, tmp_path):
    given = settings(manifests, f"encoder={tiny_checkpoint}", "layer=1")
    assert run(tmp_path / "exp", given, stop=3) == 0
    model = Text2Vec.from_pretrained(outputs(recipe, tmp_path / "exp", "train") / "model")
    spec = model.config.target
    assert isinstance(spec, EncoderSpec)
    assert spec.layer == "1"
    assert model.generate("Guten Tag.").frames.shape[1] == spec.dim
    other = vocoder_of(EncoderInput(msgspec.structs.replace(spec, layer="2")), tmp_path / "other")
    with pytest.raises(UserError, match="layer"):
        run(tmp_path / "exp", [*given, f"vocoder={other}"], stop=4)
    own = vocoder_of(EncoderInput(spec), tmp_path / "own")
    assert run(tmp_path / "exp", [*given, f"vocoder={own}"], stop=5) == 0


def test_what_cannot_be_learnt_is_dropped_with_its_reason(manifests, tmp_path):
    rows = list(read_manifest(manifests / "train.jsonl"))
    odd = [
        msgspec.structs.replace(rows[0], id="empty", text=" "),
        msgspec.structs.replace(rows[0], id="marks", text="…"),
        msgspec.structs.replace(rows[0], id="foreign", text="Das ist 日本."),
        msgspec.structs.replace(rows[0], id="short", duration=0.1),
        msgspec.structs.replace(rows[0], id="long", duration=20.0),
    ]
    write_manifest(tmp_path / "train.jsonl", [*rows, *odd])
    given = [*settings(manifests), f"train_manifest={tmp_path / 'train.jsonl'}"]
    assert run(tmp_path / "exp", given, stop=1) == 0
    folder = outputs(recipe, tmp_path / "exp", "prepare")
    reasons = {drop.id: drop.reason for drop in read_jsonl(folder / "drops.jsonl", DropRecord)}
    assert reasons == {
        "empty": "no_text",
        "marks": "unspeakable",
        "foreign": "unknown_symbol",
        "short": "too_short",
        "long": "too_long",
    }


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_texts_may_be_phonemes_which_the_training_texts_list(manifests, tmp_path):
    assert run(tmp_path / "exp", settings(manifests, "prepare.units=phonemes"), stop=1) == 0
    folder = outputs(recipe, tmp_path / "exp", "prepare")
    front_end = read_front_end(folder / "text.json", folder / "dictionary.json")
    assert {" ", ".", "ː", "ˈ"} < set(front_end.symbols)
    train = [each for each in read_manifest(folder / "cuts.jsonl") if each.custom["part"] == "train"]
    for each in train:
        symbols, unknown = front_end.read(each.text)
        assert not unknown
        assert len(front_end.numbers(symbols)) == each.custom["symbols"]


def test_a_manifest_that_is_not_given_is_named(manifests, tmp_path):
    with pytest.raises(ConfigError, match=r"test_manifest is not set; run with test_manifest=FILE\.jsonl"):
        run(tmp_path, settings(manifests, "test_manifest=null"), stop=1)
