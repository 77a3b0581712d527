"""One typed section a stage of the mining recipe; every default stands here."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from speechkit.pipeline.stage import NEUTRAL, SHARED

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]


class FilesConfig(msgspec.Struct, frozen=True):
    """Stage 0: where the inputs lie. With ``channels: each`` every channel is a recording of its own."""

    audio: Annotated[str, SHARED] = "audio"
    documents: Annotated[str, SHARED] = "documents"
    channels: Literal["together", "each"] = "together"


class DocumentsConfig(msgspec.Struct, frozen=True):
    """Stage 1: documents into clean sentences; one whose text takes over ``max_seconds`` to read is dropped."""

    documents: Annotated[str, SHARED, NEUTRAL] = "documents"
    lang: Annotated[str, SHARED] = "en"
    ocr: Literal["auto", "always", "never"] = "auto"
    max_seconds: Annotated[float, Meta(gt=0, le=1e6)] = 300.0


class RegionsConfig(msgspec.Struct, frozen=True):
    """Stage 2: where recordings hold speech. ``channel`` is the one to hear from here on; -1 averages the channels."""

    audio: Annotated[str, SHARED, NEUTRAL] = "audio"
    vad: Literal["silero", "energy", "none"] = "silero"
    channel: Annotated[int, Meta(ge=-1)] = -1
    threshold: Share = 0.5
    min_speech_seconds: Seconds = 0.1
    min_silence_seconds: Seconds = 0.4
    pad_seconds: Seconds = 0.2


class HypothesesConfig(msgspec.Struct, frozen=True):
    """Stage 3: timed characters. ``recognizer`` is what `speechkit.asr.load_recognizer` takes."""

    audio: Annotated[str, SHARED, NEUTRAL] = "audio"
    recognizer: Annotated[str, SHARED] = "auto"
    lang: Annotated[str, SHARED] = "en"


class PairingConfig(msgspec.Struct, frozen=True):
    """Stage 4: which document belongs to which recording; ``pairs`` names a TSV or CSV list that decides instead."""

    pairs: str | None = None
    lang: Annotated[str, SHARED] = "en"
    kgram: Annotated[int, Meta(ge=4, le=32)] = 8
    window_characters: Annotated[int, Meta(ge=100)] = 1500
    passage_characters: Annotated[int, Meta(ge=200)] = 3000
    min_score: Share = 0.018
    min_share_of_best: Share = 0.35
    min_times_usual: Annotated[float, Meta(ge=1)] = 2.0
    max_kgrams: Annotated[int, Meta(ge=1000)] = 20_000_000


class AlignmentConfig(msgspec.Struct, frozen=True):
    """Stage 5: which sentence was read where. ``learn_costs`` fits the substitution costs to each pair first."""

    lang: Annotated[str, SHARED] = "en"
    min_similarity: Share = 0.3
    learn_costs: bool = True


class RefinementConfig(msgspec.Struct, frozen=True):
    """Stage 6: exact times from emissions, then the quietest place nearby.

    ``correct`` says in which documents OCR errors are corrected where the emissions clearly support another spelling.
    That needs a ``lexicon``, a file with one word per line; ``auto`` is the English one of the extra ``align``.
    """

    lang: Annotated[str, SHARED] = "en"
    window_seconds: Seconds = 2.0
    star_penalty: Annotated[float, Meta(ge=0)] = 0.5
    max_word_seconds: Seconds = 3.0
    quiet_outward_seconds: Seconds = 0.2
    quiet_inward_seconds: Seconds = 0.03
    quiet_pad_seconds: Seconds = 0.0
    correct: Literal["scans", "all", "none"] = "scans"
    lexicon: str = "auto"


class SelectionConfig(msgspec.Struct, frozen=True):
    """Stage 7: what is kept. ``calibration`` is "shipped" or a JSON file.

    A first or last word without a time is trimmed off up to ``max_lost_characters``, and the sentence rejected beyond;
    ``max_unread_share`` is the share of its characters in words that were not spoken.
    """

    audio: Annotated[str, SHARED, NEUTRAL] = "audio"
    lang: Annotated[str, SHARED] = "en"
    min_precision: Annotated[Share, SHARED] = 0.98
    min_probability: Share = 0.8
    min_characters: Annotated[int, Meta(ge=1)] = 5
    min_seconds: Seconds = 0.3
    max_seconds: Seconds = 60.0
    max_overlap_seconds: Seconds = 0.1
    max_lost_characters: Annotated[int, Meta(ge=0)] = 2
    max_unread_share: Share = 0.15
    max_word_seconds: Seconds = 3.0
    calibration: str = "shipped"


class ExportConfig(msgspec.Struct, frozen=True):
    """Stage 8: the manifest with the sound of each sentence, and its other forms.

    With ``quality`` every row gets `SoundQuality` columns in ``custom``; the bounds leave rows out, each with its
    reason in ``drops.jsonl``. ``dnsmos`` needs the extra ``tts-scores``, ``voice`` the extra ``speaker-similarity``,
    ``max_character_errors`` a recogniser with emissions.
    ``decisions`` names a file of a curator's decisions: what is accepted stays whatever threshold and bounds say, what
    is rejected goes.
    """

    audio: Annotated[str, SHARED] = "audio"  # not neutral: the manifests hold paths that lead there
    lang: Annotated[str, SHARED] = "en"
    formats: list[
        Literal["lhotse", "shar", "webdataset", "kaldi", "parquet", "fairseq", "nemo", "csv", "ctm", "textgrid", "srt"]
    ] = []
    clips: Literal["none", "flac", "opus"] = "none"
    quality: bool = True
    dnsmos: bool = False
    voice: bool = False
    min_snr_db: float | None = None
    min_bandwidth_hz: float | None = None
    max_clipped: float | None = None
    min_characters_per_second: float | None = None
    max_characters_per_second: float | None = None
    min_dnsmos: float | None = None
    min_voice: Annotated[float, Meta(ge=-1, le=1)] | None = None
    max_character_errors: Share | None = None
    decisions: str | None = None
    dev_share: Share = 0.05
    test_share: Share = 0.05


class ReportConfig(msgspec.Struct, frozen=True):
    """Stage 9: the page to look at.

    ``command`` is the line that it shows. ``beside`` puts the recordings next to the page where it cannot hold all
    sentences itself.
    """

    audio: Annotated[str, SHARED, NEUTRAL] = "audio"
    lang: Annotated[str, SHARED] = "en"
    title: str = "Mined speech"
    min_precision: Annotated[Share, SHARED] = 0.98
    command: Annotated[str, NEUTRAL] = ""
    beside: bool = True
