"""Claims about units made audible: durations, codebooks, long sequences, folders, the commands and the recipe."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch

from speechkit.cli.main import call
from speechkit.data.manifest import read_jsonl, write_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.atomic import write_json
from speechkit.io.audio import audio_info, write_audio
from speechkit.lm.records import TokenSpec
from speechkit.pipeline import outputs, run_recipe
from speechkit.shipped import load_module, shipped_folder
from speechkit.syllables.tokens import Token, TokenRow, token_runs
from speechkit.tts import unit_decoder
from speechkit.tts.flow_config import FlowConfig, SamplingConfig
from speechkit.tts.unit_decoder import UnitDecoder, UnitDecoderConfig, load_unit_decoder, say_units
from speechkit.tts.unit_frames import unit_set
from speechkit.tts.vocoder import Vocoder, VocoderConfig
from speechkit.tts.vocoder.config import SpeakerConfig, UnitInput, VocosConfig
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence

UNITS = UnitSet("digest-of-ten", 10, 50.0)
SMALL_VOCOS = VocosConfig(width=16, inner=16, layers=1)


def decoder_of(**fields):
    torch.manual_seed(0)
    flow = FlowConfig(width=16, layers=1, heads=2, feed_width=16, kernel=3)
    given = {"units": UNITS, "flow": flow, "sampling": SamplingConfig(steps=2, guidance=0.0), **fields}
    decoder = UnitDecoder(UnitDecoderConfig(**given)).eval()
    for layer in (decoder.flow.output, decoder.flow.transformer.condition):  # they begin as nothing
        torch.nn.init.normal_(layer.weight, std=0.3)
    decoder.unit_frames.copy_(torch.arange(1, 11))
    return decoder


def test_frames_follow_durations_and_overrides():
    decoder = decoder_of()
    assert decoder.frame_units([3, 1], [2, 3]).tolist() == [3, 3, 1, 1, 1]
    assert decoder.frame_units([3, 1]).tolist() == [3] * 4 + [1] * 2  # what they last on average
    assert len(decoder.frame_units([3, 1], [2, 3], seconds=1.0)) == 50
    assert decoder.frame_units([3, 1], [2, 4], speed=2.0).tolist() == [3, 1, 1]


@pytest.mark.parametrize(("units", "durations"), [([], None), ([10], None), ([-1], None), ([1, 2], [3]), ([1], [0])])
def test_units_that_cannot_be_are_refused(units, durations):
    with pytest.raises(UserError):
        decoder_of().frame_units(units, durations)


def test_seconds_that_are_too_few_are_refused():
    with pytest.raises(ConfigError, match="too few"):
        decoder_of().frame_units([1, 2, 3], seconds=0.02)


def test_a_unit_gives_two_mel_frames_and_the_seed_decides():
    decoder = decoder_of()
    units = [1, 1, 2, 3, 3]
    frames = decoder.generate(units, seed=1)
    assert frames.shape == (10, 80)
    assert np.array_equal(frames, decoder.generate(units, seed=1))
    assert not np.array_equal(frames, decoder.generate(units, seed=2))


def test_long_sequences_are_made_in_pieces_of_the_same_length(monkeypatch):
    decoder = decoder_of()
    units = np.random.default_rng(0).integers(0, 10, 47)
    monkeypatch.setattr(unit_decoder, "PIECE_FRAMES", 20)
    monkeypatch.setattr(unit_decoder, "CONTEXT_FRAMES", 3)
    assert decoder.generate(units).shape == (94, 80)


def test_a_decoder_comes_back_from_its_folder(tmp_path):
    decoder = decoder_of()
    decoder.save_pretrained(tmp_path, half=False)
    again = load_unit_decoder(tmp_path)
    assert again.config == decoder.config
    assert np.array_equal(again.generate([1, 2]), decoder.generate([1, 2]))


def test_decoders_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UserError, match="recipe unit_decoder"):
        load_unit_decoder("embedded-77")
    with pytest.raises(UserError):
        load_unit_decoder(tmp_path)


def test_many_voices_need_a_speaker():
    decoder = decoder_of(speaker=SpeakerConfig(width=8, inner=8, layers=1, dim=4))
    with pytest.raises(UserError, match="give a recording"):
        decoder.generate([1, 2])
    heard = 0.1 * np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32)
    assert not np.array_equal(decoder.generate([1, 2], heard[0]), decoder.generate([1, 2], heard[1]))


def test_a_vocoder_of_other_frames_is_refused():
    vocoder = Vocoder(VocoderConfig(generator=SMALL_VOCOS)).eval()
    assert len(say_units(decoder_of(), vocoder, np.array([1, 1, 2])).waveform) == 3 * 320
    of_units = VocoderConfig(input=UnitInput(UNITS), generator=msgspec.structs.replace(SMALL_VOCOS, hop_samples=320))
    with pytest.raises(UserError, match="takes units"):
        say_units(decoder_of(), Vocoder(of_units).eval(), np.array([1]))


def test_syllable_tokens_last_until_the_next_one():
    row = TokenRow("a", [Token(5, 2, 6), Token(7, 8, 11)])
    assert token_runs(row) == ([5, 7], [8, 3])
    with pytest.raises(UserError, match="not in order of time"):
        token_runs(TokenRow("a", [Token(5, 2, 6), Token(7, 0, 3)]))
    assert token_runs(TokenRow("a", [])) == ([], [])


@pytest.fixture
def folders(tmp_path):
    """Decoder, vocoder, a file of units and one of syllable tokens."""
    decoder_of().save_pretrained(tmp_path / "decoder")
    Vocoder(VocoderConfig(generator=SMALL_VOCOS)).save_pretrained(tmp_path / "vocoder")
    rows = [UnitSequence(name, [1, 2], [3, 4], UNITS.digest) for name in ("a", "b")]
    write_jsonl(tmp_path / "units.jsonl", rows)
    write_jsonl(tmp_path / "tokens.jsonl", [TokenRow("t", [Token(5, 0, 6), Token(7, 8, 11)])])
    return tmp_path


def said(folders, *arguments):
    models = ["--decoder", folders / "decoder", "--vocoder", folders / "vocoder", "--device", "cpu"]
    return call([str(each) for each in (*arguments, *models)])


def test_files_and_words_of_units_and_tokens_are_said(folders, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    for arguments, path, frames in (
        (("units", "say", "units.jsonl", "-o", "out"), "out/b.wav", 7),
        (("units", "say", "units.jsonl", "--ids", "a", "--seconds", 1, "-o", "a.flac"), "a.flac", 50),
        (("units", "say", "3, 1", "-o", "two.wav"), "two.wav", 6),
        (("syllables", "say", "tokens.jsonl", "-o", "t.wav"), "t.wav", 11),
    ):
        assert said(folders, *arguments) == 0
        assert audio_info(path).num_samples == 320 * frames
        assert "times real time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("units", "say", "1 2 99", "-o", "x.wav"), "units 0 to 9"),
        (("units", "say", "nothing.jsonl", "-o", "x.wav"), "neither a units file"),
        (("units", "say", "1 ²", "-o", "x.wav"), "neither a units file"),
        (("units", "say", f"1 {10**30}", "-o", "x.wav"), "units 0 to 9"),
        (("units", "say", "1", "--seed", -1, "-o", "x.wav"), "--seed"),
        (("units", "say", "twice.jsonl", "-o", "out"), "left out a: duplicate id"),
        (("syllables", "say", "none.jsonl", "--ids", "a", "-o", "out"), "no units to synthesise"),
        (("units", "say", "units.jsonl", "-o", "x.wav"), "2 sequences"),
        (("units", "say", "units.jsonl", "--ids", "c", "-o", "out"), "no sequence 'c'"),
        (("units", "say", "other.jsonl", "-o", "out"), "give a decoder of theirs"),
        (("units", "say", "1", "--speed", 2, "--seconds", 1, "-o", "x.wav"), "one of them"),
        (("units", "say", "1", "--speaker", "me.wav", "-o", "x.wav"), "leave the speaker out"),
    ],
)
def test_what_cannot_be_said_is_told_in_a_sentence(folders, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folders)
    write_jsonl(folders / "other.jsonl", [UnitSequence("a", [1], [3], "digest-of-others")])
    write_jsonl(folders / "twice.jsonl", [UnitSequence("a", [unit], [3], UNITS.digest) for unit in (1, 2)])
    (folders / "none.jsonl").touch()
    write_audio(folders / "me.wav", 0.1 * np.ones(16_000), 16_000)
    assert said(folders, *arguments) == 2
    assert message in capsys.readouterr().err


def test_continuations_of_another_codebook_are_not_given_to_a_decoder(tmp_path):
    decoder_of().save_pretrained(tmp_path)
    others = UnitSet("digest-of-others", 10, 50.0)
    write_json(tmp_path / "vocabulary.json", TokenSpec(others, others))
    context = SimpleNamespace(
        config=SimpleNamespace(decoder=str(tmp_path), vocoder="embedded"),
        inputs={"vocabulary": tmp_path / "vocabulary.json"},
        device="cpu",
    )
    showing = load_module(shipped_folder("recipes") / "unit_lm", "showing")
    with pytest.raises(UserError, match="these are of digest-of-ot; assign them with its codebook"):
        showing.speak(context)


def test_the_set_of_given_sequences_is_that_of_their_codebook(tmp_path):
    own = unit_set("embedded-100", None)
    assert own.clusters == 100
    write_jsonl(tmp_path / "tokens.jsonl", [TokenRow("t", [Token(5, 0, 6)])])
    assert unit_set("embedded-100", tmp_path / "tokens.jsonl").clusters == 101  # with silence
    write_jsonl(tmp_path / "units.jsonl", [UnitSequence("a", [1, 7], [3, 1], own.digest)])
    assert unit_set("embedded-100", tmp_path / "units.jsonl") == own
    write_jsonl(tmp_path / "merged.jsonl", [UnitSequence("a", [1, 207], [3, 1], "merges")])
    assert unit_set("embedded-100", tmp_path / "merged.jsonl") == UnitSet("merges", 208, 50.0)


TINY = [
    "prepare.dev_share=0.2",
    "prepare.texts=false",
    "train={flow: {width: 16, layers: 1, heads: 2, feed_width: 16}, sampling: {steps: 2, guidance: 0}, "
    "batch_frames: 200, loop: {steps: 2, evaluate_every: 2, save_every: 1, log_every: 1}}",
    "measures=[words]",
    "report.resamples=20",
]


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True], ids=["named here", "given"])
def test_the_recipe_learns_says_and_judges(tmp_path, given):
    rng = np.random.default_rng(0)
    rows, named = {"train": [], "test": []}, []
    for part, count in (("train", 10), ("test", 2)):
        for number in range(count):
            samples = 9000 + 320 * number
            write_audio(tmp_path / part / f"{number}.wav", 0.1 * rng.standard_normal(samples), 16_000)
            fields = {"id": f"{part}-{number}", "audio_filepath": f"{number}.wav", "text": f"word {number}"}
            rows[part].append(Utterance.from_samples(num_samples=samples, sample_rate=16_000, **fields))
            named.append(UnitSequence(fields["id"], [1, 9], [8, samples // 320 - 8], "merges"))
        write_manifest(tmp_path / part / "manifest.jsonl", rows[part])
    write_jsonl(tmp_path / "units.jsonl", named)
    Vocoder(VocoderConfig(generator=SMALL_VOCOS)).save_pretrained(tmp_path / "vocoder")
    settings = [f"{part}_manifest={tmp_path / part / 'manifest.jsonl'}" for part in rows]
    settings += [f"vocoder={tmp_path / 'vocoder'}"] + ([f"sequences={tmp_path / 'units.jsonl'}"] if given else [])
    recipe = load_module(shipped_folder("recipes") / "unit_decoder", "recipe").recipe
    assert run_recipe(recipe, tmp_path / "exp", overrides=[*TINY, *settings]) == 0
    model = UnitDecoder.from_pretrained(outputs(recipe, tmp_path / "exp", "train") / "model")
    assert model.config.units.clusters == (10 if given else 100)
    clips = outputs(recipe, tmp_path / "exp", "clips")
    spoken = list(read_jsonl(clips / "manifest.jsonl", Utterance))
    assert [row.id for row in spoken] == ["test-0", "test-1"]
    assert (outputs(recipe, tmp_path / "exp", "report") / "report" / "report.html").is_file()
