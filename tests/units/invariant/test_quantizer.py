"""Claims about invariant quantizers: how scores become units, and an interface that is a codebook's."""

from __future__ import annotations

import copy
import json

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.units.codebook import Codebook
from speechkit.units.invariant import quantizer as invariant
from speechkit.units.invariant.bigram import estimate_bigram
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.quantizers import assign_together, load_quantizer
from tests.units.planted import CLUSTERS, DIM, ENCODER, SMALL, quantizer


def test_padding_changes_no_score():
    head = quantizer().head
    random = torch.Generator().manual_seed(0)
    items = [torch.randn(length, DIM, generator=random) for length in (3, 17, 40)]
    padded = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=7.0)
    with torch.inference_mode():
        together = head(padded, torch.tensor([3, 17, 40]))
        for index, item in enumerate(items):
            alone = head(item[None], torch.tensor([len(item)]))[0]
            torch.testing.assert_close(together[index, : len(item)], alone, atol=1e-5, rtol=1e-5)


def test_windows_of_a_long_item_give_what_the_whole_gives(monkeypatch):
    made = quantizer()
    features = np.random.default_rng(0).standard_normal((200, DIM)).astype(np.float32)
    whole = made.scores(features)
    monkeypatch.setattr(invariant, "WINDOW_FRAMES", 30)
    monkeypatch.setattr(invariant, "CONTEXT_FRAMES", 10)
    np.testing.assert_allclose(made.scores(features), whole, atol=1e-5)


def obvious_units(scores):
    """Blanks away, then runs."""
    kept = [unit for unit in scores.argmax(1).tolist() if unit < scores.shape[1] - 1]
    if not kept:
        kept = scores[:, :-1].argmax(1).tolist()
    return [unit for index, unit in enumerate(kept) if not index or unit != kept[index - 1]]


@given(st.integers(0, 10_000), st.integers(0, 30), st.floats(0, 8))
@settings(max_examples=60)
def test_units_are_those_left_when_blanks_go_first(seed, frames, blankness):
    made = quantizer()
    random = np.random.default_rng(seed)
    scores = random.standard_normal((frames, CLUSTERS + 1)).astype(np.float32)
    scores[:, -1] += blankness
    made.scores = lambda features: scores
    assert made.units(np.zeros((frames, DIM))).tolist() == obvious_units(scores)
    assigned = made.assign(np.zeros((frames, DIM)))
    assert len(assigned) == frames
    best = scores.argmax(1)
    for frame in np.flatnonzero(best < CLUSTERS):
        assert assigned[frame] == best[frame]
    if frames and (best < CLUSTERS).any():
        not_blank = np.flatnonzero(best < CLUSTERS)
        for frame in range(frames):
            assert assigned[frame] == best[not_blank[np.argmin(np.abs(not_blank - frame))]]


def test_with_a_switch_penalty_the_most_likely_path_is_taken():
    made = quantizer()
    scores = np.zeros((12, CLUSTERS + 1), np.float32)
    scores[:6, 1] = scores[6:, 2] = 3.0
    scores[3, 3] = 3.5  # a stray frame
    scores[8:, -1] = 9.0  # blanks: what stands below them counts
    penalised = InvariantQuantizer(made.head, ENCODER, "t", 1, switch_penalty=2.0)
    made.scores = penalised.scores = lambda features: scores
    nothing = np.zeros((12, DIM))
    assert made.units(nothing).tolist() == [1, 3, 1, 2]
    assert penalised.units(nothing).tolist() == [1, 2]
    assert penalised.spec.digest != made.spec.digest


def test_a_bigram_removes_a_unit_that_never_follows_and_keeps_one_that_does():
    made = quantizer()
    scores = np.zeros((12, CLUSTERS + 1), np.float32)
    scores[:4, 1] = scores[6:, 2] = 3.0
    scores[4:6, 3] = 1.5
    made.scores = lambda features: scores
    nothing = np.zeros((12, DIM))
    for follows, expected in ((2, [1, 2]), (3, [1, 3, 2])):
        bigram = estimate_bigram([np.array([1, follows, 2, 4, 3, 2, 4] * 30)], CLUSTERS)
        read = made.with_bigram(bigram, 1.0)
        read.scores = made.scores
        assert read.units(nothing).tolist() == expected
    others = (made, read.with_penalty(0.5), read.with_penalty(0.0, 2.0))
    assert len({read.spec.digest, *(other.spec.digest for other in others)}) == 4
    assert made.network == read.network
    assert read.with_penalty(0.0, 0.0).spec.bigram_weight == 0


def test_a_bigram_of_another_size_or_none_is_refused():
    made = quantizer()
    with pytest.raises(UserError, match=r"shape \(2, 2\)"):
        made.with_bigram(np.zeros((2, 2), np.float32), 1.0)
    with pytest.raises(UserError, match=r"weight.*0\.5.*none"):
        made.with_penalty(0.0, 0.5)
    with pytest.raises(UserError, match=r"weights bigram.*quantizer hold NaN"):
        made.with_bigram(np.full((CLUSTERS, CLUSTERS), np.nan, np.float32), 1.0)


