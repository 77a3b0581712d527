"""`speechkit say` and `speechkit convert`: what they write, what they print, and one sentence for each bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechkit.cli.main import call
from speechkit.encoders.load import load_encoder
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.audio import read_audio
from speechkit.tts.codec import ConvolutionBody, ScalarCodec, ScalarCodecConfig
from speechkit.tts.conversion import Converter, nearest_frames
from speechkit.tts.durations import ByteDuration
from speechkit.tts.flow_config import BytesText, FlowConfig, SamplingConfig
from speechkit.tts.simplespeech import SimpleSpeech, SimpleSpeechConfig, SimpleSpeechNetwork
from speechkit.tts.text import TextConfig, TextFrontEnd
from speechkit.tts.text2vec import Text2Vec
from speechkit.tts.text2vec_config import Text2VecConfig, Text2VecSizes
from speechkit.tts.vocoder import load_vocoder
from speechkit.tts.vocoder.config import EncoderInput, SpeakerConfig, VocoderConfig, VocosConfig
from speechkit.tts.vocoder.vocoder import Vocoder
from speechkit.tts.voice import VocodedVoice, load_voice, say_text, voice_digest

VOCOS = VocosConfig(width=16, inner=24, layers=2)
SPEAKER = SpeakerConfig(width=16, inner=16, layers=1, dim=16)
SIZES = Text2VecSizes(width=16, heads=2, encoder_layers=1, decoder_layers=1, feed_width=32, kernel=3, aligner_width=8)


def text2vec(lang: str = "en", **config) -> Text2Vec:
    torch.manual_seed(0)
    front_end = TextFrontEnd(TextConfig(lang))
    sizes = Text2VecConfig(TextConfig(lang, symbols=front_end.symbols), sizes=SIZES, **config)
    model = Text2Vec(sizes, front_end)
    model.durations.logarithm.bias.data.fill_(1.2)  # about three frames a symbol
    return model.eval()


def save_voice(folder: Path, lang: str = "en", speaker: SpeakerConfig | None = None) -> Path:
    torch.manual_seed(0)
    vocoder = Vocoder(VocoderConfig(generator=VOCOS, speaker=speaker)).eval()
    VocodedVoice(text2vec(lang), vocoder, "tiny").save_pretrained(folder, half=False)
    return folder


@pytest.fixture(scope="module")
def voice(made_once) -> Path:
    return made_once("tiny-voice", save_voice)


@pytest.fixture(scope="module")
def cloning_voice(made_once) -> Path:
    return made_once("tiny-cloning-voice", lambda folder: save_voice(folder, speaker=SPEAKER))


@pytest.fixture(scope="module")
def vec2wav(made_once) -> Path:
    """A vocoder of frames of the embedded encoder, with a speaker."""

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        spec = load_encoder("embedded", device="cpu").spec
        made = Vocoder(VocoderConfig(input=EncoderInput(spec), generator=VOCOS, speaker=SPEAKER)).eval()
        for module in made.modules():  # conditions begin without effect
            if isinstance(module, torch.nn.Linear) and not module.weight.any():
                torch.nn.init.normal_(module.weight, std=5.0)
        made.save_pretrained(folder)

    return made_once("tiny-vec2wav", make)


def simplespeech(folder: Path) -> Path:
    torch.manual_seed(0)
    codec = ScalarCodec(ScalarCodecConfig(latent=4, body=ConvolutionBody(width=4, strides=(4, 4, 4, 5))))
    flow = FlowConfig(width=16, layers=1, heads=2, feed_width=32, kernel=3)
    config = SimpleSpeechConfig(
        dim=4, codec="none", text=BytesText(layers=1, kernel=3), flow=flow, sampling=SamplingConfig(steps=2)
    )
    made = SimpleSpeech(SimpleSpeechNetwork(config), codec, ByteDuration(0.05, 0.1))
    made.save_pretrained(folder)
    return folder


def tone(path: Path, seconds: float, loudness: float = 0.3) -> Path:
    times = np.arange(round(seconds * 16_000)) / 16_000
    soundfile.write(path, loudness * np.sin(2 * np.pi * 150 * times * (1 + 0.1 * np.sin(3 * times))), 16_000)
    return path


def refused(arguments: list[str], capfd) -> str:
    """The one line of an error that the user can mend."""
    assert call(arguments) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_sentence_becomes_a_file_and_its_speed_is_printed(voice, tmp_path, capfd):
    out = tmp_path / "bees.wav"
    assert call(["say", "Bees begin the year.", "-o", str(out), "--voice", str(voice), "--device", "cpu"]) == 0
    printed = capfd.readouterr().out
    assert "real-time factor" in printed
    assert "first audio after" in printed
    waveform = read_audio(out)
    assert f"{len(waveform) / 16_000:.2f} s" in printed
    assert np.isfinite(waveform).all()


def test_seconds_and_speed_override_what_is_foretold(voice, tmp_path, capfd):
    def seconds(*options: str) -> float:
        out = ["-o", str(tmp_path / "x.flac"), "--voice", str(voice), "--json"]
        assert call(["say", "Bees begin the year.", *out, *options]) == 0
        return json.loads(capfd.readouterr().out)["seconds"]

    usual = seconds()
    assert seconds("--seconds", "3") == 3.0
    assert seconds("--speed", "1.25") == pytest.approx(usual / 1.25, abs=0.02)


def test_five_thousand_characters_are_spoken_sentence_by_sentence(voice, tmp_path, capfd):
    text = "The bees, of which there are many, begin. " * 119
    assert len(text) > 4_900
    path = tmp_path / "long.txt"
    path.write_text(text)
    options = ["-o", str(tmp_path / "long.wav"), "--voice", str(voice), "--json", "--pause", "0.5"]
    assert call(["say", "--file", str(path), *options]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["sentences"] == 119
    assert facts["first_audio_seconds"] < facts["real_time_factor"] * facts["seconds"] / 10
    loaded = load_voice(str(voice), "cpu")
    each = say_text(loaded, "The bees, of which there are many, begin.").seconds
    assert facts["seconds"] == pytest.approx(119 * each + 118 * 0.5, abs=0.01)


def test_one_long_word_is_cut_where_it_must_be(voice, tmp_path):
    assert call(["say", "a" * 5000, "-o", str(tmp_path / "x.wav"), "--voice", str(voice)]) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text is empty"),
        (" \n\t ", "the text is empty"),
        ("...!?", "nothing that can be spoken"),
        ("\U0001f41d", "nothing that can be spoken"),
        ("漢字かな", "nothing that can be spoken"),
        ("Bees \udcff begin.", "not UTF-8 at character 6"),
    ],
)
def test_what_cannot_be_spoken_is_refused_in_one_sentence(voice, tmp_path, capfd, text, said):
    out = tmp_path / "x.wav"
    assert said in refused(["say", text, "-o", str(out), "--voice", str(voice)], capfd)
    assert not out.exists()


@pytest.mark.parametrize("text", ["a", "7", "I", "On 3 May 1999 it cost $5.20.", "naïve café", "Dr. Smith et al."])
def test_one_character_numbers_and_abbreviations_are_spoken(voice, tmp_path, text):
    assert call(["say", text, "-o", str(tmp_path / "x.wav"), "--voice", str(voice)]) == 0


def test_unknown_symbols_are_named_and_the_rest_is_spoken(voice, tmp_path, capfd):
    assert call(["say", "The bees \U0001f41d begin 漢.", "-o", str(tmp_path / "x.wav"), "--voice", str(voice)]) == 0
    printed = capfd.readouterr().err
    assert "HONEYBEE" in printed
    assert "left out" in printed


def test_a_sentence_in_another_script_is_left_out_and_the_others_are_spoken(voice, tmp_path, capfd):
    text = "The bees begin. これは日本語です。 They listen."
    assert call(["say", text, "-o", str(tmp_path / "x.wav"), "--voice", str(voice)]) == 0
    assert "left out" in capfd.readouterr().err


def test_the_time_of_what_cannot_be_spoken_goes_to_the_sentences_after_it(voice, tmp_path):
    loaded = load_voice(str(voice), "cpu")
    for text in ("The bees begin. \U0001f41d. They listen.", "\U0001f41d. The bees begin. They listen."):
        assert say_text(loaded, text, seconds=3.0).seconds == pytest.approx(3.0, abs=0.03)


def test_a_german_voice_reads_its_numbers_and_letters(tmp_path, capfd):
    folder = save_voice(tmp_path / "german", "de")
    speech = say_text(load_voice(str(folder), "cpu"), "Am 3. Mai hörten 21 Bienen süß zu.")
    assert "".join(speech.tokens).startswith(" am dritten mai hörten einundzwanzig bienen")
    assert sum(speech.durations) == len(speech.waveform)


def test_a_silent_or_short_or_missing_speaker_is_refused(cloning_voice, tmp_path, capfd):
    say = ["say", "Hello.", "-o", str(tmp_path / "x.wav"), "--voice", str(cloning_voice), "--speaker"]
    assert "is silent" in refused([*say, str(tone(tmp_path / "silent.wav", 3, 0.0))], capfd)
    assert "0.10 s" in refused([*say, str(tone(tmp_path / "short.wav", 0.1))], capfd)
    assert "none.wav" in refused([*say, str(tmp_path / "none.wav")], capfd)
    assert "needs a speaker" in refused(say[:-1], capfd)
    assert call([*say, str(tone(tmp_path / "her.wav", 2))]) == 0


def test_a_voice_of_one_speaker_refuses_another(voice, tmp_path, capfd):
    say = ["say", "Hello.", "-o", str(tmp_path / "x.wav"), "--voice", str(voice)]
    assert "takes no speaker" in refused([*say, "--speaker", str(tone(tmp_path / "her.wav", 2))], capfd)


def test_a_name_that_is_no_speaker_of_a_voice_of_several_is_refused_with_their_names():
    torch.manual_seed(0)
    voice = VocodedVoice(text2vec(speakers=("anna", "ben")), Vocoder(VocoderConfig(generator=VOCOS)).eval(), "two")
    assert voice.say("Hello.", speaker="ben").seconds > 0
    with pytest.raises(UserError, match="bern: is neither a recording nor a speaker of two; choose from anna, ben"):
        voice.say("Hello.", speaker="bern")


def test_a_speaker_of_a_list_that_is_silent_is_the_reason(cloning_voice, tmp_path, capfd):
    tone(tmp_path / "silent.wav", 3, 0.0)
    tone(tmp_path / "her.wav", 2)
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(f'{{"id": "{name}", "text": "Hi.", "speaker": "{name}.wav"}}\n' for name in ("silent", "her"))
    )
    assert call(["say", "--texts", str(texts), "--voice", str(cloning_voice), "-o", str(tmp_path / "out")]) == 2
    assert "left out silent: unusable_speaker" in capfd.readouterr().err


def test_the_digest_of_a_piper_voice_is_that_of_both_files(tmp_path):
    network, description = tmp_path / "v.onnx", tmp_path / "v.onnx.json"
    network.write_bytes(b"network")
    description.write_text("{}")
    before = voice_digest(str(network))
    description.write_text('{"espeak": {"voice": "de"}}')
    assert voice_digest(str(network)) != before


def test_voices_that_are_not_there_are_named(tmp_path, capfd):
    say = ["say", "Hello.", "-o", str(tmp_path / "x.wav"), "--voice"]
    assert "there is no voice 'englsh'" in refused([*say, "englsh"], capfd)
    assert "does not say what model" in refused([*say, str(tmp_path)], capfd)
    (tmp_path / "config.json").write_text('{"model_type": ' + "[" * 100_000)
    assert "does not say what model" in refused([*say, str(tmp_path)], capfd)
    (tmp_path / "config.json").write_text('{"model_type": "wav2vec2"}')
    assert "holds a model of type wav2vec2, which is no voice" in refused([*say, str(tmp_path)], capfd)


def test_a_named_voice_without_weights_says_what_to_do(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("speechkit.tts.voice.MODELS", tmp_path)
    said = refused(["say", "Hello.", "-o", str(tmp_path / "x.wav")], capfd)
    assert "weights of the voice english are missing" in said


def test_options_that_contradict_are_refused_before_a_model_is_loaded(tmp_path, capfd):
    out = ["-o", str(tmp_path / "x.wav")]
    assert "give exactly one of TEXT" in refused(["say", *out], capfd)
    assert "--out is not given" in refused(["say", "Hello."], capfd)
    assert "--speed 0" in refused(["say", "Hello.", *out, "--speed", "0"], capfd)
    assert "--seconds -1" in refused(["say", "Hello.", *out, "--seconds", "-1"], capfd)
    assert "--pause nan" in refused(["say", "Hello.", *out, "--pause", "nan"], capfd)
    assert "ends with .wav" in refused(["say", "Hello.", "-o", str(tmp_path / "x.xyz")], capfd)
    assert "cannot be read as text" in refused(["say", "--file", str(tmp_path / "none.txt"), *out], capfd)
    assert "no such file" in refused(["say", "--texts", str(tmp_path / "none.jsonl"), *out], capfd)


def test_a_list_of_texts_becomes_clips_and_what_is_left_out_is_named(voice, tmp_path, capfd):
    texts = tmp_path / "texts.jsonl"
    rows = [{"id": "a", "text": "Bees begin."}, {"id": "b", "text": "漢字"}, {"id": "c", "text": "a", "seconds": 1.0}]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call(["say", "--texts", str(texts), "--voice", str(voice), "-o", str(tmp_path / "out"), "--json"]) == 2
    printed = capfd.readouterr()
    facts = json.loads(printed.out)
    assert facts["clips"] == 2
    assert facts["left_out"] == 1
    assert "left out b: unspeakable" in printed.err
    lines = [json.loads(line) for line in Path(facts["manifest"]).read_text().splitlines()]
    assert [(line["id"], line["lang"]) for line in lines] == [("a", "en"), ("c", "en")]
    assert lines[1]["duration"] == 1.0


def test_two_texts_of_one_id_are_refused_instead_of_sharing_a_clip(voice, tmp_path, capfd):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"id": "a", "text": "Bees begin."}\n{"id": "a", "text": "They listen."}\n')
    assert call(["say", "--texts", str(texts), "--voice", str(voice), "-o", str(tmp_path / "out")]) == 2
    assert "duplicate id 'a'; give every text a unique id" in capfd.readouterr().err


def test_a_control_character_is_named_and_not_sent_to_the_terminal(voice, tmp_path, capfd):
    assert call(["say", "Bees \x1b[31m begin.", "-o", str(tmp_path / "x.wav"), "--voice", str(voice)]) == 0
    printed = capfd.readouterr().err
    assert "U+001B" in printed
    assert "\x1b" not in printed


def test_files_of_a_folder_that_holds_no_voice_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "large.bin").write_bytes(b"0")
    monkeypatch.setattr("speechkit.io.hashing.digest_file", lambda path: pytest.fail(f"{path} was read"))
    with pytest.raises(UserError, match="does not say what model"):
        voice_digest(str(tmp_path))


def test_simplespeech_speaks_from_its_folder(tmp_path, capfd):
    folder = simplespeech(tmp_path / "simplespeech")
    out = tmp_path / "x.wav"
    assert call(["say", "One two.", "--voice", str(folder), "--seconds", "0.8", "-o", str(out)]) == 0
    assert len(read_audio(out)) == pytest.approx(0.8 * 16_000, abs=320)
    assert "holds no word" in refused(["say", "...", "--voice", str(folder), "-o", str(out)], capfd)


def test_a_vocoder_for_a_voice_that_has_none_is_refused(tmp_path, capfd):
    for name in ("joe", "espeak"):
        say = ["say", "Hello.", "-o", str(tmp_path / "x.wav"), "--voice", name, "--vocoder", "embedded"]
        assert f"the voice {name} takes no vocoder" in refused(say, capfd)


def test_a_vocoder_of_other_frames_is_refused_for_a_voice(voice, vec2wav, tmp_path, capfd):
    say = ["say", "Hello.", "--voice", str(voice), "-o", str(tmp_path / "x.wav"), "--vocoder", str(vec2wav)]
    assert "was given log-mel frames" in refused(say, capfd)


def test_conversion_writes_as_much_as_the_source_has(vec2wav, shared_data, tmp_path, capfd):
    source, reference = sorted((shared_data / "LJSpeech-1.1" / "wavs").iterdir())[:2]
    out = tmp_path / "out.wav"
    arguments = ["convert", str(source), "--to", str(reference), "--vocoder", str(vec2wav), "-o", str(out)]
    assert call([*arguments, "--device", "cpu"]) == 0
    assert "real-time factor" in capfd.readouterr().out
    assert abs(len(read_audio(out)) - len(read_audio(source))) <= 320


def test_conversion_depends_on_the_reference_and_on_neighbours(vec2wav, shared_data, tmp_path):
    source, reference = sorted((shared_data / "LJSpeech-1.1" / "wavs").iterdir())[:2]
    converter = Converter(load_vocoder(vec2wav), load_encoder("embedded", device="cpu"))
    other = tone(tmp_path / "tone.wav", 2)
    ways = [(reference, 0), (reference, 0), (other, 0), (reference, 4)]
    made = [np.concatenate([*converter.convert(source, to, neighbours=count)]) for to, count in ways]
    assert np.array_equal(made[0], made[1])
    assert np.abs(made[0] - made[2]).max() > 0
    assert np.abs(made[0] - made[3]).max() > 0


def test_no_recording_is_written_over(cloning_voice, vec2wav, tmp_path, capfd):
    her = tone(tmp_path / "her.wav", 2)
    kept = her.read_bytes()
    say = ["say", "Hello.", "--voice", str(cloning_voice), "--speaker", str(her), "-o", str(tmp_path / "." / "her.wav")]
    assert "is an input, and would be replaced" in refused(say, capfd)
    convert = ["convert", str(her), "--to", str(her), "--vocoder", str(vec2wav), "-o", str(her)]
    assert "is an input, and would be replaced" in refused(convert, capfd)
    assert her.read_bytes() == kept


def test_conversion_refuses_bad_references_and_other_encoders(vec2wav, voice, tmp_path, capfd, shared_data):
    source = str(next(iter(sorted((shared_data / "LJSpeech-1.1" / "wavs").iterdir()))))
    out = ["-o", str(tmp_path / "x.wav"), "--device", "cpu"]
    convert = ["convert", source, *out, "--vocoder", str(vec2wav), "--to"]
    assert "is silent" in refused([*convert, str(tone(tmp_path / "silent.wav", 2, 0.0))], capfd)
    assert "0.10 s" in refused([*convert, str(tone(tmp_path / "short.wav", 0.1))], capfd)
    assert "no such file" in refused([*convert, str(tmp_path / "none.wav")], capfd)
    her = str(tone(tmp_path / "her.wav", 2))
    assert "features come from" in refused([*convert, her, "--layer", "1"], capfd)
    assert "takes log-mel frames" in refused(
        ["convert", source, *out, "--vocoder", str(voice / "vocoder"), "--to", her], capfd
    )
    assert "give 0 or more" in refused([*convert, her, "--neighbours", "-1"], capfd)
    assert "for 5000 neighbours" in refused([*convert, her, "--neighbours", "5000"], capfd)


def test_neighbours_are_the_nearest_in_angle():
    generator = np.random.default_rng(0)
    known = generator.standard_normal((50, 8)).astype(np.float32)
    block = generator.standard_normal((7, 8)).astype(np.float32)
    (found,) = nearest_frames([block], known, 3)
    for frame, answer in zip(block, found, strict=True):
        cosines = [frame @ each / np.linalg.norm(frame) / np.linalg.norm(each) for each in known]
        assert np.allclose(answer, known[np.argsort(cosines)[-3:]].mean(axis=0), atol=1e-6)


def test_a_converter_whose_parts_do_not_fit_is_refused():
    spec = EncoderSpec("other", "digest", "3", "standardised", 24)
    vocoder = Vocoder(VocoderConfig(input=EncoderInput(spec), generator=VOCOS))
    with pytest.raises(UserError, match="was made with other layer 3"):
        Converter(vocoder, load_encoder("embedded", device="cpu"))


def test_a_saved_voice_says_the_same(voice, tmp_path):
    first = load_voice(str(voice), "cpu")
    first.save_pretrained(tmp_path / "again", half=False)
    again = load_voice(str(tmp_path / "again"), "cpu")
    text = "Bees begin the year by listening."
    assert np.array_equal(say_text(first, text).waveform, say_text(again, text).waveform)
    assert (tmp_path / "again" / "vocoder").is_dir()
