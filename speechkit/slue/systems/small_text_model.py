"""A small BERT- or BART-like model with random weights and word pieces learned from the training texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_PART = 4


class SmallTextModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size of the model trained from scratch."""

    layers: int = 2
    width: int = 128
    heads: int = 4
    vocabulary: int = 4000
    positions: int = 256
    dropout: float = 0.2


def learn_tokenizer(texts: Iterable[str], shape: SmallTextModel) -> Any:
    """A fast tokenizer of lower-case word pieces: all characters, then the most frequent words and word parts."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces = word_pieces(words, shape.vocabulary)
    inner = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer, inner.decoder = normalizer, splitter, decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, inner.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=shape.positions,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def word_pieces(words: Mapping[str, int], size: int) -> list[str]:
    """Special pieces, single characters, then words that occur at least twice and prefixes and suffixes of 2-4 letters.

    Ties are broken alphabetically, which makes training reproducible; the trainers of the tokenizers library break them
    in an order that varies between runs.
    """
    letters = sorted({piece for word in words for c in word for piece in (c, f"##{c}")})
    counts: dict[str, float] = defaultdict(float)
    for word, count in words.items():
        if len(word) > 1 and count > 1:
            counts[word] += count
        for length in range(2, min(MAX_PART, len(word) - 1) + 1):
            # Word parts count half, which ranks whole words first.
            counts[word[:length]] += count / 2
            counts[f"##{word[-length:]}"] += count / 2
    ranked = sorted((p for p, count in counts.items() if count > 1), key=lambda piece: (-counts[piece], piece))
    return [*SPECIAL, *letters, *ranked[: max(0, size - len(SPECIAL) - len(letters))]]


def new_model(auto_class: str, tokenizer: Any, shape: SmallTextModel, labels: Sequence[str], **options: Any) -> Any:
    """A BERT model of one of transformers' auto classes with random weights."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.positions,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        pad_token_id=tokenizer.pad_token_id,
        # BERT's 0.02 suits its width of 768; narrow models would train slowly at first.
        initializer_range=0.5 * shape.width**-0.5,
        **label_names(labels),
        **options,
    )
    return getattr(transformers, auto_class).from_config(config)


def new_summarizer(tokenizer: Any, shape: SmallTextModel) -> Any:
    """A BART-like encoder-decoder with random weights; summaries begin with [CLS] and end with [SEP]."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    inner = {"layers": shape.layers, "attention_heads": shape.heads, "ffn_dim": 4 * shape.width}
    config = transformers.BartConfig(
        vocab_size=len(tokenizer),
        d_model=shape.width,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in inner.items()},
        max_position_embeddings=shape.positions,
        dropout=shape.dropout,
        init_std=0.5 * shape.width**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        decoder_start_token_id=tokenizer.sep_token_id,
        forced_eos_token_id=tokenizer.sep_token_id,
    )
    return transformers.AutoModelForSeq2SeqLM.from_config(config)


def label_names(labels: Sequence[str]) -> dict[str, Any]:
    """The label fields of a transformers config; empty without labels."""
    if not labels:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
