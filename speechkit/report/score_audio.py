"""The audio of utterances for the score page, where it is at hand, until the page is full."""

from __future__ import annotations

import os
from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.paths import safe_id
from speechkit.metrics.transcript_records import Audio, Transcript
from speechkit.report.markup import Markup
from speechkit.report.player import CLIP_RATE, clip_block, encode_clip, player, wave_outline

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus")
LONGEST_CLIP_SECONDS = 60.0
FRAME_BYTES = 1200


class ScoreClips:
    """Clips by utterance. Only files inside the given folders are opened, wherever a manifest points."""

    def __init__(self, references: list[Transcript], folders: list[Path], max_bytes: int) -> None:
        self.references = {t.id: t for t in references}
        self.folders = [Path(os.path.realpath(folder)) for folder in folders]
        self.left = max_bytes
        self.blocks: list[Markup] = []
        self.known: dict[str, tuple[str, str, float] | None] = {}
        self.failures: list[str] = []

    def player(self, identifier: str) -> Markup | None:
        """A player with the reference's text, or None where there is no audio, no room, or too much of it."""
        if identifier not in self.known:
            self.known[identifier] = self._made(self.references[identifier])
        made = self.known[identifier]
        if made is None:
            return None
        clip, outline, seconds = made
        text = " ".join((self.references[identifier].text or "").split())
        return player(clip, [(text[:2000] or identifier, 0.0, seconds)], outline, seconds=seconds)

    def _made(self, transcript: Transcript) -> tuple[str, str, float] | None:
        from speechkit.io.audio import audio_info, read_audio

        path = self._path(transcript)
        if path is None or self.left <= 0:
            return None
        cut = transcript.audio or Audio(str(path))
        try:
            info = audio_info(path)
            first = min(info.num_samples, round(cut.offset * info.sample_rate))
            last = info.num_samples
            if cut.duration is not None:
                last = min(last, round((cut.offset + cut.duration) * info.sample_rate))
            if not 0 < last - first <= LONGEST_CLIP_SECONDS * info.sample_rate:
                return None
            waveform = read_audio(path, offset_samples=first, num_samples=last - first, sample_rate=CLIP_RATE)
        except UserError as error:
            self.failures.append(str(error))
            return None
        encoded = encode_clip(waveform)
        size = len(encoded) * 4 // 3 + FRAME_BYTES
        if size > self.left:
            return None
        self.left -= size
        name = f"clip-{len(self.blocks) + 1}"
        self.blocks.append(clip_block(name, encoded))
        return name, wave_outline(waveform), (last - first) / info.sample_rate

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
