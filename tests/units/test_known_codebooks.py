"""Published codebooks by name: the right file, encoder, layer, grid and normalisation, or one sentence."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pytest
import torch

from speechkit.errors import UserError
from speechkit.units import known_codebooks, load_tokenizer
from speechkit.units.known_codebooks import KNOWN, RECORD_FILE


@pytest.fixture(scope="module")
def slow_hubert(tmp_path_factory):
    """A random HuBERT of 25 frames a second, in mHuBERT's shape but small, and 8 centroids of its frames."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mhubert")
    shape = {"hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 64}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "conv_pos_batch_norm": True}
    convolutions = {"conv_dim": (16,) * 8, "conv_stride": (5, *[2] * 7), "conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2)}
    HubertModel(HubertConfig(**shape, **positions, **convolutions)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """A file of 500 centroids under the published name, whose digest stands for the published one."""
    known = KNOWN["mhubert-25hz/km500"]
    path = tmp_path / known.file
    centroids = np.random.default_rng(0).standard_normal((500, 32)).astype(np.float32)
    with path.open("wb") as file:
        import joblib
        from sklearn.cluster import MiniBatchKMeans

        model = MiniBatchKMeans(500)
        model.cluster_centers_ = centroids
        joblib.dump(model, file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("mhubert-25hz/km500", "mhubert-25hz/km500-slamkit"):
        monkeypatch.setitem(KNOWN, name, msgspec.structs.replace(KNOWN[name], sha256=digest))
    return tmp_path, centroids


def test_a_name_stands_for_file_layer_grid_and_normalisation(slow_hubert, downloaded):
    from transformers import HubertModel

    folder, centroids = downloaded
    waveform = 0.1 * np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    model = HubertModel.from_pretrained(slow_hubert).eval()

    def expected(samples):
        with torch.no_grad():
            states = model(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states[11][0].numpy()
        return np.square(states[:, None] - centroids).sum(-1).argmin(1)

    options = {"encoder": slow_hubert, "folder": folder, "device": "cpu", "dtype": "float32", "deduplicate": False}
    stock = load_tokenizer("mhubert-25hz/km500", **options)
    assert (stock.spec.encoder.hop, stock.spec.frames_per_second, stock.spec.encoder.layer) == (640, 25, "11")
    assert (stock.spec.encoder.compat, stock.spec.encoder.normalization) == (True, "none")
    np.testing.assert_array_equal(stock(waveform).units, expected(waveform))
    slamkit = load_tokenizer("mhubert-25hz/km500-slamkit", **options)
    np.testing.assert_array_equal(slamkit(waveform).units, expected(np.pad(waveform, 40)))
    with pytest.raises(UserError, match="compat is True there and False here"):
        stock.spec.require(slamkit.spec, "the vocoder")


def test_another_file_rate_or_no_file_is_one_sentence(slow_hubert, downloaded, tmp_path, monkeypatch):
    folder, _ = downloaded
    options = {"encoder": slow_hubert, "device": "cpu"}
    with pytest.raises(UserError, match=r"download https.*give its folder"):
        load_tokenizer("mhubert-25hz/km500", **options)
    with pytest.raises(UserError, match=r"no such file; download https"):
        load_tokenizer("mhubert-25hz/km500", folder=slow_hubert, **options)
    monkeypatch.setitem(
        KNOWN, "fast", msgspec.structs.replace(KNOWN["mhubert-25hz/km500"], frames_per_second=50.0, url="a/b")
    )
    (folder / "b").write_bytes(b"x")
    with pytest.raises(UserError, match=r"needs 50 frames per second, .* has 25; use slprl"):
        load_tokenizer("fast", folder=folder, **options)
    path = folder / KNOWN["mhubert-25hz/km500"].file
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"digest .* differs from the published"):
        load_tokenizer("mhubert-25hz/km500", folder=folder, **options)


def test_a_missing_file_is_told_before_the_encoder_is_loaded(tmp_path):
    for folder, sentence in (
        (None, "is not part of this package; download https"),
        (tmp_path, "no such file; download"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_tokenizer("mhubert-25hz/km500", encoder=tmp_path / "no encoder", folder=folder)


def test_a_file_without_a_published_digest_is_remembered_at_its_first_load(slow_hubert, downloaded, monkeypatch):
    folder, _ = downloaded
    monkeypatch.setitem(KNOWN, "unstated", msgspec.structs.replace(KNOWN["mhubert-25hz/km500"], sha256=None))
    options = {"encoder": slow_hubert, "folder": folder, "device": "cpu"}
    load_tokenizer("unstated", **options)
    path = folder / KNOWN["unstated"].file
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert msgspec.json.decode((folder / RECORD_FILE).read_bytes())["sha256"] == {path.name: digest}
    load_tokenizer("unstated", **options)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="at the first load"):
        load_tokenizer("unstated", **options)
    (folder / RECORD_FILE).write_text("[")
    with pytest.raises(UserError, match="remove it to record the digests again"):
        load_tokenizer("unstated", **options)


def test_every_known_codebook_says_all_that_a_user_needs():
    for name, known in KNOWN.items():
        assert known.url.startswith("https://")
        assert str(known.clusters) in name
        assert len(known.sha256 or "0" * 64) == 64
        assert known.layer <= 12
        assert known.file.endswith(".bin")
    files = {(known.file, known.url) for known in KNOWN.values()}
    assert len({file for file, _ in files}) == len(files)  # so that one folder holds them all
    assert known_codebooks.RECORD_FILE.endswith(".json")
