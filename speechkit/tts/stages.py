"""Synthesis as stages of a recipe: a worker that speaks texts, and the clips with their manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from speechkit.data.manifest import read_jsonl, unique_ids
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, UserError
from speechkit.io.arrays import from_int16, to_int16
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Drop,
    Interrupted,
    Output,
    Resources,
    Stage,
    Value,
    Worker,
    external,
    model,
    stage,
)
from speechkit.tts.voice import SpeakingVoice, load_voice, say_text, voice_digest

DROP_REASONS = ("empty_text", "unspeakable", "unusable_speaker")
CLIPS = "clips"


class TextRow(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A text to speak.

    Attributes:
        id: name of the clip.
        text: text of any length.
        speaker: recording of the target speaker, relative to the list of texts; None for the voice's default.
        seconds: total duration; None for the voice's own.
        source: origin of the text.
    """

    id: str
    text: str
    speaker: str | None = None
    seconds: float | None = None
    source: str | None = None


class SayConfig(msgspec.Struct, frozen=True):
    """The voice, its speed, and the pauses between sentences."""

    texts: Annotated[str | None, SHARED] = None
    voice: Annotated[str, SHARED] = "joe"
    speed: Annotated[float, msgspec.Meta(ge=0.1, le=10)] = 1.0
    pause_seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.25
    batch_size: Annotated[int, NEUTRAL] = 8


class Say(Worker):
    """Speaks each text: a manifest row with its waveform, named as the file that `write_clips` will write."""

    def setup(self, device: str) -> None:
        """Load the voice.

        Raises:
            UserError: if there is no such voice, or two texts have the same id and so the same clip.
        """
        for _ in unique_ids(read_jsonl(self.inputs["texts"], TextRow), self.inputs["texts"], "text"):
            pass
        self.voice: SpeakingVoice = load_voice(self.config.voice, device)

    def process(self, batch: Sequence[TextRow]) -> list[Value | Drop]:
        """Each text's row with its 16-bit waveform, or the reason to drop it."""
        return [self._say(row) for row in batch]

    def _say(self, row: TextRow) -> Value | Drop:
        from speechkit.io.paths import safe_id
        from speechkit.runtime import item_seed

        if not row.text.strip():
            return Drop("empty_text")
        speaker = None
        if row.speaker is not None:
            speaker = self.inputs["texts"].parent / row.speaker
            if not speaker.is_file():
                return Drop("unusable_speaker", f"{speaker}: no such file")
        try:
            speech = say_text(
                self.voice,
                row.text,
                speaker=speaker,
                seconds=row.seconds,
                speed=self.config.speed,
                seed=item_seed(self.seed, row.id),
                pause_seconds=self.config.pause_seconds,
            )
        except AudioError as error:
            return Drop("unusable_speaker", str(error))
        except UserError as error:
            return Drop("unspeakable", str(error))
        custom = {"source": row.source} if row.source is not None else None
        utterance = Utterance.from_samples(
            id=row.id,
            audio_filepath=f"{CLIPS}/{safe_id(row.id)}.flac",
            num_samples=len(speech.waveform),
            sample_rate=speech.rate,
            text=" ".join(row.text.split()),
            speaker=Path(row.speaker).stem if row.speaker is not None else self.voice.name,
            lang=self.voice.lang.partition("-")[0],
            custom=custom,
        )
        return Value(utterance, {"waveform": to_int16(speech.waveform)})

    def audio_seconds(self, record: TextRow) -> float:
        """Rough duration of the text, for the progress line: 15 characters per second."""
        return len(record.text) / 15


def write_clips(context: Context) -> None:
    """Write every waveform as a FLAC file, and their manifest beside the folder of clips.

    Raises:
        Interrupted: if the user asked to stop.
    """
    from speechkit.io.audio import write_audio
    from speechkit.pipeline.arrays import read_record_arrays

    folder = context.output(CLIPS)
    folder.mkdir(parents=True, exist_ok=True)
    spoken = context.inputs["spoken"]

    def rows() -> list[Utterance]:
        written = []
        seconds = 0.0
        for row in context.read("spoken"):
            if context.interrupted:
                raise Interrupted
            waveform = from_int16(read_record_arrays(spoken, row.features)["waveform"])
            write_audio(folder.parent / row.audio_filepath, waveform, row.sample_rate)
            written.append(msgspec.structs.replace(row, features=None))
            seconds += row.duration
        context.say(f"{len(written)} clips, {seconds / 3600:.2f} h")
        return written

    context.write("manifest.jsonl", rows())


def say_stages(first: int = 1) -> tuple[Stage, Stage]:
    """Two stages, numbered from ``first``: ``say`` speaks the setting ``texts``; ``clips`` writes the audio."""
    return (
        Stage(
            number=first,
            name="say",
            run=Say,
            inputs=(external("texts", schema=TextRow), model("voice", digest=voice_digest)),
            outputs=(Output("spoken.jsonl", schema=Utterance),),
            config=SayConfig,
            drop_reasons=DROP_REASONS,
            resources=Resources(cpus=1, gpus=1),
            part_records=64,
        ),
        clips_stage(first + 1),
    )


def clips_stage(number: int) -> Stage:
    """The stage ``clips`` after a stage ``say``: its waveforms as files, and their manifest."""
    return Stage(
        number=number,
        name="clips",
        run=write_clips,
        inputs=(stage("say", "spoken.jsonl"),),
        outputs=(Output(CLIPS), Output("manifest.jsonl", schema=Utterance)),
    )
