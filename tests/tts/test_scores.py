"""Claims about the scores of synthetic speech: what they measure, what bounds them, and what they survive."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.asr.hypothesis import Emissions
from speechkit.cli.main import call
from speechkit.errors import AlignmentError, AudioError, MissingExtraError, UserError
from speechkit.metrics.dnsmos import NoiseScores
from speechkit.metrics.speakers import similarity, speaker_bounds
from speechkit.report.tts_page import figures_table, markdown
from speechkit.tts.pitch import pitch
from speechkit.tts.scores.acoustics import AcousticDifference, compare, mel_cepstra, sounding, warping_path
from speechkit.tts.scores.measuring import Measured, Misread, choose_measures
from speechkit.tts.scores.reading import ctc_log_likelihoods, misreadings, reading_evidence
from speechkit.tts.scores.summary import RECORDINGS, BootstrapSettings, summarize

RATE = 16_000


def buzz(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A tone with ten harmonics."""
    times = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(sum(0.1 / n * np.sin(2 * np.pi * n * hertz * times) for n in range(1, 11)), np.float32)


@pytest.mark.parametrize("hertz", [70.0, 95.5, 140.0, 220.0, 333.0, 450.0])
def test_pitch_of_a_buzz_is_within_half_a_percent(hertz):
    found = pitch(buzz(hertz))
    assert len(found) == 100
    assert (found[5:-5] > 0).all()
    assert np.abs(found[5:-5] / hertz - 1).max() < 0.005


def test_noise_and_silence_are_unvoiced_and_a_buzz_between_them_is_voiced():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    assert (pitch(noise) > 0).mean() < 0.02
    assert not pitch(np.zeros(RATE, np.float32)).any()
    assert pitch(np.zeros(100, np.float32)).shape == (0,)
    found = pitch(np.concatenate([noise / 10, buzz(150), noise / 10]))
    assert (found[105:195] > 0).all()
    assert (found[:90] > 0).mean() < 0.02


@pytest.mark.slow
def test_pitch_of_speech_is_that_of_librosa(shared_data):
    librosa = pytest.importorskip("librosa")
    waveform = speech(shared_data)[: 3 * RATE]
    ours = pitch(waveform)
    theirs = librosa.yin(waveform, fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=160)[: len(ours)]
    voiced = ours > 0
    assert 0.3 < voiced.mean() < 0.8
    off = np.abs(ours[voiced] / theirs[voiced] - 1)
    assert np.median(off) < 0.02
    assert (off > 0.2).mean() < 0.1


def speech(shared_data: Path, number: int = 0) -> np.ndarray:
    from speechkit.io.audio import read_audio

    return read_audio(sorted((shared_data / "LJSpeech-1.1" / "wavs").iterdir())[number], sample_rate=RATE)


def slow_path_cost(costs: np.ndarray) -> float:
    """The cheapest sum over all monotonic paths, by the definition."""
    total = np.full(costs.shape, np.inf)
    for i in range(costs.shape[0]):
        for j in range(costs.shape[1]):
            before = [total[i - a, j - b] for a, b in ((1, 1), (1, 0), (0, 1)) if i >= a and j >= b]
            total[i, j] = costs[i, j] + (min(before) if i or j else 0.0)
    return float(total[-1, -1])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=60)
def test_the_warping_path_is_the_cheapest_and_has_no_gap(rows, columns, seed):
    generator = np.random.default_rng(seed)
    a = generator.normal(size=(rows, 3)).astype(np.float32)
    b = generator.normal(size=(columns, 3)).astype(np.float32)
    path = warping_path(a, b)
    steps = {tuple(step) for step in np.diff(path, axis=0)}
    assert tuple(path[0]) == (0, 0)
    assert tuple(path[-1]) == (rows - 1, columns - 1)
    assert steps <= {(1, 1), (1, 0), (0, 1)}
    costs = np.linalg.norm(a[:, None] - b[None], axis=2)
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(slow_path_cost(costs), rel=1e-4, abs=1e-4)


def test_a_recording_is_at_no_distance_from_itself_at_any_level(shared_data):
    waveform = speech(shared_data)[: 3 * RATE]
    same = compare(waveform, waveform * 0.5)
    assert same.distance / same.frames < 0.05
    assert same.squared_hertz / same.voiced < 1.0
    assert same.voicing_errors / same.frames < 0.02
    assert same.seconds == same.reference_seconds


def test_silent_ends_change_nothing(shared_data):
    waveform = speech(shared_data)[: 2 * RATE]
    padded = np.concatenate([np.zeros(4800, np.float32), waveform, np.zeros(3200, np.float32)])
    assert compare(waveform, padded).distance / compare(waveform, padded).frames < 0.05
    assert len(sounding(padded)) == len(sounding(waveform))


