"""End-to-end systems: training, saving and loading of a task head on a speech encoder.

A system's folder contains ``system.json``, the head in ``head.safetensors``, and a fine-tuned encoder in ``encoder/``.
A system with a frozen encoder stores its name and checks its weights on loading.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from speechkit.asr.ctc_training import character_set
from speechkit.data.manifest import read_manifest
from speechkit.data.records import Utterance
from speechkit.encoders.encoder import Encoder
from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.feature_statistics import layer_statistics
from speechkit.encoders.load import load_encoder, load_speech_encoder
from speechkit.encoders.stages import write_layers
from speechkit.encoders.store import FeatureStore
from speechkit.errors import UserError
from speechkit.io.arrays import write_arrays
from speechkit.io.atomic import write_json
from speechkit.runtime import item_seed
from speechkit.slue.metrics.entity_tags import END_SYMBOL, SYMBOLS
from speechkit.slue.systems.batches import ExampleBatches, FrozenInputs, WaveformInputs, make_targets, waveform_of
from speechkit.slue.systems.examples import CLASS_TASKS, Example, label_sets, read_examples, read_passages
from speechkit.slue.systems.summary_decoder import Symbols
from speechkit.slue.systems.system_spec import Head, SystemConfig, SystemSpec, make_head, read_spec
from speechkit.training import EarlyStopping, Objective, Turn, train

STATISTICS_ITEMS = 64


class EndToEndModel(nn.Module):
    """A head with, if fine-tuned, its encoder."""

    def __init__(self, head: Head, encoder: WaveformEncoder | None):
        super().__init__()
        self.head = head
        self.encoder = encoder

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch, and values to log."""
        if self.encoder is None:
            return self.head.loss(batch["states"], batch["frames"], batch)
        states, frames = all_layers(self.encoder, batch["waveforms"], batch["samples"])
        if "question_waveforms" in batch:
            question, question_frames = all_layers(self.encoder, batch["question_waveforms"], batch["question_samples"])
            batch = {**batch, "question_states": question, "question_frames": question_frames}
        return self.head.loss(states, frames, batch)


def trainable_encoder(name: str) -> WaveformEncoder:
    """An encoder to fine-tune, with frozen convolutions."""
    encoder = load_speech_encoder(name, trainable=True)
    assert isinstance(encoder, WaveformEncoder)
    encoder.freeze_convolutions()
    return encoder


