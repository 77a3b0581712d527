"""Predictions of end-to-end systems, in the format of scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.asr.ctc_training import greedy_texts
from speechkit.data.manifest import read_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.stages import encode_states
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.slue.metrics.classification import labels_above
from speechkit.slue.systems.batches import waveform_of
from speechkit.slue.systems.endtoend import load_system
from speechkit.slue.systems.entity_decoding import entity_times, read_transcript
from speechkit.slue.systems.examples import NO_VALUE, read_questions
from speechkit.slue.systems.heads import SPAN_FRAME_SECONDS, ClassHead, CtcHead, SpanHead, best_span
from speechkit.slue.systems.summary_decoder import SummaryDecoder
from speechkit.slue.systems.system_spec import SystemSpec, summary_symbols

Decode = Callable[[NDArray[np.float32], tuple[str, ...]], str]
"""A function from log-probabilities (T, V) and the vocabulary, with the blank first, to text."""
StatesAt = Callable[[Utterance, Path, str], tuple[Tensor, Tensor]]
"""A function from an utterance, its manifest and its id prefix to layers (1, L, T, D) and frames (1,)."""
MAX_SUMMARY_SYMBOLS = 400


def predict_with_system(
    task: str,
    manifest: Path,
    folder: Path,
    *,
    device: str = "cpu",
    documents: Path | None = None,
    threshold: float = 0.5,
    decode: Decode | None = None,
    include_blank: bool = False,
    offset: float = 0.0,
    repairs: Counter[str] | None = None,
    cache: FeatureStore | None = None,
    prefix: str = "",
) -> Iterator[dict[str, Any]]:
    """Predictions of every utterance, in the manifest's order.

    Args:
        task: the task the system was trained for; ``localisation`` uses a system for ner.
        manifest: the utterances; for qa the questions.
        folder: of the system.
        device: for inference.
        documents: for qa, the manifest of the passages.
        threshold: probability threshold of dialog acts, 0 to 1.
        decode: for ner, the CTC decoder; default: greedy.
        include_blank: for localisation, include the silence around an entity.
        offset: for localisation, seconds added to all times.
        repairs: for ner, receives the counts of repaired entity symbols by kind.
        cache: precomputed layers of a frozen encoder by id (documents with the prefix ``document/``); else computed.
        prefix: prefix of the ids of ``manifest`` in ``cache``.

    Raises:
        UserError: if the system was trained for another task, a document is missing, or ``cache`` does not fit.
    """
    spec, head, encoder = load_system(folder, device)
    if task != spec.task and not (task == "localisation" and spec.task == "ner"):
        raise UserError(f"{folder}: trained for {spec.task}, not for {task}; train a system for {task}")
    if cache is not None:
        if spec.config.finetune:
            raise UserError(f"{folder}: its encoder is fine-tuned, so precomputed layers do not apply; remove them")
        cache.spec.require(spec.encoder, "the precomputed features")

    def states_at(utterance: Utterance, source: Path, id_prefix: str) -> tuple[Tensor, Tensor]:
        if cache is None:
            layers = encode_states(encoder, waveform_of(utterance, source))
        else:
            layers = cache.layers(id_prefix + utterance.id)
        states = torch.from_numpy(layers)[None].to(device)
        return states, torch.tensor([states.shape[2]], device=device)

    if isinstance(head, SpanHead):
        yield from _answers(spec, head, states_at, manifest, documents, prefix)
        return
    for utterance in read_manifest(manifest):
        states, frames = states_at(utterance, manifest, prefix)
        row: dict[str, Any] = {"id": utterance.id}
        with torch.no_grad():
            if isinstance(head, ClassHead):
                row |= class_prediction(task, head, states, frames, threshold)
            elif isinstance(head, SummaryDecoder):
                symbols = head.generate(states, frames, max_symbols=MAX_SUMMARY_SYMBOLS)
                row["pred_summary"] = " ".join(summary_symbols(spec).decode(symbols).split())
            else:
                row |= _entities(task, spec, head, states, frames, decode, include_blank, offset, repairs)
        yield row


def class_prediction(
    task: str, head: ClassHead, states: Tensor, frames: Tensor, threshold: float = 0.5
) -> dict[str, Any]:
    """Prediction fields of a class head for one utterance."""
    logits = head.logits(states, frames)
    if task == "dialog-acts":
        return {"pred_dialog_acts": labels_above(logits[0][0].tolist(), head.labels["dialog_acts"], threshold)}
    classes = {
        field: names[int(scores[0].argmax())]
        for (field, names), scores in zip(head.labels.items(), logits, strict=True)
    }
    if task != "slots":
        return {f"pred_{task}": classes[task]}
    row: dict[str, Any] = {"pred_intent": classes.pop("intent")} if "intent" in classes else {}
    return {**row, "pred_slots": {name: value for name, value in classes.items() if value != NO_VALUE}}


def _entities(
    task: str,
    spec: SystemSpec,
    head: CtcHead,
    states: Tensor,
    frames: Tensor,
    decode: Decode | None,
    include_blank: bool,
    offset: float,
    repairs: Counter[str] | None,
) -> dict[str, Any]:
    log_probs = head.log_probs(states, frames)[0].cpu().numpy()
    vocabulary = tuple(spec.vocabulary)
    symbols = spec.config.symbols
    if task == "localisation":
        spans = entity_times(log_probs, vocabulary, symbols=symbols, include_blank=include_blank, offset=offset)
        return {"pred_spans": [[phrase, round(begin, 3), round(end, 3)] for phrase, begin, end in spans]}
    line = decode(log_probs, vocabulary) if decode is not None else greedy_texts([log_probs], vocabulary)[0]
    words, entities, repaired = read_transcript(line, symbols)
    if repairs is not None:
        for kind in ("glued", "overlapping", "unopened", "empty", "unclosed"):
            repairs[kind] += getattr(repaired, kind)
    return {"pred_text": words, "pred_ner": [[tag, phrase] for tag, phrase in entities]}


def _answers(
    spec: SystemSpec, head: SpanHead, states_at: StatesAt, manifest: Path, documents: Path | None, prefix: str
) -> Iterator[dict[str, Any]]:
    longest = max(1, round(spec.config.longest_answer_seconds / SPAN_FRAME_SECONDS))
    current: tuple[str, tuple[Tensor, Tensor]] | None = None
    for question, passage in read_questions(manifest, documents):
        assert documents is not None
        # Questions about a document are usually consecutive: its layers are computed once for all of them.
        if current is None or current[0] != passage.id:
            current = passage.id, states_at(passage, documents, "document/")
        question_states = states_at(question, manifest, prefix)
        with torch.no_grad():
            first, last = best_span(head.logits(*current[1], *question_states)[0].cpu(), longest)
        end = min((last + 1) * SPAN_FRAME_SECONDS, passage.duration)
        yield {"id": question.id, "pred_span": [round(first * SPAN_FRAME_SECONDS, 3), round(end, 3)]}
