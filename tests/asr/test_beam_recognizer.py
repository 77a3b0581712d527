"""`speechkit transcribe --beam --lm`: a search over the emissions of whole recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from speechkit.asr import Emissions, load_recognizer
from speechkit.asr.beam import BeamConfig, beam_search
from speechkit.asr.beam_recognizer import SEGMENT_SECONDS, segments
from speechkit.asr.embedded import embedded_words
from speechkit.asr.load import DEFAULT_BEAM, transcribe, with_beam
from speechkit.asr.named import load_transcriber
from speechkit.cli.asr import hypothesis_words
from speechkit.cli.main import app
from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.audio import audio_info, read_audio, write_audio
from speechkit.lm.ngram_training import estimate, write_arpa
from speechkit.metrics import word_errors


@pytest.fixture
def recording(shared_data):
    return next(iter(sorted(shared_data.glob("LibriSpeech/dev-clean/2428/*/*-0000.*3"))))


@pytest.fixture
def model(recording, tmp_path):
    lines = next(recording.parent.glob("*.trans.txt")).read_text().lower().splitlines()
    path = tmp_path / "words.arpa"
    write_arpa(estimate((line.split()[1:] for line in lines), 2)[0], path)
    return path


def test_a_language_model_that_knows_the_text_mends_words(recording, model):
    said = next(recording.parent.glob("*.trans.txt")).read_text().lower().splitlines()[0].split()[1:]
    greedy = load_recognizer("embedded")
    found = with_beam(greedy, 16, model, 1.0).recognize(str(recording))
    plain = greedy.recognize(str(recording))
    assert len(set(said) - set(found.text.split())) <= len(set(said) - set(plain.text.split()))
    assert found.text != plain.text
    assert len(found.text) == len(found.starts) == len(found.ends) == len(found.scores)
    assert (np.diff(found.starts) >= 0).all()
    assert (found.ends >= found.starts).all()


def test_a_larger_model_orders_the_texts_anew(recording, tmp_path):
    greedy = load_recognizer("embedded")
    cut = [(0, 48_000)]
    emissions = greedy.recognize(str(recording), cut).emissions
    texts = beam_search(
        emissions.log_probs,
        emissions.vocabulary,
        blank=emissions.blank,
        silent=greedy.silent,
        config=BeamConfig(beam=16, bonus=0.0),
        best=16,
    )
    wanted = next(each.text for each in texts[3:] if set(each.text.split()) - set(texts[0].text.split()))
    larger = str(tmp_path / "larger.arpa")
    write_arpa(estimate([wanted.split()] * 3, 2)[0], larger)
    rescored = with_beam(greedy, 16, weight=50.0, bonus=0.0, rescoring=larger)
    assert with_beam(greedy, 16).recognize(str(recording), cut).text == texts[0].text
    assert rescored.recognize(str(recording), cut).text == wanted
    assert "rescored by" in rescored.spec.model
    assert rescored.spec == with_beam(greedy, 16, weight=50.0, bonus=0.0, rescoring=larger).spec


def test_the_search_is_reached_from_the_shell(recording, model):
    line = ["transcribe", str(recording), "--beam", "8", "--lm", str(model), "--rescore", str(model), "--json"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert [word["word"] for word in found["words"]] == found["text"].split()
    assert "beam 8" in found["recognizer"]["model"]
    assert "rescored by" in found["recognizer"]["model"]


def test_the_embedded_recogniser_is_searched_with_its_words_unless_told_otherwise(recording):
    greedy = load_recognizer("embedded")
    words = embedded_words("en")
    assert words is not None
    assert embedded_words("de") is None
    searched = with_beam(greedy, DEFAULT_BEAM, words).recognize(str(recording)).text
    plain = greedy.recognize(str(recording)).text
    assert searched != plain
    assert transcribe(recording).text == searched

    def shown(*options):
        result = CliRunner().invoke(app, ["transcribe", str(recording), *options])
        assert result.exit_code == 0, result.output
        return result.output.strip()

    assert shown() == searched
    assert shown("--beam", "0") == shown("--lm", "none") == plain
    assert shown("--beam", "16") == searched
    manifest = Utterance.from_samples(
        id="a", audio_filepath=recording.name, num_samples=audio_info(recording).num_samples, sample_rate=16_000
    )
    assert load_transcriber("embedded+beam:16+lm:embedded", "en", "cpu")(manifest, recording) == searched


def test_the_words_of_the_package_mend_more_than_they_spoil(recording):
    """On a reader whose texts are in neither model; the card has the figure of all 152 utterances."""
    lines = next(recording.parent.glob("*.trans.txt")).read_text().lower().splitlines()[:12]
    greedy = load_recognizer("embedded")
    searched = with_beam(greedy, DEFAULT_BEAM, embedded_words("en"))
    said, rates = {}, []
    for line in lines:
        name, said_text = line.split(" ", 1)
        said[name] = said_text
    for recognizer in (greedy, searched):
        found = {name: recognizer.recognize(str(next(recording.parent.glob(f"{name}.*")))).text for name in said}
        rates.append(word_errors(said, found, normalizer="none").rate)
    assert rates[1] < rates[0] - 0.02


def test_times_of_a_long_recording_are_those_of_its_segments(shared_data, tmp_path):
    """Two minutes: several segments; every word that both decodings share keeps its greedy times."""
    utterances = sorted(shared_data.glob("LibriSpeech/dev-clean/84/121550/*.*3"))[:14]
    long = tmp_path / "long.wav"
    write_audio(long, np.concatenate([read_audio(path) for path in utterances]), 16_000)
    greedy = load_recognizer("embedded")
    plain = greedy.recognize(str(long))
    assert plain.emissions is not None
    assert len(segments(plain.emissions)) > 2
    hypothesis, texts = with_beam(greedy, 4, embedded_words("en")).recognize_nbest(str(long), 2)
    assert hypothesis.text == texts[0].text
    assert len(hypothesis.starts) == len(hypothesis.ends) == len(hypothesis.scores) == len(hypothesis.text)
    assert (np.diff(hypothesis.starts) >= -1e-9).all()
    assert (hypothesis.ends >= hypothesis.starts).all()
    known = {(word.word, word.start) for word in hypothesis_words(plain)}
    shared = sum((word.word, word.start) in known for word in hypothesis_words(hypothesis))
    assert shared > 0.6 * len(hypothesis.text.split())


def test_long_recordings_are_cut_at_sure_blanks_and_no_frame_is_lost():
    random = np.random.default_rng(0)
    log_probs = np.log(random.dirichlet([1, 1, 1], 4000)).astype(np.float16)
    log_probs[1200:1260] = [0.0, -20.0, -20.0]
    found = segments(Emissions(log_probs, 0.02, ("_", " ", "a"), 0))
    assert [begin for begin, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == 4000
    assert found[0][1] == 1230
    assert all(0 < (end - begin) * 0.02 <= SEGMENT_SECONDS for begin, end in found)


def test_what_cannot_be_searched_is_said(tmp_path):
    upper = tmp_path / "upper.arpa"
    write_arpa(estimate([["ÄÖ", "Ü"]], 2)[0], upper)
    with pytest.raises(UserError, match="shares no letter"):
        with_beam(load_recognizer("embedded"), 4, upper)
    (tmp_path / "a.ctm").write_text("a 1 0.0 0.5 hello\n")
    with pytest.raises(UserError, match="no CTC emissions"):
        with_beam(load_recognizer(f"words:{tmp_path / 'a.ctm'}"), 4)
    result = CliRunner().invoke(app, ["transcribe", "x.wav", "--lm", str(upper), "--beam", "0"])
    assert isinstance(result.exception, UserError) or "--beam" in result.output
    result = CliRunner().invoke(app, ["transcribe", "x.wav", "--rescore", "gpt2", "--beam", "0"])
    assert isinstance(result.exception, UserError) or "--beam" in result.output


def test_lists_of_texts_and_their_oracle_are_reached_from_the_shell(recording, tmp_path):
    row = Utterance.from_samples(
        id="a", audio_filepath=recording.name, num_samples=16_000, sample_rate=16_000, text="something else"
    )
    write_manifest(tmp_path / "dev.jsonl", [row])
    line = ["transcribe", str(recording), "--beam", "16", "--nbest", "4"]
    for more in ([], ["--diverse"]):
        references = ["--references", str(tmp_path / "dev.jsonl")]
        result = CliRunner().invoke(app, [*line, *more, *references, "--json"])
        assert result.exit_code == 0, result.output
        found, oracle = map(json.loads, result.output.splitlines())
        texts = [each["text"] for each in found["nbest"]]
        assert found["text"] == texts[0]
        assert len(set(texts)) == len(texts) == 4
        assert ("4 groups" in found["recognizer"]["model"]) == bool(more)
        assert [rate["hypotheses"] for rate in oracle["oracle"]] == [1, 2, 4]
    shown = CliRunner().invoke(app, line).output.splitlines()
    assert len(shown) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nbest", "4", "--beam", "0"], "--nbest needs --beam"),
        (["--diverse", "--lm", "none"], "--diverse needs --beam"),
        (["--nbest", "4", "--recognizer", "some/model"], "--nbest needs --beam"),
        (["--diverse", "--beam", "10"], "give a multiple of 4"),
        (["--references", "x.jsonl", "--beam", "0"], "add --beam"),
    ],
)
def test_lists_that_cannot_be_made_are_refused_at_once(options, message):
    result = CliRunner().invoke(app, ["transcribe", "x.wav", *options])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
