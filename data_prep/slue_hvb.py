"""SLUE-HVB: telephone calls to a bank with dialog acts, from HarperValleyBank.

Layout as released: ``slue-hvb_{fine-tune,dev,test}.tsv`` with the columns issue_id, speaker_id, channel, start_ms,
duration_ms, text, dialog_acts (a list; withheld in ``_blind``) and one file per utterance,
``<split>/<issue_id>_<start>_<end>.wav``; or tars of it; or the Parquet files of asapp/slue-phase-2, config hvb. The
length of a clip comes from its file. Dialog acts are in ``custom.dialog_acts``, the call in ``custom.recording``.

Licence: CC BY 4.0. Homepage: https://github.com/asappresearch/slue-toolkit
Citation: Shon et al. 2023, SLUE Phase-2: a benchmark suite of diverse spoken language understanding tasks.
"""

from __future__ import annotations

from typing import Any

from speechkit.slue.metrics.classification import DIALOG_ACTS

from .corpus import Clip, Item, LeftOut
from .slue_source import Reading, Row, slue_corpus, tolerant


def clip(reading: Reading, row: Row) -> Item:
    """Utterance with dialog acts; without text if it has no words."""
    issue, begin, length = row.text("issue_id"), row.number("start_ms"), row.number("duration_ms")
    if issue is None or begin is None or length is None or begin % 1 or length % 1:
        return LeftOut(issue or "", "bad_line", f"{row.location}: issue_id, start_ms or duration_ms is absent")
    identifier = f"{issue}_{int(begin)}_{int(begin + length)}"
    custom = tolerant(_custom, row, identifier)
    if isinstance(custom, LeftOut):
        return custom
    text = row.text("text")
    if text is None:
        reading.request.notes["utterances without words"] += 1
    if "dialog_acts" not in custom:
        reading.request.notes["utterances without labels (withheld)"] += 1
    return Clip(
        identifier,
        reading.audio(row, identifier),
        text,
        speaker=row.text("speaker_id"),
        lang="en",
        custom=custom,
    )


def _custom(row: Row) -> dict[str, Any]:
    custom: dict[str, Any] = {"recording": row.text("issue_id")}
    for name in ("channel", "role"):
        if row.text(name):
            custom[name] = row.text(name)
    acts = row.data("dialog_acts")
    if acts is None:
        return custom
    for act in acts:
        if act not in DIALOG_ACTS:
            raise ValueError(f"{str(act)[:40]!r} is no dialog act of the 18")
    custom["dialog_acts"] = list(acts)
    return custom


CORPUS = slue_corpus(
    clip,
    name="slue_hvb",
    title="SLUE-HVB",
    licence="CC BY 4.0",
    year=2023,
    tables=("slue-hvb",),
    configs=("hvb",),
    columns=("issue_id", "start_ms", "duration_ms"),
)

if __name__ == "__main__":
    from .command import run_module

    run_module(CORPUS)
