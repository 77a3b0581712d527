"""Claims about the recipe and `speechkit ued`: test speakers are not trained on, all perturbations are in tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.augment.perturbations import AUDIBLE, CONTROLS, EVERY
from speechkit.cli.main import call
from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.encoders.probing.phone_abx import PhoneCell
from speechkit.encoders.probing.word_tokens import WordToken
from speechkit.encoders.spec import EncoderSpec
from speechkit.encoders.store import FeatureStore, LayerFrames
from speechkit.errors import UserError
from speechkit.io.audio import read_audio, write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.report.invariant_units_page import abx_table, markdown, quality_table
from speechkit.units.codebook import Codebook
from speechkit.units.embedded import pack_folders, unpack
from speechkit.units.invariant import comparison
from speechkit.units.invariant.comparison import discrimination, statistics
from speechkit.units.invariant.records import InvariantReport, in_order
from speechkit.units.invariant.versions import EncodeVersions, numbered, versions_of
from speechkit.units.quantizers import load_quantizer
from speechkit.units.ued_measurement import measure_ued, read_noises

recipe = recipe_module("units_invariant").recipe
judging = recipe_module("units_invariant", "judging")


def read_report(path):
    return msgspec.json.decode(path.read_bytes(), type=InvariantReport)


WORDS = ("bead", "cafe", "dance")


def speak(words, pitch, random):
    """Letters as tones, and the words' times."""
    pieces, tier, at = [], [], 0.0
    for word in words:
        tier.append(AlignmentItem(word, round(at, 3), round(0.1 * len(word), 3), -0.1))
        for letter in word:
            times = np.arange(1600) / 16_000
            tone = 0.3 * np.sin(2 * np.pi * 300 * pitch * 1.15 ** (ord(letter) - ord("a")) * times)
            pieces.append(tone + random.normal(0, 0.003, 1600))
        at += 0.1 * len(word)
    return np.concatenate(pieces).astype(np.float32), tier


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    rows = []
    for speaker, pitch in zip("ABCD", (0.96, 1.0, 1.02, 1.05), strict=True):
        for number in range(6):
            words = random.choice(WORDS, 4).tolist()
            samples, tier = speak(words, pitch, random)
            name = f"{speaker}{number}"
            write_audio(folder / f"{name}.wav", samples, 16_000)
            rows.append(
                Utterance.from_samples(
                    id=name,
                    audio_filepath=f"{name}.wav",
                    num_samples=len(samples),
                    sample_rate=16_000,
                    text=" ".join(words),
                    speaker=speaker,
                    alignment={"word": tier},
                )
            )
    brief = msgspec.structs.replace(rows[0], id="brief", duration=0.5, alignment=None)
    gone = msgspec.structs.replace(rows[0], id="gone", audio_filepath="gone.wav", speaker="B")
    write_manifest(folder / "train.jsonl", [*rows, brief, gone])
    write_manifest(folder / "test.jsonl", rows)
    (folder / "noises").mkdir()
    write_audio(folder / "noises" / "hum.wav", random.normal(0, 0.1, 8000).astype(np.float32), 16_000)
    return folder


SETTINGS = [
    "encoder=log-mel",
    "layer=0",
    "train.upper_layers=0",
    "clusters=[6,9]",
    "baselines=2",
    "prepare.test_speakers=A,D",
    "train.width=16",
    "train.epochs=[3,1]",
    "train_kinds=[time,pitch,noise_made,noise,noise,speaker,telephone]",
    "test_kinds=[time,noise,shift]",
    "evaluate.switch_penalties=[2]",
]


def given_by(speech):
    noises = speech / "noises"
    manifests = [f"{part}_manifest={speech / f'{part}.jsonl'}" for part in ("train", "test")]
    return [*manifests, f"features.noises={noises}", f"features.test_noises={noises}", *SETTINGS]


