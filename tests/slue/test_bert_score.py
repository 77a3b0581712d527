"""BERTScore of a small BERT whose weights are written down, against a slow version and the authors' package."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BartConfig, BartModel, BertConfig, BertModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from speechkit.cli.slue import app
from speechkit.errors import UserError
from speechkit.slue.bert_score import BertScorer, inverse_frequencies
from speechkit.slue.fields import Options
from speechkit.slue.metrics.measures import Resampling
from speechkit.slue.metrics.summaries import score_summaries
from speechkit.slue.scoring import score_files

TEXT = "the cat sat on a mat dog lay in rome today and nobody saw it"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *TEXT.split()]
REFERENCES = ["the cat sat on the mat", "a dog lay in rome today", "nobody saw it", "the dog and the cat", ""]
SUMMARIES = ["the cat lay on a mat", "rome", "it saw nobody and the dog today", "the dog and the cat", "the cat"]


def save_tokenizer(folder, positions=16):
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=positions, **names).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A checkpoint of three layers whose weights are sines, the same on every machine."""
    folder = tmp_path_factory.mktemp("bert")
    model = BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=16,
        ),
        add_pooling_layer=False,
    )
    with torch.no_grad():
        for number, (name, weight) in enumerate(sorted(model.named_parameters())):
            if "LayerNorm" not in name:
                places = torch.arange(weight.numel(), dtype=torch.float64)
                weight.copy_((0.4 * torch.sin(7.3 * places + number + 0.01 * places**2)).reshape(weight.shape))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return str(folder)


def slow_score(folder, layer, reference, summary, weights):
    """Piece by piece, one text at a time; ``weights`` of each word."""
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()

    def embed(text):
        ids = torch.tensor([[2, *(WORDS.index(word) for word in text.split()), 3]])
        with torch.no_grad():
            return model(ids, output_hidden_states=True).hidden_states[layer][0].double().numpy()

    def cosine(a, b):
        return a @ b / math.sqrt((a @ a) * (b @ b))

    def one_way(text, other):
        own, theirs = embed(text), embed(other)
        total = best = 0.0
        for place, word in enumerate(text.split(), 1):
            best += weights(word) * max(cosine(own[place], each) for each in theirs)
            total += weights(word)
        return best / total if total else 0.0

    if not sum(map(weights, reference.split())) or not sum(map(weights, summary.split())):
        return 0.0, 0.0, 0.0
    precision, recall = one_way(summary, reference), one_way(reference, summary)
    return precision, recall, 2 * precision * recall / (precision + recall)


texts = st.lists(st.sampled_from(WORDS[4:]), max_size=8).map(" ".join)


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=4), st.integers(0, 3), st.booleans())
@settings(max_examples=12, deadline=None)
def test_texts_in_batches_are_scored_as_one_by_one(bert, pairs, layer, idf):
    references, summaries = [r for r, _ in pairs], [s for _, s in pairs]

    def weight(word):
        having = sum(word in reference.split() for reference in references)
        return math.log((len(references) + 1) / (having + 1)) if idf else 1.0

    scores = BertScorer(bert, layer=layer, idf=idf)(references, summaries).scores
    for found, (reference, summary) in zip(scores, pairs, strict=True):
        assert found == pytest.approx(slow_score(bert, layer, reference, summary, weight), abs=1e-5)


GOLDEN = {
    False: [
        [0.956869, 0.931585, 0.944058],
        [0.987631, 0.920669, 0.952975],
        [0.894927, 0.880082, 0.887442],
        [1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0],
    ],
    True: [
        [0.955238, 0.933943, 0.944471],
        [0.987631, 0.917074, 0.951046],
        [0.89269, 0.880082, 0.886341],
        [1.0, 1.0, 1.0],
        [0.0, 0.0, 0.0],
    ],
}


@pytest.mark.parametrize("idf", [False, True])
def test_scores_are_those_of_the_authors_package(bert, idf):
    """bert-score 0.3.13 on the same weights, layer 2; each pair in a batch of its own."""
    scores = BertScorer(bert, layer=2, idf=idf)(REFERENCES, SUMMARIES).scores
    assert scores == pytest.approx(np.array(GOLDEN[idf]), abs=2e-5)


def test_a_text_is_all_like_itself_and_an_empty_one_like_none(bert):
    scores = BertScorer(bert)(["the cat", "", "a dog", ""], ["the cat", "a dog", "  ", ""]).scores
    assert scores[0] == pytest.approx([1, 1, 1], abs=1e-6)
    assert not scores[1:].any()


def test_precision_and_recall_change_places_with_the_texts(bert):
    scorer = BertScorer(bert, layer=1)
    there, back = scorer(REFERENCES, SUMMARIES).scores, scorer(SUMMARIES, REFERENCES).scores
    assert there[:, 0] == pytest.approx(back[:, 1], abs=1e-6)
    assert there[:, 2] == pytest.approx(back[:, 2], abs=1e-6)


