"""Cut utterances out of their recordings into separate files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from speechkit.data import Utterance, read_manifest, recording_of, write_manifest
from speechkit.data.audio import read_cut
from speechkit.errors import ManifestError, UserError
from speechkit.io.atomic import write_json
from speechkit.io.audio import OPUS_RATES, audio_info, write_audio
from speechkit.io.hashing import digest_obj
from speechkit.io.paths import safe_id
from speechkit.mining.export.recordings import recordings, start_of

ClipFormat = Literal["flac", "opus"]


class _Plan(msgspec.Struct, frozen=True):
    """Digest of what the clips in a folder were cut from; with another one they are cut again."""

    digest: str


def cut_clips(
    manifest: Path | str,
    folder: Path | str,
    *,
    format: ClipFormat = "flac",  # noqa: A002 - the word the command uses
    sample_rate: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Cut every utterance to ``folder/clips/<recording>/<id>.flac`` (or ``.opus``) and return the clips' manifest.

    Each recording is read once from start to end, one clip in memory at a time. Each clip is written
    atomically, and an interrupted run continues. The manifest ``folder/clips.jsonl`` is written last;
    its utterances keep their alignment and remember ``custom["recording"]`` and ``custom["recording_offset"]``.

    Args:
        manifest: utterances; audio paths are relative to it.
        folder: where clips and manifest go.
        format: FLAC keeps every sample at 16 bits; Opus is about ten times smaller.
        sample_rate: rate of the clips in Hz; None keeps the recording's own (Opus: the next rate it knows).
        progress: called with the number of clips done.

    Raises:
        ManifestError: if two utterances have one id.
        AudioError: if a recording cannot be read.
    """
    source, target = Path(manifest), Path(folder)
    if format not in ("flac", "opus"):
        raise UserError(f"clip format {format!r} is not known; choose flac or opus")
    resume = _plan(source, target, format, sample_rate)
    done = 0

    def clips() -> Iterator[Utterance]:
        nonlocal done
        for _, cuts in recordings(source):
            for cut in cuts:
                yield _cut(cut, source.parent, target, format, sample_rate, resume)
                done += 1
                if progress is not None:
                    progress(done)

    path = target / "clips.jsonl"
    write_manifest(path, clips())
    return path


def _plan(source: Path, target: Path, format: str, sample_rate: int | None) -> bool:  # noqa: A002
    """Whether the clips that are there already belong to this very manifest and format."""
    seen: set[str] = set()
    audio: dict[str, int] = {}
    rows = []
    for number, cut in enumerate(read_manifest(source, Utterance), start=1):
        if cut.id in seen:
            raise ManifestError(f"{source}:{number}: id {cut.id} occurs twice; clips need one id each")
        seen.add(cut.id)
        if cut.audio_filepath not in audio:
            audio[cut.audio_filepath] = audio_info(source.parent / cut.audio_filepath).num_samples
        rows.append(digest_obj([cut.id, cut.audio_filepath, cut.offset_samples, cut.num_samples, cut.channel]))
    plan = _Plan(digest_obj([rows, sorted(audio.items()), format, sample_rate]))
    path = target / "clips" / "_plan.json"
    try:
        if msgspec.json.decode(path.read_bytes(), type=_Plan) == plan:
            return True
    except (OSError, msgspec.MsgspecError):
        pass
    # Clips of another plan go before the new plan is written down: a run that stops here finds none to trust.
    for old in sorted((target / "clips").glob("*/*.*")):
        if old.suffix in (".flac", ".opus"):
            old.unlink()
    write_json(path, plan)
    return False


def _cut(
    cut: Utterance,
    base: Path,
    target: Path,
    format: str,  # noqa: A002
    sample_rate: int | None,
    resume: bool,
) -> Utterance:
    recording = recording_of(cut)
    relative = f"clips/{recording}/{safe_id(cut.id)}.{format}"
    path = target / relative
    rate = sample_rate or cut.sample_rate
    if format == "opus":
        rate = next((known for known in OPUS_RATES if known >= rate), OPUS_RATES[-1])
    if not (resume and path.exists()):
        write_audio(path, read_cut(base / cut.audio_filepath, cut, sample_rate=rate), rate, format.upper())
    custom = {**(cut.custom or {}), "recording": recording, "recording_offset": start_of(cut)}
    samples = audio_info(path).num_samples
    return msgspec.structs.replace(
        cut,
        audio_filepath=relative,
        offset=0.0,
        duration=samples / rate,
        sample_rate=rate,
        channel=0,
        custom=custom,
    )
