"""`speechkit lm heads`: heads that draft a unit model's next units for speculative decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechkit.cli.facts import print_facts
from speechkit.cli.options import Device, Json, Seed, Units, settings


def heads(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a unit model.")],
    units: Units,
    out: Annotated[Path, typer.Option(help="Folder of the heads; an interrupted run resumes from it.")],
    dev: Annotated[list[Path] | None, typer.Option(help="Units of validation recordings.")] = None,
    count: Annotated[int, typer.Option("--heads", help="Number of units that can be drafted in sequence.")] = 4,
    rows: Annotated[int, typer.Option(help="Rows per batch, each as long as the model's context.")] = 4,
    steps: Annotated[int, typer.Option(help="Most steps.")] = 500,
    minutes: Annotated[float | None, typer.Option(help="Most minutes.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    half: Annotated[bool, typer.Option("--half", help="Store float16.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train draft heads to predict the next units of a unit model (Chimera); the model itself is frozen.

    speechkit lm sample MODEL --draft HEADS then samples from the model's exact distribution in fewer calls.

    Examples:
      speechkit lm heads unit-lm train.jsonl --dev dev.jsonl --out unit-lm-heads
    """
    import sys

    from speechkit.encoders.transformers_encoder import weights_digest
    from speechkit.errors import UserError
    from speechkit.io.paths import refuse_inputs
    from speechkit.lm.decoding.draft_heads import new_heads
    from speechkit.lm.draft_training import DraftTraining, draft_objective
    from speechkit.lm.load import open_model
    from speechkit.lm.unit_training import keep_settings
    from speechkit.pipeline.interrupt import Interrupted, listen
    from speechkit.runtime import choose_device, seed_everything
    from speechkit.training import train
    from speechkit.units.sequences import read_sequences

    loop = {
        "steps": steps,
        "max_minutes": minutes,
        "learning_rates": [learning_rate],
        "weight_decay": 0.0,
        "warmup_steps": min(25, steps // 10),
        "clip_norm": 1.0,
        "average_decay": 0.99,
        "seed": seed,
        "evaluate_every": min(250, steps),
        "save_every": min(250, steps),
    }
    config: DraftTraining = settings(
        {"heads": count, "rows": rows, "loop": loop}, DraftTraining, "speechkit lm heads --help"
    )
    refuse_inputs(out, [model])
    device_name = choose_device(device)
    opened = open_model(model, device_name)
    if opened.network is None:
        raise UserError(f"{model}: is an n-gram, which has no thoughts to draft from; give a unit model")
    sequences = read_sequences(units, opened.units.digest)
    held_out = read_sequences(dev, opened.units.digest) if dev else []
    seed_everything(seed)
    made = new_heads(opened.network, config.heads)
    keep_settings(out, config, sequences, opened.units, model=weights_digest(opened.network))
    objective = draft_objective(made, opened.network, sequences, held_out, config)

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    with listen() as request:
        done = train(objective, config.loop, out, should_stop=lambda: bool(request), device=device_name, log=log)
    if not done:
        raise Interrupted(f"stopped; the same command goes on from {out}/checkpoints")
    made.cpu().save_pretrained(out, half=half)
    facts = {
        "weights": sum(parameter.numel() for parameter in made.parameters()),
        "heads": config.heads,
        "units": sum(len(row.units) for row in sequences),
        "folder": str(out),
    }
    print_facts(facts, json)
