"""Stage 3: training of the flow from units to frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.pipeline import SHARED, Context, read_record_arrays
from speechkit.training import TrainingConfig
from speechkit.tts.flow_config import FlowConfig, SamplingConfig
from speechkit.tts.unit_frames import unit_set
from speechkit.tts.vocoder.config import SpeakerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.training import Objective
    from speechkit.tts.flow_training import FlowItems


class TrainConfig(msgspec.Struct, frozen=True):
    """The decoder and its training.

    Attributes:
        flow: the transformer.
        speaker: encoder of a recording of the speaker; None for a single voice.
        prompt_seconds: duration of such a recording.
        sampling: default settings of the sampler.
        batch_frames: size of a padded batch: number of utterances times the longest.
        drop: probability of training an item without its units, for classifier-free guidance.
        half: store float16 weights.
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
    """Train as configured; an interrupted run resumes from its checkpoint."""
    from speechkit.training import train_stage

    train_stage(context, objective, context.config.loop, processes=context.config.processes)


def objective(context: Context) -> Objective:
    """The decoder with the frames of stage 2."""
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
    totals = np.ones((2, units_of.clusters))  # frames and runs of each unit, with one pseudo-count

    def items(part: str) -> FlowItems:
        chosen = [row for row in rows if (row.custom or {})["part"] == part]
        stored = [read_record_arrays(context.inputs["features"], row.features or "") for row in chosen]
        units = [np.asarray(arrays["units"]) for arrays in stored]
        if part == "train":
            for sequence in units:
                runs, durations = deduplicate(sequence)
                np.add.at(totals[0], runs, durations)
                np.add.at(totals[1], runs, 1)
        prompts = None
        if config.speaker is not None:
            manifest, rate = context.inputs["train_manifest"], decoder.config.mel.sample_rate
            prompts = speaker_prompts(chosen, manifest, rate, config.prompt_seconds, config.loop.seed)

        def others(indices: Sequence[int]) -> dict[str, Tensor]:
            named = [torch.from_numpy(units[index].astype(np.int64)) for index in indices]
            return {"units": torch.nn.utils.rnn.pad_sequence(named, batch_first=True)}

        return FlowItems([arrays["frames"] for arrays in stored], others, prompts)

    training = items("train")
    decoder.unit_frames.copy_(torch.from_numpy(totals[0] / totals[1]))
    return flow_objective(
        decoder,
        training,
        items("dev") if any((row.custom or {})["part"] == "dev" for row in rows) else None,
        lambda folder: decoder.save_pretrained(folder, half=config.half),
        batch_frames=config.batch_frames,
        drop=config.drop,
        seed=config.loop.seed,
    )
