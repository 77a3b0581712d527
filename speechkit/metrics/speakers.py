"""How much a voice sounds like a speaker: cosines of speaker embeddings, between two bounds.

The upper bound is how much recordings of the speaker resemble one another, the lower how much those of others do.

Source: Wan et al. 2018, Generalized end-to-end loss; the network comes with resemblyzer (extra
``speaker-similarity``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from speechkit.errors import AudioError, require
from speechkit.io.arrays import Float

SHORTEST_SECONDS = 0.4


class SpeakerNetwork:
    """Embeddings of speakers.

    Raises:
        MissingExtraError: if resemblyzer is not installed.
    """

    def __init__(self) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its imports are of older libraries
            library: Any = require("resemblyzer")
        self._prepare = library.preprocess_wav
        self._network = library.VoiceEncoder("cpu", verbose=False)

    def embed(self, waveform: Float) -> Float:
        """Embedding of length 1 of a waveform (S,) at 16 kHz, (256,); long silences are cut out before.

        Raises:
            AudioError: if less than 0.4 s of speech are left.
        """
        speech = self._prepare(np.asarray(waveform, np.float32)) if np.any(waveform) else waveform[:0]
        if len(speech) < SHORTEST_SECONDS * 16_000:
            raise AudioError(f"{len(speech) / 16_000:.2f} s of speech say too little of who speaks; give more")
        return np.asarray(self._network.embed_utterance(speech), np.float32)


def similarity(embedding: Float, others: Sequence[Float]) -> float:
    """Cosine of an embedding (D,) and the mean direction of others, -1 to 1."""
    mean = np.mean(others, axis=0)
    return float(embedding @ mean / max(1e-12, float(np.linalg.norm(embedding) * np.linalg.norm(mean))))


def speaker_bounds(recordings: Mapping[str, tuple[str, Float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Of each recording (by id: its speaker and embedding) the similarity to its own speaker's others, and to others.

    A recording alone of its speaker is in neither; without a second speaker no recording is in the second.
    """
    by_speaker: dict[str, list[str]] = {}
    for name, (speaker, _) in recordings.items():
        by_speaker.setdefault(speaker, []).append(name)
    same: dict[str, float] = {}
    other: dict[str, float] = {}
    for name, (speaker, embedding) in recordings.items():
        own = [recordings[recording][1] for recording in by_speaker[speaker] if recording != name]
        if own:
            same[name] = similarity(embedding, own)
        means = [[recordings[recording][1] for recording in of] for who, of in by_speaker.items() if who != speaker]
        if means and own:
            other[name] = float(np.mean([similarity(embedding, of) for of in means]))
    return same, other
