"""`speechkit syllables`: segment speech into syllables, score, estimate thresholds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from speechkit.cli.facts import print_facts
from speechkit.cli.left_out import LeftOut, expand_folders
from speechkit.cli.options import Device, Json
from speechkit.cli.unit_speech import say_syllables

if TYPE_CHECKING:
    from speechkit.data.records import Utterance

EXAMPLES = """
Segment recordings, or the cuts of a manifest, into syllable-like units.

Segmenters of the frames of an encoder: dynamic (the default: exact, with a penalty), greedy (Sylber's; streams) and
peaks (of the norm, as in ZeroSyl); envelope takes the amplitude alone, without an encoder. The encoder in the package
that was trained for syllables is the default, with settings of its own. For others, thresholds come from --thresholds
or are estimated on the recordings; they belong to one encoder and layer. --out contains syllables.jsonl (a manifest
with the tier "syllable"), dropped.json and, if they were estimated, thresholds.json.

Examples:

  speechkit syllables talk.wav --out cut

  speechkit syllables dev.jsonl --encoder facebook/hubert-base-ls960 --layer 9 --segmenter dynamic --out cut

  speechkit syllables talk.wav --segmenter greedy --textgrid --out cut

  speechkit syllables *.mp3 --segmenter envelope --out cut

  speechkit syllables talk.wav --encoder sylber-folder --segmenter greedy --compat --out cut

  speechkit syllables thresholds train.jsonl --encoder mfcc --out thresholds.json

  speechkit syllables score reference.jsonl cut/syllables.jsonl --json

  speechkit syllables say tokens.jsonl --decoder exp/unit_decoder/03-train/current/model -o spoken
"""
COMMANDS = ("segment", "score", "thresholds", "say")
SETTINGS = {
    "greedy": ("norm", "merge"),
    "dynamic": ("norm", "penalty"),
    "peaks": ("prominence",),
    "envelope": (),
}
"""Settings of each segmenter."""


class SegmentByDefault(typer.core.TyperGroup):
    """`speechkit syllables talk.wav` is `speechkit syllables segment talk.wav`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the default command if none is named."""
        if args and args[0] not in COMMANDS and args[0] not in ("-h", "--help"):
            args = ["segment", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=SegmentByDefault,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Inputs = Annotated[list[Path], typer.Argument(metavar="MANIFEST|AUDIO|FOLDER...", help="What to cut.")]
EncoderName = Annotated[str, typer.Option(help="Name, hub id or folder.")]
Layer = Annotated[int | None, typer.Option(help="From 0, the input of the first layer; default: the last.")]
Rate = Annotated[
    float,
    typer.Option(help="Target rate in segments per second of speech; 0: thresholds from two Gaussians."),
]


app.command("say")(say_syllables)


@app.command("segment")
def segment(
    inputs: Inputs,
    out: Annotated[Path | None, typer.Option(help="Output folder.")] = None,
    encoder: Annotated[str, typer.Option(help="Name, hub id or folder; default: embedded-syllables.")] = "",
    layer: Layer = None,
    segmenter: Annotated[str, typer.Option(help="dynamic, greedy, peaks or envelope.")] = "dynamic",
    thresholds: Annotated[Path | None, typer.Option(help="File written by `speechkit syllables thresholds`.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Estimate thresholds for this many segments per second of speech; 0: from two Gaussians. Default: the "
            "settings of the package, and 5 for other encoders."
        ),
    ] = None,
    norm: Annotated[float | None, typer.Option(help="Least norm of speech; default: estimated.")] = None,
    merge: Annotated[float | None, typer.Option(help="Least cosine within a segment; default: estimated.")] = None,
    penalty: Annotated[float | None, typer.Option(help="dynamic: penalty per segment; default: estimated.")] = None,
    prominence: Annotated[
        float | None, typer.Option(help="peaks: least prominence in standard deviations; default 0.45.")
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="greedy: as in Sylber's code; raw frames, default norm 2.6 and merge 0.8.")
    ] = False,
    textgrid: Annotated[bool, typer.Option("--textgrid", help="Also write a Praat TextGrid per cut.")] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Segment speech into syllables (the default command)."""
    from speechkit.data.listening import listen
    from speechkit.data.manifest import audio_path, rebase, write_manifest
    from speechkit.data.recordings import read_cuts
    from speechkit.errors import ConfigError
    from speechkit.io.atomic import write_json
    from speechkit.io.paths import refuse_inputs

    if out is None:
        raise ConfigError("--out is not given; name the folder of the result")
    inputs = expand_folders(inputs)
    refuse_inputs(out / "syllables.jsonl", inputs)
    given = {"norm": norm, "merge": merge, "penalty": penalty, "prominence": prominence}
    chosen = {setting: value for setting, value in given.items() if value is not None}
    cut = _cutter(inputs, out, segmenter, encoder, layer, thresholds, rate, chosen, compat, device)
    totals = {"items": 0, "seconds": 0.0, "segments": 0, "segment_seconds": 0.0}
    left_out = LeftOut()
    noted: dict[str, list[str]] = {}

    def rows() -> Iterator[Utterance]:
        for row, manifest in read_cuts(inputs, lambda path, error: left_out.add(path, str(error))):
            segmented = _cut_or_leave_out(cut, row, manifest, left_out)
            if segmented is None:
                continue
            if notes := listen(audio_path(manifest, row), row):
                noted[row.id] = notes
                print(f"speechkit: {row.id}: {' and '.join(notes)}, segmented anyway", file=sys.stderr)
            items = (segmented.alignment or {})["syllable"]
            totals["items"] += 1
            totals["seconds"] += row.duration
            totals["segments"] += len(items)
            totals["segment_seconds"] += sum(item.duration for item in items)
            if textgrid:
                _write_textgrid(out / "textgrids", segmented)
            yield from rebase([segmented], manifest.parent, out)

    write_manifest(out / "syllables.jsonl", rows())
    write_json(out / "dropped.json", left_out.reasons)
    if not totals["items"]:
        left_out.end(0, where=out / "dropped.json")
    seconds = totals["segment_seconds"]
    rates = {"segments_per_second_of_segments": totals["segments"] / seconds if seconds else 0.0}
    print_facts({"folder": str(out), **totals, **rates, "dropped": left_out.reasons, "noted": noted}, json)
    left_out.end(1)


def _cut_or_leave_out(cut: Any, row: Utterance, manifest: Path, left_out: LeftOut) -> Utterance | None:
    from speechkit.syllables.recordings import add_tier

    with left_out.one(row.id):
        return add_tier(row, cut(row, manifest))
    return None


def _cutter(
    inputs: list[Path],
    out: Path,
    name: str,
    encoder: str,
    layer: int | None,
    path: Path | None,
    rate: float | None,
    chosen: dict[str, float],
    compat: bool,
    device: str,
) -> Any:
    """A function from a cut to its segments; ``chosen`` are explicit settings."""
    from speechkit.data.recordings import require_unique_ids
    from speechkit.errors import ConfigError
    from speechkit.syllables import recordings
    from speechkit.syllables.envelope import EnvelopeSegmenter
    from speechkit.syllables.segmenters import ENCODER, SEGMENTERS, make_segmenter, packaged_settings
    from speechkit.syllables.thresholds import Thresholds

    if name not in SETTINGS:
        raise ConfigError(f"segmenter is {name!r}; choose {', '.join(SEGMENTERS)} or envelope")
    if name in ("envelope", "peaks") and path is not None:
        raise ConfigError(f"--thresholds {path}: the segmenter {name} has none; give --segmenter greedy or dynamic")
    if name == "envelope" and (encoder or layer is not None):
        given = f"--encoder {encoder}" if encoder else f"--layer {layer}"
        raise ConfigError(f"{given}: the segmenter envelope takes no encoder; leave one of them out")
    if compat and (name != "greedy" or path is not None):
        other = f"the segmenter {name} has" if name != "greedy" else "with --thresholds there is"
        raise ConfigError(f"--compat: {other} no rule of Sylber's own code; give --segmenter greedy alone")
    if strange := sorted(set(chosen) - set(SETTINGS[name])):
        taken = " and ".join(f"--{setting}" for setting in SETTINGS[name]) or "no such option"
        raise ConfigError(f"--{strange[0]}: the segmenter {name} takes {taken}; leave it out")
    require_unique_ids(inputs)
    if name == "envelope":
        envelope = EnvelopeSegmenter()
        return lambda row, manifest: recordings.segment_envelope(envelope, row, manifest)
    from speechkit.encoders.load import load_encoder

    loaded = load_encoder(encoder or ENCODER, layer=layer, device=device)
    estimates = None
    if compat:
        chosen = {**chosen, "compat": True}
    elif name != "peaks":
        if path is not None:
            estimates = Thresholds.load(path, loaded.spec)
        elif (encoder or ENCODER) == ENCODER and layer is None and rate is None:
            chosen = {**packaged_settings(name), **chosen}
        else:
            estimates = recordings.thresholds_from_recordings(loaded, inputs, (5.0 if rate is None else rate) or None)
            estimates.save(out / "thresholds.json")
    estimated = {setting: getattr(estimates, setting) for setting in SETTINGS[name] if estimates is not None}
    settings = {**estimated, **chosen}
    if settings.get("penalty", 0.0) is None:
        raise ConfigError(f"{path}: holds no penalty; give --penalty, or estimate thresholds with --rate 5")
    made = make_segmenter(name, **settings)
    return lambda row, manifest: recordings.segment_row(loaded, made, row, manifest, estimates)


def _write_textgrid(folder: Path, row: Utterance) -> None:
    from speechkit.io.atomic import write_text
    from speechkit.io.paths import safe_id
    from speechkit.mining.export.textgrid import format_textgrid

    tiers = {
        name: [(item.start, item.start + item.duration, item.symbol) for item in items]
        for name, items in (row.alignment or {}).items()
    }
    write_text(folder / f"{safe_id(row.id)}.TextGrid", format_textgrid(tiers, row.duration))


@app.command("thresholds")
def thresholds(
    inputs: Inputs,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    encoder: EncoderName = "embedded-syllables",
    layer: Layer = None,
    rate: Rate = 5.0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Estimate thresholds from recordings, and store them with their encoder."""
    import msgspec

    from speechkit.encoders.load import load_encoder
    from speechkit.errors import ConfigError
    from speechkit.syllables.recordings import thresholds_from_recordings

    if out is None:
        raise ConfigError("--out is not given; name the JSON file to write")
    inputs = expand_folders(inputs)
    estimates = thresholds_from_recordings(load_encoder(encoder, layer=layer, device=device), inputs, rate or None)
    estimates.save(out)
    shown = {key: value for key, value in msgspec.to_builtins(estimates).items() if key not in ("origin", "encoder")}
    print_facts({"file": str(out), "model": estimates.encoder.model, "layer": estimates.encoder.layer, **shown}, json)
    if (estimates.norm_separation or 0) < 2:
        print(
            "speechkit: the norms of speech and silence overlap (separation under 2); choose another layer",
            file=sys.stderr,
        )


@app.command("score")
def score(
    reference: Annotated[Path, typer.Argument(help="Manifest with the reference tier.")],
    hypothesis: Annotated[Path, typer.Argument(help="Manifest with the same cuts and tier.")],
    protocol: Annotated[str, typer.Option(help="all, sdhubert, zerosyl or plain.")] = "all",
    tolerance: Annotated[float, typer.Option(help="Tolerance of a boundary match in seconds.")] = 0.05,
    tune: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="REF HYP", help="Other recordings for tuning the shift of the reference."),
    ] = None,
    tier: Annotated[str, typer.Option(help="Name of the tier.")] = "syllable",
    by_speaker: Annotated[bool, typer.Option("--by-speaker", help="Resample speakers for the intervals.")] = False,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples; 0: no intervals.")] = 1000,
    json: Json = False,
) -> None:
    """Score segments against a reference under named protocols."""
    import msgspec
    import numpy as np

    from speechkit.syllables import evaluation, purity

    rows = _pairs(reference, hypothesis, tier)
    names = [row.id for row, *_ in rows]
    groups = [row.speaker or row.id for row, *_ in rows] if by_speaker else None
    items = [(expected[0], predicted[0]) for _, expected, predicted in rows]
    shift = None
    if tune is not None:
        shift = evaluation.tune_shift(
            [(expected[0], predicted[0]) for _, expected, predicted in _pairs(*tune, tier)], tolerance_seconds=tolerance
        )
    results: dict[str, Any] = {"recordings": len(rows), "scores": [], "purity": []}
    for name in evaluation.PROTOCOLS if protocol == "all" else (protocol,):
        for moved in (0.0,) if shift is None or name == "zerosyl" else (0.0, shift):
            scored = evaluation.score(
                items, name, tolerance_seconds=tolerance, shift_seconds=moved,  # type: ignore[arg-type]
                groups=groups, names=names, resamples=resamples,
            )  # fmt: skip
            results["scores"].append(msgspec.to_builtins(scored))
    if len(np.unique([symbol for *_, predicted in rows for symbol in predicted[1]])) > 1:
        labelled = [
            purity.LabelledSegments(expected[0], expected[1], predicted[0], predicted[1])
            for _, expected, predicted in rows
        ]
        for pairing in purity.PAIRINGS:
            of = purity.purity(labelled, pairing, groups=groups, names=names, resamples=min(resamples, 200))
            results["purity"].append(msgspec.to_builtins(of))
    if json:
        typer.echo(msgspec.json.encode(results).decode())
    else:
        _print_scores(results)


def _pairs(reference: Path, hypothesis: Path, tier: str) -> list[Any]:
    """Rows of the reference, with segments and symbols of both sides."""
    from speechkit.data.manifest import read_manifest
    from speechkit.errors import UserError
    from speechkit.syllables.recordings import read_tier

    tiers = {row.id: read_tier(row, hypothesis, tier) for row in read_manifest(hypothesis)}
    rows, missing = [], []
    for row in read_manifest(reference):
        if row.id in tiers:
            rows.append((row, read_tier(row, reference, tier), tiers.pop(row.id)))
        else:
            missing.append(row.id)
    if missing:
        raise UserError(
            f"{hypothesis}: lacks {len(missing)} of {len(rows) + len(missing)} recordings of {reference}, as "
            f"{missing[0]!r}; cut them too, or take them out of the reference"
        )
    if tiers:
        print(f"speechkit: {len(tiers)} recordings of {hypothesis} are not in {reference}: left out", file=sys.stderr)
    return rows


def _print_scores(results: dict[str, Any]) -> None:
    def shown(score: dict[str, Any]) -> str:
        spread = score["interval"]
        inside = f" [{100 * spread['low']:.1f}, {100 * spread['high']:.1f}]" if spread else ""
        return f"{100 * score['value']:.1f}{inside}"

    for of in results["scores"]:
        typer.echo(
            f"{of['protocol']}, {1000 * of['tolerance_seconds']:g} ms, shift {1000 * of['shift_seconds']:+g} ms, "
            f"{of['counts']['reference']:,} boundaries"
        )
        for name, score in of["boundaries"].items():
            typer.echo(f"  {name:15} {shown(score)}")
        for name, score in of["tokens"].items():
            typer.echo(f"  token {name:9} {shown(score)}")
    for of in results["purity"]:
        typer.echo(f"purity, {of['pairing']}, {of['pairs']:,} pairs, {of['syllables']} syllables, {of['units']} units")
        for name in ("syllable_purity", "cluster_purity", "normalized_mutual_information"):
            typer.echo(f"  {name:29} {shown(of[name])}")
