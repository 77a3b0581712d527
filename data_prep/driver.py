"""Convert a corpus to manifests: check every clip, write each split, count what is left out, with reasons."""

from __future__ import annotations

import fnmatch
import hashlib
import math
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from speechkit.data.manifest import write_manifest
from speechkit.data.mixtures import FIELD, Mixture, with_mixture
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.atomic import atomic_path, write_json
from speechkit.io.audio import AudioInfo, audio_info
from speechkit.io.containers import sniff
from speechkit.io.paths import inside

from .corpus import Clip, Corpus, Item, LeftOut, LeftOutReason, Request

# As in Kaldi's extract-segments: a segment may exceed its recording by this much and is truncated.
MAX_OVERSHOOT_SECONDS = 0.5
# speechkit.io caches only two decoded copies of m4a and video at a time: threads would evict each other's.
CONTAINERS = threading.Lock()


class SplitSummary(msgspec.Struct, frozen=True):
    """Result of one split; ``hours`` is over the kept utterances, ``speakers`` is 0 if the corpus names none."""

    split: str
    manifest: str
    utterances: int
    hours: float
    speakers: int
    left_out: dict[str, int]
    notes: dict[str, int]


class Summary(msgspec.Struct, frozen=True):
    """Result of a preparation, also written to ``summary.json`` beside the manifests."""

    corpus: str
    licence: str
    homepage: str
    citation: str
    splits: list[SplitSummary]


@dataclass
class _Tally:
    utterances: int = 0
    seconds: float = 0.0
    speakers: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    first: LeftOut | None = None


def prepare(
    corpus: Corpus,
    source: Path | str,
    out: Path | str,
    *,
    splits: Sequence[str] | None = None,
    lang: str | None = None,
    speaker: str | None = None,
    jobs: int = 4,
    progress: Callable[[str, int], None] | None = None,
) -> Summary:
    """Write ``out/<split>.jsonl`` for every split, ``out/left_out/<split>.jsonl`` and ``out/summary.json``.

    Args:
        corpus: ``CORPUS`` of a corpus module.
        source: the corpus folder as downloaded; read only.
        out: output folder for manifests; archives are unpacked below it.
        splits: names or patterns such as ``hi-*``; None for all splits.
        lang: language code, for corpora that do not specify it.
        speaker: speaker name, for single-speaker corpora that do not specify it.
        jobs: number of threads that read audio headers; does not affect the result.
        progress: called with the split and the number of utterances so far, every hundred.

    Raises:
        UserError: if the layout is not the corpus's, a split is missing, or no utterance of a split can be used.
    """
    source, out = Path(source), Path(out)
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; give the folder of {corpus.title} as downloaded")
    if jobs < 1:
        raise UserError(f"jobs is {jobs}; give at least 1")
    request = Request(source, out / "unpacked", lang, speaker)
    chosen = _chosen(corpus, request, splits)
    done: list[SplitSummary] = []
    for split in chosen:
        request.notes.clear()
        done.append(_prepare_split(corpus, request, out, split, jobs, progress))
    summary = Summary(corpus.name, corpus.licence, corpus.homepage, corpus.citation, done)
    write_json(out / "summary.json", summary)
    return summary


def _chosen(corpus: Corpus, request: Request, patterns: Sequence[str] | None) -> list[str]:
    present = corpus.splits(request)
    if not patterns:
        return present
    for pattern in patterns:
        if not fnmatch.filter(present, pattern):
            raise UserError(f"{request.source}: has no split {pattern!r}; it has {', '.join(present)}")
    return [split for split in present if any(fnmatch.fnmatchcase(split, p) for p in patterns)]