def test_a_constant_tilt_of_the_spectrum_is_its_decibels():
    """Of a cepstrum that differs in one coefficient by c, the distance is 10 / ln 10 * sqrt(2) * c."""
    channels = 80
    cosine = np.cos(np.pi * (np.arange(channels) + 0.5) / channels)
    mel = np.zeros((5, channels)) + 0.3 * 2 * cosine  # log magnitudes c_0 + 2 c_1 cos
    angles = np.pi * np.outer(np.arange(channels) + 0.5, np.arange(1, 25)) / channels
    cepstra = mel @ np.cos(angles) / channels
    assert cepstra[0, 0] == pytest.approx(0.3)
    assert np.abs(cepstra[0, 1:]).max() < 1e-9
    assert mel_cepstra(buzz(100)).shape == (100, 24)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(AudioError, match="the speech is silent"):
        compare(buzz(100), np.zeros(RATE, np.float32))
    with pytest.raises(AudioError, match="shorter than 10 ms"):
        compare(np.zeros(50, np.float32), buzz(100))


def emissions_of(text: str, vocabulary: str = "-abcdefgh ", frames: int = 3, certain: float = 0.9) -> Emissions:
    """Each character for some frames and a blank behind it."""
    rest = np.log((1 - certain) / (len(vocabulary) - 1))
    rows = []
    for character in text:
        for symbol in [character] * frames + ["-"]:
            row = np.full(len(vocabulary), rest)
            row[vocabulary.index(symbol)] = np.log(certain)
            rows.append(row)
    return Emissions(np.array(rows, np.float16), 0.02, tuple(vocabulary), 0)


def test_the_likelihood_sums_over_all_alignments():
    """Against a sum over every path of a short stretch."""
    from itertools import product

    generator = np.random.default_rng(0)
    log_probs = np.log(generator.dirichlet(np.ones(3), 5)).astype(np.float16)
    emissions = Emissions(log_probs, 0.02, ("-", "a", "b"), 0)

    def collapsed(path):
        return [s for i, s in enumerate(path) if s and (i == 0 or path[i - 1] != s)]

    for text in ([1], [1, 2], [1, 1], [2, 1, 2]):
        paths = [p for p in product(range(3), repeat=5) if collapsed(p) == text]
        sums = np.logaddexp.reduce([log_probs.astype(float)[range(5), list(p)].sum() for p in paths])
        assert ctc_log_likelihoods(emissions, [text])[0] == pytest.approx(sums, abs=1e-3)
    assert ctc_log_likelihoods(emissions, [[1] * 9])[0] == -np.inf


def test_words_that_are_skipped_or_doubled_show():
    said = emissions_of("ab cd ef")
    assert (reading_evidence(said, ["ab", "cd", "ef"]) < -5).all()
    assert misreadings(said, ["ab", "cd", "ef"], 2.0) == ([], [])
    assert misreadings(said, ["ab", "cd", "gh", "ef"], 2.0) == ([2], [])
    assert misreadings(emissions_of("ab cd cd ef"), ["ab", "cd", "ef"], 2.0) == ([], [1])
    assert misreadings(emissions_of("ab ab ab cd ef"), ["ab", "cd", "gh", "gh", "ef"], 2.0) == ([2, 3], [0])


def test_words_that_nobody_can_spell_say_nothing():
    evidence = reading_evidence(emissions_of("ab cd"), ["ab", "漢", "cd"])
    assert (evidence[1] == -np.inf).all()
    with pytest.raises(AlignmentError, match="cannot spell"):
        reading_evidence(emissions_of("ab"), ["漢字"])
    with pytest.raises(AlignmentError, match="do not fit"):
        reading_evidence(emissions_of("a"), ["abcdefgh"])


@pytest.mark.slow
def test_words_cut_out_of_a_recording_or_doubled_in_it_are_found(shared_data):
    from speechkit.asr import load_recognizer
    from speechkit.asr.alignment import align_words
    from speechkit.text import get_normalizer
    from speechkit.tts.scores.measuring import MISREAD_NATS

    recognizer = load_recognizer("embedded", "en", "cpu")
    lines = (shared_data / "LJSpeech-1.1" / "metadata.csv").read_text(encoding="utf-8").splitlines()
    for number, place in ((1, 4), (2, 3)):  # words of more than two sounds
        words = get_normalizer("english")(lines[number].split("|")[2]).split()
        waveform = speech(shared_data, number)
        emissions = recognizer.emissions_of(waveform)
        assert misreadings(emissions, words, MISREAD_NATS) == ([], [])
        times = align_words(emissions, words)
        before, here, after = times[place - 1 : place + 2]
        begin = round((before.start + before.duration + here.start) / 2 * RATE)
        end = round((here.start + here.duration + after.start) / 2 * RATE)
        cut = np.concatenate([waveform[:begin], waveform[end:]])
        doubled = np.concatenate([waveform[:end], waveform[begin:]])
        assert misreadings(recognizer.emissions_of(cut), words, MISREAD_NATS) == ([place], [])
        assert misreadings(recognizer.emissions_of(doubled), words, MISREAD_NATS) == ([], [place])


