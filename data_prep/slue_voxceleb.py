"""SLUE-VoxCeleb: interviews with sentiment labels, 24 hours.

Layout as released: ``slue-voxceleb_{fine-tune,dev,test}.tsv`` (``_test_blind`` without labels) with the columns id,
normalized_text, sentiment, start_second, end_second, speaker_id, split, and the audio ``<split>_raw/<id>.flac``, from
which the utterance is cut by start and end second, or ``<split>/<id>.flac`` if already cut; or tars of it; or the
Parquet files of asapp/slue, config voxceleb, with uncut audio. The label is in ``custom.sentiment`` as is, including
Disagreement and <mixed>, which are not part of the task: scoring leaves them out and counts them.

Licence: CC BY 4.0. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2022, SLUE: new benchmark tasks for spoken language understanding evaluation on natural speech.
"""

from __future__ import annotations

from speechkit.slue.metrics.classification import SENTIMENTS

from .corpus import Clip, Item, LeftOut
from .slue_source import Reading, Row, slue_corpus

OTHER_LABELS = ("Disagreement", "<mixed>")


def clip(reading: Reading, row: Row) -> Item:
    """Utterance with its sentiment label."""
    identifier, sentiment = row.text("id") or "", row.text("sentiment")
    begin, end = row.number("start_second"), row.number("end_second")
    if begin is None or end is None:
        return LeftOut(identifier, "bad_line", f"{row.location}: start_second or end_second is no number")
    if sentiment is None:
        reading.request.notes["utterances without labels (withheld)"] += 1
    elif sentiment in OTHER_LABELS:
        reading.request.notes[f"utterances with the label {sentiment}, which is no part of the task"] += 1
    elif sentiment not in SENTIMENTS:
        return LeftOut(identifier, "bad_line", f"{row.location}: {sentiment[:40]!r} is no sentiment")
    path = reading.audio(row, identifier)
    is_recording = reading.files is None or f"{reading.split.name}_raw" in path.parts
    return Clip(
        identifier,
        path,
        row.text("normalized_text") or "",
        speaker=row.text("speaker_id"),
        lang="en",
        start_seconds=begin if is_recording else None,
        end_seconds=end if is_recording else None,
        custom={"sentiment": sentiment} if sentiment else None,
    )


CORPUS = slue_corpus(
    clip,
    name="slue_voxceleb",
    title="SLUE-VoxCeleb",
    licence="CC BY 4.0",
    year=2022,
    tables=("slue-voxceleb",),
    configs=("voxceleb",),
    columns=("id", "normalized_text", "start_second", "end_second"),
    folders=("{split}_raw", "{split}"),
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
