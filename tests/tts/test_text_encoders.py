"""Claims about text as a condition: bytes of any script, and a frozen checkpoint of transformers."""

from __future__ import annotations

import pytest
import torch

from speechkit.errors import UserError
from speechkit.tts.flow_config import BytesText, CheckpointText
from speechkit.tts.text_encoders import FrozenText, TextLayers


@pytest.fixture(scope="module")
def text_encoder(made_once):
    """The folder of a T5 of random weights, with a tokenizer of a few words."""

    def make(folder):
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast, T5Config, T5Model

        words = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "one", "two", "three"])}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
        wrapped.save_pretrained(folder)
        torch.manual_seed(0)
        T5Model(T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)).save_pretrained(folder)

    return made_once("text-encoder", make)


def test_bytes_of_any_script_make_a_condition():
    torch.manual_seed(0)
    layers = TextLayers(BytesText(layers=1, kernel=3), 16, 2).eval()
    frozen = FrozenText(BytesText())
    texts = ["one", "zwölf ß", "एक", "🐝"]
    padded, lengths = frozen.padded(texts)
    assert lengths.tolist() == [len(text.encode()) for text in texts]
    batch = layers(padded, lengths)
    for row, text, length in zip(batch, texts, lengths.tolist(), strict=True):
        single = layers(frozen(text)[None], torch.tensor([length]))
        torch.testing.assert_close(row[:length], single[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="empty"):
        frozen("")


def test_a_checkpoint_is_frozen_and_remembers_texts(text_encoder):
    config = CheckpointText(str(text_encoder), 8)
    frozen = FrozenText(config, remembered=1)
    states = frozen("one two three")
    assert states.shape == (3, 8)
    assert frozen("one two three") is states
    assert frozen("two") is not frozen("two")  # no more than one is kept
    layers = TextLayers(config, 16, 2)
    assert layers(*frozen.padded(["one", "two one"])).shape == (2, 2, 16)
    with pytest.raises(UserError, match="nothing of it"):
        frozen("")


def test_another_width_is_refused(text_encoder):
    with pytest.raises(UserError, match=r"text\.dim=8"):
        FrozenText(CheckpointText(str(text_encoder), 9))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="text encoder"):
        FrozenText(CheckpointText(str(tmp_path), 8))
