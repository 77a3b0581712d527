from __future__ import annotations

import gzip

import msgspec
import numpy as np
import pytest
import torch

from speechkit.data.manifest import write_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.pipeline.arrays import ShardWriter
from speechkit.training import TrainingConfig, train
from speechkit.tts.speech import UnspeakableError
from speechkit.tts.text import TextConfig, TextFrontEnd
from speechkit.tts.text2vec import DICTIONARY_FILE, DurationPredictor, Text2Vec
from speechkit.tts.text2vec_config import LossWeights, Text2VecConfig, Text2VecSizes
from speechkit.tts.text2vec_training import Text2VecBatches, text2vec_loss, text2vec_objective

DICTIONARY = {"cat": ("K", "AE", "T"), "sat": ("S", "AE", "T")}
FRONT_END = TextFrontEnd(TextConfig("en"), DICTIONARY)
TEXT = TextConfig("en", symbols=FRONT_END.symbols)
SIZES = Text2VecSizes(
    width=16, heads=2, encoder_layers=2, decoder_layers=2, feed_width=32, kernel=3, aligner_width=8, steps=3
)


def make(decoder: str = "regression", speakers: tuple[str, ...] = (), seed: int = 0, **options) -> Text2Vec:
    torch.manual_seed(seed)
    sizes = msgspec.structs.replace(SIZES, decoder=decoder, **options)
    model = Text2Vec(Text2VecConfig(TEXT, speakers=speakers, sizes=sizes), FRONT_END)
    for parameter in model.parameters():  # gates begin closed, so that nothing would depend on anything
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def batch_of(model: Text2Vec, lengths=(9, 6), counts=(5, 3), seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randint(1, 20, (len(counts), max(counts)), generator=generator)
    target = torch.randn(len(lengths), max(lengths), model.config.frame_width, generator=generator)
    for item, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        symbols[item, count:] = 0
        target[item, length:] = 0
    return {
        "symbols": symbols,
        "counts": torch.tensor(counts),
        "target": target,
        "frames": torch.tensor(lengths),
        "prior": torch.zeros(len(lengths), max(lengths), max(counts)),
        "binarised": 1.0,
    }


@pytest.mark.parametrize("decoder", ["regression", "flow"])
def test_padded_batch_equals_single_items(decoder):
    model = make(decoder, speakers=("a", "b"))
    batch = batch_of(model)
    durations = torch.tensor([[2, 1, 4, 1, 1], [1, 3, 2, 0, 0]])
    speakers = torch.tensor([1, 0])
    seeds = [5, 6]
    together = model.synthesise(batch["symbols"], batch["counts"], durations, speakers, seeds)
    for item, (count, frames) in enumerate(((5, 9), (3, 6))):
        mine = slice(item, item + 1)
        alone = model.synthesise(
            batch["symbols"][mine, :count], batch["counts"][mine], durations[mine, :count], speakers[mine], seeds[mine]
        )
        assert alone.shape == (1, frames, 160)
        torch.testing.assert_close(together[item, :frames], alone[0], atol=2e-5, rtol=1e-4)


def test_what_lies_in_the_padding_changes_no_loss():
    model = make()
    batch = batch_of(model)
    before, _ = text2vec_loss(model, batch, LossWeights())
    batch["target"] = batch["target"].clone()
    batch["target"][1, 6:] = 100.0
    after, _ = text2vec_loss(model, batch, LossWeights())
    torch.testing.assert_close(before, after)


def test_attention_is_a_distribution_over_the_symbols_of_an_item():
    model = make()
    batch = batch_of(model)
    attention = model.aligner(
        model.symbols(batch["symbols"]), batch["counts"], batch["target"], batch["frames"], batch["prior"]
    ).exp()
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 9))
    assert not attention[1, :, 3:].any()


