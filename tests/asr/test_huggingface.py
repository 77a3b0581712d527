"""CTC checkpoints of transformers as recognisers: frames, features and vocabularies are those of their own files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechkit.asr import Emissions, load_recognizer
from speechkit.asr.alignment import align_words, columns_of, spell
from speechkit.asr.ctc_decoding import greedy_decode
from speechkit.asr.huggingface import HuggingFaceEmitter
from speechkit.asr.refinement import WILDCARD
from speechkit.errors import UserError

os.environ.setdefault("HF_HUB_OFFLINE", "1")

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGH"]
PIECES = ["<unk>", "\u2581", *"abcdefgh", "\u2581a", "\u2581ab", "de", "\u2581de", "fgh", "<pad>"]
HOPS = {"Wav2Vec2": 320, "Hubert": 320, "WavLM": 320, "SEW": 320, "Wav2Vec2Bert": 320, "ParakeetCTC": 1280}


def checkpoint(folder, kind):
    """A folder as `save_pretrained` of a trained model and its processor writes it, with random weights."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    folder.mkdir()
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    if kind == "ParakeetCTC":
        of_pieces(folder)
        encoder = hf.ParakeetEncoderConfig(**size, num_mel_bins=80, subsampling_conv_channels=16)
        config = hf.ParakeetCTCConfig(vocab_size=len(PIECES), pad_token_id=len(PIECES) - 1, encoder_config=encoder)
        hf.ParakeetForCTC(config).save_pretrained(folder)
        hf.ParakeetFeatureExtractor().save_pretrained(folder)
        return folder
    (folder / "vocab.json").write_text(json.dumps({symbol: index for index, symbol in enumerate(LETTERS)}))
    hf.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    size |= {"vocab_size": len(LETTERS), "pad_token_id": 0}
    if kind == "Wav2Vec2Bert":
        config = hf.Wav2Vec2BertConfig(**size, conv_depthwise_kernel_size=7)
        hf.Wav2Vec2BertForCTC(config).save_pretrained(folder)
        hf.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2).save_pretrained(folder)
        return folder
    convolutions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    convolutions |= {"conv_dim": (16,) * 13} if kind == "SEW" else {"conv_dim": (16,) * 7}
    if kind == "WavLM":
        convolutions["feat_extract_norm"] = "layer"
    config = getattr(hf, f"{kind}Config")(**size, **convolutions)
    getattr(hf, f"{kind}ForCTC")(config).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def of_pieces(folder):
    """The tokenizer of a model that writes pieces of words."""
    import tokenizers
    import transformers as hf
    from tokenizers import decoders, models, pre_tokenizers

    merges = [("\u2581", "a"), ("\u2581a", "b"), ("d", "e"), ("\u2581", "de"), ("g", "h"), ("f", "gh")]
    vocabulary = {symbol: index for index, symbol in enumerate([*PIECES, "gh"])}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    hf.ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)


@pytest.fixture(scope="module", params=list(HOPS))
def any_checkpoint(request, tmp_path_factory):
    return request.param, checkpoint(tmp_path_factory.mktemp("models") / request.param, request.param)


def noise(seconds, seed=0):
    return np.random.default_rng(seed).standard_normal(round(seconds * 16_000)).astype(np.float32) * 0.1


