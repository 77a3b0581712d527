"""`speechkit score`: error rates of one or more hypothesis files against a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from speechkit.metrics.alternatives import Alternatives
    from speechkit.metrics.comparison import RateComparison, Scored
    from speechkit.metrics.keywords import KeywordScores

Format = Literal["md", "tex", "csv"]
TABLE_FORMS: tuple[Format, ...] = ("md", "tex", "csv")

EXAMPLES = """
Word and character error rates of several systems side by side, with intervals and significance.

Files are Kaldi text ("id text"), .trn, .stm, .ctm, .jsonl (NeMo, Hugging Face, Lhotse cuts, our manifests), .csv, .tsv
(SLUE, submissions, Common Voice, fairseq manifests), or a folder of .txt or .nlp files; any of them with .gz.

Every result is given under two normalisers, and rankings that depend on them are reported.

Examples:

  speechkit score ref.jsonl hyp.jsonl

  speechkit score text a=a.trn b=b.trn --normalizer english --by speaker --utt2spk utt2spk --out scores

  speechkit score ref.stm hyp.ctm --weights sclite --alternatives braces

  speechkit score ref.trn hyp.trn --json > scores.json

  speechkit score ref.jsonl a.jsonl b.jsonl --table paper.tex --table readme.md

  speechkit score ref.jsonl hyp.jsonl --normalizer english --fail-if "wer>12.5"
"""


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="What was said.")],
    hypotheses: Annotated[list[str], typer.Argument(metavar="HYP...", help="Hypotheses: PATH or NAME=PATH.")],
    normalizer: Annotated[
        list[str] | None,
        typer.Option(help="Normaliser of both sides: none, simple, english, indic, ...; repeatable."),
    ] = None,
    missing: Annotated[
        Literal["error", "empty", "drop"],
        typer.Option(help="Missing hypotheses: an error, empty text, or drop the id."),
    ] = "error",
    by: Annotated[
        Literal["auto", "utterance", "speaker", "call"],
        typer.Option(help="Unit of resampling; by default speakers if ten or more are known."),
    ] = "auto",
    utt2spk: Annotated[Path | None, typer.Option(help="Speaker of each id, if not in REF.")] = None,
    utt2call: Annotated[Path | None, typer.Option(help="Call of each id, if not in REF.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A field of REF to break down by.")] = None,
    weights: Annotated[
        Literal["levenshtein", "sclite"], typer.Option(help="Costs of the word alignment.")
    ] = "levenshtein",
    alternatives: Annotated[
        list[str] | None,
        typer.Option(help="Alternative references: braces, numbers, spellings, or a file of equivalent phrases."),
    ] = None,
    reference_field: Annotated[str | None, typer.Option("--ref-field", help="The field of the text in REF.")] = None,
    hypothesis_field: Annotated[str | None, typer.Option("--hyp-field", help="The field of the text in HYP.")] = None,
    cer: Annotated[
        bool | None, typer.Option("--cer/--no-cer", help="Character error rates; by default unless texts are long.")
    ] = None,
    keywords: Annotated[
        Path | None,
        typer.Option(help="Keywords or phrases, one per line: error rate, precision, recall and F1 of these."),
    ] = None,
    entity_field: Annotated[
        str | None, typer.Option(help="The same for the phrases that this field of REF lists for each utterance.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Print speakers, lengths and groups too.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A folder for scores.json, .md, .tex and .csv, and report.html.")
    ] = None,
    table: Annotated[
        list[Path] | None, typer.Option(help="A file for the tables: .md, .tex (booktabs) or .csv; repeatable.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="The folder of the audio, for players on the page.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(help='Exit with 2 if a condition holds: "wer>12.5", "ser>40", "worse".')
    ] = None,
    per_utterance: Annotated[
        bool, typer.Option("--per-utterance", help="In JSON: counts and alignment of every utterance.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each HYP against REF."""
    import msgspec

    from speechkit.cli.progress import progress_line
    from speechkit.errors import UserError
    from speechkit.metrics.comparison import compare, drawn_units
    from speechkit.metrics.gates import GateError, failures, parse_gate
    from speechkit.metrics.keywords import read_keywords, read_phrases, scores_of_systems
    from speechkit.metrics.sides import read_sides
    from speechkit.metrics.transcripts import read_speakers

    if keywords is not None and entity_field is not None:
        raise UserError("--keywords and --entity-field exclude each other; give one")
    phrases: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    if keywords is not None:
        phrases = read_keywords(keywords)
    elif entity_field is not None:
        phrases = read_phrases(reference, entity_field)
    forms = table_forms(table or [])
    gates = [parse_gate(text) for text in fail_if or ()]
    offered = _alternatives(alternatives or [])
    sides = read_sides(
        reference,
        hypotheses,
        missing=missing,
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
        by=by,
        groups=group or [],
        weights=weights,
        alternatives=offered,
        characters=cer,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        progress=progress_line("alignments"),
    )
    summary = _summary(scored, reference, hypotheses, per_utterance)
    of_keywords = {}
    if phrases is not None:
        of_keywords = scores_of_systems(
            scored, phrases, drawn_units(sides, by)[1], confidence=confidence, resamples=resamples, seed=seed
        )
        summary["keywords"] = of_keywords
    if out is not None:
        forms |= {out / f"scores.{form}": form for form in TABLE_FORMS}
    if forms:
        from speechkit.io.atomic import write_text
        from speechkit.report.score_tables import tables_as

        for path, form in forms.items():
            write_text(path, tables_as(scored.comparison, form, of_keywords))
    if out is not None:
        from speechkit.io.atomic import write_json
        from speechkit.report.score_page import render_score_page

        write_json(out / "scores.json", summary)
        page = render_score_page(out / "report.html", scored, sides, title=title, audio=audio, source=reference)
    if json:
        typer.echo(msgspec.json.encode(summary).decode())
    else:
        _print(scored.comparison, breakdown, of_keywords)
        if out is not None:
            typer.echo(f"{out / 'scores.json'}\n{page} ({page.stat().st_size / 1e6:.1f} MB)")
    crossed = [sentence for gate in gates for sentence in failures(gate, scored.comparison)]
    if crossed:
        raise GateError("; ".join(crossed))


