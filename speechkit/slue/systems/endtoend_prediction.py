"""Predictions of end-to-end systems, in the form that scoring reads."""

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
"""Log-probabilities (T, V) and the vocabulary, whose first symbol is the blank, to text."""
StatesAt = Callable[[Utterance, Path, str], tuple[Tensor, Tensor]]
"""An utterance, its manifest and the prefix of its id in a cache to layers (1, L, T, D) and frames (1,)."""
MOST_SYMBOLS = 400


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
    mended: Counter[str] | None = None,
    cache: FeatureStore | None = None,
    prefix: str = "",
) -> Iterator[dict[str, Any]]:
    """Predictions of every utterance, one after another.

    Args:
        task: the task that the system was trained for; ``localisation`` takes a system for ner.
        manifest: the utterances; for qa the questions.
        folder: of the system.
        device: where it runs.
        documents: for qa, the manifest of the passages.
        threshold: of dialog acts, 0 to 1.
        decode: for ner, how frames become text; greedy when absent.
        include_blank: localisation takes in the silence around an entity.
        offset: seconds that are added to all times of localisation.
        mended: for ner, receives how often entity symbols had to be mended.
        cache: layers of all utterances by id (documents behind ``document/``) of a frozen system's encoder; else they
            are computed.
        prefix: stands before the ids of ``manifest`` in ``cache``.

    Raises:
        UserError: if the system was trained for another task, a document is missing, or the cache is not its encoder's.
    """
    spec, head, encoder = load_system(folder, device)
    if task != spec.task and not (task == "localisation" and spec.task == "ner"):
        raise UserError(f"{folder}: was trained for {spec.task}, not for {task}; train another system")
    if cache is not None:
        if spec.config.finetune:
            raise UserError(f"{folder}: its encoder was trained along; do not give it layers that were computed before")
        cache.spec.require(spec.encoder, "the features that were given")

    def states_at(utterance: Utterance, of: Path, before: str) -> tuple[Tensor, Tensor]:
        layers = (
            encode_states(encoder, waveform_of(utterance, of)) if cache is None else cache.layers(before + utterance.id)
        )
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
                symbols = head.write(states, frames, most=MOST_SYMBOLS)
                row["pred_summary"] = " ".join(summary_symbols(spec).decode(symbols).split())
            else:
                row |= _entities(task, spec, head, states, frames, decode, include_blank, offset, mended)
        yield row


def class_prediction(
    task: str, head: ClassHead, states: Tensor, frames: Tensor, threshold: float = 0.5
) -> dict[str, Any]:
    """What a class head says of one utterance."""
    logits = head.logits(states, frames)
    if task == "dialog-acts":
        return {"pred_dialog_acts": labels_above(logits[0][0].tolist(), head.labels["dialog_acts"], threshold)}
    said = {
        field: names[int(each[0].argmax())] for (field, names), each in zip(head.labels.items(), logits, strict=True)
    }
    if task != "slots":
        return {f"pred_{task}": said[task]}
    row: dict[str, Any] = {"pred_intent": said.pop("intent")} if "intent" in said else {}
    return {**row, "pred_slots": {name: value for name, value in said.items() if value != NO_VALUE}}


def _entities(
    task: str,
    spec: SystemSpec,
    head: CtcHead,
    states: Tensor,
    frames: Tensor,
    decode: Decode | None,
    include_blank: bool,
    offset: float,
    mended: Counter[str] | None,
) -> dict[str, Any]:
    log_probs = head.log_probs(states, frames)[0].cpu().numpy()
    vocabulary = tuple(spec.vocabulary)
    symbols = spec.config.symbols
    if task == "localisation":
        spans = entity_times(log_probs, vocabulary, symbols=symbols, include_blank=include_blank, offset=offset)
        return {"pred_spans": [[phrase, round(begin, 3), round(end, 3)] for phrase, begin, end in spans]}
    line = decode(log_probs, vocabulary) if decode is not None else greedy_texts([log_probs], vocabulary)[0]
    words, entities, fixed = read_transcript(line, symbols)
    if mended is not None:
        for kind in ("glued", "overlapping", "unopened", "empty", "unclosed"):
            mended[kind] += getattr(fixed, kind)
    return {"pred_text": words, "pred_ner": [[tag, phrase] for tag, phrase in entities]}


def _answers(
    spec: SystemSpec, head: SpanHead, states_at: StatesAt, manifest: Path, documents: Path | None, prefix: str
) -> Iterator[dict[str, Any]]:
    longest = max(1, round(spec.config.longest_answer_seconds / SPAN_FRAME_SECONDS))
    held: tuple[str, tuple[Tensor, Tensor]] | None = None
    for question, passage in read_questions(manifest, documents):
        assert documents is not None
        # Questions about one document mostly stand together: its layers are computed once for them.
        if held is None or held[0] != passage.id:
            held = passage.id, states_at(passage, documents, "document/")
        asked = states_at(question, manifest, prefix)
        with torch.no_grad():
            first, last = best_span(head.logits(*held[1], *asked)[0].cpu(), longest)
        end = min((last + 1) * SPAN_FRAME_SECONDS, passage.duration)
        yield {"id": question.id, "pred_span": [round(first * SPAN_FRAME_SECONDS, 3), round(end, 3)]}
