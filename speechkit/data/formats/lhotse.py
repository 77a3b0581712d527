"""Lhotse cuts: JSON lines of MonoCut with recording and supervision, and Shar archives.

JSON lines are written and read without Lhotse, because importing it loads torch; Shar requires Lhotse (extra
``lhotse``). The conversion is lossless: alignments become Lhotse's, and fields without a Lhotse counterpart go to
``custom``. Shar stores the audio of each cut, so offsets into the recordings are not kept.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from speechkit.data.formats.identity import AbsoluteAudio, FileNames, relative_audio
from speechkit.data.formats.losses import OPTIONAL, Losses, Written
from speechkit.data.manifest import read_jsonl, write_jsonl
from speechkit.data.records import AlignmentItem, Source, Utterance
from speechkit.errors import ManifestError, require
from speechkit.io.atomic import write_error
from speechkit.io.audio import audio_info, write_audio
from speechkit.io.paths import safe_id

OURS = "speechkit"
SHARD_CUTS = 1000
SHARD_FIELDS = ("shard_origin", "shar_epoch", "dataloading_info")


class Beyond(msgspec.Struct, omit_defaults=True):
    """Fields without a counterpart in a cut, stored in ``custom["speechkit"]``."""

    units: list[int] | None = None
    features: str | None = None
    score: float | None = None
    source: Source | None = None
    text_missing: bool = False
    custom: dict[str, Any] | None = None


def write_lhotse(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write a CutSet as ``.jsonl`` or ``.jsonl.gz``; relative audio paths of the records refer to ``folder``.

    Audio paths become absolute, because Lhotse resolves them against the working directory.

    Raises:
        AudioError: if an audio file cannot be read, whose length a Recording requires.
    """
    losses, absolute = Losses(OPTIONAL), AbsoluteAudio(folder)
    write_jsonl(path, (_cut(record, absolute.of(record)) for record in losses.passing(records)))
    return losses.written(path)


