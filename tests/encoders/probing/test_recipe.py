"""Claims about the recipe and the command: every task is probed, unseen speakers are unseen, errors are told."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from speechkit.asr.hypothesis import Emissions
from speechkit.asr.stages import AlignWords
from speechkit.cli.main import call
from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.encoders.load import encoder_digest
from speechkit.encoders.probing.discrimination import WORD_TASKS
from speechkit.encoders.probing.preparation import _phones
from speechkit.encoders.probing.results import ProbeReport
from speechkit.encoders.probing.tasks import ProbeItem
from speechkit.io.audio import audio_info, write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.report.probes_page import markdown, probes_table

recipe = recipe_module("ssl_probing").recipe

WORDS = ["one", "two", "bead", "cafe"]
LETTER_SECONDS = 0.1


def speak(words, pitch, generator):
    """Letters as tones, words parted by silence; the words' times."""
    pieces, tier, at = [], [], 0.0
    for word in words:
        tier.append(AlignmentItem(word, round(at, 3), round(LETTER_SECONDS * len(word), 3), -0.1))
        for letter in word:
            time = np.arange(round(16_000 * LETTER_SECONDS)) / 16_000
            frequency = pitch * 200 * 1.09 ** (ord(letter) - ord("a"))
            pieces.append(0.3 * np.sin(2 * np.pi * frequency * time) + generator.normal(0, 0.005, len(time)))
            at += LETTER_SECONDS
        pieces.append(generator.normal(0, 0.005, 1600))
        at += 0.1
    return np.concatenate(pieces).astype(np.float32), tier


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    speech, commands = [], []
    for speaker, pitch in zip("ABCDEF", np.linspace(0.95, 1.05, 6), strict=True):
        for number in range(8):
            words = generator.choice(WORDS[:2] if number == 7 else WORDS, 4).tolist()
            samples, tier = speak(words, pitch, generator)
            name = f"{speaker}{number}"
            write_audio(folder / f"{name}.wav", samples, 16_000)
            common = {"id": name, "audio_filepath": f"{name}.wav", "num_samples": len(samples), "sample_rate": 16_000}
            phones = [
                [f"{letter.upper()}1_{'B' if not place else 'I'}" for place, letter in enumerate(w)] for w in words
            ]
            speech.append(
                Utterance.from_samples(
                    **common,
                    text=" ".join(words).title(),
                    speaker=speaker,
                    alignment={"word": tier},
                    custom={"phones": phones},
                )
            )
            slots = {"first": words[0]} if words[0] != "bead" else {}
            commands.append(Utterance.from_samples(**common, custom={"slots": slots}))
    short = msgspec.structs.replace(speech[0], id="silent", text="…", alignment=None)
    write_manifest(folder / "speech.jsonl", [*speech, short])
    write_manifest(folder / "commands.jsonl", commands)
    return folder


SETTINGS = [
    "prepare.command_labels=slots.first",
    "prepare.digit_words=one,two",
    "probe.character_hidden=16",
    "probe.character_epochs=2",
    "probe.phone_epochs=1",
    "probe.words.min_seconds=0.1",
]


