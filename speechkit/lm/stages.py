"""Stages of the recipe unit_lm: recordings, tokens, training, bits per second and continuations.

The model is trained on units or on acoustic BPE tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.lm.decoding.sampling import SamplingConfig
from speechkit.lm.records import Continued, Costs, Saving, TokenSpec
from speechkit.lm.unit_costs import SequenceCost, saving, summarize
from speechkit.lm.unit_training import UnitTraining
from speechkit.pipeline import SHARED, Context, Interrupted, Output, Stage, external, stage
from speechkit.runtime import item_seed
from speechkit.training import TrainingConfig
from speechkit.units.quantizers import UnitSet, load_quantizer, unit_sets
from speechkit.units.sequences import UnitSequence, write_sequences
from speechkit.units.stages import DROP_REASONS, Count, HeldOutConfig, Positive, assign_stage, held_out

if TYPE_CHECKING:
    from speechkit.lm.continuation import Continuation
    from speechkit.lm.networks import UnitNetwork
    from speechkit.training import Objective

PROMPTS_PER_BATCH = 16
"""Prompts per batch."""


class PrepareConfig(HeldOutConfig, frozen=True):
    """Training, development and test split.

    Attributes:
        dev_share: share of the training speakers held out for validation.
    """

    dev_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05


def prepare(context: Context) -> None:
    """Choose the recordings; training, development and test speakers are disjoint."""
    train_rows, test = held_out(context)
    speakers = sorted(
        {row.speaker or row.id for row in train_rows}, key=lambda name: item_seed(context.seed, f"dev/{name}")
    )
    # At least one speaker, provided that some remain for training.
    dev_count = min(math.ceil(context.config.dev_share * len(speakers)), len(speakers) - 1)
    rows = [*_with_part(train_rows, "train", speakers[:dev_count]), *_with_part(test, "test")]
    counts = {part: sum(row.custom["part"] == part for row in rows if row.custom) for part in ("train", "dev", "test")}
    context.say(", ".join(f"{count} {part}" for part, count in counts.items()) + " recordings")
    context.write("recordings.jsonl", rows)


def unit_stages(first: int) -> tuple[Stage, Stage]:
    """Two stages from number ``first`` on: ``prepare``, and ``units`` with the units of its recordings."""
    manifests = [f"{part}_manifest" for part in ("train", "test")]
    return (
        Stage(
            number=first,
            name="prepare",
            run=prepare,
            inputs=tuple(external(name, schema=Utterance) for name in manifests),
            outputs=(Output("recordings.jsonl", schema=Utterance),),
            config=PrepareConfig,
            drop_reasons=DROP_REASONS,
        ),
        assign_stage(
            first + 1,
            "units",
            [
                stage("prepare", "recordings.jsonl"),
                *(external(name, schema=Utterance, of="prepare") for name in manifests),
            ],
            Output("units.jsonl", schema=UnitSequence),
        ),
    )


def _with_part(rows: Sequence[Utterance], part: str, dev_speakers: Sequence[str] = ()) -> Iterator[Utterance]:
    for row in rows:
        chosen = "dev" if (row.speaker or row.id) in dev_speakers else part
        custom = {"part": chosen, "id": row.id, "manifest": f"{part}_manifest"}
        yield msgspec.structs.replace(row, id=f"{part}/{row.id}", custom=custom, alignment=None, text=None)


class TokensConfig(msgspec.Struct, frozen=True):
    """Token settings.

    Attributes:
        bpe: vocabulary size of acoustic BPE learned on the training speech; 0 uses the units as tokens.
    """

    codebook: Annotated[str, SHARED] = "embedded-100"
    bpe: Annotated[Count, SHARED] = 0


def tokens(context: Context) -> None:
    """Units unchanged, or shortened by acoustic BPE."""
    from speechkit.io.atomic import write_json
    from speechkit.units.acoustic_bpe import learn_bpe
    from speechkit.units.token_sequences import encode_sequence

    units = unit_sets(load_quantizer(context.config.codebook))[0]
    rows: list[UnitSequence] = list(context.read("units"))
    spec = TokenSpec(units, units)
    if context.config.bpe:
        training = {row.id for row in context.read("recordings") if row.custom["part"] == "train"}
        merges = learn_bpe(
            (row.units for row in rows if row.id in training), units.clusters, context.config.bpe, units.digest
        )
        rows = [encode_sequence(row, merges) for row in rows]
        spec = TokenSpec(UnitSet(merges.digest, merges.num_tokens, units.frames_per_second), units, merges)
    context.write("tokens.jsonl", rows)
    write_json(context.output("vocabulary.json"), spec)


LOOP = TrainingConfig(
    steps=3000, learning_rates=(1e-3,), warmup_steps=100, weight_decay=0.1, clip_norm=0.5, average_decay=0.99,
    evaluate_every=250, save_every=250,
)  # fmt: skip


class TrainConfig(msgspec.Struct, frozen=True):
    """Training settings of the unit model.

    Attributes:
        unit_model: architecture and training settings.
        half: store weights as float16.
        processes: data-parallel processes on this machine; 0 is one per GPU.
    """

    unit_model: UnitTraining = UnitTraining(loop=LOOP)
    half: bool = True
    processes: int = 1


class BaselineConfig(msgspec.Struct, frozen=True):
    """Training settings of the baseline network; see `TrainConfig`."""

    unit_model: UnitTraining = UnitTraining(layer="lstm", layers=3, loop=LOOP)
    half: bool = True
    processes: int = 1


def train(context: Context) -> None:
    """Train the model; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    config = context.config
    train_stage(context, objective, config.unit_model.loop, processes=config.processes)


