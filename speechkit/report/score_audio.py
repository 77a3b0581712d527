"""Audio of utterances for the score page, if available, up to the size limit."""

from __future__ import annotations

import os
from pathlib import Path

from markupsafe import Markup

from speechkit.errors import UserError
from speechkit.io.paths import safe_id
from speechkit.metrics.transcript_records import Audio, Transcript
from speechkit.report.player import CLIP_RATE, Clip, clip_block, encode_clip, read_clip, wave_outline

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
LONGEST_CLIP_SECONDS = 60.0
FRAME_BYTES = 1200


class ScoreClips:
    """Clips by utterance. Only files inside the given folders are opened, whatever paths a manifest contains."""

    def __init__(self, references: list[Transcript], folders: list[Path], max_bytes: int) -> None:
        self.references = {t.id: t for t in references}
        self.folders = [Path(os.path.realpath(folder)) for folder in folders]
        self.left = max_bytes
        self.blocks: list[Markup] = []
        self.known: dict[str, Clip | None] = {}
        self.failures: list[str] = []

    def clip(self, identifier: str) -> Clip | None:
        """The clip of an utterance with the reference text; None without audio, or if it exceeds a limit."""
        if identifier not in self.known:
            self.known[identifier] = self._made(self.references[identifier])
        return self.known[identifier]

    def _made(self, transcript: Transcript) -> Clip | None:
        path = self._path(transcript)
        if path is None or self.left <= 0:
            return None
        cut = transcript.audio or Audio(str(path))
        end = None if cut.duration is None else cut.offset + cut.duration
        try:
            waveform = read_clip(path, cut.offset, end, LONGEST_CLIP_SECONDS, channel=cut.channel)
        except UserError as error:
            self.failures.append(str(error))
            return None
        if waveform is None:
            return None
        encoded = encode_clip(waveform)
        size = len(encoded) * 4 // 3 + FRAME_BYTES
        if size > self.left:
            return None
        self.left -= size
        name, seconds = f"clip-{len(self.blocks) + 1}", len(waveform) / CLIP_RATE
        self.blocks.append(clip_block(name, encoded))
        text = " ".join((transcript.text or "").split())[:2000] or transcript.id
        return Clip(name, wave_outline(waveform), seconds, [(text, 0.0, seconds)])

    def _path(self, transcript: Transcript) -> Path | None:
        names = [transcript.audio.path] if transcript.audio else []
        names += [safe_id(transcript.id) + suffix for suffix in SUFFIXES]
        for name in names:
            if "\0" in name:
                continue
            for folder in self.folders:
                path = Path(os.path.realpath(folder / name))
                if any(root == path or root in path.parents for root in self.folders) and path.is_file():
                    return path
        return None