@pytest.fixture(scope="module")
def done(manifests, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    arguments = ["probe", "log-mel", "--exp", str(exp), "--speech", str(manifests / "speech.jsonl")]
    arguments += ["--speakers", str(manifests / "speech.jsonl"), "--commands", str(manifests / "commands.jsonl")]
    arguments += ["--labels", "slots.first", "--test-speakers", "A,F", "--device", "cpu", "--out", str(exp / "out")]
    for setting in SETTINGS[1:]:
        arguments += ["--set", setting]
    assert call(arguments) == 0
    return exp, arguments


def test_every_task_of_every_encoder_is_in_the_table(done):
    exp, _ = done
    reports = msgspec.json.decode((exp / "out" / "probes.json").read_bytes(), type=list[ProbeReport])
    assert [report.encoder for report in reports] == ["log-mel", "mfcc"]
    for report in reports:
        found = {score.task: score for score in report.scores}
        assert list(found) == ["characters", "phones", "speakers", "commands", "digits", *WORD_TASKS]
        for score in report.scores:
            assert score.interval.low <= score.value <= score.interval.high
        assert found["commands"].interval.low > found["commands"].chance
        assert found[WORD_TASKS[0]].value < 0.3
    assert len(probes_table(reports).rows) == 9
    assert markdown(reports).count("\n") == 11
    page = (exp / "out" / "probes.html").read_text()
    assert "characters" in page
    assert "<strong>" in page
    assert len((exp / "out" / "probes.csv").read_text().splitlines()) == 10
    assert r"\toprule" in (exp / "out" / "probes.tex").read_text()


def test_phones_are_asked_for_with_what_they_need(manifests, tmp_path, capsys, monkeypatch):
    common = ["probe", "mfcc", "--exp", str(tmp_path), "--phones"]
    assert call([*common, "--commands", str(manifests / "commands.jsonl")]) == 2
    assert "--phones compares phones of read speech; give --speech too" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    assert call([*common, "--speech", str(manifests / "speech.jsonl")]) == 2
    assert "pocketsphinx is not installed; run: pip install" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssl_probing", "units_invariant"])
def test_read_speech_gets_its_phones_where_they_are_asked_for(name):
    pytest.importorskip("pocketsphinx")
    speech = Path(__file__).parents[3] / "recipes" / "mining" / "sample" / "audio" / "bees.ogg"
    row = Utterance.from_samples(
        id="a", audio_filepath=speech.name, num_samples=46_000, sample_rate=16_000, offset_samples=13_000, speaker="s",
        text="a beekeeper begins the year by listening", custom={"part": "test", "manifest": "speech_manifest"},
    )  # fmt: skip
    stage = recipe_module(name).recipe.stage("words")
    for phones in (False, True):
        worker = stage.run(stage.config(phones=phones))
        worker.inputs = {"speech_manifest": speech.parent / "m.jsonl"}
        worker.setup("cpu")
        (found,) = worker.process([row])
        assert ("phone" in found.alignment) == phones
    assert [item.symbol for item in found.alignment["phone"]][:4] == ["AH", "B", "IY", "K"]


def test_judged_speakers_train_nothing(done):
    exp, _ = done
    folder = outputs(recipe, exp, "prepare")
    items = [msgspec.json.decode(line, type=ProbeItem) for line in (folder / "items.jsonl").open()]
    of = {}
    for item in items:
        of.setdefault((item.task, item.fold == 0), set()).add(item.speaker)
    assert of["characters", True] == {"A", "F"}
    assert of["characters", False] == set("BCDE")
    assert not of["phones", True] & of["phones", False]
    assert of["speakers", True] == of["speakers", False]
    assert {tuple(item.symbols[:3]) for item in items if item.task == "phones"} <= {
        ("O", "N", "E"), ("T", "W", "O"), ("B", "E", "A"), ("C", "A", "F")
    }  # fmt: skip
    drops = [json.loads(line) for line in (folder / "drops.jsonl").open()]
    assert [drop["reason"] for drop in drops] == ["no_text"]


def test_a_second_run_does_nothing_and_prints_the_same(done, capsys):
    exp, arguments = done
    capsys.readouterr()
    assert call([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((exp / "out" / "probes.json").read_text())


def test_what_cannot_be_read_or_measured_costs_nothing_else(manifests, tmp_path, capsys):
    commands = list(read_manifest(manifests / "commands.jsonl"))
    gone = msgspec.structs.replace(commands[0], id="gone", audio_filepath="gone.wav")
    brief = msgspec.structs.replace(commands[1], id="brief", duration=0.01)
    # Beside the manifests, so that the paths hold; two utterances say too little to tell words apart.
    write_manifest(manifests / "some.jsonl", [*commands, gone, brief])
    speech = [row for row in read_manifest(manifests / "speech.jsonl") if row.id in ("A0", "B7")]
    write_manifest(manifests / "few.jsonl", speech)
    common = ["probe", "--exp", str(tmp_path), "--no-baselines", "--out", str(tmp_path / "out"), "mfcc"]
    common += ["--commands", str(manifests / "some.jsonl"), "--labels", "slots.first", "--device", "cpu"]
    common += ["--set", "probe.character_hidden=0", "--set", "probe.character_epochs=1", "--set", "probe.folds=5"]
    assert call([*common, "--speech", str(manifests / "few.jsonl")]) == 0
    (report,) = msgspec.json.decode((tmp_path / "out" / "probes.json").read_bytes(), type=list[ProbeReport])
    assert [score.task for score in report.scores] == ["characters", "commands"]
    assert report.scores[1].items == len(commands) + 1
    assert set(report.left_out) == set(WORD_TASKS)
    for told in (
        capsys.readouterr().out,
        (tmp_path / "out" / "probes.md").read_text(),
        (tmp_path / "out" / "probes.html").read_text(),
    ):
        assert "mfcc: words ABX within speakers could not be measured: the tokens form no ABX triple" in told
    drops = (outputs(recipe, tmp_path, "features") / "drops.jsonl").read_text().splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["reason"]) for line in drops] == [
        ("commands/gone", "unreadable_audio")
    ]


def test_nothing_to_probe_with_is_the_users_to_mend(manifests, tmp_path, capsys):
    (manifests / "empty.jsonl").write_text("")
    rows = list(read_manifest(manifests / "commands.jsonl"))[:3]
    lost = [msgspec.structs.replace(row, audio_filepath="gone.wav") for row in rows]
    write_manifest(manifests / "lost.jsonl", lost)
    write_manifest(manifests / "alike.jsonl", [msgspec.structs.replace(row, custom={"intent": "a"}) for row in rows])
    for name, labels, sentence in (
        ("empty", "slots.first", "no usable recording"),
        ("lost", "slots.first", "none of 3 recordings could be encoded"),
        ("alike", "intent", "nothing could be measured: commands: "),
    ):
        given = ["--commands", str(manifests / f"{name}.jsonl"), "--labels", labels, "--exp", str(tmp_path / name)]
        assert call(["probe", "mfcc", "--no-baselines", *given, "--device", "cpu"]) == 2
        assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


def test_phones_lose_their_place_and_stress():
    row = Utterance(id="a", audio_filepath="a", duration=1.0, sample_rate=16_000, custom={})
    row = msgspec.structs.replace(row, custom={"phones": [["W_B", "IY0_E"], ["AO1"], "SH"]})
    assert _phones(row) == ["W", "IY", "AO", "SH"]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("prepare.test_speakers=A,Z", "'Z' has no utterance"),
        ("prepare.test_speakers=A,B,C,D,E,F", "all 6 speakers"),
        ("prepare.command_labels=slots.last", "custom.slots.last"),
    ],
)
def test_settings_that_fit_no_recording_are_refused(manifests, tmp_path, setting, sentence):
    given = [f"speech_manifest={manifests / 'speech.jsonl'}", f"commands_manifest={manifests / 'commands.jsonl'}"]
    with pytest.raises(Exception, match=sentence):
        run_recipe(recipe, tmp_path, [*given, *SETTINGS, setting], stop=1, quiet=True)