def _prepare_split(
    corpus: Corpus,
    request: Request,
    out: Path,
    split: str,
    jobs: int,
    progress: Callable[[str, int], None] | None,
) -> SplitSummary:
    manifest = inside(out, f"{split}.jsonl")
    tally = _Tally()
    encoder = msgspec.json.Encoder()
    with atomic_path(out / "left_out" / f"{split}.jsonl") as temporary, temporary.open("wb") as left_out:

        def utterances() -> Iterator[Utterance]:
            for result in _checked(corpus.read(request, split), request, manifest.parent, jobs):
                if isinstance(result, LeftOut):
                    tally.left_out[result.reason] += 1
                    tally.first = tally.first or result
                    left_out.write(encoder.encode(_encodable(result)) + b"\n")
                else:
                    tally.utterances += 1
                    tally.seconds += result.duration
                    if progress and tally.utterances % 100 == 0:
                        progress(split, tally.utterances)
                    tally.speakers.update(_speakers(result))
                    yield result
            if not tally.utterances:
                raise UserError(_nothing_left(request.source, split, tally))

        write_manifest(manifest, utterances())
    return SplitSummary(
        split=split,
        manifest=manifest.name,
        utterances=tally.utterances,
        hours=round(tally.seconds / 3600, 4),
        speakers=len(tally.speakers),
        left_out=dict(sorted(tally.left_out.items())),
        notes=dict(sorted(request.notes.items())),
    )


def _speakers(utterance: Utterance) -> list[str]:
    """Speakers of an utterance or a mixture."""
    if utterance.speaker is not None:
        return [utterance.speaker]
    mixture = (utterance.custom or {}).get(FIELD)
    return list(mixture.get("speakers") or []) if isinstance(mixture, dict) else []


def _nothing_left(source: Path, split: str, tally: _Tally) -> str:
    if tally.first is None:
        return f"{source}: split {split} holds no utterance; check that the corpus was unpacked whole"
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.left_out.most_common())
    return (
        f"{source}: no utterance of split {split} can be used ({reasons}); the first: {tally.first.detail}; "
        f"check that audio and transcripts were both unpacked"
    )


