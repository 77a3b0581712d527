"""`speechkit score-separation`: scores of speaker separation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from speechkit.asr.hypothesis import Recognizer
    from speechkit.metrics.separated_tracks import ReferenceMixture
    from speechkit.metrics.separation_comparison import RecognisedTexts, SeparationScores
    from speechkit.metrics.separation_items import Items

EXAMPLES = """
SI-SDR and its improvement over the mixture for one or more separators, under the best permutation, with intervals and
paired differences; SDR, STOI and PESQ where their libraries are installed; with --asr, word errors and leaked words.

REF and EST are manifests (REF with its sources, EST as speechkit separate writes it) or folders: NAME_mix.wav with
NAME_source1.wav and NAME_source2.wav; mix_clean, s1 and s2 as in LibriMix; or one folder per mixture. Estimates may
be next to their sources as NAME_source1hat.wav.

A mixture that cannot be scored for one system is left out for all and listed, and the command exits with 2.

Examples:

  speechkit score-separation libri2mix-8k separated

  speechkit score-separation test.jsonl ours=separated/tracks.jsonl theirs=published --out scores --by speaker

  speechkit score-separation Libri2Mix/wav8k/min/test/mix_clean est --measures sdr,stoi --json

  speechkit score-separation test.jsonl separated --asr embedded --out scores
"""


def score_separation(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Mixtures with their sources: manifest or folder.")],
    estimates: Annotated[list[str], typer.Argument(metavar="EST...", help="Tracks: PATH or NAME=PATH.")],
    measures: Annotated[
        str | None,
        typer.Option(
            help="In addition to SI-SDR: sdr, stoi, pesq, comma-separated, or none. Default: those installed."
        ),
    ] = None,
    by: Annotated[
        Literal["mixture", "speaker"], typer.Option(help="Unit of resampling for intervals and p-values.")
    ] = "mixture",
    tolerance: Annotated[float, typer.Option(help="Allowed length difference of a track in seconds.", min=0.0)] = 0.0,
    asr: Annotated[
        str | None, typer.Option(help="Recogniser for the tracks: embedded, a CTC checkpoint, faster-whisper:MODEL.")
    ] = None,
    normalizer: Annotated[str, typer.Option(help="Normaliser of references and hypotheses.")] = "simple",
    lang: Annotated[str, typer.Option(help="Language of the recogniser.")] = "en",
    device: Annotated[str, typer.Option(help="For the recogniser: auto, cpu, cuda, ...")] = "auto",
    group: Annotated[list[str] | None, typer.Option(help="A field of custom in REF to break down by.")] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A folder for scores.json, .md, .tex and .csv, items.csv and report.html.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    max_megabytes: Annotated[float, typer.Option(help="Approximate size of the page.", min=1.0)] = 8.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score each EST against REF."""
    import msgspec

    from speechkit.cli.progress import progress_line
    from speechkit.errors import UserError
    from speechkit.metrics.bootstrap import check_settings
    from speechkit.metrics.separated_tracks import read_estimates, read_references
    from speechkit.metrics.separation_comparison import compare_separation
    from speechkit.metrics.separation_items import score_items
    from speechkit.metrics.sides import name_systems
    from speechkit.metrics.signal_quality import known_measures

    named = None if measures is None else [name.strip() for name in measures.split(",") if name.strip()]
    asked = [] if named == ["none"] else named
    chosen, absent = known_measures(asked)
    check_settings(confidence, resamples, seed)
    references, unusable = read_references(reference)
    if by == "speaker" and (nameless := [each.id for each in references if each.speakers is None]):
        raise UserError(f"{nameless[0]}: a source has no speaker; give every source one, or resample mixtures")
    systems = {name: read_estimates(path) for name, path in name_systems(estimates).items()}
    recognizer = None if asr is None else _recognizer(references, asr, lang, device, normalizer)  # before any work
    items = score_items(
        references,
        systems,
        measures=chosen,
        tolerance_seconds=tolerance,
        left_out=unusable,
        progress=progress_line("mixtures scored"),
    )
    recognised = None if recognizer is None else _recognised(items, systems, recognizer, normalizer, tolerance)
    scores = compare_separation(
        items, by=by, groups=group or [], recognised=recognised, confidence=confidence, resamples=resamples, seed=seed
    )
    scores = msgspec.structs.replace(scores, notes=[*scores.notes, *absent])
    if out is not None:
        from speechkit.report.separation_page import write_separation_scores

        write_separation_scores(out, scores, items.references, systems, title=title, max_megabytes=max_megabytes)
    if json:
        typer.echo(msgspec.json.encode(scores).decode())
    else:
        _print(scores, out)
    if scores.left_out:
        first = scores.left_out[0]
        lost = len({omission.id for omission in scores.left_out})
        total = scores.mixtures + lost
        raise UserError(f"{lost:,} of {total:,} mixtures were left out; the first: {first.id}: {first.reason}")


