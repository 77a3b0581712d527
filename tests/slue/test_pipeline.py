"""Pipelines with small text models that are made and trained here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedTokenizerFast,
)
from typer.testing import CliRunner

from speechkit.asr.hypothesis import Hypothesis
from speechkit.cli.slue import app
from speechkit.errors import UserError
from speechkit.slue.scoring import score_files
from speechkit.slue.systems.pipeline import (
    TimedText,
    answer_in_time,
    oracle_transcript,
    predict,
    recogniser_transcriber,
)
from speechkit.slue.systems.text_models import ExtractiveReader, TextClassifier, TokenTagger

TEXT = "[PAD] [UNK] [CLS] [SEP] we met in rome paris today good bad the commission 's cat sat who where"
WORDS = TEXT.split()


def tokenizer(positions=32):
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=positions, **names)


def small(**options):
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        **options,
    )


def train(model, inputs, steps=60):
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs).loss.backward()
        optimizer.step()


def saved(model, folder):
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def labelled(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    torch.manual_seed(0)
    tags = {"rome": 1, "paris": 1, "commission": 2}
    model = BertForTokenClassification(small(**labelled(["O", "B-GPE", "B-ORG"])))
    texts = ["we met in rome today", "the commission 's cat sat in paris", "we met the cat today"]
    inputs = tokenizer()(texts, padding=True, return_tensors="pt")
    inputs["labels"] = torch.tensor([[tags.get(WORDS[i], 0) for i in row] for row in inputs["input_ids"].tolist()])
    train(model, inputs)
    return saved(model, tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    torch.manual_seed(0)
    model = BertForSequenceClassification(small(**labelled(["Negative", "Neutral", "Positive"])))
    inputs = tokenizer()(["bad cat", "the cat sat", "good cat"], padding=True, return_tensors="pt")
    inputs["labels"] = torch.tensor([0, 1, 2])
    train(model, inputs)
    return saved(model, tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    torch.manual_seed(0)
    model = BertForQuestionAnswering(small())
    passages = ["the cat sat in rome", "we met in paris today"]
    inputs = tokenizer()(["where", "where"], passages, padding=True, return_tensors="pt")
    places = [next(i for i, t in enumerate(row) if t in (7, 8)) for row in inputs["input_ids"].tolist()]
    inputs["start_positions"] = inputs["end_positions"] = torch.tensor(places)
    train(model, inputs, 100)
    return saved(model, tmp_path_factory.mktemp("reader"))


@pytest.fixture
def manifest(tmp_path):
    rows = [
        {"id": "a", "text": "we met in rome today", "custom": {"ner": [["GPE", 10, 4]], "sentiment": "Neutral"}},
        {"id": "b", "text": "the commission's cat sat", "custom": {"ner": [["ORG", 4, 10]], "sentiment": "Neutral"}},
    ]
    path = tmp_path / "dev.jsonl"
    soundfile.write(tmp_path / "stereo.wav", np.zeros((48_000, 2), np.float32), 16_000)
    shared = {"audio_filepath": "stereo.wav", "duration": 1.0, "sample_rate": 16000, "offset": 2.0, "channel": 1}
    path.write_text("".join(json.dumps(row | shared) + "\n" for row in rows))
    return path


class Mishearing:
    """A recogniser whose words and times are known; it hears the region and channel that it is asked for."""

    spec = None

    def __init__(self, text):
        self.text = text

    def recognize(self, path, speech=None, channel=None):
        assert (speech, channel) == ([(32000, 48000)], 1)
        starts = 2.0 + 0.05 * np.arange(len(self.text))
        return Hypothesis(self.text, starts, starts + 0.05, np.zeros(len(self.text), np.float32))


def test_the_oracle_is_the_top_line_and_a_misheard_word_costs(manifest, tagger, tmp_path):
    for name, listen in (
        ("oracle", oracle_transcript),
        ("heard", recogniser_transcriber(Mishearing("we met in paris"))),
    ):
        rows = list(predict("ner", manifest, tagger, listen))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / "oracle.jsonl"), str(tmp_path / "heard.jsonl")]
    found = score_files("ner", manifest, files)
    assert found.systems[0].score.value == 1
    assert found.systems[1].score.value == 0
    assert found.systems[1].score.measures["label_recall"].value == 0.5


def test_the_command_writes_predictions_that_scoring_reads(manifest, tagger, tmp_path):
    out = tmp_path / "hyp.jsonl"
    options = ["--model", tagger, "--oracle", "--out", str(out), "--device", "cpu"]
    done = CliRunner().invoke(app, ["predict", "ner", str(manifest), *options], catch_exceptions=False)
    assert "2 predictions in" in done.output
    assert json.loads(out.read_text().splitlines()[1])["pred_ner"] == [["ORG", "commission"]]


def test_words_beyond_the_positions_are_counted_and_get_no_tag(tagger):
    model = TokenTagger(tagger)
    tagged = model.tag(["rome"] * 50)
    assert len(tagged) == 50
    assert tagged[0] == ("rome", "B-GPE")
    assert tagged[-1] == ("rome", "O")
    assert model.cut_words == 20
    assert model.tag([]) == []


def test_classifiers_give_one_label_or_all_above_the_threshold(manifest, classifier):
    assert [row["pred_sentiment"] for row in predict("sentiment", manifest, classifier, oracle_transcript)][
        1
    ] == "Neutral"
    model = TextClassifier(classifier)
    assert model.label("good cat") == "Positive"
    assert model.label_set("good cat", 1e-6) == ["Negative", "Neutral", "Positive"]
    acts = next(iter(predict("dialog-acts", manifest, classifier, oracle_transcript)))
    assert set(acts["pred_dialog_acts"]) <= {"Negative", "Neutral", "Positive"}


def test_an_answer_is_a_stretch_of_time_in_the_document(reader, tmp_path):
    model = ExtractiveReader(reader)
    words = [(w, 0.5 * i, 0.5 * i + 0.4) for i, w in enumerate(["the", "cat", "sat", "in", "rome"])]
    found = answer_in_time(model, "where", TimedText("the cat sat in rome", words))
    assert found == {"pred_answer_text": "rome", "pred_span": [2.0, 2.4]}
    assert answer_in_time(model, "where", TimedText("", []))["pred_span"] is None
    # The passage is longer than the model: it is read in overlapping pieces.
    long = [*["cat"] * 60, "rome", *["sat"] * 60]
    timed = [(w, float(i), i + 0.5) for i, w in enumerate(long)]
    assert answer_in_time(model, "where", TimedText("", timed))["pred_span"] == [60.0, 60.5]

    shared = {"audio_filepath": "x.wav", "duration": 3.0, "sample_rate": 16000}
    documents, questions = tmp_path / "documents.jsonl", tmp_path / "questions.jsonl"
    documents.write_text(json.dumps({"id": "d", "text": "x", "custom": {"words": words}} | shared) + "\n")
    asked = {"id": "q", "text": "where", "custom": {"document_id": "d", "answer_spans": [[2.0, 2.4]]}}
    questions.write_text(json.dumps(asked | shared) + "\n")
    rows = list(predict("qa", questions, reader, oracle_transcript, documents=documents))
    (tmp_path / "hyp.jsonl").write_text(json.dumps(rows[0]) + "\n")
    assert score_files("qa", questions, [str(tmp_path / "hyp.jsonl")]).systems[0].score.value == 1
    with pytest.raises(UserError, match="give --documents"):
        list(predict("qa", questions, reader, oracle_transcript))


def test_a_summary_comes_from_a_sequence_to_sequence_model(manifest, tmp_path):
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(WORDS),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=2,
        forced_eos_token_id=3,
    )
    folder = saved(BartForConditionalGeneration(config), tmp_path / "bart")
    rows = list(predict("summarisation", manifest, folder, oracle_transcript))
    assert all(isinstance(row["pred_summary"], str) for row in rows)


def test_models_that_do_not_fit_are_refused(manifest, classifier, tmp_path):
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        list(predict("ner", manifest, str(tmp_path), oracle_transcript))
    with pytest.raises(UserError, match=r"not O, B-TAG.*I-TAG"):
        TokenTagger(classifier)
    untrained = saved(BertForSequenceClassification(small(num_labels=3)), tmp_path / "untrained")
    with pytest.raises(UserError, match="LABEL_0"):
        TextClassifier(untrained)
    headless = saved(BertModel(small()), tmp_path / "headless")
    with pytest.raises(UserError, match=r"headless:.*weights lack qa_outputs\.bias, qa_outputs\.weight"):
        ExtractiveReader(headless)
    with pytest.raises(UserError, match="'localisation' has no pipeline"):
        list(predict("localisation", manifest, classifier, oracle_transcript))