def test_similarity_is_a_cosine_to_the_mean_and_its_bounds_are_of_the_own_and_of_others():
    east, north = np.array([1.0, 0], np.float32), np.array([0, 1.0], np.float32)
    assert similarity(east, [east, north]) == pytest.approx(np.sqrt(0.5))
    recordings = {"a1": ("a", east), "a2": ("a", east), "b1": ("b", north), "b2": ("b", north), "c1": ("c", east)}
    same, other = speaker_bounds(recordings)
    assert same == pytest.approx({"a1": 1.0, "a2": 1.0, "b1": 1.0, "b2": 1.0})
    assert other == pytest.approx({"a1": 0.5, "a2": 0.5, "b1": 0.0, "b2": 0.0})
    assert speaker_bounds({"a1": ("a", east), "a2": ("a", east)})[1] == {}


def row(name: str, heard: str | None = "one two three", **fields) -> Measured:
    fields = {"text": "one two three", "seconds": 2.0, "speaker": "her", **fields}
    return Measured(id=name, heard=heard, **fields)


def scores_of(systems, embeddings=None):
    return summarize(
        systems,
        embeddings or {},
        normalizer="simple",
        lang="en",
        judge="judge",
        aligner="aligner",
        intervals=BootstrapSettings(resamples=200),
    )


def test_figures_are_ratios_of_sums_and_the_added_ones_differences_on_the_same_utterances():
    difference = AcousticDifference(100, 400.0, 50, 5000.0, 10, 2.0, 1.5)
    systems = {
        "ours": [
            row(
                "a",
                "one three",
                misread=Misread(3, ["two"], []),
                noise=NoiseScores(3.0, 3.5, 4.0),
                acoustics=difference,
            ),
            row("b", "one two three three", misread=Misread(3, [], ["three"])),
            row("only here", ""),
        ],
        RECORDINGS: [row("a"), row("b", "one two tree")],
    }
    scores = scores_of(systems)
    assert [system.name for system in scores.systems] == [RECORDINGS, "ours"]
    ours = {name: figure.value for name, figure in scores.systems[1].figures.items()}
    assert ours["wer"] == pytest.approx(5 / 9)
    assert ours["wer_added"] == pytest.approx(1 / 6)
    assert ours["skipped"] == pytest.approx(1 / 6)
    assert ours["repeated"] == pytest.approx(1 / 6)
    assert ours["misread"] == 1.0
    assert ours["noise_overall"] == 3.0
    assert ours["mcd"] == pytest.approx(4.0)
    assert ours["f0_rmse"] == pytest.approx(10.0)
    assert ours["voicing_error"] == pytest.approx(0.1)
    assert ours["duration_error"] == pytest.approx(0.25)
    assert scores.systems[1].misread == [("a", ["two"], []), ("b", [], ["three"])]
    assert "wer_added" not in scores.systems[0].figures
    for figure in scores.systems[1].figures.values():
        assert figure.interval.low <= figure.value <= figure.interval.high


def test_a_system_is_like_its_speaker_without_the_recording_of_the_same_text():
    east, north = np.array([1.0, 0], np.float32), np.array([0, 1.0], np.float32)
    systems = {RECORDINGS: [row("a"), row("b")], "ours": [row("a")]}
    embeddings = {RECORDINGS: {"a": north, "b": east}, "ours": {"a": east}}
    assert scores_of(systems, embeddings).systems[1].figures["similarity"].value == pytest.approx(1.0)


def test_measures_that_were_not_taken_have_no_row_and_the_notes_say_why():
    systems = {"ours": [row("a", None, notes=["speaker: 0.10 s of speech"]), row("b", None)]}
    scores = scores_of(systems)
    assert figures_table(scores).rows == []
    assert "1 of 2 utterances without speaker; speaker: 0.10 s of speech" in markdown(scores)
    with pytest.raises(UserError, match="no utterance could be measured"):
        scores_of({"ours": []})