def read_lhotse(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read one utterance per supervision of each MonoCut, or per cut without one, for a manifest in ``folder``.

    Raises:
        ManifestError: with ``file:line`` if a cut mixes tracks, has several channels, stores its audio in memory, or
            transforms its recording; the message says how to convert it with Lhotse first.
    """
    for number, cut in enumerate(read_jsonl(path, dict[str, Any]), 1):
        location = f"{path}:{number}"
        try:
            yield from _utterances(cut, location, path.parent, folder)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, msgspec.ValidationError) as error:
            raise ManifestError(f"{location}: is not a Lhotse cut ({type(error).__name__}: {error}); fix it") from error


def write_shar(records: Iterable[Utterance], path: Path, folder: Path) -> Written:
    """Write a Shar folder with FLAC audio, in shards of 1000 cuts.

    Raises:
        MissingExtraError: if Lhotse is not installed.
    """
    lhotse = require("lhotse")
    shar = require("lhotse.shar")
    losses, absolute = Losses(frozenset(OPTIONAL) - {"offset", "channel"}), AbsoluteAudio(folder)
    if path.exists() and any(path.iterdir()):
        raise ManifestError(f"{path}: is not empty; Shar shards of two runs would mix, choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".tmp-shar-", dir=path.parent))
    try:
        with shar.SharWriter(str(unfinished), fields={"recording": "flac"}, shard_size=SHARD_CUTS) as writer:
            for record in losses.passing(records):
                writer.write(lhotse.MonoCut.from_dict(_cut(record, absolute.of(record))))
        unfinished.chmod(0o755)
        unfinished.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return losses.written(*sorted(path.iterdir()))


def read_shar(path: Path, folder: Path) -> Iterator[Utterance]:
    """Read the cuts of a Shar folder; their audio is written as FLAC to ``folder / "audio"``.

    Raises:
        MissingExtraError: if Lhotse is not installed.
        ManifestError: if the folder has no shards, or a cut has no audio.
    """
    lhotse = require("lhotse")
    if not any(path.glob("cuts.*.jsonl*")):
        raise ManifestError(f"{path}: holds no shards (cuts.000000.jsonl.gz, recording.000000.tar)")
    file_names = FileNames()
    for cut in lhotse.CutSet.from_shar(in_dir=str(path)):
        if not cut.has_recording:
            raise ManifestError(f"{path}: cut {cut.id!r} has no audio; write the recording field into the shards")
        if kinds := sorted({source.type for source in cut.recording.sources} - {"memory"}):  # a "command" would run
            raise ManifestError(
                f"{path}: cut {cut.id!r} takes its audio from a {kinds[0]}, not from the shards; write it into them"
            )
        audio = Path("audio") / file_names.give(cut.id, ".flac")
        waveform = cut.load_audio()
        if waveform.shape[0] != 1:
            raise ManifestError(f"{path}: cut {cut.id!r} has {waveform.shape[0]} channels; split it in Lhotse first")
        write_audio(folder / audio, waveform[0], cut.sampling_rate)
        plain = {key: value for key, value in cut.to_dict().items() if key != "recording"}
        plain["recording"] = {"sampling_rate": cut.sampling_rate, "sources": [{"type": "file", "source": str(audio)}]}
        # The position of the cut in the shards is not a property of the cut.
        plain["custom"] = {k: v for k, v in (plain.get("custom") or {}).items() if k not in SHARD_FIELDS}
        plain["start"], plain["channel"], plain["duration"] = 0.0, 0, waveform.shape[1] / cut.sampling_rate
        yield from _utterances(plain, f"{path}: cut {cut.id!r}", folder, folder)


def _cut(record: Utterance, audio: str) -> dict[str, Any]:
    header = audio_info(audio)
    name = safe_id(Path(record.audio_filepath).as_posix())
    recording = {
        "id": name,
        "sources": [{"type": "file", "channels": list(range(header.channels)), "source": audio}],
        "sampling_rate": header.sample_rate,
        "num_samples": header.num_samples,
        "duration": header.duration,
        "channel_ids": list(range(header.channels)),
    }
    supervision: dict[str, Any] = {
        "id": record.id,
        "recording_id": name,
        "start": 0.0,
        "duration": record.duration,
        "channel": record.channel,
    }
    described = {"text": record.text, "language": record.lang, "speaker": record.speaker}
    supervision |= {field: value for field, value in described.items() if value is not None}
    if record.alignment is not None:
        supervision["alignment"] = msgspec.to_builtins(record.alignment)
    beyond = Beyond(record.units, record.features, record.score, record.source, record.text is None, record.custom)
    if beyond != Beyond():
        supervision["custom"] = {OURS: msgspec.to_builtins(beyond)}
    return {
        "id": record.id,
        "start": record.offset,
        "duration": record.duration,
        "channel": record.channel,
        "supervisions": [supervision],
        "recording": recording,
        "type": "MonoCut",
    }


def _utterances(cut: dict[str, Any], location: str, source: Path, folder: Path) -> Iterator[Utterance]:
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise ManifestError(f"{location}: is a {kind}; save its audio with cut.save_audio() in Lhotse first")
    recording = cut.get("recording")
    if recording is None:
        raise ManifestError(f"{location}: has features but no recording; only audio can be converted")
    if recording.get("transforms"):
        raise ManifestError(
            f"{location}: its recording is transformed on the fly; use cut.save_audio() in Lhotse first"
        )
    files = [entry for entry in recording["sources"] if entry["type"] == "file"]
    if len(files) != 1:
        kinds = ", ".join(entry["type"] for entry in recording["sources"])
        raise ManifestError(f"{location}: its audio is of type {kinds}; only one plain file can be converted")
    rate = int(recording["sampling_rate"])
    audio = source / files[0]["source"]
    channel = cut.get("channel", 0)
    if not isinstance(channel, int):
        raise ManifestError(f"{location}: has the channels {channel}; split it by channel in Lhotse first")
    supervisions = cut.get("supervisions") or [{"id": cut["id"], "start": 0.0, "duration": cut["duration"]}]
    for part in supervisions:
        custom = dict(cut.get("custom") or {}) | dict(part.get("custom") or {})
        beyond = msgspec.convert(custom.pop(OURS, {}), Beyond)
        if part.get("gender"):
            custom["gender"] = part["gender"]
        custom |= beyond.custom or {}
        begin, length = float(part["start"]), float(part["duration"])
        start = round((float(cut["start"]) + begin) * rate)
        text = part.get("text")
        yield Utterance.from_samples(
            offset_samples=max(start, 0),
            num_samples=round((float(cut["start"]) + begin + length) * rate) - max(start, 0),
            sample_rate=rate,
            id=cut["id"] if len(supervisions) == 1 else part["id"],
            audio_filepath=relative_audio(folder, audio),
            channel=channel,
            text=None if beyond.text_missing else text,
            speaker=part.get("speaker"),
            lang=part.get("language"),
            alignment=_alignment(part.get("alignment"), begin),
            units=beyond.units,
            features=beyond.features,
            score=beyond.score,
            source=beyond.source,
            custom=custom or None,
        )


def _alignment(tiers: dict[str, list[Any]] | None, begin: float) -> dict[str, list[AlignmentItem]] | None:
    """Convert alignment times from relative to the cut, as in Lhotse, to relative to the supervision."""
    if tiers is None:
        return None
    items = msgspec.convert(tiers, dict[str, list[AlignmentItem]])
    if not begin:
        return items
    return {
        tier: [msgspec.structs.replace(item, start=round(item.start - begin, 6)) for item in row]
        for tier, row in items.items()
    }