def test_the_command_names_what_is_missing(tmp_path, capsys):
    assert call(["probe", "log-mel"]) == 2
    assert "--speech" in capsys.readouterr().err
    assert call(["probe", "log-mel", "--speech", str(tmp_path / "none.jsonl")]) == 2
    assert "no such manifest" in capsys.readouterr().err


def test_an_encoder_folder_stands_for_its_files(tmp_path):
    assert encoder_digest("log-mel") == "log-mel"
    (tmp_path / "a").write_text("1")
    before = encoder_digest(str(tmp_path))
    (tmp_path / "a").write_text("2")
    after = encoder_digest(str(tmp_path))
    assert after != before
    (tmp_path / "README.md").write_text("about it")
    assert encoder_digest(str(tmp_path)) == after


def test_words_of_real_speech_are_found_in_order_inside_the_cut(shared_data, tmp_path):
    folder = shared_data / "LibriSpeech" / "dev-clean" / "84" / "121123"
    (line,) = [line for line in (folder / "84-121123.trans.txt").open() if line.startswith("84-121123-0001 ")]
    name, text = line.split(maxsplit=1)
    path = next(folder.glob(f"{name}.*"))
    info = audio_info(path)
    row = Utterance.from_samples(
        id=name,
        audio_filepath=path.name,
        num_samples=info.num_samples,
        sample_rate=info.sample_rate,
        text=text.strip().lower(),
        custom={"manifest": "speech_manifest"},
    )
    config = recipe.stage("words").config()
    worker = AlignWords(config)
    worker.inputs = {"speech_manifest": folder / "manifest.jsonl"}
    worker.setup("cpu")
    (aligned,) = worker.process([row])
    tier = aligned.alignment["word"]
    assert [item.symbol for item in tier] == row.text.split()
    assert all(a.start + a.duration <= b.start + 1e-6 for a, b in itertools.pairwise(tier))
    assert tier[-1].start + tier[-1].duration <= row.duration + 0.02
    assert worker.process([aligned]) == [aligned]
    (dropped,) = worker.process([msgspec.structs.replace(row, text="no such long sentence " * 200)])
    assert dropped.reason == "no_alignment"
    (gone,) = worker.process([msgspec.structs.replace(row, audio_filepath="missing.flac")])
    assert gone.reason == "unreadable_audio"
    manifest = tmp_path / "m.jsonl"
    write_manifest(manifest, [aligned])
    assert next(iter(read_manifest(manifest))) == aligned


