"""Teach the separator to count speakers, and judge it as it is used: stages 4 and 5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from speechkit.pipeline import SHARED, Context, Interrupted

if TYPE_CHECKING:
    from speechkit.metrics.separated_tracks import ReferenceMixture
    from speechkit.separation.counting import Example
    from speechkit.separation.separate import LoadedSeparator


class CountingConfig(msgspec.Struct, frozen=True):
    """How the separator is prepared for use; the mixtures of the speakers who choose teach it to count."""

    sample_rate: Annotated[int, SHARED] = 8000


def teach_counting(context: Context) -> None:
    """Copy the separator with the calibration that tells lone speakers, pairs and noise apart.

    Raises:
        Interrupted: if the user asked to stop.
    """
    import shutil

    from speechkit.separation.counting import fit_counting, write_counting

    counting = fit_counting(_examples(context), {"mixtures": "dev.jsonl of the recipe mossformer2"})
    folder = context.output("model")
    shutil.copytree(context.inputs["model"], folder, dirs_exist_ok=True)
    write_counting(folder, counting)


def _examples(context: Context) -> Iterator[Example]:
    """What the separator makes of every mixture, and of the noise of those that have some."""
    from speechkit.data.audio import read_waveform
    from speechkit.data.mixtures import mixture_of, read_sources
    from speechkit.separation.separate import counting_example

    separator, rate = _separator(context), context.config.sample_rate
    manifest = context.inputs["dev"]
    rows = list(context.read("dev"))
    for number, row in enumerate(rows, start=1):
        mixture = read_waveform(row, manifest, sample_rate=rate)
        yield counting_example(separator, mixture, read_sources(row, manifest, rate))
        if noise := mixture_of(row, manifest).noise:
            beside = msgspec.structs.replace(row, audio_filepath=str(Path(row.audio_filepath).parent / noise))
            yield counting_example(separator, read_waveform(beside, manifest, sample_rate=rate), [])
        context.progress.update(number, len(rows))
        if context.interrupted:
            raise Interrupted


def _separator(context: Context) -> LoadedSeparator:
    from speechkit.separation.separate import load_window_separator

    return load_window_separator(context.inputs["model"], context.device)


class ScoreConfig(msgspec.Struct, frozen=True):
    """What the separator is judged on, and what stands beside it.

    Attributes:
        mixtures_manifest: a set of others' with its sources, such as Libri2Mix, judged beside the recipe's own.
        beside: another separator, a folder or hub id.
        measures: beside SI-SDR: ``sdr``, ``stoi``, ``pesq`` (extra separation-scores).
        by: what is drawn for intervals.
    """

    mixtures_manifest: str | None = None
    beside: str | None = None
    measures: list[Literal["sdr", "stoi", "pesq"]] = []
    by: Literal["mixture", "speaker"] = "mixture"


def beside_digest(beside: str) -> str:
    """Digest of the other separator."""
    from speechkit.separation.separate import separation_digest

    return separation_digest(beside)


def score(context: Context) -> None:
    """Separate every mixture for a known and for an unknown number of speakers, and score the tracks.

    Raises:
        Interrupted: if the user asked to stop.
    """
    from speechkit.metrics.separated_tracks import read_references
    from speechkit.metrics.separation_comparison import compare_separation
    from speechkit.metrics.separation_items import score_items
    from speechkit.report.separation_page import write_separation_scores
    from speechkit.report.separation_tables import all_tables
    from speechkit.separation.separate import load_window_separator

    separators = {
        name: load_window_separator(context.inputs[name], context.device)
        for name in ("model", "beside")
        if name in context.inputs
    }
    out = context.output("scores")
    for part in ("test", "mixtures_manifest"):
        if part not in context.inputs:
            continue
        references, unusable = read_references(context.inputs[part])
        systems = {
            f"{name}, {kind}": _tracks(context, references, separator, context.scratch / part / name / kind)
            for name, separator in separators.items()
            for kind in ("number known", "counted")
        }
        items = score_items(references, systems, measures=context.config.measures, left_out=unusable)
        scores = compare_separation(items, by=context.config.by, groups=["set"])
        write_separation_scores(out / part.removesuffix("_manifest"), scores, items.references, systems)
        for table in all_tables(scores, brief=True):
            context.say(table.markdown())


def _tracks(
    context: Context, references: list[ReferenceMixture], separator: LoadedSeparator, folder: Path
) -> dict[str, list[str]]:
    """Write the tracks of every mixture, of a known number if the folder says so; their paths by the mixture's id."""
    from speechkit.data.audio import read_cut
    from speechkit.io.audio import write_audio
    from speechkit.io.paths import safe_id
    from speechkit.separation.separate import separate

    known = separator.speakers if folder.name == "number known" else None
    found = {}
    for number, reference in enumerate(references, start=1):
        row = reference.mixture
        separation = separate(read_cut(row.audio_filepath, row), row.sample_rate, model=separator, speakers=known)
        tracks = separation.tracks[: known or max(1, separation.count.speakers)]
        paths = [folder / f"{safe_id(reference.id)}_source{place}.flac" for place in range(1, len(tracks) + 1)]
        for path, track in zip(paths, tracks, strict=True):
            write_audio(path, track, row.sample_rate)
        found[reference.id] = [str(path) for path in paths]
        context.progress.update(number, len(references))
        if context.interrupted:
            raise Interrupted
    return found
