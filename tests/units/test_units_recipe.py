"""Claims about the recipe: judged speakers teach nothing, every quantizer is in the tables, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import ConfigError, UserError
from speechkit.io.audio import write_audio
from speechkit.lm.ngram_training import estimate
from speechkit.lm.sequence_bits import sequence_bits, unit_words
from speechkit.pipeline import Interrupted, outputs, run_recipe
from speechkit.pipeline.discover import recipe_module
from speechkit.report.units_page import curves_table, markdown, units_table
from speechkit.units.acoustic_bpe import AcousticBpe
from speechkit.units.codebook import Codebook
from speechkit.units.evaluation import Variance, combine_codebooks
from speechkit.units.kmeans import train_kmeans
from speechkit.units.records import UnitsReport
from speechkit.units.sequences import read_sequences
from speechkit.units.token_sequences import encode_sequence

recipe = recipe_module("units").recipe


def read_report(path):
    return msgspec.json.decode(path.read_bytes(), type=UnitsReport)


TINY = Path(__file__).parents[2] / "recipes/units/conf/tiny.yaml"
LETTERS = "abcd"


def speak(letters, pitch, random):
    """Letters as tones of 0.1 s, and when each sounds."""
    times = np.arange(1600) / 16_000
    tones = [0.3 * np.sin(2 * np.pi * 300 * pitch * 1.4 ** LETTERS.index(each) * times) for each in letters]
    sound = np.concatenate(tones) + random.normal(0, 0.003, 1600 * len(letters))
    tier = [AlignmentItem(each, round(0.1 * place, 3), 0.1) for place, each in enumerate(letters)]
    return sound.astype(np.float32), tier


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    rows, phones = [], []
    for speaker, pitch in zip("ABC", (0.98, 1.0, 1.02), strict=True):
        for number in range(6):
            samples, tier = speak(random.choice(list(LETTERS), 12).tolist(), pitch, random)
            name = f"{speaker}{number}"
            write_audio(folder / f"{name}.wav", samples, 16_000)
            row = Utterance.from_samples(
                id=name, audio_filepath=f"{name}.wav", num_samples=len(samples), sample_rate=16_000, speaker=speaker
            )
            rows.append(row)
            phones.append(msgspec.structs.replace(row, alignment={"phone": tier, "word": tier[:3]}))
    brief = msgspec.structs.replace(rows[0], id="brief", duration=0.01, speaker="B")
    gone = msgspec.structs.replace(rows[0], id="gone", audio_filepath="gone.wav", speaker="B")
    write_manifest(folder / "all.jsonl", [*rows, brief, gone])
    write_manifest(folder / "phones.jsonl", phones)
    return folder


def given(speech, *more):
    manifest = speech / "all.jsonl"
    return [f"train_manifest={manifest}", f"test_manifest={manifest}", "prepare.test_speakers=C", *more]


@pytest.fixture(scope="module")
def done(speech, tmp_path_factory):
    exp = tmp_path_factory.mktemp("exp")
    more = [f"phones_manifest={speech / 'phones.jsonl'}", "kinds=[k-means,spherical,residual,product]"]
    run_recipe(recipe, exp, given(speech, *more), config_files=[TINY], quiet=True, device="cpu")
    return exp


def test_every_quantizer_and_codebook_has_a_row(done):
    folder = outputs(recipe, done, "score")
    report = read_report(folder / "scores.json")
    named = {(each.system.kind, each.system.clusters, each.system.codebook) for each in report.scores}
    whole = {(kind, k, None) for kind in ("k-means", "spherical", "residual", "product") for k in (6, 9)}
    assert named == whole | {(kind, k, book) for kind in ("residual", "product") for k in (6, 9) for book in (0, 1)}
    assert (report.recordings, report.speakers, report.tier) == (6, 1, "phone")
    for each in report.scores:
        assert 1 <= each.health.perplexity <= each.health.clusters
        assert (each.explained is None) == (each.system.codebook is not None)
    text = (folder / "table.md").read_text()
    assert text == markdown(report)
    assert text.count("\n| 0 |") == len(units_table(report).rows) + len(curves_table(report).rows)
    page = (folder / "report.html").read_text()
    assert page.count('<figure class="units"') == 3
    assert "layer 0, residual 9" in page


def test_units_of_tones_tell_the_letters_and_more_codebooks_keep_more(done):
    report = read_report(outputs(recipe, done, "score") / "scores.json")
    by_name = {(e.system.kind, e.system.clusters, e.system.codebook): e for e in report.scores}
    plain = by_name["k-means", 9, None]
    assert plain.agreement.normalized_information > 0.7
    assert plain.agreement.label_purity > 0.8
    assert by_name["residual", 9, None].explained > plain.explained > 0.5
    assert by_name["residual", 9, 0].agreement == plain.agreement
    joint = by_name["residual", 9, None]
    assert joint.health.clusters == 81
    assert joint.agreement.mutual_information >= plain.agreement.mutual_information
    assert joint.health.dead >= 81 - joint.health.frames


def test_judged_speakers_teach_nothing_and_everything_left_out_is_listed(done):
    folder = outputs(recipe, done, "prepare")
    parts = {}
    for row in read_jsonl(folder / "recordings.jsonl", Utterance):
        parts.setdefault(row.custom["part"], set()).add(row.speaker)
    assert parts == {"train": {"A", "B"}, "test": {"C"}}
    dropped = {(drop["id"], drop["reason"]) for drop in map(json.loads, (folder / "drops.jsonl").open())}
    assert {("train/brief", "too_short"), ("train/C0", "test_speaker"), ("test/A0", "not_asked_for")} <= dropped
    drops = (outputs(recipe, done, "features") / "drops.jsonl").read_text()
    assert json.loads(drops)["id"] == "train/gone"
    assert "unreadable_audio" in drops


def test_units_and_merges_can_be_used_alone(done):
    units = outputs(recipe, done, "assign") / "units/layer-0/k-means-9"
    book = Codebook.load(outputs(recipe, done, "codebooks") / "codebooks/layer-0/k-means-9")
    assert book.spec.encoder.layer == "0"
    train, test = (read_sequences([units / f"{part}.jsonl"], book.spec.digest) for part in ("train", "test"))
    assert [row.id for row in test] == [f"C{number}" for number in range(6)]
    assert len(train) == 12
    assert all(sum(row.durations) == 60 for row in test)
    bpe = AcousticBpe.load(outputs(recipe, done, "bpe") / "merges/layer-0/k-means-9.json")
    assert bpe.codebook == book.spec.digest
    report = read_report(outputs(recipe, done, "score") / "scores.json")
    curve = next(each for each in report.curves if each.system.folder == "layer-0/k-means-9")
    tokens = [len(bpe.encode(row.units)) for row in test]
    last = curve.points[-1]
    assert last.tokens == bpe.num_tokens
    assert last.test == pytest.approx(sum(len(row.units) for row in test) / sum(tokens), abs=1e-3)
    assert [point.tokens for point in curve.points] == sorted({point.tokens for point in curve.points})
    assert curve.points[0].train == curve.points[0].test == 1


def test_ngrams_of_every_order_foresee_test_units(done):
    units = outputs(recipe, done, "assign") / "units/layer-0/k-means-9"
    train, test = (read_sequences([units / f"{part}.jsonl"]) for part in ("train", "test"))
    report = read_report(outputs(recipe, done, "score") / "scores.json")
    first, *_, last = next(each for each in report.curves if each.system.folder == "layer-0/k-means-9").points
    for order, bits in enumerate(first.ngram_bits, 1):
        model, _ = estimate(map(unit_words, train), order)
        assert bits == pytest.approx(sequence_bits(model, test, 9).bits_per_unit, abs=1e-4)
    bpe = AcousticBpe.load(outputs(recipe, done, "bpe") / "merges/layer-0/k-means-9.json")
    model, _ = estimate([list(map(str, bpe.encode(row.units))) for row in train], 1)
    cost = sequence_bits(model, [encode_sequence(row, bpe) for row in test], bpe.num_tokens)
    wanted = cost.bits_per_unit * cost.units / sum(len(row.units) for row in test)
    assert last.ngram_bits[0] == pytest.approx(wanted, abs=1e-4)
    assert len(first.ngram_bits) == 3
    assert "| bits a unit, trigram |" in markdown(report)


def test_without_an_alignment_the_table_says_nothing_of_labels(speech, tmp_path):
    more = ["clusters=[4]", "bpe.sizes=[6]", "score.pictures=1", "score.picture_clusters=7", "bpe.ngram_order=0"]
    run_recipe(recipe, tmp_path, given(speech, *more), config_files=[TINY], quiet=True, device="cpu")
    report = read_report(outputs(recipe, tmp_path, "score") / "scores.json")
    assert report.tier is None
    assert report.scores[0].agreement is None
    assert "purity" not in markdown(report)
    assert "bits a unit" not in markdown(report)
    assert (outputs(recipe, tmp_path, "score") / "report.html").read_text().count('<figure class="units"') == 1


def test_codebooks_that_are_done_survive_an_interruption(speech, tmp_path, monkeypatch):
    more = ["clusters=[3,4,5]", "bpe.sizes=[6]"]
    trained = []

    def interrupted_once(batches, config, *rest):
        if config.clusters == 5 and 5 not in trained:
            trained.append(5)
            raise Interrupted
        trained.append(config.clusters)
        return train_kmeans(batches, config, *rest)

    monkeypatch.setattr("speechkit.units.training.train_kmeans", interrupted_once)
    code = run_recipe(recipe, tmp_path, given(speech, *more), stop=3, config_files=[TINY], quiet=True, device="cpu")
    assert code == 130
    run_recipe(recipe, tmp_path, given(speech, *more), stop=3, config_files=[TINY], quiet=True, device="cpu")
    assert trained == [3, 4, 5, 5]
    folder = outputs(recipe, tmp_path, "codebooks") / "codebooks/layer-0"
    assert sorted(path.name for path in folder.iterdir()) == ["k-means-3", "k-means-4", "k-means-5"]
    assert {path.name for path in (folder / "k-means-3").iterdir()} == {"codebook.json", "codebook.safetensors"}


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        (["clusters=[2000]"], UserError, r"k-means 2000: \d+ frames are too few for 2000 clusters"),
        (["prepare.test_speakers=Z"], ConfigError, "'Z' has no recordings"),
        (["prepare.test_speakers="], UserError, "0 training and 19 test recordings are left"),
        (["kinds=[product]", "codebooks=3"], UserError, "80 dimensions cannot be split into 3"),
        (["layers=[]"], ConfigError, r"layers.*length >= 1"),
        (["bpe.bpe_clusters=[7]"], ConfigError, "bpe.bpe_clusters: 7 is none of clusters"),
        (["kinds=[loud]"], ConfigError, "kinds"),
        (["score.tier=tone"], UserError, "no test recording has a tier tone"),
    ],
)
def test_what_cannot_be_is_one_sentence(speech, tmp_path, changed, error, sentence):
    more = [f"phones_manifest={speech / 'phones.jsonl'}", "clusters=[4]", "bpe.sizes=[6]", *changed]
    with pytest.raises(error, match=sentence):
        run_recipe(recipe, tmp_path, given(speech, *more), config_files=[TINY], quiet=True, device="cpu")


def test_joined_units_are_numbered_by_what_occurs():
    parts = [{"a": np.array([0, 0, 3]), "b": np.array([3])}, {"a": np.array([1, 2, 1]), "b": np.array([1])}]
    units, used = combine_codebooks(parts, 4)
    assert used == 3
    assert {name: row.tolist() for name, row in units.items()} == {"a": [0, 1, 2], "b": [2]}
    many = [{"a": np.array([1999, 0])}] * 8  # 2000 to the eighth is beyond 64 bits
    assert combine_codebooks(many, 2000)[1] == 2
    assert combine_codebooks(parts[:1], 4) == (parts[0], None)


def test_variance_kept_is_that_of_all_frames_at_once():
    random = np.random.default_rng(0)
    rows, named = random.standard_normal((50, 4)) + 5, random.standard_normal((50, 4)) + 5
    sums = Variance()
    for begin in range(0, 50, 7):
        sums.add(rows[begin : begin + 7], named[begin : begin + 7])
    wanted = 1 - ((rows - named) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum()
    assert sums.explained() == pytest.approx(wanted)
    still = Variance()
    still.add(np.zeros((3, 2)), np.zeros((3, 2)))
    assert still.explained() == 0
