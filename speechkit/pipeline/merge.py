"""Merge finished parts into the folder to commit, streamed, in input order."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from speechkit.errors import SpeechkitError
from speechkit.io.atomic import atomic_path
from speechkit.io.hashing import DIGEST_BYTES
from speechkit.pipeline.folder import Committed, measure_output
from speechkit.pipeline.job import Job
from speechkit.pipeline.parts import PartIndex
from speechkit.pipeline.stage import DropRecord, Output, Stage

BLOCK_BYTES = 1 << 20
NO_HARD_LINKS = (errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


def merge_parts(stage: Stage, job: Job, index: PartIndex, staging: Path) -> tuple[dict[str, Committed], dict[str, int]]:
    """Write the stage's outputs into ``staging``; the parts are kept, so that a killed commit can be repeated.

    Returns:
        The outputs by path, and the drops by reason.

    Raises:
        SpeechkitError: of `measure_output`, with the reasons of the drops. Parts with drops are then removed, so that
            the next run retries them.
        FileNotFoundError: if a part is missing because another shard has committed.
    """
    output = stage.outputs[0]
    records, digest = _concatenate(staging / output.path, job, index, "jsonl")
    for part in range(index.parts):
        shard = job.shard_path(part, index.parts)
        if shard.exists():
            _link(shard, staging / "arrays" / shard.name)
    outputs: dict[str, Committed] = {}
    dropped: dict[str, int] = {}
    if stage.drop_reasons:
        count, drops_digest = _concatenate(staging / "drops.jsonl", job, index, "drops.jsonl")
        dropped = count_reasons(staging / "drops.jsonl")
        drops = Output("drops.jsonl", DropRecord, min_records=0)
        outputs["drops.jsonl"] = measure_output(staging, drops, count, drops_digest)
    try:
        outputs[output.path] = measure_output(staging, output, records, digest)
    except SpeechkitError as error:
        reasons = ", ".join(f"{reason} {number}" for reason, number in dropped.items())
        reasons_text = f"; dropped: {reasons}, the first {_first(staging / 'drops.jsonl')}" if reasons else ""
        advice = "; fix the dropped items and run again" if _open_dropped(job, index) else ""
        raise type(error)(f"{error} ({index.records} records were read{reasons_text}){advice}") from error
    return outputs, dropped


def count_reasons(path: Path) -> dict[str, int]:
    """Counts of the reasons in a drops.jsonl, most frequent first."""
    decoder = msgspec.json.Decoder(DropRecord)
    counts: dict[str, int] = {}
    with path.open("rb") as file:
        for line in file:
            reason = decoder.decode(line).reason
            counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _first(path: Path) -> str:
    with path.open("rb") as file:
        drop = msgspec.json.decode(file.readline(), type=DropRecord)
    return f"{drop.id} ({drop.detail})" if drop.detail else drop.id


def _open_dropped(job: Job, index: PartIndex) -> bool:
    """Remove the parts with drops; returns whether there were any.

    Otherwise they would stay done for ever, since the files named by a record are not part of the fingerprint.
    """
    any_dropped = False
    for part in range(index.parts):
        drops = job.part_path(part, index.parts, "drops.jsonl")
        if drops.exists():
            any_dropped = True
            # The records first: their file marks a part as done.
            for path in (job.part_path(part, index.parts), drops, job.shard_path(part, index.parts)):
                path.unlink(missing_ok=True)
    return any_dropped


def _concatenate(target: Path, job: Job, index: PartIndex, suffix: str) -> tuple[int, str]:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    lines = 0
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for part in range(index.parts):
            path = job.part_path(part, index.parts, suffix)
            if suffix != "jsonl" and not path.exists():
                continue  # most parts drop nothing
            with path.open("rb") as source:
                while block := source.read(BLOCK_BYTES):
                    file.write(block)
                    digest.update(block)
                    lines += block.count(b"\n")
    return lines, digest.hexdigest()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