@pytest.fixture
def corpus(tmp_path, shared_data) -> dict[str, Path]:
    """Two recordings, a system that says them 20 % louder, a silent one, and one that is not there."""
    sources = sorted((shared_data / "LJSpeech-1.1" / "wavs").iterdir())[1:3]
    texts = [
        line.split("|")[2] for line in (shared_data / "LJSpeech-1.1" / "metadata.csv").read_text().splitlines()[1:3]
    ]
    paths = {}
    for name, factor in (("recorded", 1.0), ("spoken", 0.8)):
        rows = []
        for number, text in enumerate(texts):
            waveform = speech(shared_data, number + 1) * factor
            soundfile.write(tmp_path / f"{name}-{number}.wav", waveform, RATE)
            seconds = {"duration": len(waveform) / RATE, "sample_rate": RATE}
            rows.append({"id": sources[number].stem, "audio_filepath": f"{name}-{number}.wav", "text": text, **seconds})
            rows[-1]["speaker"] = "LJ"
        if name == "spoken":
            soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
            lasting = {"duration": 1.0, "sample_rate": RATE}
            rows.append({"id": "silent", "audio_filepath": "silent.wav", "text": "nothing", **lasting})
            rows.append({"id": "gone", "audio_filepath": "gone.wav", "text": "gone", **lasting})
            rows.append({"id": "wordless", "audio_filepath": "silent.wav", **lasting})
        paths[name] = tmp_path / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(each) + "\n" for each in rows))
    return paths


@pytest.mark.slow
def test_the_command_scores_what_it_can_and_writes_every_form(corpus, tmp_path, capfd):
    out = tmp_path / "scores"
    arguments = [f"ours={corpus['spoken']}", "--references", str(corpus["recorded"]), "--out", str(out)]
    code = call(["score-tts", *arguments, "--measures", "words,reading,acoustics", "--resamples", "100"])
    assert code == 0
    printed = capfd.readouterr().out
    assert "word error rate" in printed
    scores = json.loads((out / "scores.json").read_text())
    recordings, ours = scores["systems"]
    assert [recordings["name"], ours["name"]] == ["recordings", "ours"]
    assert ours["utterances"] == 3
    assert ours["figures"]["mcd"]["value"] < 0.1
    assert ours["figures"]["duration_error"]["value"] == 0
    assert ours["figures"]["skipped"]["value"] <= 0.05
    assert "mcd" not in recordings["figures"]
    page = (out / "report.html").read_text()
    assert page.count('class="player"') == 4
    for name in ("table.md", "table.csv", "table.tex"):
        assert (out / name).stat().st_size > 0
    drops = next((out / "measured" / "ours").glob("01-measure/current/drops.jsonl")).read_text()
    assert '"id":"gone","reason":"unreadable_audio"' in drops
    assert '"id":"wordless","reason":"no_text"' in drops


def test_the_command_refuses_what_it_cannot_use(corpus, tmp_path, capfd):
    def refused(*arguments: str) -> str:
        assert call(["score-tts", *arguments, "--out", str(tmp_path / "out")]) == 2
        return capfd.readouterr().err

    assert "no such file" in refused(str(tmp_path / "none.jsonl"))
    assert "choose from words" in refused(str(corpus["spoken"]), "--measures", "mos")
    assert "cannot be called recordings" in refused(f"recordings={corpus['spoken']}")
    words = tmp_path / "words.json"
    words.write_text("[]")
    said = refused(str(corpus["spoken"]), "--measures", "reading", "--aligner", f"words:{words}")
    assert "gives no emissions" in said


@pytest.mark.slow
def test_speaker_and_noise_scores_hear_the_recording(shared_data):
    pytest.importorskip("resemblyzer")
    pytest.importorskip("speechmos")
    from speechkit.metrics.dnsmos import noise_scores
    from speechkit.metrics.speakers import SpeakerNetwork

    network = SpeakerNetwork()
    first, second = (network.embed(speech(shared_data, number)) for number in (1, 2))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-4)
    assert similarity(first, [second]) > 0.8
    with pytest.raises(AudioError, match="say too little"):
        network.embed(np.zeros(RATE, np.float32))
    clean = speech(shared_data, 1)
    noisy = clean + np.random.default_rng(0).normal(0, 0.05, len(clean)).astype(np.float32)
    assert noise_scores(clean).overall > noise_scores(noisy).overall + 0.5


def test_a_measure_whose_library_is_absent_is_a_note_or_where_it_was_asked_for_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", ModuleType("dnsmos"))
    chosen, notes = choose_measures(None)
    assert chosen == ["words", "reading", "noise", "acoustics"]
    assert len(notes) == 1
    assert notes[0].startswith("speaker is not measured: resemblyzer is not installed; run: pip install")
    assert "[speaker-similarity]" in notes[0]
    with pytest.raises(MissingExtraError, match="resemblyzer is not installed"):
        choose_measures(["words", "speaker"])
