"""Claims about quantizers kept together, and about those inside the package."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from speechkit.augment.perturbations import perturb
from speechkit.encoders import load_encoder
from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import UserError
from speechkit.io.arrays import read_arrays, write_arrays
from speechkit.io.audio import read_audio
from speechkit.units.embedded import ARRAYS_FILE, SPECS_FILE, pack, pack_folders, unpack
from speechkit.units.invariant.config import HeadConfig, LayerShape
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.invariant.upper_layers import UpperLayers
from speechkit.units.quantizers import load_quantizer
from speechkit.units.ued import count_edits, ued_score

DIM = 8
ENCODER = EncoderSpec(model="planted", weights="w", layer="0", normalization="none", dim=DIM)


def relatives(*sizes, seed=0):
    """Quantizers of one network."""
    torch.manual_seed(seed)
    shape = LayerShape(1, DIM, 2, 16, True)
    config = HeadConfig(width=16, layers=1, kernel=3, upper=shape)
    head = InvariantHead(DIM, 2, config, np.zeros(DIM, np.float32), np.ones(DIM, np.float32), UpperLayers(shape))
    made = {}
    for size in sizes:
        own = copy.deepcopy(head)
        own.classifier = nn.Linear(16, size + 1)
        made[str(size)] = InvariantQuantizer(own, ENCODER, "t", 2, 0.5)
    return made


def test_quantizers_of_one_network_share_a_file(tmp_path):
    made = relatives(3, 5, 40)
    pack(made, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {ARRAYS_FILE, SPECS_FILE}
    network = sum(array.size for name, array in made["3"].arrays().items() if not name.startswith("leave."))
    assert sum(array.size for array in read_arrays(tmp_path / ARRAYS_FILE).values()) == network + 17 * (4 + 6 + 41)
    features = np.random.default_rng(0).standard_normal((50, DIM)).astype(np.float32)
    for name, whole in made.items():
        again = unpack(name, tmp_path)
        assert (again.num_units, again.spec.switch_penalty, again.spec.encoder) == (int(name), 0.5, ENCODER)
        np.testing.assert_allclose(again.posteriors(features), whole.posteriors(features), atol=2e-3)
    assert unpack("3", tmp_path).network == unpack("40", tmp_path).network


def test_each_keeps_its_own_bigram_and_one_may_have_none(tmp_path):
    made = relatives(3, 5)
    bigram = np.random.default_rng(0).standard_normal((5, 5)).astype(np.float32)
    made["5"] = made["5"].with_bigram(bigram, 0.25)
    pack(made, tmp_path)
    first, second = unpack("3", tmp_path), unpack("5", tmp_path)
    assert first.bigram is None
    assert second.spec.bigram_weight == 0.25
    np.testing.assert_allclose(second.bigram, bigram, atol=2e-3)
    assert second.spec == second.halved().spec
    assert first.network == second.network


def test_what_is_no_pair_or_no_family_is_refused(tmp_path):
    with pytest.raises(UserError, match="trained together"):
        pack(relatives(3) | {"5": relatives(5, seed=1)["5"]}, tmp_path)
    with pytest.raises(UserError, match="trained together"):
        pack({}, tmp_path)
    pack(relatives(3, 5), tmp_path)
    with pytest.raises(UserError, match=r"no quantizer '4'.*3, 5"):
        unpack("4", tmp_path)
    arrays = dict(read_arrays(tmp_path / ARRAYS_FILE))
    write_arrays(tmp_path / ARRAYS_FILE, arrays | {"3/leave.bias": arrays["3/leave.bias"] + 1})
    with pytest.raises(UserError, match="does not describe"):
        unpack("3", tmp_path)
    unpack("5", tmp_path)
    write_arrays(tmp_path / ARRAYS_FILE, {name: array for name, array in arrays.items() if name != "3/leave.bias"})
    with pytest.raises(UserError, match="does not hold the head"):
        unpack("3", tmp_path)
    (tmp_path / SPECS_FILE).unlink()
    with pytest.raises(UserError, match=r"quantizers\.json"):
        unpack("5", tmp_path)


def test_a_script_packs_one_of_each_size(tmp_path):
    folders = []
    for name, quantizer in relatives(3, 5).items():
        folders.append(tmp_path / name)
        quantizer.save(folders[-1])
    pack_folders(folders, tmp_path / "packed")
    assert unpack("5", tmp_path / "packed").num_units == 5
    pack_folders(folders, tmp_path / "dear", switch_penalty=2.0)
    assert (
        unpack("5", tmp_path / "packed").spec.switch_penalty,
        unpack("5", tmp_path / "dear").spec.switch_penalty,
    ) == (0.5, 2.0)
    with pytest.raises(UserError, match=r"weight.*0\.1.*none"):
        pack_folders(folders, tmp_path / "again", bigram_weight=0.1)
    with pytest.raises(UserError, match="second quantizer of 3 units"):
        pack_folders([folders[0], folders[0]], tmp_path / "again")


SENTENCE = "LibriSpeech/dev-clean/84/121550/84-121550-0008.mp3"


@pytest.fixture(scope="module")
def sentence(shared_data):
    """Features for the quantizers of the package."""
    encoder = load_encoder("embedded", layer=0, device="cpu", dtype="float32")
    return encoder.encode(read_audio(shared_data / SENTENCE))


@pytest.fixture(scope="module")
def perturbed(shared_data):
    """The same sentence clean, in noise and a tenth of a decibel louder."""
    encoder = load_encoder("embedded", layer=0, device="cpu")
    waveform = read_audio(shared_data / SENTENCE)
    return encoder.spec, {
        kind: encoder.encode(perturb(waveform, kind, "x") if kind else waveform) for kind in ("", "noise", "gain")
    }


def test_the_quantizers_of_the_package_give_the_units_of_version_0_2(sentence):
    golden = json.loads((Path(__file__).parent / "embedded_units.json").read_text())
    assert sorted(golden) == ["100", "200", "50", "500"]
    for clusters, expected in golden.items():
        units = load_quantizer(f"embedded-{clusters}").assign(sentence).tolist()
        assert len(units) == len(expected)
        # Another processor rounds otherwise, and a frame between two units may fall to the other.
        assert np.mean(np.equal(units, expected)) >= 0.99


@pytest.mark.parametrize("clusters", [50, 100, 200, 500])
def test_the_package_holds_quantizers_that_withstand_perturbations(clusters, perturbed):
    spec, features = perturbed
    quantizer = load_quantizer(f"embedded-{clusters}")
    quantizer.check(spec)
    assert quantizer.num_units == clusters
    clean = quantizer.units(features[""])
    assert len(np.unique(clean)) > clusters**0.5
    assert 8 < len(clean) / (len(features[""]) / 50) < 32
    distances = {
        kind: ued_score([count_edits({"x": clean}, {"x": quantizer.units(features[kind])})]).ued
        for kind in ("noise", "gain")
    }
    assert distances["gain"] < 0.03
    assert distances["noise"] < 0.4


def test_a_size_that_the_package_has_not_is_refused():
    with pytest.raises(UserError, match=r"no quantizer '7'.*50, 100, 200, 500"):
        load_quantizer("embedded-7")


def test_another_switch_penalty_decodes_the_same_weights():
    made = relatives(9)["9"]
    features = np.random.default_rng(0).standard_normal((200, DIM)).astype(np.float32)
    free, dear = made.with_penalty(0.0), made.with_penalty(50.0)
    assert made.with_penalty(0.5).spec == made.spec != free.spec
    assert len(free.units(features)) > len(dear.units(features)) == 1
