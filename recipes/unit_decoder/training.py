"""Stages 3 and 4: the flow learns the frames of units, and the test is said again from its units alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.pipeline import NEUTRAL, SHARED, Context, Drop, Value, Worker, read_record_arrays
from speechkit.training import TrainingConfig
from speechkit.tts.flow_config import FlowConfig, SamplingConfig
from speechkit.tts.stages import CLIPS
from speechkit.tts.vocoder.config import SpeakerConfig

from .features import unit_set

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.training import Objective
    from speechkit.tts.flow_training import FlowItems


class TrainConfig(msgspec.Struct, frozen=True):
    """The decoder and its training.

    Attributes:
        flow: the transformer.
        speaker: how a recording of the speaker is heard; None for one voice.
        prompt_seconds: of such a recording.
        sampling: unless another is asked for.
        batch_frames: longest utterance of a batch times their number.
        drop: share of items without units, for guidance.
        half: store float16.
    """

    codebook: Annotated[str, SHARED] = "embedded-100"
    stacked: Annotated[int, SHARED] = 2
    flow: FlowConfig = FlowConfig()
    speaker: SpeakerConfig | None = None
    prompt_seconds: float = 3.0
    sampling: SamplingConfig = SamplingConfig(steps=8, guidance=0.0)
    batch_frames: int = 2000
    drop: float = 0.0
    half: bool = True
    processes: int = 1
    loop: TrainingConfig = TrainingConfig()


def train(context: Context) -> None:
    """Train for as long as the configuration says; an interrupted run goes on from its checkpoint."""
    from speechkit.training import train_stage

    train_stage(context, objective, context.config.loop, processes=context.config.processes)


def objective(context: Context) -> Objective:
    """The decoder on the frames of stage 2."""
    import torch

    from speechkit.tts.flow_training import FlowItems, flow_objective, speaker_prompts
    from speechkit.tts.unit_decoder import UnitDecoder, UnitDecoderConfig
    from speechkit.units.deduplication import deduplicate

    config: TrainConfig = context.config
    units_of = unit_set(config.codebook, context.inputs.get("sequences"))
    decoder = UnitDecoder(
        UnitDecoderConfig(
            units=units_of,
            stacked=config.stacked,
            flow=config.flow,
            speaker=config.speaker,
            sampling=config.sampling,
        )
    )
    rows: list[Utterance] = list(context.read("features"))
    totals = np.ones((2, units_of.clusters))  # frames and runs of each unit, as if each had been heard once

    def items(part: str) -> FlowItems:
        chosen = [row for row in rows if (row.custom or {})["part"] == part]
        stored = [read_record_arrays(context.inputs["features"], row.features or "") for row in chosen]
        units = [np.asarray(each["units"]) for each in stored]
        if part == "train":
            for each in units:
                runs, durations = deduplicate(each)
                np.add.at(totals[0], runs, durations)
                np.add.at(totals[1], runs, 1)
        prompts = None
        if config.speaker is not None:
            manifest, rate = context.inputs["train_manifest"], decoder.config.mel.sample_rate
            prompts = speaker_prompts(chosen, manifest, rate, config.prompt_seconds, config.loop.seed)

        def others(indices: Sequence[int], number: int) -> dict[str, Tensor]:
            named = [torch.from_numpy(units[index].astype(np.int64)) for index in indices]
            batch = {"units": torch.nn.utils.rnn.pad_sequence(named, batch_first=True)}
            return batch if prompts is None else {**batch, "prompts": prompts(indices, number)}

        return FlowItems([each["frames"] for each in stored], others)

    learnt = items("train")
    decoder.unit_frames.copy_(torch.from_numpy(totals[0] / totals[1]))
    return flow_objective(
        decoder,
        learnt,
        items("dev") if any((row.custom or {})["part"] == "dev" for row in rows) else None,
        lambda folder: decoder.save_pretrained(folder, half=config.half),
        batch_frames=config.batch_frames,
        drop=config.drop,
        seed=config.loop.seed,
    )


class SayConfig(msgspec.Struct, frozen=True):
    """``vocoder``: a folder of the recipe vocoder, or ``embedded``; it takes log-mel frames."""

    vocoder: Annotated[str, SHARED] = "embedded"
    batch_size: Annotated[int, NEUTRAL] = 8


class SayUnits(Worker):
    """Each utterance of the test from its units; a speaker is prompted by the recording itself."""

    def setup(self, device: str) -> None:
        """Load decoder and vocoder."""
        from speechkit.tts.unit_decoder import load_unit_decoder
        from speechkit.tts.vocoder import load_vocoder

        self.decoder = load_unit_decoder(self.inputs["model"], device)
        self.vocoder: Any = load_vocoder(self.config.vocoder, device)

    def process(self, batch: Sequence[Utterance]) -> list[Value | Drop]:
        """A row with its waveform in 16 bits each."""
        return [self._said(row) for row in batch]

    def _said(self, row: Utterance) -> Value | Drop:
        from speechkit.data.audio import read_waveform
        from speechkit.io.paths import safe_id
        from speechkit.runtime import item_seed
        from speechkit.tts.unit_decoder import say_units

        if (row.custom or {})["part"] != "test":
            return Drop("not_of_the_test")
        units = np.asarray(read_record_arrays(self.inputs["features"], row.features or "")["units"])
        try:
            speaker = None if self.decoder.speaker is None else read_waveform(row, self.inputs["test_manifest"])
            speech = say_units(self.decoder, self.vocoder, units, speaker, item_seed(self.seed, row.id))
        except AudioError as error:
            return Drop("unusable_speaker", str(error))
        said = Utterance.from_samples(
            id=row.id,
            audio_filepath=f"{CLIPS}/{safe_id(row.id)}.flac",
            num_samples=len(speech.waveform),
            sample_rate=speech.rate,
            text=row.text,
            speaker=row.speaker,
            lang=row.lang,
        )
        return Value(said, {"waveform": np.round(speech.waveform * 32767).astype(np.int16)})