def test_frames_of_a_symbol_are_repeated_and_told_their_place():
    model = make()
    states = torch.arange(3.0)[None, :, None].expand(1, 3, 16)
    model.place.weight.data.zero_()
    model.place.bias.data.zero_()
    read, frames = model.upsample(states, torch.tensor([[2, 0, 3]]))
    assert frames.tolist() == [5]
    assert read[0, :, 0].tolist() == [0, 0, 2, 2, 2]
    model.place.weight.data[0, 0] = 1  # the share of the symbol that is over
    read, _ = model.upsample(torch.zeros(1, 3, 16), torch.tensor([[2, 0, 4]]))
    assert read[0, :, 0].tolist() == pytest.approx([1 / 4, 3 / 4, 1 / 8, 3 / 8, 5 / 8, 7 / 8])


@pytest.mark.parametrize("decoder", ["regression", "flow"])
def test_generated_durations_are_those_of_the_frames(decoder):
    model = make(decoder)
    spoken = model.generate("The cat sat.", seed=3)
    assert len(spoken.frames) == sum(spoken.durations)
    assert len(spoken.tokens) == len(spoken.durations)
    assert min(spoken.durations) >= 1
    assert spoken.tokens[:6] == (" ", "t", "h", "e", " ", "K")
    assert np.isfinite(spoken.frames).all()
    longer = model.generate("The cat sat.", seconds=2.0)
    assert len(longer.frames) == 100
    again = model.generate("The cat sat.", seed=3)
    assert np.array_equal(spoken.frames, again.frames)
    other = model.generate("The cat sat.", seed=4)
    assert np.array_equal(spoken.frames, other.frames) == (decoder == "regression")


def test_speed_divides_the_length():
    model = make()
    model.durations.logarithm.bias.data.fill_(3.0)
    slow, fast = model.generate("The cat sat."), model.generate("The cat sat.", speed=2.0)
    assert len(fast.frames) == pytest.approx(len(slow.frames) / 2, abs=1)


def test_guidance_changes_a_flow_and_no_regression():
    plain, guided = make("flow").generate("cat"), make("flow", guidance=2.0).generate("cat")
    assert not np.allclose(plain.frames, guided.frames)


def test_unknown_speakers_and_unspeakable_texts_are_errors():
    with pytest.raises(UserError, match="one speaker; leave 'bob' out"):
        make().generate("cat", speaker="bob")
    several = make(speakers=("ann", "bob"))
    with pytest.raises(UserError, match="no speaker 'eve'; it has ann, bob"):
        several.generate("cat", speaker="eve")
    ann, bob = several.generate("cat", speaker="ann"), several.generate("cat", speaker="bob")
    assert ann.frames.shape != bob.frames.shape or not np.allclose(ann.frames, bob.frames)
    assert np.array_equal(ann.frames, several.generate("cat").frames)
    with pytest.raises(UnspeakableError):
        several.generate("😀")
    with pytest.raises(ConfigError, match="too few for 13 tokens"):
        make().generate("a long word", seconds=0.1)


@pytest.mark.parametrize("half", [False, True])
def test_saved_model_speaks_the_same(tmp_path, half):
    model = make(speakers=("ann", "bob"))
    model.save_pretrained(tmp_path / "voice", half)
    assert {path.name for path in (tmp_path / "voice").iterdir()} == {
        "config.json",
        "model.safetensors",
        DICTIONARY_FILE,
    }
    loaded = Text2Vec.from_pretrained(tmp_path / "voice")
    before, after = model.generate("the cat", seconds=1.0), loaded.generate("the cat", seconds=1.0)
    assert before.tokens == after.tokens
    np.testing.assert_allclose(before.frames, after.frames, atol=0.05 if half else 1e-5)
    # The same bytes again, the packed dictionary too.
    first = (tmp_path / "voice" / DICTIONARY_FILE).read_bytes()
    loaded.save_pretrained(tmp_path / "again", half)
    assert (tmp_path / "again" / DICTIONARY_FILE).read_bytes() == first


