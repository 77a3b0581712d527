"""Claims about packed n-grams: they answer as the model they were made of, and damaged files are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.cli.main import call
from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.lm.ngram import NgramModel
from speechkit.lm.ngram_training import estimate, write_model
from speechkit.lm.packed_ngrams import PackedNgrams

WORDS = ["a", "b", "ab", "été", "<x>"]
texts = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=12)


@settings(max_examples=40)
@given(texts, st.integers(1, 3))
def test_packed_entries_are_those_of_the_model(sentences, order):
    model = estimate(sentences, order)[0]
    packed = PackedNgrams.pack(model.entries, order)
    assert len(packed) == len(model.entries)
    assert set(packed) == set(model.entries)
    for gram, entry in model.entries.items():
        assert packed[gram] == pytest.approx(entry, rel=1e-3, abs=1e-4)
    for absent in ("never", "a never", "a b a b", " ", "", "a "):
        assert absent in packed or absent not in model.entries
        assert packed.get(absent) is None or absent in model.entries


def test_a_packed_file_scores_like_the_arpa_file(tmp_path, capsys):
    sentences = [list("abcab"), list("bca"), list("aab")] * 3
    model = estimate(sentences, 3)[0]
    for name in ("model.arpa", "model.safetensors"):
        write_model(model, tmp_path / name)
    arpa, packed = (NgramModel.read(tmp_path / name) for name in ("model.arpa", "model.safetensors"))
    assert packed.order == 3
    assert packed.spells
    assert set(packed.words) == set(arpa.words)
    for sentence in ([*"abc"], [*"cz"], []):
        assert packed.sentence(sentence) == pytest.approx(arpa.sentence(sentence), abs=2e-2)
    (tmp_path / "text.txt").write_text("a b c a\n" * 4)
    out = tmp_path / "built.safetensors"
    assert call(["lm", "build", str(tmp_path / "text.txt"), "--prune", "1", "--out", str(out)]) == 0
    assert "<s> a b" in NgramModel.read(out).entries
    assert call(["lm", "build", str(tmp_path / "text.txt"), "--order", "4", "--out", str(out)]) == 2
    assert "orders up to 3" in capsys.readouterr().err
    assert call(["lm", "build", str(tmp_path / "text.txt"), "--prune", "x", "--out", str(out)]) == 2
    assert "--prune is 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("values.2"),
        lambda arrays: arrays.pop("words"),
        lambda arrays: arrays.update({"words": np.frombuffer(b"\xff\xfe", np.uint8)}),
        lambda arrays: arrays.update({"words": np.frombuffer(b"a\na\nb", np.uint8)}),
        lambda arrays: arrays.update({"keys.2": arrays["keys.2"][::-1].copy()}),
        lambda arrays: arrays.update({"keys.2": arrays["keys.2"] + (1 << 30)}),
        lambda arrays: arrays.update({"keys.2": -1 - arrays["keys.2"][::-1].copy()}),
        lambda arrays: arrays.update({"keys.2": arrays["keys.2"].astype(np.float64)}),
        lambda arrays: arrays.update({"values.1": arrays["values.1"][:-1]}),
        lambda arrays: arrays.update({"values.1": np.full_like(arrays["values.1"], np.nan)}),
        lambda arrays: arrays.update({"more": np.zeros(2)}),
    ],
)
def test_a_damaged_packed_file_is_refused(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    write_model(estimate([["a", "b"], ["b"]], 2)[0], path)
    arrays = read_arrays(path)
    damage(arrays)
    write_arrays(path, arrays)
    with pytest.raises(UserError, match=r"model\.safetensors: is no packed language model"):
        NgramModel.read(path)
