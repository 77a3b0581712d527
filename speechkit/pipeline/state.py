"""Whether a stage is fresh, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.pipeline.config import Settings
from speechkit.pipeline.content import ContentDigests
from speechkit.pipeline.fingerprint import (
    Identity,
    differences,
    fingerprint,
    identity_of,
    own_input_digests,
)
from speechkit.pipeline.folder import StageFolder, StageRecord, current_record, damage, digest_outputs, read_record
from speechkit.pipeline.parts import INDEX, PartIndex
from speechkit.pipeline.stage import Stage, StageInput

Condition = Literal["fresh", "stale", "part done", "not run", "waits", "not configured"]


@dataclass(frozen=True)
class StageState:
    """State of a stage before it runs.

    ``waits``: an earlier stage must run first, so that the fingerprint is unknown yet.
    """

    stage: Stage
    condition: Condition
    reasons: tuple[str, ...] = ()
    config: msgspec.Struct | None = None
    identity: Identity = field(default_factory=dict)
    folder: StageFolder | None = None
    record: StageRecord | None = None
    parts_done: int = 0
    parts: int = 0


class Inspector:
    """Inspects the stages of a recipe in an output folder; settled states are cached."""

    def __init__(self, settings: Settings, exp: Path) -> None:
        self.settings = settings
        self.exp = exp
        self.contents = ContentDigests(exp / ".digests.json")
        self._known: dict[str, StageState] = {}

    def forget(self, stage: Stage) -> None:
        """Discard the cached states of the stage after it has run, and of later ones: their inputs may differ."""
        numbers = {other.name: other.number for other in self.settings.recipe.stages}
        self._known = {name: state for name, state in self._known.items() if numbers[name] < stage.number}

    def state(self, stage: Stage) -> StageState:
        """The stage's state; digests of its inputs are computed now."""
        if stage.name not in self._known:
            state = self._inspect(stage)
            # Settled states are cached for later stages; others may change.
            if state.condition != "fresh":
                return state
            self._known[stage.name] = state
        return self._known[stage.name]

    def folders(self, stage: Stage) -> dict[str, Path]:
        """The committed folders of the earlier stages that a stage reads."""
        folders = {}
        for input_ in stage.inputs:
            if isinstance(input_, StageInput):
                earlier = self.state(self.settings.recipe.stage(input_.stage))
                if earlier.folder is not None:
                    folders[input_.stage] = earlier.folder.final
        return folders

    def _inspect(self, stage: Stage) -> StageState:
        last = current_record(self.exp / stage.folder_name)
        try:
            config = self.settings.config(stage)
            inputs = own_input_digests(stage, self.settings.given(stage), self.contents)
        except UserError as error:
            return StageState(stage, "not configured", (str(error),))
        waiting = []
        for input_ in stage.inputs:
            if not isinstance(input_, StageInput):
                continue
            earlier = self.state(self.settings.recipe.stage(input_.stage))
            if earlier.condition != "fresh" or earlier.record is None or earlier.folder is None:
                waiting.append(f"stage {earlier.stage.number} {input_.stage} runs first")
                continue
            read = (earlier.stage, earlier.record, earlier.folder.final)
            inputs[f"input.{input_.name}"] = _input_digest(input_, *read, self.contents)
        if waiting:
            return StageState(stage, "waits", tuple(dict.fromkeys(waiting)), config)
        identity = identity_of(stage, config, self.settings.seed, inputs)
        folder = StageFolder(self.exp, stage, fingerprint(identity))
        record = read_record(folder.final)
        if record is not None and record.fingerprint == folder.fingerprint:
            broken = damage(folder.final, record, stage.outputs, self.contents)
            if not broken:
                return StageState(stage, "fresh", (), config, identity, folder, record)
            return StageState(stage, "stale", tuple(broken), config, identity, folder)
        done, parts = count_parts(folder.work)
        why: tuple[str, ...] = ()
        if last is not None:
            why = tuple(differences(last.identity, identity))
        if folder.work.is_dir():
            progress = f"{done} of {parts} parts done" if parts else "begun"
            return StageState(stage, "part done", (progress, *why), config, identity, folder, None, done, parts)
        return StageState(stage, "stale" if last else "not run", why, config, identity, folder)


def count_parts(work: Path) -> tuple[int, int]:
    """Numbers of finished parts and of all parts in a work folder; (0, 0) if it has none."""
    index = work / INDEX
    if not index.is_file():
        return 0, 0
    parts = PartIndex(index, work).parts
    ending = f"-of-{parts:05d}.jsonl"
    done = sum(1 for path in work.iterdir() if path.name.startswith("part-") and path.name.endswith(ending))
    return done, parts


def _input_digest(
    input_: StageInput, earlier: Stage, record: StageRecord, folder: Path, contents: ContentDigests
) -> str:
    if input_.file is None:
        return record.output_digest
    if input_.file in record.outputs:
        read = {input_.file: record.outputs[input_.file]}
        if any(output.path == input_.file and output.schema is Utterance for output in earlier.outputs):
            # The audio that a manifest names may change while its lines stay the same.
            read |= {name: committed for name, committed in record.outputs.items() if (folder / name).is_dir()}
        return digest_outputs(read) if len(read) > 1 else read[input_.file].digest
    return contents.digest(folder / input_.file)