def test_damaged_folders_are_refused_in_one_sentence(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    packed = gzip.compress(b"cat K AE T")
    for damaged in (b"no gzip", packed[:-9], packed[:10] + b"\xff" + packed[11:]):
        (tmp_path / DICTIONARY_FILE).write_bytes(damaged)
        with pytest.raises(UserError, match="is no dictionary"):
            Text2Vec.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    with pytest.raises(UserError, match="cannot be loaded as a text2vec model"):
        Text2Vec.from_pretrained(tmp_path)


def test_the_target_may_be_frames_of_an_encoder():
    spec = EncoderSpec("wav2vec2 x", "digest", "9", "standardised", 24)
    model = Text2Vec(Text2VecConfig(TEXT, encoder=spec, sizes=SIZES)).eval()
    assert model.generate("cat").frames.shape[1] == 24
    assert model.config.target == spec
    with pytest.raises(ConfigError, match="20 frames a second"):
        Text2VecConfig(TEXT, encoder=msgspec.structs.replace(spec, hop=800))


def test_contradicting_sizes_are_refused():
    with pytest.raises(ConfigError, match="multiple of twice the heads"):
        Text2VecSizes(width=10, heads=4)
    with pytest.raises(ConfigError, match="symbols is empty"):
        Text2VecConfig(TextConfig("en"))


def test_durations_do_not_depend_on_padding():
    torch.manual_seed(0)
    predictor = DurationPredictor(8, 0.0).eval()
    states = torch.randn(1, 6, 8)
    inside = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(predictor(states, inside)[:, :4], predictor(states[:, :4], inside[:, :4]))


def stored(folder, texts: list[str], frames: list[np.ndarray]):
    """The file of rows with these texts and target frames, as the stage of features writes them."""
    (folder / "arrays").mkdir(parents=True)
    writer = ShardWriter(folder / "arrays" / "0.safetensors", folder / "raw")
    rows = []
    for index, (text, target) in enumerate(zip(texts, frames, strict=True)):
        writer.add(str(index), {"frames": target.astype(np.float16)})
        rows.append(
            Utterance.from_samples(
                id=str(index),
                audio_filepath="a.wav",
                num_samples=320 * len(target),
                sample_rate=16_000,
                text=text,
                features=f"arrays/0.safetensors#{index}",
                custom={"part": "dev" if index % 10 == 9 else "train"},
            )
        )
    writer.finish()
    write_manifest(folder / "features.jsonl", rows)
    return folder / "features.jsonl", rows


def regular_speech(folder, count: int):
    """Utterances of a language in which each symbol has a sound of its own that lasts three frames."""
    generator = np.random.default_rng(0)
    sounds = generator.standard_normal((len(FRONT_END.symbols) + 1, 160)) * 3
    texts, frames = [], []
    for _ in range(count):
        texts.append(" ".join("".join(generator.choice(list("abcdef"), 3)) for _ in range(generator.integers(1, 4))))
        heard = sounds[np.repeat(FRONT_END.numbers(FRONT_END.read(texts[-1])[0]), 3)]
        frames.append(heard + 0.1 * generator.standard_normal(heard.shape))
    return stored(folder, texts, frames)


def test_batches_are_functions_of_their_number(tmp_path):
    features, rows = regular_speech(tmp_path, 12)
    batches = [Text2VecBatches(rows, features, FRONT_END, 2.0, seed=3) for _ in range(2)]
    batches[0](0)
    for name, value in batches[0](5).items():
        other = batches[1](5)[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other


def test_a_share_of_the_dictionarys_words_is_letters(tmp_path):
    features, rows = stored(tmp_path, ["cat sat cat sat"] * 40, [np.zeros((50, 160))] * 40)

    def letters(share: float) -> float:
        symbols = Text2VecBatches(rows, features, FRONT_END, 1000.0, letters_share=share)(0)["symbols"]
        c, k = (FRONT_END.numbers([symbol])[0] for symbol in ("c", "K"))
        spelled, sounded = int((symbols == c).sum()), int((symbols == k).sum())
        return spelled / (spelled + sounded)

    assert letters(0.0) == 0
    assert letters(1.0) == 1
    assert 0.05 < letters(0.2) < 0.4


def test_words_stay_phones_where_their_letters_would_outnumber_the_frames(tmp_path):
    front_end = TextFrontEnd(TextConfig("en"), {"though": ("DH", "OW")})
    features, rows = stored(tmp_path, ["though"], [np.zeros((4, 160))])
    batch = Text2VecBatches(rows, features, front_end, 10.0, letters_share=1.0)(0)
    assert batch["counts"].tolist() == [4]


@pytest.mark.slow
def test_alignment_and_frames_are_learnt_without_labels(tmp_path):
    features, _ = regular_speech(tmp_path / "data", 66)
    weights = LossWeights(binarised_from=50, binarised_by=150)
    sizes = msgspec.structs.replace(SIZES, width=32, dropout=0.0, encoder_layers=1, decoder_layers=1)
    torch.manual_seed(0)
    objective = text2vec_objective(
        features, FRONT_END, sizes=sizes, weights=weights, batch_seconds=10.0, judged_batches=1
    )
    config = TrainingConfig(steps=200, warmup_steps=20, learning_rates=(5e-3,), average_decay=0.9, log_every=100)
    train(objective, config, tmp_path / "exp")
    model = objective.network.eval()
    with torch.no_grad():
        values = objective.evaluate(model)
    assert values["dev_on_path"] > 0.8
    assert values["dev_frames"] < 0.3
    spoken = model.generate("abc def")
    assert abs(len(spoken.frames) - 3 * len(spoken.tokens)) <= 4


def test_several_speakers_are_told_apart_and_unknown_ones_of_dev_left_out(tmp_path):
    features, rows = regular_speech(tmp_path, 12)
    names = ["ann", "bob"] * 6
    named = [msgspec.structs.replace(row, speaker=name) for row, name in zip(rows, names, strict=True)]
    named[9] = msgspec.structs.replace(named[9], speaker="eve")  # the one row of dev
    write_manifest(features, named)
    objective = text2vec_objective(
        features, FRONT_END, sizes=SIZES, weights=LossWeights(), batch_seconds=5.0, judged_batches=1
    )
    assert objective.evaluate is None
    assert objective.network.config.speakers == ("ann", "bob")
    assert set(objective.batch(0)["speakers"].tolist()) == {0, 1}


@pytest.mark.parametrize("decoder", ["regression", "flow"])
def test_every_parameter_learns(decoder):
    model = make(decoder, speakers=("ann", "bob")).train()
    batch = {**batch_of(model), "speakers": torch.tensor([0, 1])}
    loss, _ = text2vec_loss(model, batch, LossWeights(no_text=0.5))
    loss.backward()
    still = {name for name, value in model.named_parameters() if value.grad is None}
    assert not still


def test_a_dictionary_that_grows_when_it_is_unpacked_is_refused(tmp_path):
    make().save_pretrained(tmp_path)
    (tmp_path / "dictionary.txt.gz").write_bytes(gzip.compress(b"a B\n" * (5 << 20)))
    with pytest.raises(UserError, match="more than 16 MB"):
        Text2Vec.from_pretrained(tmp_path)


def test_a_word_of_endless_phones_is_refused(tmp_path):
    make().save_pretrained(tmp_path)
    (tmp_path / "dictionary.txt.gz").write_bytes(gzip.compress(b"cat" + 101 * b" K"))
    with pytest.raises(UserError, match="'cat' has more than 100 phones"):
        Text2Vec.from_pretrained(tmp_path)


def test_durations_that_are_no_numbers_are_one_sentence():
    model = make()
    model.durations.logarithm.bias.data.fill_(float("nan"))
    with pytest.raises(UserError, match="weights are damaged"):
        model.generate("cat sat")
