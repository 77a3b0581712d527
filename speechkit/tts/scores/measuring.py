"""Worker that measures synthetic speech against its text and, if there is one, its recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import AlignmentError, AudioError, ConfigError, UserError, available, require
from speechkit.io.arrays import Float
from speechkit.metrics.dnsmos import NoiseScores
from speechkit.pipeline import NEUTRAL, SHARED, Drop, Output, Resources, Stage, Value, Worker
from speechkit.pipeline.stage import Input
from speechkit.tts.scores.acoustics import RATE, AcousticDifference

DROP_REASONS = ("no_text", "unreadable_audio")
Kind = Literal["words", "reading", "speaker", "noise", "acoustics"]
KINDS: tuple[Kind, ...] = ("words", "reading", "speaker", "noise", "acoustics")
LIBRARIES = {"speaker": "resemblyzer", "noise": "speechmos.dnsmos"}
"""Libraries of measures that the package does not compute itself."""
MISREAD_NATS = 2.0
"""A word counts as skipped or repeated if that makes the speech likelier by this much.

Of 660 words read correctly in LibriSpeech and LJSpeech, one was reported as skipped and none as repeated; of 40 that
were cut out of their recordings, 38 were reported, and of 40 that were doubled, 39.
"""


class MeasureConfig(msgspec.Struct, frozen=True):
    """Measures to take, and the models that take them.

    Attributes:
        manifest: the speech, each row with its intended text.
        references: recordings of the same texts, by the same ids; None if there are none.
        recognizer: recogniser that transcribes the speech, a name for `speechkit.asr.load.load_recognizer`.
        aligner: CTC recogniser that detects skipped and repeated words; None to skip that measure.
        lang: language of the texts.
        normalizer: normaliser of texts and transcripts.
        measures: speaker needs the extra ``speaker-similarity``, noise ``tts-scores``.
    """

    manifest: str | None = None
    references: Annotated[str | None, SHARED] = None
    recognizer: Annotated[str, SHARED] = "embedded"
    aligner: Annotated[str | None, SHARED] = "embedded"
    lang: Annotated[str, SHARED] = "en"
    normalizer: Annotated[str, SHARED] = "english"
    measures: Annotated[tuple[Kind, ...], SHARED, msgspec.Meta(min_length=1)] = KINDS
    batch_size: Annotated[int, NEUTRAL, msgspec.Meta(ge=1)] = 8


def choose_measures(asked: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The measures to take, and a note on each that is left out because its library is not installed.

    Args:
        asked: names of measures; None for all whose libraries are installed.

    Raises:
        ConfigError: if the list is empty, or a name is unknown.
        MissingExtraError: if the library of a requested measure is not installed.
    """
    if asked is not None and (not asked or set(asked) - set(KINDS)):
        raise ConfigError(f"measures are {', '.join(asked) or 'empty'}; choose from {', '.join(KINDS)}")
    wanted = KINDS if asked is None else asked
    _, absent = available({name: LIBRARIES[name] for name in wanted if name in LIBRARIES})
    if absent and asked is not None:
        raise next(iter(absent.values()))
    notes = [f"{name} is not measured: {error}" for name, error in absent.items()]
    return [name for name in wanted if name not in absent], notes


class Misread(msgspec.Struct, frozen=True):
    """Words of the text that the speech skips or repeats; ``words`` is the length of the text."""

    words: int
    skipped: list[str]
    repeated: list[str]