def all_layers(encoder: WaveformEncoder, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Layers (B, L + 1, T, D) and frames (B,) of waveforms (B, S) with lengths (B,) in samples."""
    states, frames = encoder(waveforms, lengths)
    return torch.stack(states, dim=1), frames


def cache_layers(folder: Path, encoder: Encoder, manifests: Mapping[str, Path]) -> FeatureStore:
    """All layers of the utterances of ``manifests``, by id with the manifest's prefix; computed if not yet stored.

    Raises:
        UserError: if the folder contains layers of another encoder.
    """
    if not (folder / "features.json").is_file():

        def waveforms() -> Any:
            for prefix, manifest in manifests.items():
                for utterance in read_manifest(manifest):
                    yield prefix + utterance.id, waveform_of(utterance, manifest)

        write_layers(folder, encoder, waveforms())
    cache = FeatureStore(folder, "all")
    cache.spec.require(encoder.spec, f"the features in {folder}")
    return cache


def train_system(
    task: str,
    manifest: Path,
    folder: Path,
    config: SystemConfig,
    *,
    dev_manifest: Path | None = None,
    documents: Path | None = None,
    cache: FeatureStore | None = None,
    dev_prefix: str = "",
    device: str = "cpu",
    should_stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = print,
) -> bool:
    """Train a system; an interrupted run resumes from its checkpoint in ``folder/work``.

    Args:
        task: sentiment, intent, dialog-acts, slots, ner, qa or summarisation.
        manifest: training utterances; for qa the questions.
        folder: output folder of the system.
        config: encoder, head and training settings.
        dev_manifest: utterances for early stopping.
        documents: for qa, the manifest of the passages.
        cache: precomputed layers of all utterances by id (documents with the prefix ``document/``); default: computed
            in ``folder/work``.
        dev_prefix: prefix of the ids of ``dev_manifest`` in ``cache``.
        device: for training.
        should_stop: called after every step.
        log: receives progress messages.

    Returns:
        True if training finished, False if it was stopped.

    Raises:
        UserError: if labels are missing, the encoder cannot be loaded, or a document is not in its manifest.
    """
    examples, dev_examples = _examples(task, manifest, dev_manifest, config, log)
    passages = _passages(task, documents, [*examples, *dev_examples])
    encoder = load_encoder(config.encoder, device=device)
    encoder.spec.require_rates("end-to-end systems", 50)
    spec = _spec(task, config, encoder, examples)
    work = folder / "work"
    seed = config.loop.seed
    torch.manual_seed(seed)
    model = EndToEndModel(make_head(spec), trainable_encoder(config.encoder) if config.finetune else None)
    inputs: FrozenInputs | WaveformInputs
    dev_inputs: FrozenInputs | WaveformInputs
    manifests = {"": manifest} | ({"document/": documents} if documents is not None else {})
    if model.encoder is not None:
        inputs = WaveformInputs(model.encoder.prepare, manifests, config.augment)
        dev_inputs = WaveformInputs(model.encoder.prepare, {**manifests, "": dev_manifest or manifest})
        cache = _sampled_layers(work, encoder, examples, manifests, passages)
    else:
        base = "" if dev_manifest is None else "dev/" if cache is None else dev_prefix
        if cache is None:
            dev_manifests = {} if dev_manifest is None else {base: dev_manifest}
            cache = cache_layers(work / "layers", encoder, manifests | dev_manifests)
        else:
            cache.spec.require(encoder.spec, "the precomputed features")
        inputs, dev_inputs = FrozenInputs(cache, config.augment), FrozenInputs(cache, base=base)
    names = [example.utterance.id for example in examples if passages is None]
    names += [f"document/{example.target[0]}" for example in examples if passages is not None]
    mean, deviation = layer_statistics(cache, [name for name in names if name in cache])
    model.head.mix.mean.copy_(torch.from_numpy(mean)[:, None])
    model.head.mix.deviation.copy_(torch.from_numpy(deviation)[:, None])
    if config.init is not None:
        _initialize_head(model.head, Path(config.init), spec)
    targets = make_targets(spec)
    batches = ExampleBatches(examples, inputs, targets, config.batch_seconds, seed, passages)
    dev_batches = ExampleBatches(dev_examples, dev_inputs, targets, config.batch_seconds, seed, passages)
    loop = config.loop
    groups = [[value for value in model.head.parameters() if value.requires_grad]]
    if model.encoder is not None:
        peak = loop.learning_rates[0]
        loop = msgspec.structs.replace(loop, learning_rates=(peak, peak * config.encoder_rate))
        groups.append([value for value in model.encoder.parameters() if value.requires_grad])

    by_accuracy = config.stop_on == "accuracy"
    objective = Objective(
        model,
        [Turn(lambda current, batch: current(batch), groups)],
        batches,
        lambda current: _evaluate(current, dev_batches, device),
        EarlyStopping("dev_exact" if by_accuracy else "dev_loss", config.patience, higher_is_better=by_accuracy),
    )
    if not train(objective, loop, work, should_stop=should_stop, device=device, log=log):
        return False
    save_system(folder, spec, model.cpu())
    return True


def _initialize_head(head: Head, folder: Path, spec: SystemSpec) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        earlier = read_spec(folder)
        if (earlier.task, earlier.labels, earlier.vocabulary) != (spec.task, spec.labels, spec.vocabulary):
            raise UserError(f"{folder}: trained for other classes or symbols; init needs a system with the same ones")
        head.load_state_dict(load_file(folder / "head.safetensors"))
    except (OSError, msgspec.MsgspecError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: cannot initialize the head ({reason}); give a system of the same shape") from error


def _examples(
    task: str, manifest: Path, dev_manifest: Path | None, config: SystemConfig, log: Callable[[str], None]
) -> tuple[list[Example], list[Example]]:
    training = read_examples(task, manifest, symbols=config.symbols, max_seconds=config.max_seconds)
    for reason, count in training.left_out.items():
        log(f"{manifest}: {count} utterances left out: {reason}")
    if dev_manifest is not None:
        dev = read_examples(task, dev_manifest, symbols=config.symbols, max_seconds=config.max_seconds)
        _count_unseen(task, training.items, dev.items, log)
        return training.items, dev.items
    shuffled = sorted(training.items, key=lambda example: item_seed(config.loop.seed, example.utterance.id))
    count = max(1, round(config.dev_share * len(shuffled)))
    if len(shuffled) - count < 1:
        raise UserError(
            f"{manifest}: {len(shuffled)} examples are too few to hold out some; give more, or a development manifest"
        )
    _count_unseen(task, shuffled[count:], shuffled[:count], log)
    return shuffled[count:], shuffled[:count]


def _count_unseen(task: str, examples: list[Example], dev_examples: list[Example], log: Callable[[str], None]) -> None:
    """Log how many development examples have a class without training examples."""
    if task not in CLASS_TASKS or task == "dialog-acts":
        return
    labels = label_sets(task, examples)
    unseen = sum(any(value not in labels.get(name, []) for name, value in e.target.items()) for e in dev_examples)
    if unseen:
        log(f"{unseen} of {len(dev_examples)} development examples have a class without training examples")


def _passages(task: str, documents: Path | None, examples: Sequence[Example]) -> dict[str, Utterance] | None:
    if task != "qa":
        return None
    passages = read_passages(documents)
    for example in examples:
        if example.target[0] not in passages:
            raise UserError(
                f"{example.utterance.id}: its document {example.target[0]} is not in {documents}; add it there"
            )
    return passages


def _sampled_layers(
    work: Path,
    encoder: Encoder,
    examples: Sequence[Example],
    manifests: Mapping[str, Path],
    passages: Mapping[str, Utterance] | None,
) -> FeatureStore:
    """Layers of a sample of utterances, for the feature statistics of an encoder to fine-tune."""
    if not (work / "layers" / "features.json").is_file():
        rows = (
            [(e.utterance, "") for e in examples]
            if passages is None
            else [(row, "document/") for row in passages.values()]
        )
        write_layers(
            work / "layers",
            encoder,
            ((prefix + row.id, waveform_of(row, manifests[prefix])) for row, prefix in rows[:STATISTICS_ITEMS]),
        )
    return FeatureStore(work / "layers", "all")


def _spec(task: str, config: SystemConfig, encoder: Encoder, examples: Sequence[Example]) -> SystemSpec:
    spec = SystemSpec(task, config, encoder.spec, encoder.num_layers + 1)
    if task in CLASS_TASKS:
        return msgspec.structs.replace(spec, labels=label_sets(task, examples))
    if task == "ner":
        marks = [*SYMBOLS[config.symbols].values(), END_SYMBOL]
        vocabulary = character_set([*(example.target for example in examples), "".join(marks)])
        return msgspec.structs.replace(spec, vocabulary=list(vocabulary))
    if task == "summarisation":
        symbols = Symbols.learn([example.target for example in examples], config.pieces)
        return msgspec.structs.replace(spec, vocabulary=symbols.characters or [], pieces=symbols.pieces)
    return spec


@torch.no_grad()
def _evaluate(model: nn.Module, batches: ExampleBatches, device: str) -> dict[str, float]:
    """Mean loss and metrics over the development examples, with the prefix ``dev_``."""
    sums: dict[str, float] = {}
    total = 0
    for count, batch in batches.in_order():
        loss, values = model({name: value.to(device) for name, value in batch.items()})
        for name, value in {"loss": float(loss), **values}.items():
            sums[name] = sums.get(name, 0.0) + count * value
        total += count
    return {f"dev_{name}": value / total for name, value in sums.items()}


def save_system(folder: Path, spec: SystemSpec, model: EndToEndModel) -> None:
    """Write a system's folder; ``system.json`` is written last, so that an incomplete folder is not a system."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "system.json").unlink(missing_ok=True)
    if model.encoder is not None:
        shutil.rmtree(folder / "encoder", ignore_errors=True)
        model.encoder.save(folder / "encoder")
    write_arrays(
        folder / "head.safetensors",
        {name: value.detach().cpu().numpy() for name, value in model.head.state_dict().items()},
    )
    write_json(folder / "system.json", spec)


def load_system(folder: Path, device: str = "cpu") -> tuple[SystemSpec, Head, Encoder]:
    """Load a system's spec, head and encoder.

    Raises:
        UserError: if the folder is not a system, the head's weights do not fit, or the encoder's weights differ.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        spec = read_spec(folder)
        head = make_head(spec)
        head.load_state_dict(load_file(folder / "head.safetensors"))
    except (OSError, msgspec.MsgspecError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{folder}: not an end-to-end system ({reason}); train one with speechkit slue train"
        ) from error
    finetuned = spec.config.finetune
    encoder = load_encoder(str(folder / "encoder") if finetuned else spec.config.encoder, device=device)
    if not finetuned:
        spec.encoder.require(encoder.spec, f"the system {folder}")
    return spec, head.eval().to(device), encoder