def test_posteriors_of_units_leave_the_blank_out():
    made = quantizer()
    posteriors = made.posteriors(np.random.default_rng(0).standard_normal((9, DIM)))
    assert posteriors.shape == (9, CLUSTERS)
    np.testing.assert_allclose(posteriors.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_quantizer_comes_back_from_its_folder(weight, tmp_path):
    made = quantizer()
    made = InvariantQuantizer(made.head, ENCODER, "t", 1, switch_penalty=0.5)
    if weight:
        bigram = np.random.default_rng(1).standard_normal((CLUSTERS, CLUSTERS)).astype(np.float32)
        made = made.with_bigram(bigram, weight)
    made.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quantizer.json", "quantizer.safetensors"]
    again = load_quantizer(tmp_path)
    assert again.spec == made.spec
    features = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
    np.testing.assert_array_equal(again.assign(features), made.assign(features))
    assert again.num_units == CLUSTERS


def test_layers_keep_their_names_in_files_and_a_folder_of_version_0_2_is_read(tmp_path):
    quantizer().save(tmp_path)
    names = set(read_arrays(tmp_path / "quantizer.safetensors"))
    assert {"enter.weight", "enter.bias", "leave.weight", "leave.bias"} <= names
    assert not {name for name in names if name.startswith(("input_proj", "classifier"))}
    spec = json.loads((tmp_path / "quantizer.json").read_text())
    assert "price" in spec
    spec["head"]["heads"] = 4  # of a kind of head that is no longer there
    (tmp_path / "quantizer.json").write_text(json.dumps(spec))
    assert load_quantizer(tmp_path).spec == quantizer().spec


def test_a_folder_that_does_not_agree_with_itself_is_refused(tmp_path):
    quantizer().with_bigram(np.ones((CLUSTERS, CLUSTERS), np.float32), 1.0).save(tmp_path / "d")
    torn = read_arrays(tmp_path / "d" / "quantizer.safetensors")
    write_arrays(tmp_path / "d" / "quantizer.safetensors", {**torn, "bigram": np.ones((2, 2), np.float32)})
    with pytest.raises(UserError, match=r"d: quantizer\.safetensors.*not hold.*head"):
        load_quantizer(tmp_path / "d")
    quantizer().save(tmp_path / "a")
    quantizer(seed=1).save(tmp_path / "b")
    (tmp_path / "a" / "quantizer.json").write_bytes((tmp_path / "b" / "quantizer.json").read_bytes())
    with pytest.raises(UserError, match="does not describe"):
        load_quantizer(tmp_path / "a")
    quantizer(shape=msgspec.structs.replace(SMALL, layers=1)).save(tmp_path / "c")
    (tmp_path / "a" / "quantizer.json").write_bytes((tmp_path / "c" / "quantizer.json").read_bytes())
    with pytest.raises(UserError, match="does not hold the head"):
        load_quantizer(tmp_path / "a")
    (tmp_path / "a" / "quantizer.safetensors").unlink()
    with pytest.raises(UserError, match=r"quantizer\.safetensors"):
        load_quantizer(tmp_path / "a")
    with pytest.raises(UserError, match="has neither"):
        load_quantizer(tmp_path)
    spec = (tmp_path / "b" / "quantizer.json").read_text()
    (tmp_path / "b" / "quantizer.json").write_text(spec.replace('"convolution"', '"mlp"'))
    with pytest.raises(UserError, match=r"quantizer\.json.*mlp"):
        load_quantizer(tmp_path / "b")
    Codebook(np.eye(DIM), ENCODER).save(tmp_path / "d")
    assert load_quantizer(tmp_path / "d").num_units == DIM


def test_features_that_do_not_fit_are_refused():
    made = quantizer()
    with pytest.raises(UserError, match=r"shape \(3, 4\)"):
        made.units(np.zeros((3, 4)))
    spoiled = np.zeros((5, DIM))
    spoiled[2, 1] = np.nan
    with pytest.raises(UserError, match="frame 2"):
        made.units(spoiled)
    assert made.units(np.zeros((0, DIM))).tolist() == []
    assert len(made.units(np.zeros((1, DIM)))) == 1
    with pytest.raises(UserError, match=r"layer.*'3'.*'4'"):
        made.check(msgspec.structs.replace(ENCODER, layer="4"))
    with pytest.raises(UserError, match="6 wide"):
        InvariantQuantizer(made.head, msgspec.structs.replace(ENCODER, dim=7), "t", 1)
    with torch.no_grad():
        made.head.classifier.bias[0] = torch.nan
    with pytest.raises(UserError, match=r"leave\.bias.*NaN"):
        InvariantQuantizer(made.head, ENCODER, "t", 1)


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_quantizers_of_one_network_can_share_its_output(penalty):
    features = np.random.default_rng(3).standard_normal((40, DIM)).astype(np.float32)
    first = quantizer()
    head = copy.deepcopy(first.head)
    head.classifier.reset_parameters()
    second = InvariantQuantizer(head, ENCODER, "t", 1, penalty)
    assert first.network == second.network != quantizer(seed=1).network
    np.testing.assert_array_equal(second.assign_hidden(first.hidden(features)), second.assign(features))


def test_several_quantizers_assign_as_each_does_alone_and_a_shared_network_runs_once(monkeypatch):
    features = np.random.default_rng(3).standard_normal((40, DIM)).astype(np.float32)
    first, codebook = quantizer(), Codebook(np.eye(CLUSTERS, DIM), ENCODER)
    quantizers = [first, codebook, first.with_penalty(0.7), quantizer(seed=1)]
    alone = [each.assign(features) for each in quantizers]
    run, ran = InvariantQuantizer.hidden, []
    monkeypatch.setattr(InvariantQuantizer, "hidden", lambda self, rows: ran.append(self.network) or run(self, rows))
    for together, expected in zip(assign_together(quantizers, features), alone, strict=True):
        np.testing.assert_array_equal(together, expected)
    assert ran == [first.network, quantizers[3].network]
