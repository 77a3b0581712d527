"""`speechkit score`: error rates of one or more hypothesis files against a reference."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.metrics.alternatives import Alternatives
    from speechkit.metrics.comparison import Comparison, Score, Scored, Table

EXAMPLES = """
Word and character error rates of several systems side by side, with intervals and significance.

Files are Kaldi text ("id text"), .trn, .stm, .ctm, .jsonl (NeMo, Hugging Face, Lhotse cuts, our manifests), .csv, .tsv
(SLUE, submissions, Common Voice, fairseq manifests), or a folder of .txt or .nlp files; any of them with .gz.

Every result stands under two normalisers: a ranking that depends on them is said.

Examples:

  speechkit score ref.jsonl hyp.jsonl

  speechkit score text a=a.trn b=b.trn --normalizer english --by speaker --utt2spk utt2spk --out scores

  speechkit score ref.stm hyp.ctm --weights sclite --alternatives braces

  speechkit score ref.trn hyp.trn --json > scores.json

  speechkit score ref.jsonl hyp.jsonl --normalizer english --fail-if "wer>12.5"
"""


class Unit(str, Enum):
    """What is drawn for the interval."""

    utterance = "utterance"
    speaker = "speaker"
    call = "call"


class OnMissing(str, Enum):
    """What a missing hypothesis means."""

    error = "error"
    empty = "empty"
    drop = "drop"


class WeightsName(str, Enum):
    """Costs of the alignment."""

    levenshtein = "levenshtein"
    sclite = "sclite"


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="What was said.")],
    hypotheses: Annotated[list[str], typer.Argument(metavar="HYP...", help="What was recognised: PATH or NAME=PATH.")],
    normalizer: Annotated[
        list[str] | None,
        typer.Option(help="Normaliser of both sides: none, simple, english, indic, ... Give it twice to choose both."),
    ] = None,
    missing: Annotated[OnMissing, typer.Option(help="A missing hypothesis is an error, empty, or drops its id.")] = (
        OnMissing.error
    ),
    by: Annotated[Unit, typer.Option(help="What is drawn for intervals and p-values.")] = Unit.utterance,
    utt2spk: Annotated[Path | None, typer.Option(help="Speaker of each id, where REF does not say it.")] = None,
    utt2call: Annotated[Path | None, typer.Option(help="Call of each id, where REF does not say it.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A field of REF to break down by.")] = None,
    weights: Annotated[WeightsName, typer.Option(help="Costs of the word alignment.")] = WeightsName.levenshtein,
    alternatives: Annotated[
        list[str] | None,
        typer.Option(
            help="Other ways to say the reference: braces, numbers, spellings, or a file of equivalent phrases."
        ),
    ] = None,
    reference_field: Annotated[str | None, typer.Option("--ref-field", help="The field of the text in REF.")] = None,
    hypothesis_field: Annotated[str | None, typer.Option("--hyp-field", help="The field of the text in HYP.")] = None,
    cer: Annotated[
        bool | None, typer.Option("--cer/--no-cer", help="Character error rates; by default unless texts are long.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Share that the interval covers.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Print speakers, lengths and groups too.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for scores.json and report.html.")] = None,
    audio: Annotated[Path | None, typer.Option(help="The folder of the audio, for players on the page.")] = None,
    title: Annotated[str | None, typer.Option(help="The heading of the page.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(help='End with code 2 if a condition holds: "wer>12.5", "ser>40", "worse".')
    ] = None,
    per_utterance: Annotated[
        bool, typer.Option("--per-utterance", help="In JSON: counts and alignment of every utterance.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each HYP against REF."""
    import msgspec

    from speechkit.metrics.comparison import compare
    from speechkit.metrics.gates import GateError, failures, parse_gate
    from speechkit.metrics.sides import read_sides
    from speechkit.metrics.transcripts import read_speakers

    gates = [parse_gate(text) for text in fail_if or ()]
    offered = _alternatives(alternatives or [])
    sides = read_sides(
        reference,
        hypotheses,
        missing=missing.value,
        reference_field=reference_field,
        hypothesis_field=hypothesis_field,
    )
    for path, field in ((utt2spk, "speaker"), (utt2call, "recording")):
        if path is not None:
            names = read_speakers(path)
            renamed = [
                msgspec.structs.replace(t, **{field: names.get(t.id, getattr(t, field))}) for t in sides.references
            ]
            sides = msgspec.structs.replace(sides, references=renamed)
    scored = compare(
        sides,
        normalizers=normalizer or ["none"],
        by=by.value,
        groups=group or [],
        weights=weights.value,
        alternatives=offered,
        characters=cer,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    summary = _summary(scored, reference, hypotheses, per_utterance)
    if out is not None:
        from speechkit.io.atomic import write_json
        from speechkit.report.score_page import render_score_page

        write_json(out / "scores.json", summary)
        page = render_score_page(out / "report.html", scored, sides, title=title, audio=audio, source=reference)
    if json:
        typer.echo(msgspec.json.encode(summary).decode())
    else:
        _print(scored.comparison, breakdown)
        if out is not None:
            typer.echo(f"{out / 'scores.json'}\n{page} ({page.stat().st_size / 1e6:.1f} MB)")
    crossed = [sentence for gate in gates for sentence in failures(gate, scored.comparison)]
    if crossed:
        raise GateError("; ".join(crossed))


score.__doc__ = EXAMPLES


def _alternatives(given: list[str]) -> Alternatives | None:
    from speechkit.metrics.alternatives import NAMED_ALTERNATIVES, Alternatives, read_groups

    named = {name: name in given for name in NAMED_ALTERNATIVES}
    groups = tuple(group for each in given if each not in named for group in read_groups(Path(each)))
    return Alternatives(**named, groups=groups) if given else None


def _summary(scored: Scored, reference: Path, hypotheses: list[str], per_utterance: bool) -> dict[str, Any]:
    """What is written as JSON; an infinite rate is null there."""
    import msgspec

    summary = {"reference": str(reference), "hypotheses": hypotheses, **msgspec.to_builtins(scored.comparison)}
    if per_utterance:
        summary["utterance_words"] = {
            name: {system: result.utterances for system, result in systems.items()}
            for name, systems in scored.results.items()
        }
    return summary


def _print(comparison: Comparison, breakdown: bool) -> None:
    from rich.console import Console

    console = Console(width=max(110, Console().width), highlight=False)
    for table in comparison.tables:
        console.print(_rates(table, comparison.confidence))
        spec = table.normalizer
        typer.echo(f"normaliser {spec.name} version {spec.version}\n")
        if breakdown:
            for name, parts in _parts(table):
                console.print(_parts_table(name, table, parts))
                typer.echo()
    if len(comparison.tables[0].systems) > 1:
        console.print(_pairs(comparison.tables[0]))
        typer.echo()
    alternatives = f", alternatives: {', '.join(comparison.alternatives)}" if comparison.alternatives else ""
    typer.echo(
        f"{comparison.utterances:,} utterances; {comparison.confidence:.0%} intervals over {comparison.units:,} "
        f"{comparison.by}s, {comparison.resamples:,} draws; {comparison.weights} alignment{alternatives}"
    )
    for flip in comparison.flips:
        typer.echo(
            f"the normaliser decides: {flip.better} is better than {flip.worse} under {flip.normalizer} "
            f"and worse under {flip.other}"
        )
    for sentence in (*comparison.warnings, *comparison.notes):
        typer.echo(f"note: {sentence}")


def _rates(table: Table, confidence: float) -> Any:
    """One row a system, the best rate bold."""
    from rich.table import Table as Grid
    from rich.text import Text

    from speechkit.metrics.comparison import best_of

    grid = Grid(box=None, pad_edge=False)
    for name in ("", "WER %", f"{confidence:.0%} interval", "words", "hits", "sub", "del", "ins", "SER %", "CER %"):
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    best = best_of([s.wer.rate for s in table.systems])
    best_cer = best_of([s.cer.rate for s in table.systems if s.cer])
    best_ser = best_of([s.sentence_error_rate for s in table.systems])
    for system in table.systems:
        wer = system.wer
        grid.add_row(
            Text(system.name),
            _percent(wer.rate, wer.rate == best),
            "–" if wer.interval is None else f"{100 * wer.interval.low:.2f} - {100 * wer.interval.high:.2f}",
            f"{wer.tokens:,}",
            f"{wer.hits:,}",
            f"{wer.substitutions:,}",
            f"{wer.deletions:,}",
            f"{wer.insertions:,}",
            _percent(system.sentence_error_rate, system.sentence_error_rate == best_ser),
            _percent(system.cer.rate, system.cer.rate == best_cer) if system.cer else "–",
        )
    return grid


def _percent(rate: float, best: bool) -> Any:
    from rich.text import Text

    return Text(f"{100 * rate:.2f}", style="bold" if best else "")


def _pairs(table: Table) -> Any:
    from rich.table import Table as Grid
    from rich.text import Text

    from speechkit.metrics.significance import shown_p

    grid = Grid(box=None, pad_edge=False)
    grid.add_column("pair", overflow="fold")
    for name in ("points", "interval", "p", "adjusted p", "MAPSSWE p", "McNemar p"):
        grid.add_column(name, justify="right", no_wrap=True)
    for pair in table.pairs:
        drawn = pair.bootstrap
        grid.add_row(
            Text(f"{pair.first} - {pair.second}"),
            "–" if drawn is None else f"{100 * drawn.difference:+.2f}",
            "–" if drawn is None else f"{100 * drawn.interval.low:+.2f} - {100 * drawn.interval.high:+.2f}",
            shown_p(None if drawn is None else drawn.p_value),
            shown_p(pair.holm_p),
            shown_p(pair.matched_pairs.p_value),
            shown_p(pair.mcnemar.p_value),
        )
    return grid


def _parts(table: Table) -> list[tuple[str, list[dict[str, Score]]]]:
    systems = table.systems
    found = [("reference words", [s.lengths for s in systems])]
    if systems[0].speakers:
        found.append(("speaker", [s.speakers for s in systems]))
    found += [(field, [s.groups[field] for s in systems]) for field in systems[0].groups]
    return found


def _parts_table(name: str, table: Table, parts: list[dict[str, Score]]) -> Any:
    from rich.table import Table as Grid
    from rich.text import Text

    from speechkit.metrics.comparison import best_of

    grid = Grid(box=None, pad_edge=False)
    grid.add_column(name, overflow="ellipsis", max_width=40, no_wrap=True)
    grid.add_column("words", justify="right")
    for system in table.systems:
        grid.add_column(Text(f"{system.name} %"), justify="right")
    for key in dict.fromkeys(key for part in parts for key in part):
        rates = [part[key].rate if key in part else None for part in parts]
        best = best_of([rate for rate in rates if rate is not None])
        words = next(part[key].tokens for part in parts if key in part)
        grid.add_row(
            Text(key or "(none)"),
            f"{words:,}",
            *("–" if rate is None else _percent(rate, rate == best) for rate in rates),
        )
    return grid