score.__doc__ = EXAMPLES


def table_forms(files: list[Path]) -> dict[Path, Format]:
    """The format of each table file, by its suffix.

    Raises:
        UserError: if a suffix is unknown.
    """
    from speechkit.errors import UserError

    forms: dict[Path, Format] = {}
    for path in files:
        form = next((form for form in TABLE_FORMS if path.suffix == f".{form}"), None)
        if form is None:
            raise UserError(f"--table {path}: unknown suffix; give .md, .tex or .csv")
        forms[path] = form
    return forms


def _alternatives(given: list[str]) -> Alternatives | None:
    from speechkit.metrics.alternatives import NAMED_ALTERNATIVES, Alternatives, read_groups

    named = {name: name in given for name in NAMED_ALTERNATIVES}
    groups = tuple(group for name in given if name not in named for group in read_groups(Path(name)))
    return Alternatives(**named, groups=groups) if given else None


def _summary(scored: Scored, reference: Path, hypotheses: list[str], per_utterance: bool) -> dict[str, Any]:
    """The JSON summary; an infinite rate becomes null."""
    import msgspec

    summary = {"reference": str(reference), "hypotheses": hypotheses, **msgspec.to_builtins(scored.comparison)}
    if per_utterance:
        summary["utterance_words"] = {
            name: {system: list(result.utterances) for system, result in systems.items()}
            for name, systems in scored.results.items()
        }
    return summary


def _print(comparison: RateComparison, breakdown: bool, of_keywords: Mapping[str, KeywordScores]) -> None:
    from rich.console import Console

    from speechkit.report.score_tables import keywords_table, parts_of, parts_table, rates_table, significance_table

    console = Console(width=max(110, Console().width), highlight=False)
    for scores in comparison.tables:
        console.print(rates_table(scores, comparison.confidence).rich(dash=" - "))
        typer.echo(f"normaliser {scores.normalizer.name} version {scores.normalizer.version}\n")
        for name, parts in parts_of(scores) if breakdown else ():
            console.print(parts_table(name, scores.systems, parts, none="(none)", letters=40).rich())
            typer.echo()
    if of_keywords:
        console.print(keywords_table(of_keywords, comparison).rich(dash=" - "))
        typer.echo()
    if len(comparison.tables[0].systems) > 1:
        console.print(significance_table(comparison.tables[0], between=" - ", p="p").rich(dash=" - "))
        typer.echo()
    alternatives = f", alternatives: {', '.join(comparison.alternatives)}" if comparison.alternatives else ""
    typer.echo(
        f"{comparison.utterances:,} utterances; {comparison.confidence:.0%} intervals over {comparison.units:,} "
        f"{comparison.by}s, {comparison.resamples:,} resamples; {comparison.weights} alignment{alternatives}"
    )
    for flip in comparison.flips:
        typer.echo(
            f"the ranking depends on the normaliser: {flip.better} is better than {flip.worse} under {flip.normalizer} "
            f"and worse under {flip.other}"
        )
    for sentence in (*comparison.warnings, *comparison.notes):
        typer.echo(f"note: {sentence}")