def objective(context: Context) -> Objective:
    """Training objective on the tokens of stage 3."""
    from speechkit.lm.unit_training import new_network, unit_objective

    config: Any = context.config
    spec = read_vocabulary(context)
    rows = part_rows(context)
    network = new_network(config.unit_model, spec.tokens)
    parameters = sum(weight.numel() for weight in network.parameters())
    context.say(
        f"{parameters:,} parameters; {len(rows['train'])} training and {len(rows['dev'])} validation recordings"
    )
    return unit_objective(
        network,
        rows["train"],
        rows["dev"],
        config.unit_model,
        lambda folder: network.save_pretrained(folder, half=config.half),
    )


def read_vocabulary(context: Context) -> TokenSpec:
    """Token specification of stage 3."""
    return msgspec.json.decode(context.inputs["vocabulary"].read_bytes(), type=TokenSpec)


def part_rows(context: Context) -> dict[str, list[UnitSequence]]:
    """Token sequences by part."""
    parts = {row.id: row.custom["part"] for row in context.read("recordings")}
    rows: dict[str, list[UnitSequence]] = {"train": [], "dev": [], "test": []}
    for row in context.read("tokens"):
        rows[parts[row.id]].append(row)
    return rows


class EvaluateConfig(msgspec.Struct, frozen=True):
    """``ngram_order``: n-gram baselines of every order up to this one."""

    ngram_order: Annotated[int, msgspec.Meta(ge=1, le=6)] = 4


def evaluate(context: Context) -> None:
    """Coding cost of the test set under each model."""
    from speechkit.io.atomic import write_json
    from speechkit.lm.analysis.degeneration import degeneration
    from speechkit.lm.duration_table import DurationTable
    from speechkit.lm.ngram_training import estimate
    from speechkit.lm.sequence_bits import unit_words
    from speechkit.lm.table_model import NgramTable
    from speechkit.lm.unit_costs import network_costs, table_costs

    rows, units = part_rows(context), read_vocabulary(context).tokens
    test = rows["test"]
    speakers = _speakers(context, test)
    durations = DurationTable(rows["train"], units.clusters)
    costs: dict[str, list[SequenceCost]] = {}
    weights: dict[str, int] = {}
    for order in range(1, context.config.ngram_order + 1):
        model = estimate(map(unit_words, rows["train"]), order)[0]
        name = f"{order}-gram"
        costs[name] = list(table_costs(NgramTable(model, units.clusters), test, units, durations))
        weights[name] = len(model.entries)
        if context.interrupted:
            raise Interrupted
    for name in ("baseline", "trained"):
        network = _network(context, name)
        label = "unit model" if name == "trained" else f"baseline ({_layer(network)})"
        costs[label] = list(network_costs(network, test))
        weights[label] = sum(weight.numel() for weight in network.parameters())
    systems = [summarize(name, system, speakers, weights[name]) for name, system in costs.items()]
    model_costs = costs["unit model"]
    savings = [
        Saving(name, *saving(model_costs, system, speakers)) for name, system in costs.items() if name != "unit model"
    ]
    entropy = degeneration([row.units for row in test]).unigram_entropy
    rate = systems[0].units / systems[0].seconds
    write_json(context.output("costs.json"), Costs(systems, savings, entropy * rate, costs))


