"""Claims about language models: they sum to one, survive their file and are refused where it is damaged."""

from __future__ import annotations

import gzip
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from speechkit.cli.main import call
from speechkit.errors import UserError
from speechkit.lm.ngram import END, UNKNOWN, NgramModel
from speechkit.lm.ngram_training import estimate, write_arpa
from speechkit.lm.text_scorer import causal_model_scorer

WORDS = ["a", "b", "ab", "ba"]
texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=12)


def big_corpus():
    generator = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(2000)]
    share = 1 / np.arange(1, 2001)
    share /= share.sum()
    return [generator.choice(vocabulary, generator.integers(2, 9), p=share).tolist() for _ in range(400)]


@settings(max_examples=40)
@given(texts, st.integers(1, 4), st.sampled_from(["auto", "witten-bell"]), st.sampled_from([(), (1,), (0, 1), (1, 2)]))
def test_probabilities_behind_any_context_sum_to_one(sentences, order, smoothing, prune):
    model, used = estimate(sentences, order, smoothing, prune)
    assert used.startswith("witten-bell" if smoothing == "witten-bell" else "kneser-ney")
    known = sorted({word for sentence in sentences for word in sentence} | {END, UNKNOWN})
    for context in [[], ["a"], ["b", "a"], ["never", "a"], ["ab", "ba", "b"]]:
        state = model.begin()
        for word in context:
            _, state = model.score(state, word)
        assert sum(math.exp(model.score(state, word)[0]) for word in known) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_kneser_ney_sums_to_one_and_beats_witten_bell_on_new_text(order):
    corpus = big_corpus()
    kneser_ney, used = estimate(corpus[:350], order)
    assert used == "kneser-ney"
    known = {gram for gram in kneser_ney.entries if " " not in gram and gram != "<s>"}
    for context in [["w0"], ["w1", "w0"], ["w1999", "w3"], []]:
        state = kneser_ney.begin()
        for word in context:
            _, state = kneser_ney.score(state, word)
        assert sum(math.exp(kneser_ney.score(state, word)[0]) for word in known) == pytest.approx(1, abs=1e-9)
    witten_bell, _ = estimate(corpus[:350], order, "witten-bell")
    assert kneser_ney.perplexity(corpus[350:])[0] < 1.02 * witten_bell.perplexity(corpus[350:])[0]


def test_pruning_leaves_out_rare_ngrams_and_keeps_the_words(tmp_path):
    corpus = big_corpus()
    whole, _ = estimate(corpus, 3)
    pruned, _ = estimate(corpus, 3, prune=(1, 2))
    counts = Counter(
        " ".join(padded[begin : begin + n])
        for padded in (("<s>", *sentence, END) for sentence in corpus)
        for n in (2, 3)
        for begin in range(len(padded) - n + 1)
    )
    kept = {gram for gram in whole.entries if counts[gram] > gram.count(" ") or " " not in gram}
    assert set(pruned.entries) == kept
    for name in ("a.arpa.gz", "b.arpa.gz"):
        write_arpa(pruned, tmp_path / name)
    assert (tmp_path / "a.arpa.gz").read_bytes() == (tmp_path / "b.arpa.gz").read_bytes()
    assert NgramModel.read(tmp_path / "a.arpa.gz").entries.keys() == kept
    with pytest.raises(UserError, match="prune is 2,1"):
        estimate(corpus, 3, prune=(2, 1))


def test_an_order_without_discounts_takes_the_fallback_ones_and_says_so():
    # Counts 3, 2, 1, 1 and the end's 3: none of 4, so that the counts of counts give no discounts.
    sentences = [["a", "b"], ["a", "b"], ["a", "c", "d"]]
    model, used = estimate(sentences, 1)
    assert used == "kneser-ney with fallback discounts at order 1"
    left = (1.5 + 1.0 + 0.5 + 0.5 + 1.5) / 10
    for word, own in {"a": 3 - 1.5, "b": 2 - 1, "c": 1 - 0.5, UNKNOWN: 0}.items():
        assert math.exp(model.score((), word)[0]) == pytest.approx(own / 10 + left / 6)
    with pytest.raises(UserError, match=r"discounts of order 1 cannot be estimated.*give more text"):
        estimate(sentences, 1, "kneser-ney")


def test_characters_are_foreseen_better_with_fallback_discounts_than_by_witten_bell():
    spelled = [list("_".join(sentence)) for sentence in big_corpus()]
    model, used = estimate(spelled[:300], 4)
    assert used.startswith("kneser-ney with fallback discounts at order 1")
    witten_bell, _ = estimate(spelled[:300], 4, "witten-bell")
    assert model.perplexity(spelled[300:])[0] < witten_bell.perplexity(spelled[300:])[0]


