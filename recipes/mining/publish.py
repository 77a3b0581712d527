"""Stages 8 and 9: the data set in the forms of the field, and the page to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.data.manifest import read_jsonl, write_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.io.atomic import write_json
from speechkit.mining.records import Outcome, Recording, SelectionSummary, UnmatchedStretch
from speechkit.mining.stages import input_file

if TYPE_CHECKING:
    from speechkit.pipeline import Context


def export(context: Context) -> None:
    """Stage 8: the manifest with absolute audio paths, splits without a leak, the card, other formats and clips."""
    from speechkit.errors import UserError
    from speechkit.mining.export.card import data_card, write_card
    from speechkit.mining.export.splits import split_without_leak

    config = context.config
    folder = context.output("export")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.jsonl"
    count = write_manifest(manifest, _placed(read_jsonl(context.inputs["utterances"], Utterance), config.audio))
    outcomes = context.inputs["outcomes"]
    write_jsonl(folder / "rejected.jsonl", (item for item in read_jsonl(outcomes, Outcome) if not item.kept))
    write_jsonl(folder / "unmatched.jsonl", read_jsonl(context.inputs["unmatched"], UnmatchedStretch))
    summary = next(iter(context.read("summary")))
    write_json(folder / "summary.json", summary)
    splits: dict[str, int] = {}
    shares = {"train": 1 - config.dev_share - config.test_share, "dev": config.dev_share, "test": config.test_share}
    shares = {name: share for name, share in shares.items() if share > 0}
    if count and len(shares) > 1:
        try:
            split = split_without_leak(manifest, shares, seed=context.seed)
        except UserError as error:
            context.log(f"no train/dev/test split: {error}")
        else:
            for name in shares:
                chosen = (item for item in read_jsonl(manifest, Utterance) if split.of(item) == name)
                splits[name] = write_manifest(folder / f"{name}.jsonl", chosen)
            for note in split.notes:
                context.log(note)
    card = data_card(
        manifest, rejected=summary.rejected, unmatched_seconds=summary.unmatched_seconds, splits=splits or None
    )
    write_card(card, folder)
    for name in config.formats:
        write_format(name, manifest, folder / name, context.inputs["recordings"])
    if config.clips != "none" and count:
        from speechkit.mining.export.clips import cut_clips

        cut_clips(manifest, folder, format=config.clips)


def _placed(utterances: Iterable[Utterance], audio: str) -> Iterator[Utterance]:
    for item in utterances:
        path = input_file(audio, item.audio_filepath).resolve()
        yield msgspec.structs.replace(item, audio_filepath=str(path))


def write_format(name: str, manifest: Path, folder: Path, recordings: Path) -> None:
    """Write one of the other forms of a manifest into its own folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "ctm":
        from speechkit.mining.export.ctm import write_ctm

        write_ctm(manifest, folder / "words.ctm")
    elif name == "textgrid":
        from speechkit.mining.export.textgrid import write_textgrids

        write_textgrids(manifest, folder, {item.id: item.seconds for item in read_jsonl(recordings, Recording)})
    elif name == "srt":
        from speechkit.mining.export.subtitles import write_subtitles

        write_subtitles(manifest, folder)
    else:
        from speechkit.mining.export import export_manifest

        export_manifest(manifest, folder, name)


def report(context: Context) -> None:
    """Stage 9: one self-contained page."""
    from speechkit.report.mining import render_mining_report
    from speechkit.report.mining_data import Records, gather

    config = context.config
    summary: SelectionSummary = next(iter(context.read("summary")))
    records = Records(
        recordings=lambda: context.read("recordings"),
        alignments=lambda: context.read("alignments"),
        outcomes=lambda: context.read("outcomes"),
        utterances=lambda: context.read("utterances"),
        summary=summary,
    )
    data = gather(records, title=config.title, audio_root=config.audio, lang=config.lang)
    render_mining_report(context.output("report.html"), data)
