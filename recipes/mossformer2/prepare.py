"""Stages 1 and 2: training, validation and test speakers, and fixed mixtures of the latter two."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import msgspec

from speechkit.augment.speakers import SpeakerMixing
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError
from speechkit.pipeline import SHARED, Context, Interrupted
from speechkit.runtime import item_seed

Positive = Annotated[int, msgspec.Meta(ge=1)]
DROP_REASONS = ("no_speaker", "too_short", "unreadable_audio", "silent", "noisy")


class SpeakerSplitConfig(msgspec.Struct, frozen=True):
    """The training, validation and test speakers.

    Attributes:
        speech_manifest: recordings of single speakers, each with the speaker's name; no text is needed.
        judges: pattern of ids; validation and test speakers are drawn from the speakers whose ids all match it.
        dev_speakers: number of validation speakers, by which the best weights are chosen.
        test_speakers: number of test speakers. All others are for training.
        min_seconds: shorter recordings are dropped.
        min_range_db: recordings with a smaller level difference between pauses and loud speech are dropped as noisy,
            since a separator would learn to keep the noise.
    """

    speech_manifest: Annotated[str | None, SHARED] = None
    judges: str = "*"
    dev_speakers: Positive = 12
    test_speakers: Positive = 24
    min_seconds: Annotated[float, msgspec.Meta(ge=0.1)] = 1.0
    min_range_db: float = 25.0


def prepare(context: Context) -> None:
    """Drop unusable recordings, and assign each speaker to one part at random.

    Raises:
        ConfigError: if no manifest is given, or there are too few speakers.
        UserError: if an id is duplicate.
        Interrupted: if the user asked to stop.
    """
    from speechkit.data.manifest import unique_ids

    config = context.config
    if config.speech_manifest is None:
        raise ConfigError("speech_manifest is not set; run with speech_manifest=FILE.jsonl")
    rows = list(unique_ids(context.read("speech_manifest"), context.inputs["speech_manifest"]))
    kept = []
    for number, row in enumerate(rows, start=1):
        if reason := _why_unfit(context, row):
            context.drop(row.id, *reason)
        else:
            kept.append(row)
        context.progress.update(number, len(rows))
        if context.interrupted:
            raise Interrupted
    speakers = sorted({row.speaker or "" for row in kept}, key=lambda name: item_seed(context.seed, name))
    others = {row.speaker for row in kept if not fnmatchcase(row.id, config.judges)}
    candidates = [name for name in speakers if name not in others]
    needed = config.dev_speakers + config.test_speakers
    if len(candidates) < needed or len(speakers) < needed + 2:
        raise ConfigError(
            f"{len(speakers)} speakers are left of {len(rows)} recordings, and the ids of {len(candidates)} match "
            f"{config.judges!r}; {config.dev_speakers} and {config.test_speakers} of these are needed for "
            "validation and test, and at least 2 others for training: give more, or lower prepare.dev_speakers and "
            "prepare.test_speakers"
        )
    held_out = {name: "dev" if n < config.dev_speakers else "test" for n, name in enumerate(candidates[:needed])}
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for row in kept:
        parts[held_out.get(row.speaker or "", "train")].append(row)
    for part, chosen in parts.items():
        context.write(f"{part}.jsonl", chosen)
        hours = sum(row.duration for row in chosen) / 3600
        context.say(f"{part}: {len({row.speaker for row in chosen})} speakers, {hours:.2f} h")


def _why_unfit(context: Context, row: Utterance) -> tuple[str, str] | None:
    """Reason and detail if a recording is unusable; None if it is usable."""
    from speechkit.augment.speakers import level_range
    from speechkit.data.audio import cut_blocks
    from speechkit.data.manifest import audio_path

    config = context.config
    if not row.speaker:
        return "no_speaker", ""
    if row.duration < config.min_seconds:
        return "too_short", f"{row.duration:.2f} s"
    try:
        range_db = level_range(cut_blocks(audio_path(context.inputs["speech_manifest"], row), row), row.sample_rate)
    except AudioError as error:
        return "unreadable_audio", str(error)
    if range_db is None:
        return "silent", ""
    return ("noisy", f"{range_db:.0f} dB") if range_db < config.min_range_db else None


FOUR_SETS = {
    "pairs": SpeakerMixing(seconds=(4.0, 6.0), counts=(0.0, 1.0), together=1.0, speed=0.0),
    "turns": SpeakerMixing(seconds=(4.0, 6.0), counts=(0.0, 1.0), together=0.0, overlap=(0.1, 0.5), speed=0.0),
    "noisy": SpeakerMixing(seconds=(4.0, 6.0), counts=(0.0, 1.0), together=1.0, speed=0.0, noise=1.0),
    "alone": SpeakerMixing(seconds=(4.0, 6.0), counts=(1.0, 0.0), speed=0.0),
}


class MixturesConfig(msgspec.Struct, frozen=True):
    """Fixed mixtures for validation and test.

    Attributes:
        sample_rate: of the separator, in hertz.
        sets: distribution of the mixtures of each set, by name.
        dev_mixtures: number of mixtures of validation speakers in each set.
        test_mixtures: number of mixtures of test speakers in each set.
    """

    sample_rate: Annotated[int, SHARED] = 8000
    sets: Annotated[dict[str, SpeakerMixing], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: dict(FOUR_SETS)
    )
    dev_mixtures: Positive = 15
    test_mixtures: Positive = 100


def mix(context: Context) -> None:
    """Generate and write the mixtures of both parts, alternating between sets."""
    import numpy as np

    from speechkit.augment.speaker_cuts import ManifestCuts
    from speechkit.augment.speakers import draw_mixture
    from speechkit.separation.fixed_mixtures import write_mixture

    config = context.config
    counts = {"dev": config.dev_mixtures, "test": config.test_mixtures}
    done, total = 0, sum(counts.values()) * len(config.sets)
    for part, count in counts.items():
        cuts = ManifestCuts(list(context.read(part)), context.inputs["speech_manifest"], config.sample_rate)
        folder, rows = context.output(part), []
        for number in range(count):
            for name, mixing in config.sets.items():
                generator = np.random.default_rng(item_seed(context.seed, f"{part} {name} {number}"))
                row = write_mixture(
                    folder, f"{name}-{number:04d}", draw_mixture(cuts, mixing, generator), config.sample_rate
                )
                rows.append(
                    msgspec.structs.replace(
                        row, audio_filepath=f"{part}/{row.audio_filepath}", custom={**(row.custom or {}), "set": name}
                    )
                )
                done += 1
                context.progress.update(done, total)
                if context.interrupted:
                    raise Interrupted
        context.write(f"{part}.jsonl", rows)