def _checked(items: Iterator[Item], request: Request, home: Path, jobs: int) -> Iterator[Utterance | LeftOut]:
    """Utterances in the order of the items; threads prefetch the audio headers of the next clips."""
    roots = [Path(os.path.realpath(request.source)), Path(os.path.realpath(request.unpacked))]
    taken: set[bytes] = set()
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[tuple[Item, Future[AudioInfo | LeftOut] | None]] = deque()
        for item in items:
            # Ids are stored as 8-byte digests: five million take less than 500 MB.
            if isinstance(item, Clip):
                digest = hashlib.blake2b(item.id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                if digest in taken:
                    item = LeftOut(item.id, "duplicate_id", f"{item.audio}: the id {item.id} was taken before")
                else:
                    taken.add(digest)
            future = pool.submit(_files, item, roots) if isinstance(item, Clip) else None
            waiting.append((item, future))
            if len(waiting) > 8 * jobs:
                yield _resolved(*waiting.popleft(), request, home)
        while waiting:
            yield _resolved(*waiting.popleft(), request, home)


def _is_text(name: str) -> bool:
    """Whether a file name can be encoded as UTF-8; an undecodable one has lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encodable(item: LeftOut) -> LeftOut:
    """The item with undecodable bytes of file names escaped."""
    texts = (t.encode("utf-8", "backslashreplace").decode() for t in (item.id, item.detail))
    return LeftOut(next(texts), item.reason, next(texts))


def _files(clip: Clip, roots: Sequence[Path]) -> AudioInfo | LeftOut:
    """Length and rate of the clip's file, or why that file or one of its sources cannot be used."""
    info = _audio(clip, clip.audio, roots)
    if isinstance(info, LeftOut) or clip.mixture is None:
        return info
    noise = [clip.mixture.noise] if clip.mixture.noise is not None else []
    for path in map(Path, [*clip.mixture.sources, *noise]):
        source = _audio(clip, path, roots)
        if isinstance(source, LeftOut):
            return source
        if source.sample_rate != info.sample_rate:
            detail = f"{path}: has {source.sample_rate} Hz and the mixture {clip.audio} {info.sample_rate} Hz"
            return LeftOut(clip.id, "rate_differs", detail)
        if source.num_samples != info.num_samples:
            detail = f"{path}: holds {source.num_samples} samples and the mixture {clip.audio} {info.num_samples}"
            return LeftOut(clip.id, "length_differs", detail)
    return info


def _audio(clip: Clip, path: Path, roots: Sequence[Path]) -> AudioInfo | LeftOut:
    """Length and rate of a file of the clip, or why it cannot be used."""

    def left_out(reason: LeftOutReason, detail: str) -> LeftOut:
        return LeftOut(clip.id, reason, detail)

    if "\0" in str(path):
        return left_out("outside_folder", f"{str(path)!r}: the name holds a NUL byte")
    if not _is_text(str(path)):
        return left_out("audio_unreadable", f"{path}: the name is not UTF-8; rename the file")
    real = Path(os.path.realpath(path))
    if not any(root in real.parents for root in roots):
        return left_out("outside_folder", f"{path}: leads out of {roots[0]}; give the folder that holds it")
    try:
        size = real.stat().st_size if real.is_file() else None
        if size is None:
            return left_out("audio_missing", f"{path}: is not there")
        if size == 0:
            return left_out("audio_empty", f"{path}: is empty (0 bytes)")
        with CONTAINERS if sniff(real) else nullcontext():
            return audio_info(real)
    except (AudioError, OSError) as error:
        empty = "holds no samples" in str(error)
        return left_out("audio_empty" if empty else "audio_unreadable", str(error))


def _resolved(
    item: Item, future: Future[AudioInfo | LeftOut] | None, request: Request, home: Path
) -> Utterance | LeftOut:
    if isinstance(item, LeftOut):
        return item
    assert future is not None
    info = future.result()
    if isinstance(info, LeftOut):
        return info
    if item.text is not None and not item.text.strip():
        return LeftOut(item.id, "transcript_empty", f"{item.audio}: its transcript has no text")
    if item.expected_samples is not None and item.expected_samples != info.num_samples:
        detail = f"{item.audio}: holds {info.num_samples} samples and the corpus says {item.expected_samples}"
        return LeftOut(item.id, "length_differs", detail)
    span = _span(item, info, request)
    if isinstance(span, LeftOut):
        return span
    if item.channel >= info.channels:
        detail = f"{item.audio}: has {info.channels} channels and the clip is of channel {item.channel}"
        return LeftOut(item.id, "segment_outside_audio", detail)
    if info.channels > 1 and item.channel == 0 and item.start_seconds is None:
        request.notes["recordings with several channels, of which the first is taken"] += 1
    utterance = Utterance.from_samples(
        offset_samples=span[0],
        num_samples=span[1] - span[0],
        sample_rate=info.sample_rate,
        id=item.id,
        audio_filepath=os.path.relpath(info.path, os.path.realpath(home)),
        channel=item.channel,
        text=item.text,
        speaker=item.speaker,
        lang=item.lang,
        custom=item.custom,
    )
    return utterance if item.mixture is None else with_mixture(utterance, _beside(item.mixture, Path(info.path)))


def _beside(mixture: Mixture, audio: Path) -> Mixture:
    """The mixture with paths relative to the folder of its audio."""

    def relative(path: str) -> str:
        return os.path.relpath(os.path.realpath(path), audio.parent)

    noise = None if mixture.noise is None else relative(mixture.noise)
    return msgspec.structs.replace(mixture, sources=list(map(relative, mixture.sources)), noise=noise)


def _span(clip: Clip, info: AudioInfo, request: Request) -> tuple[int, int] | LeftOut:
    """Sample range of the clip."""
    if clip.start_seconds is None or clip.end_seconds is None:
        return 0, info.num_samples
    begin, end = clip.start_seconds, clip.end_seconds
    stated = f"{clip.audio}: the segment is {begin} s to {end} s and the recording {info.duration:.3f} s"
    if not (math.isfinite(begin) and math.isfinite(end) and 0 <= begin < end <= info.duration + MAX_OVERSHOOT_SECONDS):
        return LeftOut(clip.id, "segment_outside_audio", stated)
    first, last = round(begin * info.sample_rate), round(end * info.sample_rate)
    if last > info.num_samples:
        request.notes["segments cut at the end of their recording"] += 1
        last = info.num_samples
    if first >= last:
        return LeftOut(clip.id, "segment_outside_audio", stated)
    return first, last