def test_witten_bell_leaves_the_share_of_the_kinds():

    sentences = [["x", "y"]] * 4 + [["p", "q"]] * 3 + [["m", "n"]] * 2 + [["u", "v"]] * 2
    sentences += [["c", "d"], ["e", "f"], ["g", "h"]]
    model, _ = estimate(sentences, 1, "witten-bell")
    total, kinds = sum(len(s) + 1 for s in sentences), 15
    assert math.exp(model.score((), "x")[0]) == pytest.approx(
        4 / (total + kinds) + kinds / (total + kinds) / (kinds + 1)
    )


def test_a_model_survives_its_file_plain_and_packed(tmp_path):
    model, _ = estimate(big_corpus(), 3)
    write_arpa(model, tmp_path / "a.arpa")
    (tmp_path / "b.arpa.gz").write_bytes(gzip.compress((tmp_path / "a.arpa").read_bytes()))
    for name in ("a.arpa", "b.arpa.gz"):
        again = NgramModel.read(tmp_path / name)
        assert again.order == 3
        assert again.sentence(["w0", "w7", "unheard"]) == pytest.approx(model.sentence(["w0", "w7", "unheard"]), 1e-5)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("\\end\\", ""), "ends before"),
        (lambda text: text.replace("ngram 1=", "ngram 1=9"), "1-grams and the header says"),
        (lambda text: text.replace("\\2-grams:", "\\7-grams:"), "is not in the header"),
        (lambda text: text.replace("ngram 2=", "ngram 3=4\nngram 2="), "there is no section of 3-grams"),
        (lambda text: text.replace("ngram 2=", "ngram ²="), "is not a count"),
        (lambda text: text.replace("\\2-grams:\n-", "\\2-grams:\nx"), "has a value that is not a number"),
        (lambda text: "mmap lm http://kheafield.com/code", "give a complete ARPA file"),
    ],
)
def test_damaged_files_are_refused_with_their_line(tmp_path, damage, said):
    model, _ = estimate([["a", "b"], ["b", "a"]], 2, "witten-bell")
    write_arpa(model, tmp_path / "m.arpa")
    (tmp_path / "m.arpa").write_text(damage((tmp_path / "m.arpa").read_text()))
    with pytest.raises(UserError, match=rf"m\.arpa:\d+: .*{said}"):
        NgramModel.read(tmp_path / "m.arpa")
    (tmp_path / "m.arpa").write_text("\\data\\\n\n\\end\\\n")
    with pytest.raises(UserError, match="holds no n-grams"):
        NgramModel.read(tmp_path / "m.arpa")


def test_a_damaged_archive_is_refused(tmp_path):
    packed = gzip.compress(b"a text long enough to be packed, packed, packed")
    (tmp_path / "m.arpa.gz").write_bytes(packed[:10] + b"\xff" + packed[11:])
    with pytest.raises(UserError, match=r"m\.arpa\.gz: cannot be read as an ARPA model"):
        NgramModel.read(tmp_path / "m.arpa.gz")


def test_a_causal_model_gives_a_distribution_of_texts_and_is_refused_where_it_lacks_weights(tmp_path):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "one": 1, "two": 2, "<unk>": 3}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>").save_pretrained(tmp_path)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=4, n_embd=8, n_layer=1, n_head=1, n_positions=8)).save_pretrained(tmp_path)
    score = causal_model_scorer(str(tmp_path))
    total = sum(math.exp(score(f"one {word}") - score("one")) for word in ("one", "two", "<s>", "<unk>"))
    assert total == pytest.approx(1, abs=1e-4)
    with pytest.raises(UserError, match=r"nothing.*neither a folder.*hub id"):
        causal_model_scorer(str(tmp_path / "nothing"))
    path = tmp_path / "model.safetensors"
    save_file({n: v for n, v in load_file(path).items() if ".ln_f." not in n}, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack transformer\.ln_f\.bias, transformer\.ln_f\.weight"):
        causal_model_scorer(str(tmp_path))


def test_the_command_builds_and_measures(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("The cat sat.\nA cat, a mat!\n" * 3)
    out = str(tmp_path / "m.arpa")
    assert call(["lm", "build", str(tmp_path / "text.txt"), "--out", out, "--order", "2"]) == 0
    assert "2, kneser-ney with fallback discounts at order 1, 2, in" in capsys.readouterr().out
    assert call(["lm", "perplexity", out, str(tmp_path / "text.txt")]) == 0
    assert "0.00% of the words are unknown" in capsys.readouterr().out
    spelled = ["lm", "build", str(tmp_path / "text.txt"), "--out", out, "--unit", "character", "--order", "3"]
    assert call(spelled) == 0
    assert NgramModel.read(out).spells
    capsys.readouterr()
    assert call(["lm", "build", str(tmp_path / "none.txt"), "--out", out]) == 2
    (tmp_path / "empty.txt").write_text("\n")
    assert call(["lm", "build", str(tmp_path / "empty.txt"), "--out", out]) == 2
    assert "there is no word" in capsys.readouterr().err
