"""Text models from transformers, by hub id or folder: taggers, classifiers, extractive readers and summarisers.

Weights are read from safetensors only. Inputs are truncated to the model's maximum length; readers slide over long
passages instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from speechkit.errors import UserError
from speechkit.slue.metrics.entity_text import TaggedWord

MAX_ANSWER_TOKENS = 30
DEFAULT_POSITIONS = 512


LoadedModel = tuple[Any, Any, int]
"""Model, fast tokenizer and maximum input length in tokens."""


def load_text_model(auto_class: str, what: str, name: str, device: str = "cpu", **options: Any) -> LoadedModel:
    """Load a model of one of transformers' auto classes with its tokenizer.

    Args:
        auto_class: name of the auto class.
        what: description of the model for errors, such as "a text encoder".
        name: hub id or folder.
        device: of the model.
        options: of `load_whole`: ``new_head`` for a model to train, and config settings.

    Raises:
        UserError: if it cannot be loaded, weights are missing, or it has no fast tokenizer.
    """
    import transformers

    from speechkit.encoders.checkpoint import load_whole
    from speechkit.nn.checkpoints import load_pretrained, readable

    transformers.utils.logging.disable_progress_bar()
    described = what, "config.json, model.safetensors and a tokenizer"
    model, _ = load_whole(getattr(transformers, auto_class), name, described=described, **options)
    with readable(name, described):
        tokenizer: Any = load_pretrained(transformers.AutoTokenizer, name, use_fast=True)
    if not tokenizer.is_fast:
        raise UserError(f"{name}: has no fast tokenizer (tokenizer.json); save one beside the model")
    return model.eval().to(device), tokenizer, max_input_tokens(model, tokenizer)


def max_input_tokens(model: Any, tokenizer: Any) -> int:
    """Maximum input length of a model, in tokens."""
    positions = getattr(model.config, "max_position_embeddings", None) or DEFAULT_POSITIONS
    return int(min(positions, tokenizer.model_max_length))


def _trained_labels(model: Any, name: str, valid: Callable[[list[str]], bool], what: str) -> list[str]:
    labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    if all(label.startswith("LABEL_") for label in labels) or not valid(labels):
        raise UserError(f"{name}: its labels ({', '.join(labels[:6])}) are not {what}; fine-tune it, or set id2label")
    return labels


class TokenTagger:
    """BIO tags of words from a token classifier; a word gets the tag of its first token."""

    def __init__(self, name: str, device: str = "cpu", *, loaded: LoadedModel | None = None) -> None:
        self.model, self.tokenizer, self.positions = loaded or load_text_model(
            "AutoModelForTokenClassification", "a token classifier", name, device
        )
        self.labels = _trained_labels(self.model, name, lambda labels: "O" in labels, "O, B-TAG and I-TAG")
        self.device = device
        self.cut_words = 0

    def tag(self, words: Sequence[str]) -> list[TaggedWord]:
        """Tag words; truncated words get O and are counted in ``cut_words``."""
        import torch

        if not words:
            return []
        inputs = self.tokenizer(
            list(words), is_split_into_words=True, truncation=True, max_length=self.positions, return_tensors="pt"
        )
        with torch.inference_mode():
            best = self.model(**inputs.to(self.device)).logits[0].argmax(-1).tolist()
        tags = ["O"] * len(words)
        seen: set[int] = set()
        for position, word in enumerate(inputs.word_ids(0)):
            if word is not None and word not in seen:
                seen.add(word)
                tags[word] = self.labels[best[position]]
        # Words of characters unknown to the tokenizer have no tokens either; only truncation removes the last words.
        self.cut_words += len(words) - 1 - max(seen, default=-1)
        return list(zip(words, tags, strict=True))


class TextClassifier:
    """The best label, or all labels above a threshold, from a sequence classifier."""

    def __init__(self, name: str, device: str = "cpu", *, loaded: LoadedModel | None = None) -> None:
        self.model, self.tokenizer, self.positions = loaded or load_text_model(
            "AutoModelForSequenceClassification", "a sequence classifier", name, device
        )
        self.labels = _trained_labels(self.model, name, lambda labels: len(labels) > 1, "the task's labels")
        self.device = device

    def logits(self, text: str) -> list[float]:
        """Logits, one for each of ``labels``."""
        import torch

        inputs = self.tokenizer(text, truncation=True, max_length=self.positions, return_tensors="pt")
        with torch.inference_mode():
            logits: list[float] = self.model(**inputs.to(self.device)).logits[0].float().tolist()
        return logits

    def label(self, text: str) -> str:
        """The most probable label."""
        logits = self.logits(text)
        return self.labels[logits.index(max(logits))]

    def label_set(self, text: str, threshold: float = 0.5) -> list[str]:
        """All labels with a probability of at least ``threshold``."""
        from speechkit.slue.metrics.classification import labels_above

        return labels_above(self.logits(text), self.labels, threshold)


class ExtractiveReader:
    """Extractive question answering: the answer to a question as a character span of a passage."""

    def __init__(self, name: str, device: str = "cpu", *, loaded: LoadedModel | None = None) -> None:
        self.model, self.tokenizer, self.positions = loaded or load_text_model(
            "AutoModelForQuestionAnswering", "an extractive reader", name, device
        )
        self.device = device

    def answer(self, question: str, passage: str) -> tuple[int, int] | None:
        """Character span (first, end) of the best answer of up to 30 tokens; None if the passage has no tokens.

        Long passages are split into windows that overlap by a third.
        """
        import torch

        length = len(self.tokenizer(question)["input_ids"])
        if length > self.positions * 2 // 3:
            raise UserError(f"a question of {length} tokens leaves no room for the passage; shorten it")
        stride = (self.positions - length) // 3
        windows = self.tokenizer(
            question,
            passage,
            truncation="only_second",
            max_length=self.positions,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        offsets = windows.pop("offset_mapping").tolist()
        windows.pop("overflow_to_sample_mapping")
        best: tuple[float, int, int] | None = None
        for index in range(len(offsets)):
            window = {key: value[index : index + 1].to(self.device) for key, value in windows.items()}
            with torch.inference_mode():
                output = self.model(**window)
            passage_tokens = [i for i, sequence in enumerate(windows.sequence_ids(index)) if sequence == 1]
            if not passage_tokens:
                continue
            begin, end = output.start_logits[0, passage_tokens], output.end_logits[0, passage_tokens]
            scores = begin[:, None] + end[None, :]
            allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(MAX_ANSWER_TOKENS - 1)
            scores = scores.masked_fill(~allowed, float("-inf"))
            first, last = divmod(int(scores.argmax()), len(passage_tokens))
            score = float(scores[first, last])
            if best is None or score > best[0]:
                best = (score, offsets[index][passage_tokens[first]][0], offsets[index][passage_tokens[last]][1])
        return None if best is None else (best[1], best[2])


class Summarizer:
    """A summary of a text from a sequence-to-sequence model, by beam search."""

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        *,
        max_tokens: int = 200,
        beams: int = 4,
        loaded: LoadedModel | None = None,
    ) -> None:
        self.model, self.tokenizer, self.positions = loaded or load_text_model(
            "AutoModelForSeq2SeqLM", "a sequence-to-sequence model", name, device
        )
        self.device, self.max_tokens, self.beams = device, max_tokens, beams

    def summarize(self, text: str) -> str:
        """Summary of a text, truncated to the model's maximum length."""
        import torch

        inputs = self.tokenizer(text, truncation=True, max_length=self.positions, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            out = self.model.generate(
                **inputs.to(self.device), max_new_tokens=self.max_tokens, num_beams=self.beams, do_sample=False
            )
        summary: str = self.tokenizer.decode(out[0], skip_special_tokens=True)
        return " ".join(summary.split())
