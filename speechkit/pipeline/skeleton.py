"""`speechkit new`: a working recipe as a starting point."""

from __future__ import annotations

from pathlib import Path

from speechkit.errors import UserError
from speechkit.io.atomic import write_error, write_text
from speechkit.pipeline.recipe import NAME

RECIPE = '''"""Recipe __NAME__: recordings to feature frames, in three stages to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from speechkit.data import Utterance
from speechkit.pipeline import NEUTRAL, Context, Drop, Output, Recipe, Stage, Value, Worker, external, stage

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


class PrepareConfig(msgspec.Struct, frozen=True):
    """Settings of stage 1; set one with prepare.piece_seconds=5.

    Attributes:
        audio: a folder of recordings; default: the sample in the package.
        piece_seconds: recordings are cut into pieces of this length.
    """

    audio: str | None = None
    piece_seconds: Annotated[float, msgspec.Meta(gt=0)] = 10.0


class FeaturesConfig(msgspec.Struct, frozen=True):
    """Settings of stage 2.

    Attributes:
        encoder: ``log-mel``, ``embedded``, or the folder or hub id of a wav2vec 2.0, HuBERT or WavLM checkpoint.
        batch_size: pieces encoded together; does not change the result, so that the stage stays fresh.
    """

    encoder: str = "log-mel"
    batch_size: Annotated[int, NEUTRAL] = 8


class ReportConfig(msgspec.Struct, frozen=True):
    """Stage 3 has no settings yet."""


def prepare(context: Context) -> None:
    """A stage that is a function: it sees all inputs and writes its outputs. One manifest row per piece."""
    from speechkit.io.audio import audio_info
    from speechkit.shipped import shipped_folder

    sample = shipped_folder("recipes") / "mining" / "sample" / "audio"
    folder = Path(context.inputs.get("audio", sample))

    def pieces():
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
            info = audio_info(path)
            length = round(context.config.piece_seconds * info.sample_rate)
            for number, begin in enumerate(range(0, info.num_samples, length)):
                yield Utterance.from_samples(
                    id=f"{path.stem}-{number:04d}",
                    audio_filepath=str(path.resolve()),
                    offset_samples=begin,
                    num_samples=min(length, info.num_samples - begin),
                    sample_rate=info.sample_rate,
                )

    context.write("pieces.jsonl", pieces())


class Features(Worker):
    """A stage that is a worker: one answer per record, in parts, on any backend."""

    def setup(self, device: str) -> None:
        """Load models here, once per process."""
        from speechkit.encoders.load import load_encoder

        self.encoder = load_encoder(self.config.encoder, device=device)

    def process(self, batch: list[Utterance]) -> list[Value | Drop]:
        """A record with its arrays, or the reason for dropping it."""
        from speechkit.data.audio import read_waveform

        manifest, rate = self.inputs["pieces"], self.encoder.spec.sample_rate
        answers = []
        for row in batch:
            frames = self.encoder.encode(read_waveform(row, manifest, sample_rate=rate))  # (T, D)
            answers.append(Value(row, {"frames": frames}) if len(frames) else Drop("too_short", f"{row.duration} s"))
        return answers


def report(context: Context) -> None:
    """Read the frames back, and set the main figure of the run."""
    from speechkit.pipeline.arrays import read_record_arrays

    manifest, frames, seconds = context.inputs["features"], 0, 0.0
    for row in context.read("features"):
        frames += len(read_record_arrays(manifest, row.features)["frames"])
        seconds += row.duration
    context.output("report.md").write_text(f"| seconds | frames |\\n|---|---|\\n| {seconds:.1f} | {frames} |\\n")
    context.main_figure = f"{frames} frames of {seconds:.1f} s of speech"


recipe = Recipe(
    name="__NAME__",
    description="Recordings to feature frames.",
    next_command="cat {exp}/03-report/current/report.md",
    stages=(
        Stage(
            number=1,
            name="prepare",
            run=prepare,
            inputs=(external("audio"),),
            outputs=(Output("pieces.jsonl", Utterance),),
            config=PrepareConfig,
        ),
        Stage(
            number=2,
            name="features",
            run=Features,
            inputs=(stage("prepare", "pieces.jsonl"),),
            outputs=(Output("features.jsonl", Utterance),),
            config=FeaturesConfig,
            drop_reasons=("too_short",),
        ),
        Stage(
            number=3,
            name="report",
            run=report,
            inputs=(stage("features", "features.jsonl"),),
            outputs=(Output("report.md"),),
            config=ReportConfig,
        ),
    ),
)
'''
CONFIG = """# Overrides the defaults in recipe.py; key=value on the command line overrides these.
seed: 1
prepare:
  piece_seconds: 10
"""
RUN = """#!/usr/bin/env bash
# For example: recipes/__NAME__/run.sh --stage 2 features.encoder=embedded
exec speechkit run "$(dirname "$0")/recipe.py" "$@"
"""
README = """# __NAME__

What it does, in two lines.

| stage | name | output |
|---|---|---|
| 1 | prepare | pieces.jsonl: one row per piece of a recording |
| 2 | features | features.jsonl, with the frames of each piece as an array |
| 3 | report | report.md |

    speechkit run __NAME__
    speechkit status __NAME__
    speechkit settings __NAME__
    speechkit run __NAME__ --stage 2 features.batch_size=4

Your own recordings: `speechkit run __NAME__ prepare.audio=FOLDER`. Results: `exp/__NAME__/03-report/current/report.md`.
"""


def write_skeleton(recipes: Path, name: str) -> Path:
    """Write ``recipes/name``; returns the folder.

    Raises:
        UserError: if the name is invalid, or the folder exists.
    """
    if not NAME.match(name):
        raise UserError(f"{name!r} is not a recipe name; use lower-case letters, digits and _, a letter first")
    folder = recipes / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{folder} exists already; choose another name") from error
    except OSError as error:
        raise write_error(folder, error) from error
    for path, text in (("recipe.py", RECIPE), ("conf/default.yaml", CONFIG), ("run.sh", RUN), ("README.md", README)):
        write_text(folder / path, text.replace("__NAME__", name))
    (folder / "run.sh").chmod(0o755)
    return folder
