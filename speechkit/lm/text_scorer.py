"""Log-probabilities of whole texts under an ARPA or a causal transformers model; only the latter imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speechkit.io.hashing import digest_file
from speechkit.lm.ngram import NgramModel

TextScorer = Callable[[str], float]
"""A text to its natural log-probability."""
ARPA = (".arpa", ".arpa.gz")
CAUSAL_MODEL = ("a causal language model", "config.json, model.safetensors and a tokenizer")


def text_scorer(name: str, device: str = "cpu") -> TextScorer:
    """Load a scorer from a word ARPA file, or a causal transformers model by hub id or folder.

    Raises:
        UserError: if it cannot be loaded.
    """
    if not name.endswith(ARPA):
        return causal_model_scorer(name, device)
    model = NgramModel.read(name)
    return lambda text: model.sentence(text.split())


def model_identity(name: str) -> str:
    """Identity of a model for fingerprints: the digest of an ARPA file or of all files of a folder, or the hub id."""
    path = Path(name)
    if path.is_dir():
        return " ".join(digest_file(file) for file in sorted(path.rglob("*")) if file.is_file())
    return digest_file(path) if path.is_file() else name


def causal_model_scorer(name: str, device: str = "cpu") -> TextScorer:
    """Scorer of texts by a causal transformers language model from a hub id or folder.

    Raises:
        UserError: if it cannot be loaded, or lacks weights; only safetensors are read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from speechkit.encoders.checkpoint import load_whole
    from speechkit.nn.checkpoints import load_pretrained, readable

    # Large models are stored in half precision and would not fit in memory otherwise.
    loaded, _ = load_whole(AutoModelForCausalLM, name, described=CAUSAL_MODEL, dtype="auto")
    network: Any = loaded.eval().to(device)
    with readable(name, CAUSAL_MODEL):
        tokenizer: Any = load_pretrained(AutoTokenizer, name)
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id

    def language(text: str) -> float:
        ids = ([] if first is None else [first]) + tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) < 2:
            return 0.0
        symbols = torch.tensor([ids], device=device)
        with torch.inference_mode():
            log_probs = network(symbols).logits[0, :-1].float().log_softmax(-1)
        return float(log_probs.gather(1, symbols[0, 1:, None]).sum())

    return language
