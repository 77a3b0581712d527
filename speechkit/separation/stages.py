"""Separation of a manifest as stages: a worker that separates its rows, and a stage that writes the tracks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from speechkit.data.mixtures import FIELD
from speechkit.data.records import Utterance
from speechkit.errors import AudioError
from speechkit.io.arrays import Float, from_int16
from speechkit.pipeline import (
    NEUTRAL,
    SHARED,
    Context,
    Drop,
    Output,
    Resources,
    Stage,
    Value,
    Worker,
    external,
    model,
    stage,
)

BLOCK_SAMPLES = 1 << 20
DROP_REASONS = ("unreadable_audio", "nobody_speaks")


class SeparateConfig(msgspec.Struct, frozen=True):
    """The manifest and the separator.

    Attributes:
        manifest: recordings of several speakers.
        separator: ``embedded``, a folder or a hub id.
        speakers: number of speakers in each row, if known; counted if None.
        rate: sample rate of the tracks in hertz; that of each row's recording if None.
        window_seconds: see `Windowing`.
        overlap_seconds: see `Windowing`.
    """

    manifest: Annotated[str | None, SHARED] = None
    separator: Annotated[str, SHARED] = "embedded"
    speakers: int | None = None
    rate: int | None = None
    window_seconds: float = 8.0
    overlap_seconds: float = 2.0
    batch_size: Annotated[int, NEUTRAL, msgspec.Meta(ge=1)] = 4


class TracksConfig(msgspec.Struct, frozen=True):
    """File format of the tracks."""

    audio_format: Literal["wav", "flac"] = "flac"


def separation_digest(name: str) -> str:
    """See `speechkit.separation.separate.separation_digest`."""
    from speechkit.separation.separate import separation_digest as digest

    return digest(name)


class Separate(Worker):
    """Separates each row into a row per track, with 16-bit samples and without the mixture's text and speaker.

    Rows of any length are separated in constant memory; their tracks wait in the system's folder of temporary files.

    Audio paths are relative to the input named by `speechkit.encoders.stages.manifest_name`. ``custom.recording`` of a
    track is the id of its mixture, and ``custom.separated`` its track number and the number of speakers.
    """

    config: SeparateConfig

    def setup(self, device: str) -> None:
        """Load the separator and check the settings.

        Raises:
            UserError: if it cannot be loaded, or two rows have the same id.
            ConfigError: if it has no tracks for that many speakers.
        """
        from speechkit.data.manifest import read_manifest, unique_ids
        from speechkit.separation.separate import check_speakers, load_window_separator
        from speechkit.separation.streaming import Windowing

        if self.config.manifest is not None:
            for _ in unique_ids(read_manifest(self.config.manifest), self.config.manifest):
                pass
        self.separator = load_window_separator(self.config.separator, device)
        check_speakers(self.config.speakers, self.separator)
        self.windowing = Windowing(self.config.window_seconds, self.config.overlap_seconds)

    def process(self, batch: list[Utterance]) -> list[list[Value] | Drop]:
        """The tracks of each row; a row with a single speaker gives one."""
        return [self._tracks(row) for row in batch]

    def _tracks(self, row: Utterance) -> list[Value] | Drop:
        from speechkit.data.audio import cut_blocks
        from speechkit.data.manifest import audio_path
        from speechkit.encoders.stages import manifest_name
        from speechkit.io.paths import safe_id
        from speechkit.separation.blocks import separated_blocks, stored_int16
        from speechkit.separation.files import track_origin

        custom = {key: value for key, value in (row.custom or {}).items() if key not in (FIELD, "manifest", "part")}
        tracks: list[Value] = []

        def read(rate: int | None) -> Iterator[Float]:
            return cut_blocks(audio_path(self.inputs[manifest_name(row)], row), row, sample_rate=rate)

        try:
            with separated_blocks(
                read,
                row.sample_rate,
                self.separator,
                speakers=self.config.speakers,
                out_rate=self.config.rate,
                windowing=self.windowing,
            ) as separated:
                for number in range(1, separated.count.speakers + 1):
                    samples = stored_int16(separated.track(number - 1))
                    if not len(samples):  # a row without samples, whose speakers are given
                        continue
                    name = f"{row.id}_source{number}"
                    track = Utterance.from_samples(
                        id=name,
                        audio_filepath=f"audio/{safe_id(name)}",
                        num_samples=len(samples),
                        sample_rate=separated.rate,
                        lang=row.lang,
                        custom={**custom, **track_origin(row.id, row.audio_filepath, number, separated.count)},
                    )
                    tracks.append(Value(track, {"waveform": samples}))
        except AudioError as error:
            return Drop("unreadable_audio", str(error))
        if not tracks:
            return Drop("nobody_speaks", f"{row.id}: silent from {row.offset:.2f} s on")
        return tracks


def write_tracks(context: Context) -> None:
    """Write every track as a file, and ``tracks.jsonl`` in the order of the mixtures."""
    from speechkit.io.audio import write_blocks
    from speechkit.pipeline.arrays import read_array_blocks

    suffix = context.config.audio_format
    folder = context.output("audio")
    folder.mkdir(parents=True, exist_ok=True)

    def rows() -> Iterator[Utterance]:
        for row in context.read("separated"):
            blocks = read_array_blocks(context.inputs["separated"], row.features, "waveform", BLOCK_SAMPLES)
            path = f"{row.audio_filepath}.{suffix}"
            write_blocks(folder.parent / path, map(from_int16, blocks), row.sample_rate)
            yield msgspec.structs.replace(row, audio_filepath=path, features=None)

    context.write("tracks.jsonl", rows())


def separation_stages(first: int) -> tuple[Stage, Stage]:
    """Two stages, numbered from ``first``: ``separate`` a manifest, and write the ``tracks`` as files."""
    return (
        Stage(
            number=first,
            name="separate",
            version=2,
            run=Separate,
            inputs=(external("manifest", schema=Utterance), model("separator", digest=separation_digest)),
            outputs=(Output("separated.jsonl", schema=Utterance, min_records=0),),
            config=SeparateConfig,
            drop_reasons=DROP_REASONS,
            resources=Resources(cpus=2, gpus=1),
            part_records=16,
        ),
        Stage(
            number=first + 1,
            name="tracks",
            run=write_tracks,
            inputs=(stage("separate", "separated.jsonl"), stage("separate", name="parts")),
            outputs=(Output("tracks.jsonl", schema=Utterance, min_records=0), Output("audio", min_records=0)),
            config=TracksConfig,
        ),
    )