def test_pieces_of_every_reference_weigh_nothing_and_unseen_ones_most():
    weights = inverse_frequencies([[2, 5, 6], [2, 5, 5], [2, 7]])
    assert weights[2] == 0
    assert weights[5] == pytest.approx(math.log(4 / 3))
    assert weights[7] == pytest.approx(math.log(2))


def test_the_layer_is_three_quarters_up_unless_given(bert):
    assert BertScorer(bert).layer == 2
    assert "layer 3, idf" in BertScorer(bert, layer=3, idf=True)(REFERENCES, SUMMARIES).made_with
    with pytest.raises(UserError, match="no layer 4; choose a layer from 0 to 3"):
        BertScorer(bert, layer=4)


def test_long_texts_are_cut_and_counted(bert):
    long = " ".join(["the cat sat"] * 10)
    found = BertScorer(bert)([long, "a dog"], ["a dog", "a dog"])
    assert found.warnings == ["BERTScore reads 16 tokens: 1 texts were truncated"]
    assert found.scores[0] == pytest.approx(BertScorer(bert)([" ".join(long.split()[:14])], ["a dog"]).scores[0])


def test_what_is_no_encoder_is_refused(bert, tmp_path):
    shape = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 1, "decoder_attention_heads": 1}
    BartModel(
        BartConfig(vocab_size=len(WORDS), d_model=8, encoder_ffn_dim=8, decoder_ffn_dim=8, **shape)
    ).save_pretrained(tmp_path / "bart")
    save_tokenizer(tmp_path / "bart")
    with pytest.raises(UserError, match=r"not a text encoder \(bart\)"):
        BertScorer(str(tmp_path / "bart"))
    with pytest.raises(UserError, match="neither a folder of a checkpoint nor a hub id"):
        BertScorer(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="idf weights need at least two references, not 1"):
        BertScorer(bert, idf=True)(["a dog"], ["a dog"])


def test_a_checkpoint_that_lacks_weights_of_a_layer_is_refused(bert, tmp_path):
    """The pooler, which the fixture has not, is not asked for; a layer's weights are."""
    folder = shutil.copytree(bert, tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        BertScorer(str(folder))


def test_summaries_have_its_means_and_intervals_beside_rouge(bert):
    score = score_summaries(REFERENCES, SUMMARIES, bert_score=BertScorer(bert, layer=2), resampling=Resampling(100))
    assert (score.main, list(score.measures)[-3:]) == (
        "rouge_l",
        ["bertscore_f1", "bertscore_precision", "bertscore_recall"],
    )
    each = BertScorer(bert, layer=2)(REFERENCES, SUMMARIES).scores.mean(axis=0)
    for name, value in zip(("precision", "recall", "f1"), each, strict=True):
        measure = score.measures[f"bertscore_{name}"]
        assert measure.value == pytest.approx(value)
        assert measure.interval.low <= value <= measure.interval.high
    assert score.settings["bertscore"].endswith("layer 2, no idf, not rescaled")


def test_the_command_scores_summaries_with_it(bert, tmp_path):
    for name, field, some in (("ref", "summary", REFERENCES), ("hyp", "pred_summary", SUMMARIES)):
        lines = [json.dumps({"id": str(index), field: text}) + "\n" for index, text in enumerate(some)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    files = [str(tmp_path / "ref.jsonl"), str(tmp_path / "hyp.jsonl")]
    command = ["score", "summarisation", *files, "--bertscore", bert, "--device", "cpu", "--resamples", "50"]
    run = CliRunner().invoke(app, [*command, "--json", "--out", str(tmp_path / "out")])
    assert run.exit_code == 0, run.output
    saved = json.loads((tmp_path / "out" / "scores.json").read_text())
    expected = BertScorer(bert)(REFERENCES, SUMMARIES).scores[:, 2].mean()
    assert saved["systems"][0]["score"]["measures"]["bertscore_f1"]["value"] == pytest.approx(expected)
    assert "bertscore" in (tmp_path / "out" / "report.html").read_text().lower()
    for wrong, message in (
        (["score", "qa-text", *files, "--bertscore", bert], "applies to summarisation only"),
        (["score", "summarisation", *files, "--bertscore-idf"], "need --bertscore MODEL"),
    ):
        refused = CliRunner().invoke(app, wrong)
        assert refused.exit_code != 0
        assert message in str(refused.exception)


def test_other_tasks_refuse_it(bert, tmp_path):
    with pytest.raises(UserError, match="applies to summarisation only"):
        score_files("ner", tmp_path / "x", [], options=Options(bert_score=BertScorer(bert)))
