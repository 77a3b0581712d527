"""Claims about SimpleSpeech: text, lengths, seeds, prompts, folders, and its recipe from end to end."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.io.audio import audio_info, write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.shipped import load_module, shipped_folder
from speechkit.tts.codec import ScalarCodec, ScalarCodecConfig, SpectralBody
from speechkit.tts.durations import ByteDuration
from speechkit.tts.flow_config import FlowConfig, SamplingConfig
from speechkit.tts.simplespeech import SimpleSpeech, SimpleSpeechConfig, SimpleSpeechNetwork
from speechkit.tts.speech import UnspeakableError
from speechkit.tts.vocoder.config import SpeakerConfig, VocosConfig
from speechkit.tts.voice import load_voice

BODY = SpectralBody(width=16, layers=1, generator=VocosConfig(width=16, inner=32, layers=1, mel_magnitudes=False))
SPEAKER = SpeakerConfig(width=8, inner=8, layers=1, dim=4)


@pytest.fixture(params=[None, SPEAKER], ids=["one voice", "prompted"])
def voice(request):
    torch.manual_seed(0)
    codec = ScalarCodec(ScalarCodecConfig(latent=4, levels=3, body=BODY))
    config = SimpleSpeechConfig(
        dim=4,
        codec="",
        flow=FlowConfig(width=16, layers=1, heads=2, feed_width=16, kernel=3),
        speaker=request.param,
        sampling=SamplingConfig(steps=2),
    )
    network = SimpleSpeechNetwork(config)
    for parameter in network.flow.parameters():  # the output begins as nothing
        torch.nn.init.normal_(parameter, std=0.3)
    return SimpleSpeech(network, codec, ByteDuration(0.05, 0.1))


def prompt_of(voice, seed=0):
    if voice.network.speaker is None:
        return None
    return 0.1 * np.random.default_rng(seed).standard_normal(16_000).astype(np.float32)


def test_frames_are_rounded_and_as_many_as_the_length_says(voice):
    prompt = prompt_of(voice)
    for given, frames in (({}, 23), ({"speed": 2.0}, 11), ({"seconds": 1.0}, 50)):
        latents = voice.generate("one two", prompt, **given)
        assert latents.shape == (frames, 4)
        assert np.allclose(latents * 3, np.round(latents * 3), atol=1e-5)


def test_text_seed_and_prompt_decide_what_is_said(voice):
    first = voice.generate("one two", prompt_of(voice), seed=1)
    assert np.array_equal(first, voice.generate("one two", prompt_of(voice), seed=1))
    assert not np.array_equal(first, voice.generate("one two", prompt_of(voice), seed=2))
    assert not np.array_equal(first, voice.generate("two one", prompt_of(voice), seed=1))
    if voice.network.speaker is not None:
        assert not np.array_equal(first, voice.generate("one two", prompt_of(voice, 5), seed=1))


@pytest.mark.parametrize("text", ["", "  ", "…!?", "🐝"])
def test_a_text_without_words_is_refused(voice, text):
    with pytest.raises(UnspeakableError, match="give words"):
        voice.generate(text, prompt_of(voice))


def test_contradicting_lengths_are_refused(voice):
    with pytest.raises(ConfigError, match="one of them"):
        voice.generate("one", prompt_of(voice), seconds=1.0, speed=2.0)


def test_a_speaker_is_asked_for_where_there_are_several_and_only_there(voice):
    if voice.network.speaker is None:
        with pytest.raises(UserError, match="one voice"):
            voice.generate("one", np.ones(16_000, np.float32))
    else:
        with pytest.raises(UserError, match="give a recording"):
            voice.generate("one")
        for reference in (np.zeros(16_000, np.float32), np.ones(1600, np.float32)):
            with pytest.raises(AudioError, match="speaker's recording"):
                voice.generate("one", reference)


def test_a_voice_comes_back_from_its_folder_and_says_the_same(voice, tmp_path):
    voice.save_pretrained(tmp_path / "voice")
    again = load_voice(tmp_path / "voice", "cpu")
    speaker = None
    if (prompt := prompt_of(voice)) is not None:
        speaker = tmp_path / "speaker.wav"
        write_audio(speaker, prompt, 16_000)
    said = again.say("one two", speaker=speaker, seed=3)
    assert np.array_equal(said.waveform, voice.say("one two", speaker=speaker, seed=3).waveform)
    assert said.rate == 16_000
    assert len(said.waveform) == 23 * 320


def test_another_codec_is_refused(voice, tmp_path):
    voice.save_pretrained(tmp_path)
    torch.manual_seed(1)
    ScalarCodec(voice.codec.config).save_pretrained(tmp_path / "codec")
    with pytest.raises(UserError, match="copy the whole folder"):
        SimpleSpeech.from_pretrained(tmp_path)
    other = ScalarCodec(msgspec.structs.replace(voice.codec.config, latent=5))
    with pytest.raises(UserError, match="trained with"):
        SimpleSpeech(voice.network, other, voice.duration)


TINY = [
    "prepare.dev_share=0.2",
    "codec={body: spectral, latent: 4, levels: 3, width: 16, layers: 1, discriminators: null, "
    "crops: {items: 2, seconds: 0.4}, loop: {steps: 2, evaluate_every: 2, save_every: 1, log_every: 1}}",
    "durations={width: 8, layers: 1, loop: {steps: 2}}",
    "train={flow: {width: 16, layers: 1, heads: 2, feed_width: 16}, sampling: {steps: 2}, batch_frames: 200, "
    "loop: {steps: 2, evaluate_every: 2, save_every: 1, log_every: 1}}",
    "measures=[words]",
    "report.resamples=20",
]


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [1, 2])
def test_the_recipe_learns_speaks_and_judges(tmp_path, speakers):
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 2)):
        rows = []
        for number in range(count):
            write_audio(tmp_path / part / f"{number}.wav", 0.1 * rng.standard_normal(9000 + 300 * number), 16_000)
            fields = {"id": f"{part}-{number}", "audio_filepath": f"{number}.wav", "text": f"word {number}"}
            speaker = f"s{number % speakers}"
            rows.append(
                Utterance.from_samples(num_samples=9000 + 300 * number, sample_rate=16_000, speaker=speaker, **fields)
            )
        write_manifest(tmp_path / part / "manifest.jsonl", rows)
    recipe = load_module(shipped_folder("recipes") / "simplespeech2", "recipe").recipe
    several = ["train.speaker={width: 8, inner: 8, layers: 1, dim: 4}"] if speakers > 1 else []
    given = [f"{part}_manifest={tmp_path / part / 'manifest.jsonl'}" for part in ("train", "test")]
    if speakers > 1:  # texts of the test name no speaker to speak them
        assert run_recipe(recipe, tmp_path / "exp", overrides=[*TINY, *several, *given], stop=5) == 0
        model = SimpleSpeech.from_pretrained(outputs(recipe, tmp_path / "exp", "train") / "model")
        assert model.network.speaker is not None
        return
    assert run_recipe(recipe, tmp_path / "exp", overrides=[*TINY, *given]) == 0
    clips = outputs(recipe, tmp_path / "exp", "clips")
    rows = list(read_manifest(clips / "manifest.jsonl"))
    assert [row.text for row in rows] == ["word 0", "word 1"]
    assert all(audio_info(clips / row.audio_filepath).num_samples == row.num_samples for row in rows)
    assert (outputs(recipe, tmp_path / "exp", "report") / "report" / "report.html").is_file()
