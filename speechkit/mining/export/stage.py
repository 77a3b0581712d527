"""Stage 8 of mining: the data set in the forms of the field."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from speechkit.data.manifest import write_jsonl, write_manifest
from speechkit.data.records import Utterance
from speechkit.io.arrays import Float
from speechkit.io.atomic import write_json
from speechkit.mining.config import ExportConfig
from speechkit.mining.export.chosen import ChosenRows, select_rows
from speechkit.mining.input_stages import input_file

if TYPE_CHECKING:
    from speechkit.pipeline import Context


def export_set(context: Context) -> None:
    """Stage 8: the manifest, splits without a leak, the card, other formats and clips.

    Audio paths are absolute where the recordings were given so, and relative to the manifest where they were not, so
    that a folder that is moved with its recordings stays right.
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
    count = write_manifest(manifest, _measured(context, folder, chosen))
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
    heard = next(iter(context.read("hypotheses")), None)
    return {
        "normaliser": f"{normalizer.name}, version {normalizer.version}",
        "recogniser": heard.recognizer if heard is not None else "none",
    }


def _measured(context: Context, folder: Path, chosen: ChosenRows) -> Iterator[Utterance]:
    """The chosen sentences with their sound as columns, less those that the bounds leave out.

    What a curator accepted stays whatever its sound is.
    """
    from speechkit.data.audio import read_cut
    from speechkit.errors import AudioError
    from speechkit.mining.quality import CONTEXT_SECONDS, sound_quality

    config = context.config
    bounds = quality_bounds(config)
    for row in _placed(chosen.utterances(), config.audio, folder):
        if not config.quality and not bounds and not config.dnsmos:
            yield row
            continue
        path = folder / row.audio_filepath
        context_samples = round(CONTEXT_SECONDS * row.sample_rate)
        begin = max(0, row.offset_samples - context_samples)
        lead = row.offset_samples - begin
        try:
            wide = _widened(path, row, begin, lead + row.num_samples + context_samples)
            sentence = wide[lead : lead + row.num_samples]
            found = sound_quality(sentence, wide, row.sample_rate, row.text or "")
            if config.dnsmos:
                from speechkit.metrics.dnsmos import RATE, noise_scores

                score = noise_scores(read_cut(path, row, sample_rate=RATE)).overall
                found = msgspec.structs.replace(found, dnsmos=score)
        except AudioError as error:
            context.log(f"{row.id}: its sound was not measured: {error}")
            yield row
            continue
        outside = []
        for name, word, bound in bounds:
            value = getattr(found, name)
            if value < bound if word == "under" else value > bound:
                outside.append(f"{name} is {value:g}, {word} {bound:g}")
        if outside and row.id not in chosen.decided:
            context.drop(row.id, "low_quality", f"{row.id}: {'; '.join(outside)}")
        else:
            yield msgspec.structs.replace(row, custom={**(row.custom or {}), **found.columns()})


def quality_bounds(config: ExportConfig) -> list[tuple[str, str, float]]:
    """(column, "under" or "over", bound) of each bound that is set; a value on the wrong side leaves a row out."""
    found = []
    for name in ("snr_db", "bandwidth_hz", "clipped", "characters_per_second", "dnsmos"):
        for side, word in (("min", "under"), ("max", "over")):
            bound = getattr(config, f"{side}_{name}", None)
            if bound is not None:
                found.append((name, word, float(bound)))
    return found


def _widened(path: Path, row: Utterance, begin: int, count: int) -> Float:
    from speechkit.io.audio import audio_info, read_audio

    info = audio_info(path)
    channel = row.channel if info.channels > 1 else None
    return read_audio(
        path, offset_samples=begin, num_samples=min(count, info.num_samples - begin), sample_rate=None, channel=channel
    )


def _placed(utterances: Iterable[Utterance], audio: str, folder: Path) -> Iterator[Utterance]:
    for item in utterances:
        path = str(input_file(audio, item.audio_filepath).resolve())
        if not Path(audio).is_absolute():
            path = Path(os.path.relpath(path, folder.resolve())).as_posix()
        yield msgspec.structs.replace(item, audio_filepath=path)