def test_any_checkpoint_is_a_recogniser_with_the_frames_of_its_family(any_checkpoint, tmp_path):
    kind, folder = any_checkpoint
    recognizer = load_recognizer(str(folder), device="cpu", window_seconds=2.0, context_seconds=0.5)
    soundfile.write(tmp_path / "a.wav", noise(5.0), 16_000)
    hypothesis = recognizer.recognize(str(tmp_path / "a.wav"))
    emissions = hypothesis.emissions
    assert emissions.hop_seconds == HOPS[kind] / 16_000
    assert len(emissions.log_probs) == -(-80_000 // HOPS[kind])
    np.testing.assert_allclose(np.exp(emissions.log_probs.astype(np.float32)).sum(1), 1.0, atol=0.01)
    if kind == "ParakeetCTC":
        assert emissions.vocabulary[1:12] == (" ", *"abcdefgh", " a", " ab")
        assert emissions.blank == len(PIECES) - 1
    else:
        assert emissions.vocabulary[4:] == (" ", *"abcdefgh")
        assert emissions.blank == 0
    assert set(hypothesis.text) <= set(" abcdefgh")
    again = load_recognizer(str(folder), device="cpu")
    assert again.spec == recognizer.spec
    assert len(recognizer.spec.weights_hash) == 32


def test_padded_batch_equals_single_items(any_checkpoint):
    _, folder = any_checkpoint
    emitter = HuggingFaceEmitter(str(folder), batch_size=3)
    emitter._half = None  # half precision rounds more than padding would show
    waveforms = [noise(2.0), noise(1.3, 1), noise(0.01, 2)]
    single = [emitter.emit([waveform])[0] for waveform in waveforms]
    if emitter.batch_size == 1:  # padding would change what is heard, so that none is ever made
        return
    for one, other in zip(single, emitter.emit(waveforms), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_a_change_of_sound_changes_the_frame_that_holds_it(any_checkpoint):
    _, folder = any_checkpoint
    emitter = HuggingFaceEmitter(str(folder))
    emitter._half = None
    hop = emitter.frame_samples
    waveform = noise(4.0) * 0.1
    changed = waveform.copy()
    at = 20 * hop + hop // 2
    changed[at - 200 : at + 200] = noise(400 / 16_000, 1) * 0.1  # as loud: some models normalise over the whole input
    differ = np.abs(emitter.emit([waveform])[0] - emitter.emit([changed])[0]).max(1)
    heard = np.flatnonzero(differ > 0.7 * differ.max())
    assert abs(heard.mean() - 20) <= (2 if hop == 320 else 0.6)


def test_symbols_of_several_characters_are_decoded_with_one_space_between_words():
    vocabulary = ("_", " ", " a", " ab", "de", "c")
    symbols = [3, 0, 4, 4, 0, 1, 0, 2, 5, 0, 1, 1]
    log_probs = np.full((len(symbols), 6), -9.0, np.float16)
    log_probs[np.arange(len(symbols)), symbols] = -0.01
    decoded = greedy_decode(Emissions(log_probs, 0.08, vocabulary, 0))
    assert decoded.text == "abde ac"
    assert (decoded.starts <= decoded.ends).all()
    assert (np.diff(decoded.starts) >= 0).all()


COLUMNS = columns_of(Emissions(np.zeros((0, 9)), 0.08, ("_", "a", "b", " a", " ab", "bc", "<s>", "c", "d"), 0))


@given(st.text("abcdx ", max_size=12).map(lambda text: " ".join(text.split())))
def test_symbols_write_the_text_and_nothing_else(text):
    spelled = spell(text, COLUMNS)
    written = {column: symbol for symbol, column in COLUMNS.items()}
    heard = "".join(written.get(column, text[begin:end]) for column, begin, end in spelled)
    assert heard.lower().replace(" ", "") == text.replace(" ", "")
    assert [column == WILDCARD for column, begin, _ in spelled] == [text[begin] == "x" for _, begin, _ in spelled]
    assert all(text[begin] != " " for _, begin, _ in spelled)


def test_words_are_aligned_by_pieces():
    vocabulary = ("_", "a", "b", " a", " ab", "bc", "d", " d")
    symbols = [0, 4, 6, 0, 0, 7, 5, 5, 0]
    log_probs = np.full((len(symbols), 8), -9.0, np.float16)
    log_probs[np.arange(len(symbols)), symbols] = -0.01
    items = align_words(Emissions(log_probs, 0.1, vocabulary, 0), ["abd", "dbc"])
    assert [(item.symbol, item.start, round(item.start + item.duration, 4)) for item in items] == [
        ("abd", 0.1, 0.3),
        ("dbc", 0.5, 0.8),
    ]
    assert min(item.score for item in items) > -0.1


@pytest.mark.slow
def test_mining_goes_through_with_a_model_of_pieces(tmp_path):
    from speechkit.mining import mine

    folder = checkpoint(tmp_path / "m", "ParakeetCTC")
    for name in ("audio", "documents"):
        (tmp_path / name).mkdir()
    soundfile.write(tmp_path / "audio" / "a.wav", noise(6.0), 16_000)
    (tmp_path / "documents" / "a.txt").write_text("A bad head fed a cab. Gab dead bed had a face.\n")
    mined = mine(tmp_path / "audio", tmp_path / "documents", tmp_path / "out", recognizer=str(folder), device="cpu")
    assert mined.summary.kept == 0
    assert sum(mined.summary.rejected.values()) == 2


def test_families_whose_frames_are_not_known_are_refused_in_one_sentence(tmp_path):
    import transformers as hf

    folder = checkpoint(tmp_path / "m", "Wav2Vec2")
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = hf.LasrCTCConfig(vocab_size=13, encoder_config=hf.LasrEncoderConfig(**size, num_mel_bins=80))
    hf.LasrForCTC(config).save_pretrained(folder)
    with pytest.raises(UserError, match="family lasr_ctc, which is not supported; give a model of"):
        load_recognizer(str(folder), device="cpu")


def test_feature_extractor_of_another_family_is_refused(tmp_path):
    import transformers as hf

    folder = checkpoint(tmp_path / "m", "Wav2Vec2")
    hf.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2).save_pretrained(folder)
    with pytest.raises(UserError, match="SeamlessM4TFeatureExtractor, which does not give input_values"):
        load_recognizer(str(folder), device="cpu")


def test_model_that_is_no_ctc_model_is_refused(tmp_path):
    import transformers as hf

    folder = checkpoint(tmp_path / "m", "Wav2Vec2")
    hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=1, n_head=2, n_embd=32)).save_pretrained(folder)
    with pytest.raises(UserError, match="cannot be loaded as a Hugging Face CTC checkpoint"):
        load_recognizer(str(folder), device="cpu")


def test_pickled_checkpoint_is_refused(tmp_path):
    folder = checkpoint(tmp_path / "m", "Wav2Vec2")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="can execute code"):
        load_recognizer(str(folder), device="cpu")


def test_checkpoint_without_an_output_is_refused_and_gets_none_of_its_own(tmp_path):
    from safetensors.torch import load_file, save_file

    path = checkpoint(tmp_path / "m", "Wav2Vec2") / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if not name.startswith("lm_head.")}
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack lm_head\.bias, lm_head\.weight"):
        load_recognizer(str(path.parent), device="cpu")
