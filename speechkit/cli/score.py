"""`speechkit score`: error rates of one transcript file against another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from speechkit.metrics import ErrorResult

EXAMPLES = """
Word and character error rates with counts and bootstrap intervals.

Files are Kaldi text ("id text"), NIST .trn ("text (id)") or .jsonl manifests; both must hold the same ids.

Examples:

  speechkit score ref.jsonl hyp.jsonl

  speechkit score text hyp.trn --normalizer english --by speaker --utt2spk utt2spk

  speechkit score ref.trn hyp.trn --json > scores.json
"""


class Unit(str, Enum):
    """What is drawn for the interval."""

    utterance = "utterance"
    speaker = "speaker"


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="What was said.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="What was recognised.")],
    normalizer: Annotated[
        str, typer.Option(help="Normaliser of both sides: none, simple, english, indic, ...")
    ] = "none",
    by: Annotated[Unit, typer.Option(help="Resample utterances or whole speakers for the interval.")] = Unit.utterance,
    utt2spk: Annotated[Path | None, typer.Option(help="Speaker of each id, where REF does not say it.")] = None,
    confidence: Annotated[float, typer.Option(help="Share that the interval covers.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap draws.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    per_utterance: Annotated[
        bool, typer.Option("--per-utterance", help="With --json: counts and alignment of every utterance.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score HYP against REF."""
    import msgspec

    from speechkit.metrics import character_errors, word_errors
    from speechkit.metrics.transcripts import read_speakers, read_transcripts

    references, hypotheses = read_transcripts(reference), read_transcripts(hypothesis)
    speakers = {t.id: t.speaker for t in references if t.speaker is not None}
    if utt2spk is not None:
        speakers |= read_speakers(utt2spk)
    truth = [(t.id, t.text or "") for t in references]
    guess = [(t.id, t.text or "") for t in hypotheses]
    results = {
        "wer": word_errors(truth, guess, normalizer=normalizer, speakers=speakers),
        "cer": character_errors(truth, guess, normalizer=normalizer, speakers=speakers),
    }
    summary: dict[str, Any] = {
        "reference": str(reference),
        "hypothesis": str(hypothesis),
        "utterances": len(truth),
        "speakers": len({speakers[name] for name, _ in truth if name in speakers}),
        "normalizer": results["wer"].normalizer,
        "by": by.value,
    }
    for name, result in results.items():
        interval = result.interval(by.value, confidence=confidence, resamples=resamples, seed=seed)
        summary[name] = {
            "rate": result.rate,
            "interval": interval,
            "tokens": result.counts.reference_tokens,
            **msgspec.structs.asdict(result.counts),
        }
    if by is Unit.speaker:
        summary["speaker_wer"] = {name: counts.rate for name, counts in results["wer"].by_speaker().items()}
    if per_utterance:
        summary["utterance_words"] = results["wer"].utterances
    if json:
        typer.echo(msgspec.json.encode(summary).decode())
    else:
        _print_table(summary, results, confidence)


score.__doc__ = EXAMPLES


def _print_table(summary: dict[str, Any], results: dict[str, ErrorResult], confidence: float) -> None:
    """One row a rate, the normaliser and what was resampled under it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("", "rate %", f"{confidence:.0%} interval", "tokens", "hits", "sub", "del", "ins"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, result in results.items():
        counts, interval = result.counts, summary[name]["interval"]
        table.add_row(
            name.upper(),
            f"{100 * result.rate:.2f}",
            f"{100 * interval.low:.2f} - {100 * interval.high:.2f}",
            f"{counts.reference_tokens:,}",
            f"{counts.hits:,}",
            f"{counts.substitutions:,}",
            f"{counts.deletions:,}",
            f"{counts.insertions:,}",
        )
    console = Console(width=100, highlight=False)
    console.print(table)
    spec = summary["normalizer"]
    typer.echo(
        f"{summary['utterances']:,} utterances, normaliser {spec.name} version {spec.version}, "
        f"interval over {interval.units:,} {summary['by']}s"
    )