class Measured(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Measures of one utterance.

    Attributes:
        text: intended text.
        heard: transcript of the recogniser; None if words are not measured.
        seconds: duration of the speech.
        embedding: reference to the stored speaker embedding.
        notes: measures that failed, with the reason.
    """

    id: str
    text: str
    seconds: float
    speaker: str | None = None
    heard: str | None = None
    misread: Misread | None = None
    noise: NoiseScores | None = None
    acoustics: AcousticDifference | None = None
    embedding: str | None = None
    notes: list[str] = []


class Measure(Worker):
    """Measures each row of a manifest; its recording is the row of ``references`` with the same id."""

    def setup(self, device: str) -> None:
        """Load the models.

        Raises:
            UserError: if a model cannot be loaded, or the aligner gives no emissions.
            MissingExtraError: if a measure needs a library that is not installed.
        """
        from speechkit.asr.named import load_transcriber

        config: MeasureConfig = self.config
        wanted = set(config.measures)
        self.transcribe = load_transcriber(config.recognizer, config.lang, device) if "words" in wanted else None
        self.aligner = self._aligner(device) if "reading" in wanted and config.aligner else None
        self.network: Any = None
        if "speaker" in wanted:
            from speechkit.metrics.speakers import SpeakerNetwork

            self.network = SpeakerNetwork()
        if "noise" in wanted:
            require(LIBRARIES["noise"])
        self.recordings: dict[str, Utterance] = {}
        if "acoustics" in wanted and "references" in self.inputs:
            from speechkit.data.manifest import read_manifest

            self.recordings = {row.id: row for row in read_manifest(self.inputs["references"])}

    def _aligner(self, device: str) -> Any:
        from speechkit.asr.load import load_recognizer

        aligner: Any = load_recognizer(self.config.aligner, self.config.lang, device)
        if not hasattr(aligner, "emissions_of"):
            raise UserError(f"aligner is {self.config.aligner}, which gives no emissions; choose a CTC model, or none")
        return aligner

    def process(self, batch: Sequence[Utterance]) -> list[Measured | Value | Drop]:
        """A `Measured` per row, with its speaker embedding."""
        return [self._measure(row) for row in batch]

    def _measure(self, row: Utterance) -> Measured | Value | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.data.manifest import audio_path

        if not (row.text or "").split():
            return Drop("no_text", "the row has no text to compare with")
        manifest = self.inputs["manifest"]
        try:
            waveform = read_waveform(row, manifest, sample_rate=RATE)
            transcript = None if self.transcribe is None else self.transcribe(row, audio_path(manifest, row))
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        notes: list[str] = []
        misread = self._misread(row.text or "", waveform, notes)
        arrays: dict[str, Any] = {}
        noise = acoustics = None
        if self.network is not None:
            try:
                arrays["embedding"] = self.network.embed(waveform)
            except AudioError as error:
                notes.append(f"speaker: {error}")
        if "noise" in self.config.measures:
            from speechkit.metrics.dnsmos import noise_scores

            try:
                noise = noise_scores(waveform)
            except AudioError as error:
                notes.append(f"noise: {error}")
        if row.id in self.recordings:
            acoustics = self._acoustics(self.recordings[row.id], waveform, notes)
        measured = Measured(
            id=row.id,
            text=row.text or "",
            seconds=len(waveform) / RATE,
            speaker=row.speaker,
            heard=transcript,
            misread=misread,
            noise=noise,
            acoustics=acoustics,
            notes=notes,
        )
        return Value(measured, arrays, field="embedding") if arrays else measured

    def _misread(self, text: str, waveform: Float, notes: list[str]) -> Misread | None:
        """Skipped and repeated words; on failure None, and the reason in ``notes``."""
        from speechkit.text import get_normalizer
        from speechkit.tts.scores.reading import misreadings

        words = get_normalizer(self.config.normalizer)(text).split()
        if self.aligner is None or not words:
            return None
        try:
            wrong = misreadings(self.aligner.emissions_of(waveform), words, MISREAD_NATS)
        except AlignmentError as error:
            notes.append(f"reading: {error}")
            return None
        skipped, repeated = ([words[number] for number in numbers] for numbers in wrong)
        return Misread(len(words), skipped, repeated)

    def _acoustics(self, reference: Utterance, waveform: Float, notes: list[str]) -> AcousticDifference | None:
        from speechkit.data.audio import read_waveform
        from speechkit.tts.scores.acoustics import compare

        try:
            return compare(read_waveform(reference, self.inputs["references"], sample_rate=RATE), waveform)
        except AudioError as error:
            notes.append(f"acoustics: {error}")
            return None


def measure_stage(number: int, name: str, manifest: Input, references: Input) -> Stage:
    """A stage that measures the input ``manifest`` against ``references``."""
    from speechkit.asr.named import recognizers_digest
    from speechkit.pipeline import model

    return Stage(
        number=number,
        name=name,
        run=Measure,
        inputs=(
            manifest,
            references,
            model("recognizer", digest=recognizers_digest),
            model("aligner", digest=recognizers_digest),
        ),
        outputs=(Output("measured.jsonl", schema=Measured),),
        config=MeasureConfig,
        drop_reasons=DROP_REASONS,
        resources=Resources(cpus=1),
        part_records=32,
    )


def read_measured(folder: Path) -> tuple[list[Measured], dict[str, Float]]:
    """The rows that a measuring stage wrote, and their speaker embeddings (256,) by id."""
    from speechkit.data.manifest import read_jsonl
    from speechkit.pipeline import read_record_arrays

    path = folder / "measured.jsonl"
    rows = list(read_jsonl(path, Measured))
    stored = {row.id: row.embedding for row in rows if row.embedding is not None}
    return rows, {name: read_record_arrays(path, reference)["embedding"] for name, reference in stored.items()}
