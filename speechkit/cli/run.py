"""`speechkit run`, `settings`, `status`, `explain`, `list` and `new`: recipes from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechkit.cli.options import Json
from speechkit.errors import UserError

if TYPE_CHECKING:
    from speechkit.pipeline.recipe import Recipe
    from speechkit.pipeline.state import Inspector

Name = Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name, its folder, or a recipe.py.")]
Settings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings; they override all files.")
]
Exp = Annotated[Path | None, typer.Option("--exp", help="Output folder; exp/NAME unless given.")]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="FILE", help="A YAML file, or the name of one in the recipe's conf; repeatable."),
]


def run(
    name: Name,
    settings: Settings = None,
    stage: Annotated[int | None, typer.Option("--stage", help="First stage.")] = None,
    stop_stage: Annotated[int | None, typer.Option("--stop-stage", "--stop_stage", help="Last stage.")] = None,
    only: Annotated[int | None, typer.Option("--only", help="Only this stage.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run stages even if they are fresh.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--dry_run", help="Only print what would run, and why.")
    ] = False,
    backend: Annotated[str, typer.Option(help="inline, pool or ray.")] = "",
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Run the I-th of N shards; the last to finish commits.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps, for stages that use a GPU.")] = "auto",
    config: Config = None,
    exp: Exp = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Run a recipe. Fresh stages are skipped, unfinished ones are resumed.

    Examples:
      speechkit run mining documents=docs audio=audio

      speechkit run asr_ctc --stage 2 --stop-stage 4 train.loop.steps=2000 --config hf

      speechkit run mining --only 5 --force --backend pool --workers 4

      speechkit run mining --dry-run

      speechkit run mining --only 3 --shard 2/8
    """
    from speechkit.pipeline.runner import run_recipe

    file, recipe = _load(name)
    if only is not None and (stage is not None or stop_stage is not None):
        raise UserError("--only N means --stage N --stop-stage N; give one or the other")
    code = run_recipe(
        recipe,
        exp or Path("exp") / recipe.name,
        settings or [],
        backend or ("pool" if workers > 1 else "inline"),
        stage if only is None else only,
        stop_stage if only is None else only,
        force,
        dry_run,
        config_files=_config_files(file, config),
        workers=workers,
        shard=_shard(shard),
        device=device,
        quiet=quiet,
    )
    raise typer.Exit(code)


def list_settings(name: Name, settings: Settings = None, config: Config = None, json: Json = False) -> None:
    """List a recipe's settings: value, type, source, meaning.

    Examples:
      speechkit settings asr_ctc

      speechkit settings mossformer2 --config tiny train.loop.steps=100

      speechkit settings mining --json
    """
    from speechkit.pipeline.config import read_settings
    from speechkit.pipeline.settings_table import setting_rows

    file, recipe = _load(name)
    rows = setting_rows(read_settings(recipe, _config_files(file, config), settings or []))
    if json:
        return _print_json(rows)
    stage = ""
    for row in rows:
        if row.stage != stage:
            stage = row.stage
            number = recipe.stage(stage).number
            typer.echo(f"{'' if row is rows[0] else chr(10)}stage {number} {stage}")
        value = "REQUIRED" if row.required else _shown(row.value)
        facts = [row.type, *(["for all stages: " + row.key.rpartition(".")[2]] if row.shared else [])]
        facts += [
            *(["does not change results"] if row.neutral else []),
            *([f"set by {row.source}"] if row.source else []),
        ]
        typer.echo(f"  {row.key} = {value}    [{'; '.join(facts)}]")
        if row.description:
            typer.echo(f"      {row.description}")
    return None


def status(name: Name, settings: Settings = None, config: Config = None, exp: Exp = None, json: Json = False) -> None:
    """Show each stage of a recipe: fresh, stale and why, partly done.

    Without settings, those of the last run in that folder are used.

    Examples:
      speechkit status mining

      speechkit status mining alignment.min_similarity=0.4 --json
    """
    recipe, inspector = _inspector(name, settings, config, exp)
    rows: list[dict[str, Any]] = []
    for stage in recipe.stages:
        state = inspector.state(stage)
        counts = None if state.record is None else {k: v.records for k, v in state.record.outputs.items()}
        rows.append(
            {
                "stage": stage.number,
                "name": stage.name,
                "state": state.condition,
                "reasons": list(state.reasons),
                "parts_done": state.parts_done,
                "parts": state.parts,
                "records": counts,
                "dropped": None if state.record is None else state.record.dropped,
                "folder": None if state.record is None or state.folder is None else str(state.folder.final),
            }
        )
    if json:
        return _print_json(rows)
    for row in rows:
        facts = "; ".join(row["reasons"])
        if row["records"]:
            facts = ", ".join(f"{path} {count}" for path, count in row["records"].items() if count is not None)
        typer.echo(f"{row['stage']:3d} {row['name']:16s} {row['state']:10s} {facts}".rstrip())
    return None


