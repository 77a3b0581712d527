"""Claims about `speechkit lm` on units and `speechkit continue`: train, score, sample, compare, continue, refuse."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
import torch

from speechkit.cli.main import call
from speechkit.data.manifest import read_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.audio import audio_info, write_audio
from speechkit.lm import continuation
from speechkit.lm.continuation import continue_units, first_seconds
from speechkit.lm.decoding.sampling import Generated, SamplingConfig
from speechkit.lm.load import open_model
from speechkit.lm.networks import load_unit_network
from speechkit.lm.unit_costs import SequenceCost
from speechkit.units.codebook import Codebook
from speechkit.units.quantizers import UnitSet
from speechkit.units.sequences import UnitSequence, write_sequences
from tests.lm.planted_networks import UNITS, text_model, unit_model

BOOK = Codebook(np.eye(6, dtype=np.float32), None)


def chain(name, length, seed):
    """Units of which each mostly fixes the next."""
    random = np.random.default_rng(seed)
    units = [int(random.integers(6))]
    while len(units) < length:
        units.append((units[-1] + (1 if random.random() < 0.8 else int(random.integers(1, 6)))) % 6)
    return UnitSequence(name, units, random.integers(1, 5, length).tolist(), BOOK.spec.digest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A codebook, units, a trigram and a model that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("lm")
    BOOK.save(folder / "book")
    for seed, (part, count) in enumerate({"train": 12, "dev": 3, "test": 4}.items()):
        rows = [chain(f"{part}{n}", 60, 100 * seed + n) for n in range(count)]
        write_sequences([folder / f"{part}.jsonl"], ([row] for row in rows))
    manifest = [
        Utterance.from_samples(
            id=f"test{n}", audio_filepath="x.wav", num_samples=16_000, sample_rate=16_000, speaker=f"s{n % 2}"
        )
        for n in range(4)
    ]
    write_manifest(folder / "manifest.jsonl", manifest)
    book = ["--codebook", str(folder / "book")]
    ngram = ["units", "ngram", str(folder / "train.jsonl"), *book, "--order", "1", "--out", str(folder / "unigram")]
    assert call(ngram) == 0
    assert call(training(folder, "model", "--llama", str(folder / "llama"))) == 0
    return folder


def training(folder, out, *more):
    return [
        *("lm", "train", str(folder / "train.jsonl"), "--dev", str(folder / "dev.jsonl")),
        *("--codebook", str(folder / "book"), "--out", str(folder / out), "--layers", "1", "--context", "64"),
        *("--rows", "4", "--steps", "40", "--evaluate-every", "20", "--durations", "8", "--device", "cpu", *more),
    ]


def shown(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_trained_model_beats_the_unigram_and_has_a_twin(folder, capsys):
    arguments = ["lm", "compare", str(folder / "test.jsonl"), "--model", str(folder / "unigram")]
    assert call([*arguments, "--model", str(folder / "model"), "--json", "--device", "cpu"]) == 0
    first, second = shown(capsys)
    assert second["bits_per_second"] < first["bits_per_second"]
    assert second["saves"]["share"] == pytest.approx(1 - second["bits_per_second"] / first["bits_per_second"])
    assert second["full_bits_per_second"] > second["bits_per_second"]
    assert call([*arguments, "--manifest", str(folder / "manifest.jsonl"), "--device", "cpu"]) == 0
    assert "bits a second" in capsys.readouterr().out
    assert json.loads((folder / "llama/config.json").read_text())["model_type"] == "llama"


def test_a_missing_manifest_is_refused_before_the_costs(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("speechkit.lm.load.open_model", lambda *_: pytest.fail("the model was opened"))
    units, absent = str(folder / "test.jsonl"), str(tmp_path / "absent.jsonl")
    for arguments in (["compare", units, "--model", "embedded-100"], ["score", "embedded-100", units]):
        assert call(["lm", *arguments, "--manifest", absent]) == 2
        assert "absent.jsonl" in capsys.readouterr().err


def test_costs_of_recordings_add_up_to_the_score(folder, tmp_path, capsys):
    out = tmp_path / "costs.jsonl"
    arguments = ["lm", "score", str(folder / "model"), str(folder / "test.jsonl"), "-o", str(out), "--device", "cpu"]
    assert call([*arguments, "--json"]) == 0
    found = shown(capsys)
    costs = list(read_jsonl(out, SequenceCost))
    bits = sum(each.unit_nats + each.end_nats for each in costs) / np.log(2)
    assert found["bits_per_second"] == pytest.approx(bits / sum(each.seconds for each in costs))
    assert (found["recordings"], found["units"]) == (4, 240)
    assert call(arguments) == 0
    assert "bits per second" in capsys.readouterr().out


def test_training_that_is_done_is_not_done_again_and_other_settings_are_told(folder, capsys):
    before = (folder / "model/model.safetensors").read_bytes()
    assert call(training(folder, "model")) == 0
    assert (folder / "model/model.safetensors").read_bytes() == before
    capsys.readouterr()
    assert call(training(folder, "model", "--seed", "1")) == 2
    assert "was made with other settings (seed 0 there and 1 here)" in capsys.readouterr().err
    assert call(training(folder, "model", "--durations", "6", "--infill", "0.5")) == 2
    assert "holds a training run with other duration_bins, spans, mixture" in capsys.readouterr().err


def test_sizes_of_a_new_network_are_refused_beside_a_text_model(folder, tmp_path, capsys):
    assert call(training(folder, "warm", "--from", str(tmp_path))) == 2
    assert "--layers has no effect on --from" in capsys.readouterr().err


@pytest.mark.slow
def test_a_mixture_and_a_warm_start_are_trained(folder, tmp_path, capsys):
    assert call([*training(folder, "mixed", "--infill", "0.4", "--prefix", "0.2"), "--json"]) == 0
    assert shown(capsys)["units"] == 720
    assert load_unit_network(folder / "mixed").vocabulary.spans == 4
    text_model("llama", tmp_path)
    warm = training(folder, "warm", "--from", str(tmp_path), "--layers", "0", "--durations", "6", "--steps", "2")
    assert call([*warm, "--json"]) == 0
    assert "dev bits per second" in shown(capsys)
    assert open_model(str(folder / "warm")).units.digest == BOOK.spec.digest


def test_samples_are_the_same_twice_and_speculation_says_what_it_drafted(folder, tmp_path, capsys):
    arguments = ["lm", "sample", str(folder / "model"), "--count", "3", "--units", "20", "--device", "cpu", "--json"]
    out = tmp_path / "samples.jsonl"
    assert call([*arguments, "-o", str(out)]) == 0
    first = shown(capsys)
    assert call(arguments) == 0
    assert shown(capsys) == first
    assert [row.units for row in read_jsonl(out, UnitSequence)] == [each["units"] for each in first["sequences"]]
    for tree in ("1,1", "2,1", "beam:2x2"):
        assert call([*arguments, "--draft", str(folder / "unigram"), "--tree", tree]) == 0
        found = shown(capsys)
        assert 0 <= found["accepted"] <= found["drafted"]
        assert found["units_per_call"] >= 1


def test_heads_are_trained_beside_a_frozen_model_and_draft_for_it(folder, tmp_path, capsys):
    out = str(tmp_path / "heads")
    before = (folder / "model/model.safetensors").read_bytes()
    learn = ["lm", "heads", str(folder / "model"), str(folder / "train.jsonl"), "--dev", str(folder / "dev.jsonl")]
    assert call([*learn, "--out", out, "--heads", "3", "--steps", "6", "--device", "cpu", "--json"]) == 0
    assert shown(capsys)["heads"] == 3
    looks = [json.loads(line) for line in (tmp_path / "heads/metrics.jsonl").read_text().splitlines()]
    assert {"dev_loss", "dev_head_0_overlap", "dev_head_2_overlap"} <= looks[-1].keys()
    assert (folder / "model/model.safetensors").read_bytes() == before
    draw = ["lm", "sample", str(folder / "model"), "--count", "3", "--units", "20", "--device", "cpu", "--json"]
    greedy = ["--temperature", "0"]
    assert call([*draw, *greedy]) == 0
    alone = shown(capsys)["sequences"]
    for tree in ("1,1,1", "2,1,1", "beam:2x3"):
        assert call([*draw, *greedy, "--draft", out, "--tree", tree]) == 0
        found = shown(capsys)
        assert [each["units"] for each in found["sequences"]] == [each["units"] for each in alone]
        assert found["units_per_call"] >= 1
    assert "holds a training run with other heads" in refused(
        [*learn, "--out", out, "--heads", "2", "--steps", "6"], capsys
    )
    assert "a draft tree of depth 4" in refused([*draw, "--draft", out, "--tree", "1,1,1,1"], capsys)
    unigram = str(folder / "unigram")
    assert "is an n-gram" in refused(["lm", "sample", unigram, "--draft", out], capsys)
    assert "is an n-gram" in refused(["lm", "heads", unigram, str(folder / "train.jsonl"), "--out", out], capsys)


def test_continuations_are_as_long_as_asked_for(folder, tmp_path, capsys):
    out = tmp_path / "continued.jsonl"
    arguments = ["continue", str(folder / "test.jsonl"), "--model", str(folder / "model"), "--device", "cpu"]
    assert (
        call([*arguments, "--seconds", "0.5", "--prompt-seconds", "0.4", "--count", "2", "-o", str(out), "--json"]) == 0
    )
    found = shown(capsys)
    rows = list(read_jsonl(out, UnitSequence))
    assert [row.id for row in rows] == [f"test{n}-{turn}" for n in range(4) for turn in range(2)]
    assert all(sum(row.durations) <= 25 for row in rows)
    assert sum(sum(row.durations) for row in rows) / 50 == pytest.approx(found["seconds"])
    assert found["prompt_seconds"] == pytest.approx(4 * 0.4)


def test_an_empty_continuation_is_explained(folder, tmp_path, capsys, monkeypatch):
    ended = Generated([], True, 0.0, 1)
    monkeypatch.setattr(continuation, "sample", lambda _, prompts, *__: [ended] * len(prompts))
    arguments = ["continue", str(folder / "test.jsonl"), "--model", str(folder / "model"), "--device", "cpu"]
    assert call([*arguments, "-o", str(tmp_path / "continued.jsonl")]) == 0
    said = capsys.readouterr().err
    assert said.count("the model ends the recording right after the prompt; give --prompt-seconds") == 4


@pytest.mark.slow
def test_a_recording_is_continued_as_sound(tmp_path, capsys):
    from speechkit.tts.flow_config import FlowConfig
    from speechkit.tts.flow_config import SamplingConfig as Steps
    from speechkit.tts.unit_decoder import UnitDecoder, UnitDecoderConfig
    from speechkit.tts.vocoder import Vocoder, VocoderConfig
    from speechkit.tts.vocoder.config import VocosConfig
    from speechkit.units.quantizers import load_quantizer, unit_sets

    units = unit_sets(load_quantizer("embedded-100"))[0]
    torch.manual_seed(0)
    flow = FlowConfig(width=16, layers=1, heads=2, feed_width=16, kernel=3)
    decoder = UnitDecoder(UnitDecoderConfig(units=units, flow=flow, sampling=Steps(steps=2, guidance=0.0)))
    decoder.save_pretrained(tmp_path / "decoder")
    vocoder = Vocoder(VocoderConfig(generator=VocosConfig(width=16, inner=16, layers=1)))
    vocoder.save_pretrained(tmp_path / "vocoder")
    unit_model(units=units, duration_bins=8).save_pretrained(tmp_path / "model")
    write_audio(tmp_path / "talk.wav", 0.1 * np.random.default_rng(0).standard_normal(4800), 16_000)
    arguments = ["continue", str(tmp_path / "talk.wav"), "--model", str(tmp_path / "model"), "--seconds", "0.4"]
    said = [*arguments, "--decoder", str(tmp_path / "decoder"), "--vocoder", str(tmp_path / "vocoder")]
    out = tmp_path / "said.wav"
    assert call([*said, "-o", str(out), "--device", "cpu", "--json"]) == 0
    found = shown(capsys)
    assert audio_info(out).duration == pytest.approx(0.3 + found["seconds"], abs=0.05)


def refused(arguments, capsys):
    assert call([*arguments, "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_bad_input_is_one_sentence(folder, tmp_path, capsys):
    model = str(folder / "model")
    other = UnitSequence("a", [1, 2], [1, 1], "another-codebook")
    write_sequences([tmp_path / "other.jsonl"], [[other]])
    assert "is of the codebook another-code, not " in refused(
        ["lm", "score", model, str(tmp_path / "other.jsonl")], capsys
    )
    strange = UnitSequence("a", [1, 6], [1, 1], BOOK.spec.digest)
    write_sequences([tmp_path / "strange.jsonl"], [[strange]])
    said = refused(["lm", "score", model, str(tmp_path / "strange.jsonl")], capsys)
    assert "a: unit 6 is out of range; the model knows 0 to 5" in said
    write_sequences([tmp_path / "empty.jsonl"], [[UnitSequence("a", [], [], BOOK.spec.digest)]])
    assert "a: has no units" in refused(["lm", "score", model, str(tmp_path / "empty.jsonl")], capsys)
    long = chain("long", 64, 0)
    write_sequences([tmp_path / "long.jsonl"], [[long]])
    begin = ["continue", str(tmp_path / "long.jsonl"), "--model", model, "-o"]
    assert "long: the prompt has 64 units and the model's context is 64" in refused(
        [*begin, str(tmp_path / "x.jsonl")], capsys
    )
    assert "give a units file" in refused([*begin, str(tmp_path / "x.txt")], capsys)
    assert "is an input, and would be replaced" in refused([*begin, str(tmp_path / "long.jsonl")], capsys)
    write_sequences([tmp_path / "twice.jsonl"], [[chain("twin", 9, 0)], [chain("twin", 9, 1)]])
    twice = ["continue", str(tmp_path / "twice.jsonl"), "--model", model, "-o", str(tmp_path / "x.jsonl")]
    assert "twice.jsonl: duplicate id 'twin'; give every prompt a unique id" in refused(twice, capsys)
    train = str(folder / "train.jsonl")
    assert "is an n-gram" in refused(
        ["continue", train, "--model", str(folder / "unigram"), "-o", str(tmp_path / "x.jsonl")], capsys
    )
    assert "is both in the training and the held-out units" in refused(
        [*training(folder, "both"), "--dev", train], capsys
    )
    assert "choose aaren, attention" in refused(training(folder, "mixed", "--layer", "rwkv"), capsys)
    assert "do not support prefixes" in refused(training(folder, "none", "--layer", "lstm", "--prefix", "0.5"), capsys)
    assert "cannot be exported as Llama" in refused(
        training(folder, "none", "--layer", "lstm", "--llama", str(tmp_path / "twin")), capsys
    )
    assert "--tree is" in refused(["lm", "sample", model, "--draft", str(folder / "unigram"), "--tree", "two"], capsys)
    assert "see speechkit lm sample --help" in refused(["lm", "sample", model, "--top-p", "0"], capsys)
    assert "--seed" in refused(["lm", "sample", model, "--seed", "-1"], capsys)
    assert "a sum of at most 1" in refused(training(folder, "none", "--infill", "0.8", "--prefix", "0.8"), capsys)
    assert "max_minutes is 0" in refused(training(folder, "none", "--minutes", "0"), capsys)
    assert "nothing drafts; give --draft" in refused(["lm", "sample", model, "--tree", "2,1,1"], capsys)
    draft = ["lm", "sample", model, "--draft", str(folder / "unigram"), "--tree"]
    assert "a draft tree of up to 1,010,100 nodes" in refused([*draft, "100,100,100"], capsys)
    no_units = ["continue", str(tmp_path / "empty.jsonl"), "--model", model, "-o", str(tmp_path / "x.jsonl")]
    assert "a: has no units" in refused(no_units, capsys)
    for seconds in ("inf", "1e9"):
        said = refused([*begin, str(tmp_path / "x.jsonl"), "--seconds", seconds], capsys)
        assert "give a number above 0 and up to 3600" in said


def test_one_unit_is_scored_and_continued(folder, tmp_path, capsys):
    one = UnitSequence("one", [3], [2], BOOK.spec.digest)
    write_sequences([tmp_path / "one.jsonl"], [[one]])
    model = str(folder / "model")
    assert call(["lm", "score", model, str(tmp_path / "one.jsonl"), "--json", "--device", "cpu"]) == 0
    assert shown(capsys)["units"] == 1
    assert call(["lm", "score", model, str(tmp_path / "one.jsonl"), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "one recording only: no interval" in printed.err
    assert "interval" not in printed.out
    out = str(tmp_path / "out.jsonl")
    assert call(["continue", str(tmp_path / "one.jsonl"), "--model", model, "-o", out, "--device", "cpu"]) == 0


def test_a_continuation_does_not_depend_on_its_batch():
    network = unit_model(duration_bins=6)
    rows = [UnitSequence(f"r{n}", [n, 1, 2 * n], [3, 2, 4], UNITS.digest) for n in range(3)]
    prompts = [first_seconds(row, 0.12, 50.0) for row in rows]
    assert [sum(prompt.durations) for prompt in prompts] == [6] * 3
    config = SamplingConfig(max_tokens=12)
    together = continue_units(network, prompts, 0.5, config, [1, 2, 3])
    for number, prompt in enumerate(prompts):
        alone = continue_units(network, [prompt], 0.5, config, [number + 1])[0]
        assert alone.sequence == together[number].sequence


def test_an_option_out_of_range_is_named_with_its_value(folder, capsys):
    sampled = ["lm", "sample", str(folder / "model"), "--temperature", "-1"]
    assert "temperature is -1.0: expected float >= 0.0; see speechkit lm sample --help" in refused(sampled, capsys)
    heads = ["lm", "heads", str(folder / "model"), str(folder / "train.jsonl"), "--out", "none", "--steps", "-2"]
    assert "speechkit: steps is -2, it must be at least 1" in refused(heads, capsys)


def test_a_prompt_that_is_read_twice_is_continued_as_one_that_is_said_twice():
    network = unit_model(duration_bins=6)
    once = UnitSequence("r", [0, 1, 2], [3, 2, 4], UNITS.digest)
    twice = UnitSequence("r", once.units * 2, once.durations * 2, UNITS.digest)
    config = SamplingConfig(max_tokens=12)
    (found,) = continue_units(network, [once], 0.5, config, [1], reads=2)
    (wanted,) = continue_units(network, [twice], 0.5, config, [1])
    assert found.sequence == wanted.sequence
    (plain,) = continue_units(network, [once], 0.5, config, [1])
    assert found.generated.logp != plain.generated.logp
    assert found.prompt == once
    long = UnitSequence("r", [0, 1] * 10, [1] * 20, UNITS.digest)  # of a context of 32
    with pytest.raises(UserError, match="20 units that are read 2 times and the model's context is 32"):
        continue_units(network, [long], 0.5, config, [1], reads=2)


def test_networks_and_tables_know_whose_units_they_are(folder):
    for name in ("model", "unigram"):
        opened = open_model(str(folder / name))
        assert opened.units == UnitSet(BOOK.spec.digest, 6, 50.0)
        assert msgspec.to_builtins(opened.costs([chain("x", 5, 0)])[0])["units"] == 5


def test_no_model_is_written_over(folder, tmp_path, capsys):
    text_model("llama", tmp_path / "text")
    kept = (tmp_path / "text/config.json").read_bytes()
    warm = training(folder, "warm", "--from", str(tmp_path / "text"), "--layers", "0", "--out", str(tmp_path / "text"))
    assert call([*warm, "--device", "cpu"]) == 2
    assert "holds a model that was not trained there" in capsys.readouterr().err
    assert (tmp_path / "text/config.json").read_bytes() == kept
    same = training(folder, "twin", "--llama", str(folder / "twin"))
    assert "is the folder of the model" in refused(same, capsys)
    model = str(folder / "model")
    heads = ["lm", "heads", model, str(folder / "train.jsonl"), "--out", str(folder / "." / "model")]
    assert "is an input, and would be replaced" in refused(heads, capsys)
