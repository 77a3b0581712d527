"""Stage 8 of mining: the data set with its splits, data card, formats and clips."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.data.manifest import write_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.io.atomic import write_json
from speechkit.mining.export.channels import LoudestChannel
from speechkit.mining.export.chosen import select_rows
from speechkit.mining.export.sound import SentenceQuality, measured_sound, within_bounds
from speechkit.mining.input_stages import input_file
from speechkit.mining.lookup import RecordLookup

if TYPE_CHECKING:
    from speechkit.pipeline import Context


def export_set(context: Context) -> None:
    """Stage 8: the manifest, splits without a leak, the card, other formats and clips.

    Audio paths are absolute where the recordings were given so, and relative to the manifest where they were not, so
    that a folder can be moved together with its recordings.
    """
    from speechkit.data.split import write_splits
    from speechkit.errors import UserError
    from speechkit.mining.export.card import data_card, write_card
    from speechkit.mining.export.clips import cut_clips
    from speechkit.mining.export.formats import export as export_formats
    from speechkit.mining.export.recordings import split_without_leak

    config = context.config
    folder = context.output("export")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.jsonl"
    chosen = select_rows(context)
    channels = LoudestChannel(context)
    # Of all located sentences and whatever a curator decided, so that the page stays as it is.
    located = channels.of_rows(chosen.located())
    context.write("quality.jsonl", measured_sound(_placed(located, config.audio, folder), folder, context))
    quality = RecordLookup(context.output("quality.jsonl"), SentenceQuality)
    rows = _placed(channels.of_rows(chosen.utterances()), config.audio, folder)
    count = write_manifest(manifest, within_bounds(rows, quality, context, chosen.decided))
    write_jsonl(folder / "rejected.jsonl", (item for item in chosen.outcomes() if not item.kept))
    write_jsonl(folder / "unmatched.jsonl", chosen.unmatched())
    summary = chosen.summary()
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
            splits = write_splits(manifest, split, {name: folder / f"{name}.jsonl" for name in shares})
            for note in split.notes:
                context.log(note)
    card = data_card(
        manifest,
        rejected=summary.rejected,
        unmatched_seconds=summary.unmatched_seconds,
        splits=splits or None,
        decisions=chosen.counts,
        made_with=_made_with(context),
        warnings=summary.warnings,
    )
    write_card(card, folder)
    shown = manifest
    if config.clips != "none" and count:
        shown = cut_clips(manifest, folder, format=config.clips)
    if config.formats and count:
        for done in export_formats(shown, folder, list(config.formats)):
            for what, lost in {**done.lost, **done.changed}.items():
                context.log(f"{done.format} cannot hold: {what} ({lost})")


def _made_with(context: Context) -> dict[str, str]:
    """The parts that the texts and times depend on."""
    from speechkit.text import normalizer_for

    normalizer = normalizer_for(context.config.lang).spec
    first = next(iter(context.read("hypotheses")), None)
    return {
        "normaliser": f"{normalizer.name}, version {normalizer.version}",
        "recogniser": first.recognizer if first is not None else "none",
    }


def _placed(utterances: Iterable[Utterance], audio: str, folder: Path) -> Iterator[Utterance]:
    for item in utterances:
        path = str(input_file(audio, item.audio_filepath).resolve())
        if not Path(audio).is_absolute():
            path = Path(os.path.relpath(path, folder.resolve())).as_posix()
        yield msgspec.structs.replace(item, audio_filepath=path)