def _layer(network: UnitNetwork) -> str:
    from speechkit.lm.unit_model import UnitModel

    if not isinstance(network, UnitModel):
        return "warm"
    first: Any = network.config.stack.layers[0]
    return str(getattr(first, "kind", first.mixer))


def _network(context: Context, name: str) -> UnitNetwork:
    from speechkit.lm.networks import load_unit_network

    return load_unit_network(context.inputs[name]).to(context.device)


def _speakers(context: Context, test: list[UnitSequence]) -> list[str]:
    named = {row.id: row.speaker or row.id for row in context.read("recordings")}
    return [named[row.id] for row in test]


class ContinueConfig(msgspec.Struct, frozen=True):
    """Settings of speech continuation.

    Attributes:
        prompt_seconds: prompt length; only recordings of at least twice this length are continued.
        seconds: maximum length of each continuation.
        most: maximum number of recordings.
        sampling: token sampling settings.
        decoder: unit decoder that synthesizes the continuations, such as ``embedded-100``; None for units only.
        vocoder: vocoder used with the decoder.
        clips: maximum number of synthesized clips.
    """

    prompt_seconds: float = 3.0
    seconds: float = 6.0
    most: Positive = 200
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, top_k=25, max_tokens=400)
    decoder: str | None = None
    vocoder: str = "embedded"
    clips: int = 10


def continued(context: Context) -> list[Continuation]:
    """Continue the beginnings of test recordings as units, and optionally synthesize the first few."""
    from speechkit.io.atomic import write_json
    from speechkit.lm.analysis.degeneration import degeneration
    from speechkit.lm.continuation import after, continue_units, first_seconds

    config, spec = context.config, read_vocabulary(context)
    rate = spec.tokens.frames_per_second
    long = [row for row in part_rows(context)["test"] if sum(row.durations) >= 2 * config.prompt_seconds * rate]
    if not long:
        raise UserError(
            f"no test recording is {2 * config.prompt_seconds:g} s long; set continue.prompt_seconds lower, or give "
            "longer recordings"
        )
    long = sorted(long, key=lambda row: item_seed(context.seed, row.id))[: config.most]
    network = _network(context, "trained")
    prompts = [first_seconds(row, config.prompt_seconds, rate) for row in long]
    continuations = []
    for begin in range(0, len(prompts), PROMPTS_PER_BATCH):
        batch = prompts[begin : begin + PROMPTS_PER_BATCH]
        seeds = [item_seed(context.seed, row.id) for row in batch]
        continuations += continue_units(network, batch, config.seconds, config.sampling, seeds)
        context.progress.update(len(continuations), len(prompts))
        if context.interrupted:
            raise Interrupted
    rows = [continuation.sequence for continuation in continuations]
    rests = [after(row, len(prompt.units)) for row, prompt in zip(long, prompts, strict=True)]
    real = [first_seconds(row, config.seconds, rate).units for row in rests]
    write_json(
        context.output("degeneration.json"),
        Continued(
            degeneration(real),
            degeneration([row.units for row in rows], [continuation.ended for continuation in continuations]),
            config.prompt_seconds,
        ),
    )
    folder = context.output("continued")
    write_sequences([folder / "units.jsonl"], ([row] for row in rows))
    return continuations[: config.clips]
