"""Stages 6 to 8: bits a second beside n-grams and an LSTM, continuations, and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from speechkit.errors import UserError
from speechkit.lm.decoding.sampling import SamplingConfig
from speechkit.lm.records import Continued, Saving, UnitLmReport
from speechkit.lm.unit_costs import CostSummary, SequenceCost, saving, summarize
from speechkit.pipeline import Context, Interrupted
from speechkit.runtime import item_seed
from speechkit.units.sequences import UnitSequence

from .training import part_rows, read_vocabulary

if TYPE_CHECKING:
    from speechkit.lm.networks import UnitNetwork

Positive = Annotated[int, msgspec.Meta(ge=1)]


class EvaluateConfig(msgspec.Struct, frozen=True):
    """``ngram_order``: n-grams of every order up to this one stand beside the networks."""

    ngram_order: Annotated[int, msgspec.Meta(ge=1, le=6)] = 4


class Costs(msgspec.Struct, frozen=True):
    """``costs.json``."""

    systems: list[CostSummary]
    savings: list[Saving]
    entropy_bits_per_second: float
    recordings: dict[str, list[SequenceCost]]


def evaluate(context: Context) -> None:
    """What the test costs by each model."""
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
    lasting = DurationTable(rows["train"], units.clusters)
    costs: dict[str, list[SequenceCost]] = {}
    weights: dict[str, int] = {}
    for order in range(1, context.config.ngram_order + 1):
        model = estimate(map(unit_words, rows["train"]), order)[0]
        name = f"{order}-gram"
        costs[name] = list(table_costs(NgramTable(model, units.clusters), test, units, lasting))
        weights[name] = len(model.entries)
        if context.interrupted:
            raise Interrupted
    for name in ("baseline", "trained"):
        network = _network(context, name)
        shown = "unit model" if name == "trained" else f"baseline ({_layer(network)})"
        costs[shown] = list(network_costs(network, test))
        weights[shown] = sum(each.numel() for each in network.parameters())
    systems = [summarize(name, each, speakers, weights[name]) for name, each in costs.items()]
    ours = costs["unit model"]
    savings = [Saving(name, *saving(ours, each, speakers)) for name, each in costs.items() if name != "unit model"]
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
    """What is continued, and how.

    Attributes:
        prompt_seconds: of the beginning of each recording; those of twice as many are continued.
        seconds: of each continuation.
        most: recordings.
        sampling: of tokens.
        decoder: a unit decoder that makes speech of what was continued, as ``embedded-100``; None for units alone.
        vocoder: behind it.
        clips: of these at most.
    """

    prompt_seconds: float = 3.0
    seconds: float = 6.0
    most: Positive = 200
    sampling: SamplingConfig = SamplingConfig(temperature=0.8, top_k=25, max_tokens=400)
    decoder: str | None = None
    vocoder: str = "embedded"
    clips: int = 10


def continued(context: Context) -> None:
    """What the model says behind the beginnings of test recordings, as units and as speech."""
    from speechkit.io.atomic import write_json
    from speechkit.lm.analysis.degeneration import degeneration
    from speechkit.lm.continuation import after, continue_units, first_seconds
    from speechkit.units.sequences import write_sequences

    config, spec = context.config, read_vocabulary(context)
    rate = spec.tokens.frames_per_second
    long = [row for row in part_rows(context)["test"] if sum(row.durations) >= 2 * config.prompt_seconds * rate]
    if not long:
        raise UserError(
            f"no test recording lasts {2 * config.prompt_seconds:g} s; set continue.prompt_seconds lower, or give "
            "longer recordings"
        )
    long = sorted(long, key=lambda row: item_seed(context.seed, row.id))[: config.most]
    network = _network(context, "trained")
    prompts = [first_seconds(row, config.prompt_seconds, rate) for row in long]
    found = []
    for begin in range(0, len(prompts), 16):
        some = prompts[begin : begin + 16]
        seeds = [item_seed(context.seed, row.id) for row in some]
        found += continue_units(network, some, config.seconds, config.sampling, seeds)
        context.progress.update(len(found), len(prompts))
        if context.interrupted:
            raise Interrupted
    rows = [each.sequence for each in found]
    rests = [after(row, len(prompt.units)) for row, prompt in zip(long, prompts, strict=True)]
    real = [first_seconds(row, config.seconds, rate).units for row in rests]
    write_json(
        context.output("degeneration.json"),
        Continued(
            degeneration(real),
            degeneration([row.units for row in rows], [each.ended for each in found]),
            config.prompt_seconds,
        ),
    )
    folder = context.output("continued")
    write_sequences([folder / "units.jsonl"], ([row] for row in rows))
    _clips(context, [(each.prompt, each.sequence) for each in found[: config.clips]])


def _clips(context: Context, spoken: list[tuple[UnitSequence, UnitSequence]]) -> None:
    if context.config.decoder is None:
        return
    from speechkit.io.audio import write_audio
    from speechkit.io.paths import safe_id
    from speechkit.tts.unit_decoder import load_unit_decoder, say_units
    from speechkit.tts.vocoder import load_vocoder

    spec = read_vocabulary(context)
    decoder = load_unit_decoder(context.config.decoder, context.device)
    vocoder: Any = load_vocoder(context.config.vocoder, context.device)
    for prompt, row in spoken:
        units: list[int] = [*prompt.units, *row.units]
        durations: list[int] | None = [*prompt.durations, *row.durations]
        if spec.merges is not None:  # how long the units inside a token last, nobody said
            units, durations = spec.merges.decode(units), None
        frames = decoder.frame_units(units, durations)
        speech = say_units(decoder, vocoder, frames, None, item_seed(context.seed, row.id))
        write_audio(context.output("continued") / f"{safe_id(row.id)}.wav", speech.waveform, speech.rate)


def report(context: Context) -> None:
    """The tables and the page."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.unit_lm_page import markdown, write_unit_lm_page

    costs = msgspec.json.decode(context.inputs["costs"].read_bytes(), type=Costs)
    said = msgspec.json.decode(context.inputs["degeneration"].read_bytes(), type=Continued)
    found = UnitLmReport(costs.systems, costs.savings, costs.entropy_bits_per_second, said)
    write_json(context.output("report.json"), found)
    write_text(context.output("table.md"), markdown(found))
    write_unit_lm_page(context.output("report.html"), found)