score_separation.__doc__ = EXAMPLES


def _recognizer(references: list[ReferenceMixture], name: str, lang: str, device: str, normalizer: str) -> Recognizer:
    """The recogniser of the tracks, after a check of what it is compared with."""
    from speechkit.asr import load_recognizer
    from speechkit.errors import UserError
    from speechkit.text import get_normalizer

    get_normalizer(normalizer)
    without = [reference.id for reference in references if reference.texts is None]
    if without:
        raise UserError(f"{without[0]}: its sources have no texts; give texts in custom.mixture, or leave --asr out")
    return load_recognizer(name, lang=lang, device=device)


def _recognised(
    items: Items, systems: dict[str, dict[str, list[str]]], recognizer: Recognizer, normalizer: str, tolerance: float
) -> RecognisedTexts:
    """Recognised texts of all scored mixtures, sources and tracks: of the pieces that were scored."""
    from speechkit.cli.progress import progress_line
    from speechkit.io.audio import audio_info
    from speechkit.metrics.separated_tracks import OpenMixture, tracks_of
    from speechkit.metrics.separation_comparison import RecognisedTexts

    def text(path: str, begin: int, opened: OpenMixture, channel: int | None = None) -> str:
        ends = (begin, begin + opened.samples)
        whole = ends == (0, audio_info(path).num_samples)
        piece = [(round(ends[0] * 16_000 / opened.sample_rate), round(ends[1] * 16_000 / opened.sample_rate))]
        return recognizer.recognize(path, None if whole else piece, channel=channel).text

    mixtures: dict[str, str] = {}
    sources: dict[str, list[str]] = {}
    tracks: dict[str, dict[str, list[str]]] = {system: {} for system in systems}
    show = progress_line("mixtures recognised")
    for done, reference in enumerate(items.references):
        row = reference.mixture
        alone = OpenMixture(reference, [], tolerance)
        mixtures[reference.id] = text(row.audio_filepath, row.offset_samples, alone, row.channel)
        sources[reference.id] = [text(path, alone.begins[path], alone) for path in reference.sources]
        for system, estimates in systems.items():
            opened = OpenMixture(reference, tracks_of(estimates, reference) or [], tolerance)
            tracks[system][reference.id] = [text(path, opened.begins[path], opened) for path in opened.tracks]
        show(done + 1, len(items.references))
    return RecognisedTexts(mixtures, sources, tracks, normalizer)


def _print(scores: SeparationScores, out: Path | None) -> None:
    from rich.console import Console

    from speechkit.report.separation_tables import all_tables, sentence

    console = Console(width=max(120, Console().width), highlight=False)
    for table in all_tables(scores, brief=True):
        typer.echo(table.caption)
        console.print(table.rich(dash=" to "))
        typer.echo()
    typer.echo(sentence(scores))
    for note in scores.notes:
        typer.echo(f"note: {note}")
    if out is not None:
        page = out / "report.html"
        typer.echo(f"{out / 'scores.json'}\n{page} ({page.stat().st_size / 1e6:.1f} MB)")
