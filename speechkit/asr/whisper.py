"""faster-whisper (extra) as a recogniser: words with times, spread over their characters."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from speechkit.asr.hypothesis import Hypothesis, RecognizerSpec
from speechkit.asr.words import TimedWord, words_to_hypothesis
from speechkit.errors import UserError, require
from speechkit.io.audio import audio_info
from speechkit.io.windows import merge_regions, plan_windows, stream_windows

_FRAME_SAMPLES = 320


class WhisperRecognizer:
    """A CTranslate2 Whisper model by size name or folder, over windows of at most 30 s.

    Raises:
        UserError: if the model cannot be loaded.
        MissingExtraError: if faster-whisper is not installed.
    """

    def __init__(self, model: str, lang: str, device: str = "cpu", beam_size: int = 5):
        from speechkit.io.hashing import digest_file

        library = require("faster_whisper")
        kind, _, number = device.partition(":")
        try:
            self._model = library.WhisperModel(
                model, device=kind, device_index=int(number or 0), compute_type="default"
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"faster-whisper:{model} cannot be loaded ({error}); give a model folder or name"
            ) from error
        languages = getattr(self._model, "supported_languages", [lang])
        if lang not in languages:
            known = ", ".join(sorted(languages)[:8]) + (" …" if len(languages) > 8 else "")
            raise UserError(f"faster-whisper:{model} does not know the language {lang!r}, only {known}; choose another")
        self._beam_size = beam_size
        self._lang = lang
        weights = Path(model) / "model.bin"
        digest = digest_file(weights) if weights.is_file() else model
        shown = Path(model).name if weights.is_file() else model
        self._spec = RecognizerSpec("faster-whisper", f"{shown} beam={beam_size}", digest, lang)

    @property
    def spec(self) -> RecognizerSpec:
        """Identity of the recogniser."""
        return self._spec

    def recognize(
        self,
        path: str,
        speech: list[tuple[int, int]] | None = None,
        *,
        channel: int | None = None,
        advance: Callable[[float], None] | None = None,
    ) -> Hypothesis:
        """Characters of one recording, without emissions; see `speechkit.asr.hypothesis.Recognizer`."""
        info = audio_info(path)
        frames = -(-round(info.num_samples * 16_000 / info.sample_rate) // _FRAME_SAMPLES)
        spans = [(0, frames)]
        if speech is not None:
            spans = merge_regions(
                [
                    (min(frames, begin // _FRAME_SAMPLES), min(frames, -(-end // _FRAME_SAMPLES)))
                    for begin, end in speech
                ],
                gap=50,
            )
        words: list[TimedWord] = []
        for window, waveform in stream_windows(
            path, plan_windows(frames, spans, 1250, 50), _FRAME_SAMPLES, channel=channel
        ):
            if not len(waveform):
                continue
            if advance is not None:
                advance((window.keep_end - window.keep_begin) * _FRAME_SAMPLES / 16_000)
            origin = window.begin * _FRAME_SAMPLES / 16_000
            keep = window.keep_begin * _FRAME_SAMPLES / 16_000, window.keep_end * _FRAME_SAMPLES / 16_000
            segments, _ = self._model.transcribe(
                waveform,
                language=self._lang,
                beam_size=self._beam_size,
                word_timestamps=True,
                condition_on_previous_text=False,
            )
            for word in (word for segment in segments for word in segment.words or ()):
                begin, end = origin + word.start, origin + word.end
                # Neighbouring windows overlap: a word belongs to the window that keeps its midpoint.
                if keep[0] <= (begin + end) / 2 < keep[1]:
                    words.append(TimedWord(word.word.strip(), begin, end, math.log(max(word.probability, 1e-6))))
        return words_to_hypothesis(words)
