"""`speechkit lm train`, `score`, `sample` and `compare`: language models of speech units."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.facts import print_facts
from speechkit.cli.options import Device, Json, Seed, Temperature, TopK, TopP, Units, settings

if TYPE_CHECKING:
    import numpy as np

    from speechkit.lm.decoding.sampling import Generated, SamplingConfig
    from speechkit.lm.load import OpenedModel
    from speechkit.units.sequences import UnitSequence

CHAIN = "1,1,1"
"""A draft tree of three tokens in sequence."""
Name = Annotated[
    str, typer.Argument(metavar="MODEL", help="embedded-100, or the folder or hub id of a unit model or n-gram.")
]
Manifest = Annotated[Path | None, typer.Option("--manifest", help="Manifest with speakers, for the intervals.")]


def train(
    units: Units,
    out: Annotated[Path, typer.Option(help="Folder of the model; an interrupted run resumes from it.")],
    codebook: Annotated[str, typer.Option(help="Codebook of the units: a folder, or a name such as embedded-100.")] = (
        "embedded-100"
    ),
    bpe: Annotated[Path | None, typer.Option(help="The merges, if the files hold tokens.")] = None,
    dev: Annotated[list[Path] | None, typer.Option(help="Units of validation recordings.")] = None,
    size: Annotated[str, typer.Option(help="tiny (1.6 million weights), small (10) or base (128).")] = "tiny",
    layer: Annotated[str, typer.Option(help="attention, lstm, gru, or the name of another layer.")] = "attention",
    layers: Annotated[int, typer.Option(help="Number of layers; 0: that of the size.")] = 0,
    warm: Annotated[str, typer.Option("--from", help="A text model to start from (TWIST): folder or hub id.")] = "",
    durations: Annotated[int, typer.Option(help="Bins of the duration head; 0: none.")] = 32,
    infill: Annotated[float, typer.Option(help="Share of sequences with masked spans (CodeGen2).")] = 0.0,
    prefix: Annotated[float, typer.Option(help="Share of sequences with a bidirectional prefix.")] = 0.0,
    spans: Annotated[int, typer.Option(help="Most masked spans in a sequence.")] = 4,
    context: Annotated[int, typer.Option(help="Units per row.")] = 512,
    rows: Annotated[int, typer.Option(help="Rows per batch.")] = 8,
    steps: Annotated[int, typer.Option(help="Most steps.")] = 2000,
    minutes: Annotated[float | None, typer.Option(help="Most minutes.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    patience: Annotated[int, typer.Option(help="Evaluations without improvement before stopping; 0: never.")] = 0,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations on --dev.")] = 250,
    half: Annotated[bool, typer.Option("--half", help="Store float16.")] = False,
    llama: Annotated[Path | None, typer.Option(help="Also write a plain LlamaForCausalLM here.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train a language model of units, or of tokens of acoustic BPE.

    Examples:
      speechkit lm train train.jsonl --dev dev.jsonl --out unit-lm

      speechkit lm train train.jsonl --from gpt2 --context 512 --out twist

      speechkit lm train train.jsonl --layer lstm --layers 3 --out lstm
    """
    from speechkit.cli.units_files import read_units
    from speechkit.errors import ConfigError, UserError
    from speechkit.lm.llama import export_llama, llama_config
    from speechkit.lm.objectives.infill import MixtureConfig
    from speechkit.lm.unit_model import UnitModel
    from speechkit.lm.unit_training import UnitTraining, keep_settings, new_network, unit_objective
    from speechkit.pipeline.interrupt import Interrupted, listen
    from speechkit.runtime import choose_device, seed_everything
    from speechkit.training import train as run

    mixture = {"infill": infill, "prefix": prefix} if infill or prefix else None
    loop = {
        "steps": steps,
        "max_minutes": minutes,
        "learning_rates": [learning_rate],
        "weight_decay": 0.1,
        "warmup_steps": min(100, steps // 10),
        "clip_norm": 0.5,
        "average_decay": 0.99,
        "seed": seed,
        "evaluate_every": evaluate_every,
        "save_every": evaluate_every,
    }
    given = {
        "size": size,
        "layer": layer,
        "layers": layers,
        "warm": warm,
        "duration_bins": durations,
        "spans": spans if infill else 0,
        "mixture": mixture,
        "context": context,
        "rows": rows,
        "patience": patience,
        "loop": loop,
    }
    if warm:
        chosen = {"--size": size != "tiny", "--layer": layer != "attention", "--layers": layers != 0}
        if idle := [name for name, is_chosen in chosen.items() if is_chosen]:
            raise ConfigError(f"{idle[0]} has no effect on --from {warm}, whose layers stay as they are; leave it out")
    config: UnitTraining = settings(given, UnitTraining, "speechkit lm train --help")
    if llama is not None and llama.resolve() == out.resolve():
        raise ConfigError(f"--llama {llama}: is the folder of the model; give another one")
    assert config.mixture is None or isinstance(config.mixture, MixtureConfig)
    sequences, unit_set = read_units(units, Path(codebook), bpe)
    held_out, _ = read_units(dev, Path(codebook), bpe) if dev else ([], None)
    device_name = choose_device(device)
    seed_everything(seed)
    network = new_network(config, unit_set)
    if llama is not None:  # fail before the training if the model cannot be exported
        if not isinstance(network, UnitModel):
            raise UserError("--llama: a model that began as a text model is a plain checkpoint already; leave it out")
        llama_config(network)
    objective = unit_objective(network, sequences, held_out, config)
    keep_settings(out, config, sequences, unit_set)

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    with listen() as request:
        done = run(objective, config.loop, out, should_stop=lambda: bool(request), device=device_name, log=log)
    if not done:
        raise Interrupted(f"stopped; the same command goes on from {out}/checkpoints")
    network.cpu().save_pretrained(out, half=half)
    if llama is not None and isinstance(network, UnitModel):
        export_llama(network, llama, half=half)
    facts = {
        "weights": sum(parameter.numel() for parameter in network.parameters()),
        "recordings": len(sequences),
        "units": sum(len(row.units) for row in sequences),
    }
    print_facts({**facts, **_best_evaluation(out / "metrics.jsonl"), "folder": str(out)}, json)


def _best_evaluation(path: Path) -> dict[str, Any]:
    """Results of the best evaluation on validation units."""
    import msgspec

    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    evaluations = [evaluation for evaluation in rows if "dev_bits_per_second" in evaluation]
    best: dict[str, Any] = min(evaluations, key=lambda evaluation: evaluation["dev_bits_per_second"], default={})
    return {name.replace("_", " "): value for name, value in best.items() if name.startswith("dev_")}


def score(
    model: Name,
    units: Units,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Bits of each recording, .jsonl.")] = None,
    manifest: Manifest = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Bits per second of recordings under a model, over all units and ends of recordings.

    Examples:
      speechkit lm score embedded-100 test.jsonl

      speechkit lm score unit-lm test.jsonl -o costs.jsonl --json
    """
    import msgspec

    from speechkit.data.manifest import write_jsonl
    from speechkit.lm.load import open_model
    from speechkit.lm.unit_costs import summarize
    from speechkit.runtime import choose_device

    named = _named_speakers(manifest)
    opened = open_model(model, choose_device(device))
    rows = _rows(units, opened)
    costs = opened.costs(rows)
    if out is not None:
        write_jsonl(out, costs)
    speakers = _speakers(rows, named)
    summary = summarize(model, costs, speakers, opened.parameters)
    facts = msgspec.to_builtins(summary)
    if not json:
        _warn_of_few(summary.interval.units, speakers)
        for name in ("interval", "full_interval"):
            if summary.interval.units < 2:
                facts.pop(name, None)
            elif facts.get(name) is not None:
                facts[name] = f"{facts[name]['low']:.2f} to {facts[name]['high']:.2f}"
        facts = {name.replace("_", " "): value for name, value in facts.items()}
    print_facts(facts, json)


def compare(
    units: Units,
    models: Annotated[list[str], typer.Option("--model", help="A unit model or n-gram; the first is the baseline.")],
    manifest: Manifest = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare models on the same recordings, with the bits that each saves relative to the first.

    Examples:
      speechkit lm compare test.jsonl --model trigram --model lstm --model unit-lm
    """
    import msgspec
    from rich.console import Console

    from speechkit.lm.load import open_model
    from speechkit.lm.unit_costs import saving, summarize
    from speechkit.report.results import Column, Table, Value, mark_best, percent
    from speechkit.runtime import choose_device

    device_name = choose_device(device)
    named = _named_speakers(manifest)
    rows: list[UnitSequence] = []
    measured = []
    for name in models:
        opened = open_model(name, device_name)
        rows = rows or _rows(units, opened)
        measured.append((opened, opened.costs(rows)))
    speakers = _speakers(rows, named)
    summaries = [summarize(opened.name, costs, speakers, opened.parameters) for opened, costs in measured]
    savings = [saving(costs, measured[0][1], speakers) for _, costs in measured[1:]]
    if json:
        gains = [None, *({"share": share, "interval": msgspec.to_builtins(between)} for share, between in savings)]
        rows_ = [
            {**msgspec.to_builtins(summary), "saves": gain} for summary, gain in zip(summaries, gains, strict=True)
        ]
        typer.echo(msgspec.json.encode(rows_).decode())
        return
    _warn_of_few(summaries[0].interval.units, speakers)
    bits = mark_best(
        [Value(summary.bits_per_second, summary.interval.low, summary.interval.high) for summary in summaries], "lower"
    )
    shown = [None, *(percent(share, between, signed=True) for share, between in savings)]
    table = Table(
        ["model", *(Column(name, numeric=True) for name in ("weights", "perplexity", "bits a second", "saved, %"))],
        [
            [summary.system, summary.parameters, Value(summary.perplexity), value, gain]
            for summary, value, gain in zip(summaries, bits, shown, strict=True)
        ],
        f"{summaries[0].recordings} recordings, {summaries[0].seconds:,.0f} s",
    )
    console = Console(width=max(110, Console().width), highlight=False)
    console.print(table.rich())


def sample(
    model: Name,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The sequences, .jsonl, in the format of units.")] = (
        None
    ),
    count: Annotated[int, typer.Option(min=1, help="Number of sequences.")] = 8,
    units: Annotated[int, typer.Option(help="Most units per sequence.")] = 150,
    temperature: Temperature = 0.8,
    top_k: TopK = 25,
    top_p: TopP = 1.0,
    draft: Annotated[
        str, typer.Option(help="For speculative decoding: a cheaper model of the same units, or heads of this one.")
    ] = "",
    tree: Annotated[str, typer.Option(help="Draft tree: 1,1,1 (chain), 2,1,1 (RSD-C), or beam:3x2 (RSD-S).")] = CHAIN,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Sample sequences of units, and measure their degeneration.

    With --draft, the distribution is exactly the model's; drafted and accepted units are reported.

    Examples:
      speechkit lm sample embedded-100 --count 20 --temperature 0.8 --top-k 25

      speechkit lm sample unit-lm --draft bigram --tree 2,1,1 --json

      speechkit lm sample unit-lm --draft unit-lm-heads --tree 1,1,1,1 --json
    """
    import msgspec
    import numpy as np

    from speechkit.errors import ConfigError
    from speechkit.lm.analysis.degeneration import degeneration
    from speechkit.lm.decoding.sampling import SamplingConfig
    from speechkit.lm.decoding.sampling import sample as drawn_by
    from speechkit.lm.load import open_model
    from speechkit.runtime import choose_device
    from speechkit.units.sequences import UnitSequence, write_sequences

    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "max_tokens": units}
    config: SamplingConfig = settings(given, SamplingConfig, "speechkit lm sample --help")
    if tree != CHAIN and not draft:
        raise ConfigError(f"--tree is {tree} and nothing drafts; give --draft, or leave --tree out")
    device_name = choose_device(device)
    opened = open_model(model, device_name)
    begin = [opened.sequences.boundary]
    generators = [np.random.default_rng([seed, number]) for number in range(count)]
    if draft:
        samples = _speculated(opened, draft, begin, config, tree, generators, device_name)
    else:
        samples = drawn_by(opened.sequences, [begin] * count, config, generators)
    if out is not None:
        # How long units last is not drawn here: one frame each.
        rows = (
            UnitSequence(f"sample-{n}", e.tokens, [1] * len(e.tokens), opened.units.digest)
            for n, e in enumerate(samples)
        )
        write_sequences([out], ([row] for row in rows))
    figures = msgspec.to_builtins(
        degeneration([sample.tokens for sample in samples], [sample.ended for sample in samples])
    )
    calls = sum(sample.target_calls for sample in samples)
    facts = {
        **figures,
        "nats_per_unit": -sum(sample.logp for sample in samples)
        / max(1, sum(len(e.tokens) + e.ended for e in samples)),
        "target_calls": calls,
    }
    if draft:
        facts |= {"drafted": sum(e.drafted for e in samples), "accepted": sum(e.accepted for e in samples)}
        facts["units_per_call"] = sum(len(e.tokens) + e.ended for e in samples) / calls
    if json:
        sequences = [{"units": sample.tokens, "ended": sample.ended, "logp": sample.logp} for sample in samples]
        return print_facts({**facts, "sequences": sequences}, json)
    for sample in samples:
        typer.echo(" ".join(map(str, sample.tokens)))
    return print_facts({name.replace("_", " "): value for name, value in facts.items()}, json)


def _speculated(
    target: OpenedModel,
    draft: str,
    begin: list[int],
    config: SamplingConfig,
    tree: str,
    generators: list[np.random.Generator],
    device: str,
) -> list[Generated]:
    from speechkit.errors import ConfigError
    from speechkit.lm.decoding.speculative import DraftConfig, speculate
    from speechkit.lm.load import open_drafter

    try:
        if tree.startswith("beam:"):
            width, _, levels = tree.removeprefix("beam:").partition("x")
            shape: dict[str, Any] = {"width": int(width), "levels": int(levels)}
        else:
            shape = {"factors": [int(factor) for factor in tree.split(",")]}
    except ValueError as error:
        raise ConfigError(f"--tree is {tree!r}; write 1,1,1 or 2,1,1 or beam:3x2") from error
    drafting: DraftConfig = settings(shape, DraftConfig, "speechkit lm sample --help")
    drafter = open_drafter(draft, target, device)
    return [speculate(target.sequences, drafter, begin, config, drafting, generator) for generator in generators]


def _rows(paths: list[Path], opened: OpenedModel) -> list[UnitSequence]:
    from speechkit.units.sequences import read_sequences

    return read_sequences(paths, opened.units.digest)


def _warn_of_few(units: int, speakers: object) -> None:
    from speechkit.metrics.significance import few_units

    for warning in few_units(units, "recording" if speakers is None else "speaker"):
        print(f"speechkit: {warning}", file=sys.stderr)


def _named_speakers(manifest: Path | None) -> dict[str, str] | None:
    """Speakers by id; read before the costs, so that an unusable manifest is refused before the work."""
    if manifest is None:
        return None
    from speechkit.data.manifest import read_manifest

    return {row.id: row.speaker or row.id for row in read_manifest(manifest)}


def _speakers(rows: list[UnitSequence], named: dict[str, str] | None) -> list[str] | None:
    return None if named is None else [named.get(row.id, row.id) for row in rows]