@pytest.fixture(scope="module")
def done(speech, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    run_recipe(recipe, exp, given_by(speech), quiet=True, device="cpu")
    return exp


def test_every_perturbation_and_size_is_in_the_report(done):
    report = read_report(outputs(recipe, done, "evaluate") / "scores.json")
    assert [each.clusters for each in report.comparisons] == [6, 9]
    for compared in report.comparisons:
        systems = ["k-means", "k-means-2", "invariant", "invariant at 2 nats"]
        assert [system for system, _ in in_order(compared)] == systems
        high, low = (compared.systems[name] for name in ("invariant at 2 nats", "invariant"))
        assert high.statistics.units_per_second < low.statistics.units_per_second
        assert set(compared.reductions) == set(compared.abx_differences) == set(systems[2:])
        for system, differences in compared.abx_differences.items():
            assert set(differences) == {"within", "across", "dense within", "dense across"}
            *firsts, second = (compared.systems[name].abx["across"] for name in (*systems[:2], system))
            mean = (firsts[0].error + firsts[1].error) / 2
            assert differences["across"].difference == pytest.approx(second.error - mean)
        scores = {system: result.ued.scores["time"] for system, result in compared.systems.items()}
        assert scores["k-means"] != scores["k-means-2"]
        for system, reductions in compared.reductions.items():
            # In so few seconds one sample hardly moves a unit, so that there may be nothing to reduce.
            assert set(reductions) - {"shift"} == {"time", "noise", "overall"}
            edits, units = (
                sum(scores[name].ued * scores[name].clean_units for name in systems[:2]),
                sum(scores[name].clean_units for name in systems[:2]),
            )
            assert reductions["time"].reduction == pytest.approx(1 - scores[system].ued * units / edits)
        for result in compared.systems.values():
            assert set(result.ued.scores) == {"time", "noise", "shift"}
            assert result.ued.floor == result.ued.scores["shift"]
            assert result.ued.overall.interval.low <= result.ued.overall.ued <= result.ued.overall.interval.high
            assert set(result.abx) == {"within", "across"}
            assert 0 <= result.abx_dense["within"].error < 0.5
    assert (report.utterances, report.speakers) == (12, 2)
    text = (outputs(recipe, done, "evaluate") / "table.md").read_text()
    assert text == markdown(report)
    assert text.count("| overall |") == 8
    assert len(quality_table(report).rows) == 8
    assert len(abx_table(report).rows) == 4
    page = (outputs(recipe, done, "evaluate") / "report.html").read_text()
    assert page.count('<figure class="units"') == 3
    assert "k-means, clean" in page


def test_the_report_says_why_phones_are_not_compared(done):
    report = read_report(outputs(recipe, done, "evaluate") / "scores.json")
    assert report.phone_tokens == 0
    assert "words.phones=true" in report.without_phones
    assert report.without_phones in markdown(report)


def test_phones_are_compared_for_every_quantizer(done, speech, tmp_path, monkeypatch):
    """By a stand-in for fastabx, which has tests of its own: the share of unequal one-hot frames of two tokens."""

    def cells(tokens, segments, *, across, seed=0):
        by_phone = {}
        for token, segment in zip(tokens, segments, strict=True):
            assert segment.shape[0] == token.end - token.begin
            assert (segment.sum(1) == 1).all()
            by_phone.setdefault(token.phone, []).append(segment.argmax(1)[0])
        return [
            PhoneCell(a, b, "A", float(np.mean(np.equal.outer(by_phone[a], by_phone[b]))), 1)
            for a in sorted(by_phone)
            for b in sorted(by_phone)
            if a != b
        ]

    monkeypatch.setattr(comparison, "phone_cells", cells)
    monkeypatch.setattr(judging, "load_fastabx", lambda: None)
    for part in ("train", "test"):
        rows = [
            msgspec.structs.replace(
                row,
                audio_filepath=str(speech / row.audio_filepath),
                alignment={**row.alignment, "phone": letters(row.alignment["word"])} if row.alignment else None,
            )
            for row in read_jsonl(speech / f"{part}.jsonl", Utterance)
        ]
        write_manifest(tmp_path / f"{part}.jsonl", rows)
    given = [setting for setting in given_by(speech) if "manifest" not in setting]
    given += [f"{part}_manifest={tmp_path / f'{part}.jsonl'}" for part in ("train", "test")]
    run_recipe(recipe, tmp_path / "exp", [*given, "clusters=[6]", "train.epochs=[1]"], quiet=True, device="cpu")
    report = read_report(outputs(recipe, tmp_path / "exp", "evaluate") / "scores.json")
    assert report.phone_tokens > 100
    assert not report.without_phones
    (compared,) = report.comparisons
    errors = {name: result.abx_phones["across"].error for name, result in compared.systems.items()}
    assert len(errors) == 4
    difference = compared.abx_differences["invariant"]["phones across"].difference
    assert difference == pytest.approx(errors["invariant"] - (errors["k-means"] + errors["k-means-2"]) / 2)
    table = quality_table(report).markdown()
    assert "phones within" in table
    assert "intervals over phones" in markdown(report)  # too few speakers to draw speakers
    assert "phones across" in abx_table(report).markdown()


def letters(words):
    """A tier of letters, of equal length in each word."""
    return [
        AlignmentItem(letter, round(word.start + 0.1 * index, 3), 0.1)
        for word in words
        for index, letter in enumerate(word.symbol)
    ]


def test_judged_speakers_teach_nothing_and_everything_left_out_is_listed(done):
    folder = outputs(recipe, done, "prepare")
    taught = {json.loads(line)["speaker"] for line in (folder / "train.jsonl").open()}
    judged = {json.loads(line)["speaker"] for line in (folder / "test.jsonl").open()}
    assert taught == {"B", "C"}
    assert judged == {"A", "D"}
    drops = [json.loads(line) for line in (folder / "drops.jsonl").open()]
    reasons = [drop["reason"] for drop in drops]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {
        "not_asked_for": 12, "test_speaker": 12, "too_short": 1
    }  # fmt: skip
    (unread,) = [json.loads(line) for line in (outputs(recipe, done, "features") / "drops.jsonl").open()]
    assert (unread["id"], unread["reason"]) == ("train/gone", "unreadable_audio")


def test_all_versions_are_stored_and_only_speed_changes_their_length(done):
    store = FeatureStore(outputs(recipe, done, "features") / "features.jsonl", 0, "train")
    of_item = [name for name in store.ids() if name.startswith("train/B0#")]
    assert [name.partition("#")[2] for name in of_item] == [
        "clean", "time-0", "pitch-0", "noise_made-0", "noise-0", "noise-1", "speaker-0", "telephone-0"
    ]  # fmt: skip
    lengths = {name.partition("#")[2]: len(store[name]) for name in of_item}
    assert {n for name, n in lengths.items() if name != "time-0"} == {lengths["clean"]}
    quantizer = load_quantizer(outputs(recipe, done, "train") / "quantizers" / "k-9")
    assert quantizer.spec.encoder == store.spec
    assert quantizer.num_units == 9


def test_a_perturbation_that_is_named_twice_is_drawn_twice():
    assert numbered(["time", "room", "time"]) == [("time", 0), ("room", 0), ("time", 1)]
    names = ["a#clean", "a#time-0", "a#time-1", "b#clean", "b#room-0"]
    assert versions_of(names) == {"a": names[:3], "b": names[3:]}


def test_what_is_trained_on_in_two_implementations_is_judged_by_a_third():
    features = recipe.stage("features").config()
    training, judging_by = set(features.train_kinds), set(features.test_kinds)
    for kind in ("time", "pitch"):
        of_kind = {each for each in EVERY if each.partition("_")[0] == kind}
        assert len(of_kind & training) == 2
        assert of_kind & judging_by - training
    for kind, other in (("noise", "noise_made"), ("room", "room_recorded")):  # judged by other recordings
        assert {kind, other} <= training
    assert set(AUDIBLE) <= training & judging_by
    assert set(CONTROLS) <= judging_by
    assert {"noise", "room_recorded"} <= judging_by


def test_the_recipe_has_at_most_40_settings_and_one_way_beside_a_small_one(capsys):
    assert call(["settings", "units_invariant"]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if re.match(r"  [a-z_.]+ = ", line)]
    assert 30 < len(listed) <= 40
    conf = Path(__file__).parents[3] / "recipes" / "units_invariant" / "conf"
    assert [path.name for path in conf.iterdir()] == ["tiny.yaml"]
    assert len(recipe.stage("train").config().epochs) == 2


@pytest.mark.slow
def test_the_head_may_begin_with_the_encoders_own_layers(speech, tiny_checkpoint, tmp_path):
    replaced = ("encoder=", "layer=", "clusters=", "train.upper_layers=")
    given = [setting for setting in given_by(speech) if not setting.startswith(replaced)]
    given += [f"encoder={tiny_checkpoint}", "layer=2", "begin_layer=1", "train.upper_layers=1", "clusters=[4,9]"]
    run_recipe(recipe, tmp_path / "exp", given, quiet=True, device="cpu")
    report = read_report(outputs(recipe, tmp_path / "exp", "evaluate") / "scores.json")
    assert [each.clusters for each in report.comparisons] == [4, 9]
    features = outputs(recipe, tmp_path / "exp", "features") / "features.jsonl"
    kept = {layer: set() for layer in (1, 2)}
    for record in read_jsonl(features, LayerFrames):
        kept[record.layer] |= {record.id} if record.part == "train" else set()
    assert {name.partition("#")[2] for name in kept[2]} == {"clean"}
    assert "train/B0#noise-1" in kept[1]
    trained = outputs(recipe, tmp_path / "exp", "train") / "quantizers"
    quantizer = load_quantizer(trained / "k-9")
    assert (quantizer.spec.encoder.layer, quantizer.spec.head.upper.count, quantizer.spec.rounds) == ("1", 1, 2)
    pack_folders(sorted(trained.glob("k-*")), tmp_path / "packed")
    assert unpack("9", tmp_path / "packed").spec.head == quantizer.spec.head
    assert unpack("4", tmp_path / "packed").network == unpack("9", tmp_path / "packed").network


@pytest.mark.slow
def test_the_small_variant_runs_on_real_speech(shared_data, tmp_path):
    data = shared_data / "LibriSpeech" / "dev-clean"
    chosen = ["--config", "tiny"]
    for part, speaker in (("train", "174"), ("test", "84")):
        rows = [
            Utterance.from_samples(
                id=path.stem,
                audio_filepath=str(path),
                num_samples=len(read_audio(path)),
                sample_rate=16_000,
                speaker=speaker,
            )
            for path in sorted((data / speaker).rglob("*.mp3"))[:2]
        ]
        write_manifest(tmp_path / f"{part}.jsonl", rows)
        chosen.append(f"{part}_manifest={tmp_path / f'{part}.jsonl'}")
    assert call(["run", "units_invariant", "--exp", str(tmp_path / "exp"), "--device", "cpu", *chosen]) == 0
    assert load_quantizer(tmp_path / "exp/05-train/current/quantizers/k-16").num_units == 16


@pytest.mark.slow
def test_features_of_an_interrupted_run_are_kept_and_any_number_of_workers_gives_the_same_bytes(
    done, speech, tmp_path, monkeypatch
):
    given = given_by(speech)
    encode = EncodeVersions.process
    encoded: list[str] = []

    def counted(self, batch):
        encoded.extend(row.id for row in batch)
        if len(encoded) > 16 and "broken" not in encoded:
            encoded.append("broken")
            raise KeyboardInterrupt
        return encode(self, batch)

    monkeypatch.setattr(EncodeVersions, "process", counted)
    assert run_recipe(recipe, tmp_path / "broken", given, quiet=True, device="cpu", stop=3) == 130
    before = len(encoded)
    run_recipe(recipe, tmp_path / "broken", given, quiet=True, device="cpu", stop=3)
    assert len(encoded) - before < before
    monkeypatch.undo()
    run_recipe(recipe, tmp_path / "pool", given, quiet=True, device="cpu", stop=3, backend="pool", workers=2)
    whole, *others = (
        {
            file.relative_to(folder): file.read_bytes()
            for folder in [outputs(recipe, exp, "features")]
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.name != "_stage.json"
        }
        for exp in (done, tmp_path / "broken", tmp_path / "pool")
    )
    assert len(whole) == 6
    assert others == [whole, whole]


def test_the_command_measures_both_kinds_of_quantizers(done, speech, capsys):
    codebook = outputs(recipe, done, "codebooks") / "codebooks" / "k-6" / "k-means"
    trained = outputs(recipe, done, "train") / "quantizers" / "k-6"
    arguments = ["ued", str(codebook), str(trained), "--manifest", str(speech / "test.jsonl"), "--encoder", "log-mel"]
    arguments += ["--kinds", "telephone,gain", "--device", "cpu"]
    assert call(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["change", "telephone", "gain", "overall", "floor", "24"]
    assert call([*arguments, "--noises", str(speech / "noises"), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert list(tables) == [str(codebook), str(trained)]


def test_the_command_says_what_is_wrong(done, speech, capsys, tmp_path):
    codebook = outputs(recipe, done, "codebooks") / "codebooks" / "k-6" / "k-means"
    manifest = str(speech / "test.jsonl")
    assert call(["ued", str(codebook), "--manifest", manifest, "--encoder", "mfcc"]) == 2
    assert "was made with log-mel" in capsys.readouterr().err
    assert call(["ued", str(codebook), "--manifest", manifest, "--kinds", "echo"]) == 2
    assert "'echo' is an unknown kind of change" in capsys.readouterr().err
    assert call(["ued", str(tmp_path), "--manifest", manifest]) == 2
    assert "has neither" in capsys.readouterr().err
    with pytest.raises(UserError, match="contains no audio"):
        read_noises(tmp_path)
    write_audio(tmp_path / "hum.wav", np.full(800, 0.1), 16_000)
    assert len(read_noises(tmp_path)) == 1
    write_audio(tmp_path / "mute.wav", np.zeros(800), 16_000)
    arguments = ["ued", str(codebook), "--manifest", manifest, "--encoder", "log-mel", "--kinds", "noise"]
    assert call([*arguments, "--noises", str(tmp_path)]) == 2
    assert "mute.wav: is silent" in capsys.readouterr().err


def test_another_encoder_is_named_before_a_layer_that_it_has_not(speech, tmp_path):
    spec = EncoderSpec(model="planted", weights="w", layer="9", normalization="none", dim=3)
    planted = Codebook(np.eye(3), spec)
    for encoder, sentence in (("mfcc", "planted layer 9.*come from mfcc"), ("embedded", "planted layer 9.*wav2vec2")):
        with pytest.raises(UserError, match=sentence):
            measure_ued({"units": planted}, encoder, speech / "test.jsonl", device="cpu")


def test_an_id_that_comes_twice_is_refused_before_anything_is_measured(done, speech, tmp_path):
    codebook = load_quantizer(outputs(recipe, done, "codebooks") / "codebooks" / "k-6" / "k-means")
    row = Utterance(id="a", audio_filepath=str(speech / "A0.wav"), duration=1.0, sample_rate=16_000)
    write_manifest(tmp_path / "m.jsonl", [row, row])
    with pytest.raises(UserError, match="duplicate id 'a'"):
        measure_ued({"units": codebook}, "log-mel", tmp_path / "m.jsonl", kinds=["shift"], device="cpu")


def test_recordings_that_cannot_be_measured_are_named(done, speech, tmp_path):
    codebook = load_quantizer(outputs(recipe, done, "codebooks") / "codebooks" / "k-6" / "k-means")
    row = Utterance(id="a", audio_filepath=str(speech / "A0.wav"), duration=1.0, sample_rate=16_000)
    rows = [
        row,
        msgspec.structs.replace(row, id="brief", duration=0.01),
        msgspec.structs.replace(row, id="endless", duration=600.0),
        msgspec.structs.replace(row, id="gone", audio_filepath="gone.wav"),
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    measured = measure_ued({"units": codebook}, "log-mel", tmp_path / "m.jsonl", kinds=["shift"], device="cpu")
    assert measured.utterances == 1
    assert list(measured.left_out) == ["brief", "endless", "gone"]
    write_manifest(tmp_path / "m.jsonl", rows[1:])
    with pytest.raises(UserError, match=r"no usable recordings"):
        measure_ued({"units": codebook}, "log-mel", tmp_path / "m.jsonl", kinds=["shift"], device="cpu")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("prepare.test_speakers=Z", "'Z' has no recordings"),
        ("prepare.max_train_seconds=0.1", "0 training and 24 test"),
    ],
)
def test_settings_that_leave_nothing_are_refused(speech, tmp_path, setting, sentence):
    given = [f"train_manifest={speech / 'train.jsonl'}", f"test_manifest={speech / 'test.jsonl'}", setting]
    with pytest.raises(Exception, match=sentence):
        run_recipe(recipe, tmp_path, given, stop=1, quiet=True)


def test_the_recipe_takes_every_setting_that_the_page_names(speech, tmp_path, capsys):
    page = (Path(__file__).parents[3] / "docs/robust_units.md").read_text()
    named = [re.findall(r"[a-z_.]+=(?:\{[^}]*\}|\S+)", each) for each in re.findall(r"`([a-z_.]+=[^`]+)`", page)]
    assert len(named) >= 4
    dry = ["run", "units_invariant", "--dry-run", "--exp", str(tmp_path)]
    for settings in named:
        assert call([*dry, *given_by(speech), *settings]) == 0, capsys.readouterr().err


def test_statistics_are_of_runs():
    measured = statistics({"a": np.array([0, 0, 1, 1]), "b": np.array([1, 0])}, 3, 2.0)
    assert (measured.units_per_second, measured.perplexity, measured.bits_per_second, measured.unused) == (
        2.0,
        2.0,
        2.0,
        1,
    )


def test_words_that_make_no_triple_have_no_score():
    tokens = [WordToken("a", "one", "A", 0, 1), WordToken("b", "two", "B", 0, 1)]
    assert discrimination(np.zeros((2, 2), np.float32), tokens, 0) == {}
    assert discrimination(None, [], 0) == {}