def explain(
    name: Name,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="Number or name of the stage.")],
    settings: Settings = None,
    config: Config = None,
    exp: Exp = None,
    json: Json = False,
) -> None:
    """Explain why a stage would run: every changed key with its old and new value.

    Examples:
      speechkit explain mining alignment

      speechkit explain mining 5 alignment.min_similarity=0.4
    """
    recipe, inspector = _inspector(name, settings, config, exp)
    state = inspector.state(recipe.stage(stage))
    if json:
        facts = {"stage": state.stage.number, "state": state.condition, "reasons": list(state.reasons)}
        return _print_json({**facts, "identity": state.identity})
    typer.echo(f"stage {state.stage.number} {state.stage.name} is {state.condition}")
    for reason in state.reasons:
        typer.echo(f"  {reason}")
    if state.condition == "fresh" and state.folder is not None:
        typer.echo(f"  {state.folder.final}")
        for key, value in sorted(state.identity.items()):
            typer.echo(f"  {key} = {value}")
    return None


def list_recipes(json: Json = False) -> None:
    """List the recipes in recipes/ of this folder and of the project.

    Examples:
      speechkit list

      speechkit list --json
    """
    from speechkit.pipeline.discover import load_recipe, recipe_names

    rows = []
    for name, path in recipe_names().items():
        try:
            recipe = load_recipe(path)
        except UserError as error:
            typer.echo(f"speechkit: {error}", err=True)
            continue
        stages = [f"{stage.number} {stage.name}" for stage in recipe.stages]
        rows.append({"name": name, "description": recipe.description, "stages": stages, "path": str(path)})
    if json:
        return _print_json(rows)
    for row in rows:
        typer.echo(f"{row['name']:16s} {row['description']}\n{'':16s} {', '.join(row['stages'])}".rstrip())
    if not rows:
        typer.echo("no recipes here; speechkit new NAME makes one")
    return None


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the recipe: lower-case letters, digits and _.")],
) -> None:
    """Create recipes/NAME, a recipe that runs as it is and is meant to be edited.

    Examples:
      speechkit new my_corpus

      recipes/my_corpus/run.sh
    """
    from speechkit.pipeline.skeleton import write_skeleton

    folder = write_skeleton(Path("recipes"), name)
    typer.echo(f"{folder} is ready; run it: speechkit run {name}")


def _load(name: str) -> tuple[Path, Recipe]:
    from speechkit.pipeline.discover import find_recipe, load_recipe

    file = find_recipe(name)
    return file, load_recipe(file)


def _config_files(file: Path, given: list[str] | None) -> list[Path]:
    conf = file.parent / "conf"
    default = conf / "default.yaml"
    return [*([default] if default.is_file() else []), *(_config_file(conf, name) for name in given or [])]


def _config_file(conf: Path, name: str) -> Path:
    """The file at this path, or the configuration of this name in the recipe's ``conf``."""
    path, named = Path(name), conf / f"{name}.yaml"
    if path.is_file() or "/" in name or path.suffix in (".yaml", ".yml"):
        return path
    if not named.is_file():
        names = ", ".join(sorted(file.stem for file in conf.glob("*.yaml"))) or "none"
        raise UserError(f"--config {name}: no such file, and the recipe's own configurations are {names}")
    return named


def _inspector(
    name: str, settings: list[str] | None, config: list[str] | None, exp: Path | None
) -> tuple[Recipe, Inspector]:
    from speechkit.pipeline.config import read_settings
    from speechkit.pipeline.last_run import read_last_run
    from speechkit.pipeline.state import Inspector

    file, recipe = _load(name)
    exp = exp or Path("exp") / recipe.name
    last = None if settings or config else read_last_run(exp)
    if last is None:
        given = read_settings(recipe, _config_files(file, config), settings or [])
    else:
        given = read_settings(recipe, [Path(path) for path in last.config_files], last.overrides, last.arguments)
        if last.overrides or last.arguments or len(last.config_files) > 1:
            typer.echo(f"using the settings of the last run in {exp}; give settings to use others", err=True)
    return recipe, Inspector(given, exp)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, slash, second = text.partition("/")
    if not slash or not first.isdecimal() or not second.isdecimal():
        raise UserError(f"--shard {text}: write it as I/N, for example 2/8")
    return int(first), int(second)


def _shown(value: Any) -> str:
    """A setting's value as written on the command line."""
    import msgspec

    plain = msgspec.to_builtins(value, enc_hook=str)
    if plain is None or isinstance(plain, str):
        return plain or ("null" if plain is None else '""')
    return msgspec.json.encode(plain).decode()


def _print_json(value: Any) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(value, enc_hook=str).decode())