class Listener:
    """Remembers what it was given to hear; hears "ab" in it, half each."""

    vocabulary = ("", "a", "b")

    def __init__(self):
        self.heard = []

    def emissions_of(self, samples):
        self.heard.append(samples)
        frames = -(-len(samples) // 320)
        log_probs = np.full((frames, 3), -9.0, np.float16)
        log_probs[: frames // 2, 1] = log_probs[frames // 2 :, 2] = 0
        return Emissions(log_probs, 0.02, self.vocabulary, 0)


def aligner(folder):
    worker = AlignWords(recipe.stage("words").config())
    worker.inputs = {"speech_manifest": folder / "m.jsonl"}
    worker.recognizer = Listener()
    return worker


def test_words_are_those_of_the_channel_and_the_cut(tmp_path):
    generator = np.random.default_rng(0)
    both = generator.uniform(-0.5, 0.5, (32_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "two.wav", both, 16_000, subtype="FLOAT")
    row = Utterance.from_samples(
        id="a", audio_filepath="two.wav", offset_samples=8_000, num_samples=16_000, sample_rate=16_000, channel=1,
        text="a b", custom={"manifest": "speech_manifest"},
    )  # fmt: skip
    worker = aligner(tmp_path)
    (aligned,) = worker.process([row])
    (heard,) = worker.recognizer.heard
    np.testing.assert_array_equal(heard, both[8_000:24_000, 1])
    assert [(item.symbol, item.start) for item in aligned.alignment["word"]] == [("a", 0.0), ("b", 0.5)]
    (beyond,) = worker.process([msgspec.structs.replace(row, duration=3.0)])
    assert beyond.reason == "unreadable_audio"


def test_a_text_in_another_script_has_no_times(tmp_path):
    write_audio(tmp_path / "one.wav", np.zeros(16_000), 16_000)
    row = Utterance(
        id="a", audio_filepath="one.wav", duration=1.0, sample_rate=16_000, custom={"manifest": "speech_manifest"}
    )
    texts = ("नमस्ते दुनिया", "ab न", "a नम", "aनमa")
    hindi, mostly, hardly, half = aligner(tmp_path).process([msgspec.structs.replace(row, text=text) for text in texts])
    assert (hindi.reason, hardly.reason) == ("no_alignment", "no_alignment")
    assert "cannot spell 100% of the characters" in hindi.detail
    assert "67%" in hardly.detail
    for found, words in ((mostly, 2), (half, 1)):
        assert len(found.alignment["word"]) == words
