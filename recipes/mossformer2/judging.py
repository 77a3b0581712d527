"""Stages 4 and 5: calibrate the counting of speakers, and score the separator in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from speechkit.pipeline import SHARED, Context, Interrupted


class CountingConfig(msgspec.Struct, frozen=True):
    """Calibration of counting on the mixtures of the validation speakers."""

    sample_rate: Annotated[int, SHARED] = 8000


def teach_counting(context: Context) -> None:
    """Copy the separator and add a calibration that distinguishes single speakers, pairs and noise.

    Raises:
        Interrupted: if the user asked to stop.
    """
    import shutil

    from speechkit.separation.counting import write_counting
    from speechkit.separation.counting_fit import fit_counting, judge_counting
    from speechkit.separation.judging import counting_examples
    from speechkit.separation.separate import load_window_separator

    separator = load_window_separator(context.inputs["model"], context.device)
    rows = list(context.read("dev"))
    examples = list(counting_examples(rows, context.inputs["dev"], separator, _counter(context, len(rows))))
    validated = judge_counting(examples)
    facts: dict[str, str | float] = {"mixtures": "dev.jsonl of the recipe mossformer2", "examples": len(examples)}
    if validated is not None:
        facts |= {"right_in_cross_validation": validated.right, "brier": round(validated.reliability.brier, 4)}
        context.say(
            f"speakers counted correctly in cross-validation: {validated.right:.3f} of {validated.examples} mixtures"
        )
    counting = fit_counting(examples, facts)
    folder = context.output("model")
    shutil.copytree(context.inputs["model"], folder, dirs_exist_ok=True)
    write_counting(folder, counting)


class ScoreConfig(msgspec.Struct, frozen=True):
    """Test sets, systems and measures.

    Attributes:
        mixtures_manifest: a further test set with sources, such as Libri2Mix.
        beside: another separator to compare with, a folder or hub id.
        measures: in addition to SI-SDR: ``sdr``, ``stoi``, ``pesq`` (extras separation-scores and pesq).
        by: unit of resampling for intervals.
    """

    mixtures_manifest: str | None = None
    beside: str | None = None
    measures: list[Literal["sdr", "stoi", "pesq"]] = []
    by: Literal["mixture", "speaker"] = "mixture"


def beside_digest(beside: str) -> str:
    """Digest of the other separator."""
    from speechkit.separation.separate import separation_digest

    return separation_digest(beside)


def score(context: Context) -> None:
    """Separate every mixture for a known and for an unknown number of speakers, and score the tracks.

    Raises:
        Interrupted: if the user asked to stop.
    """
    from speechkit.metrics.separated_tracks import read_references
    from speechkit.metrics.separation_comparison import compare_separation
    from speechkit.metrics.separation_items import IMPROVEMENT, score_items
    from speechkit.report.separation_page import write_separation_scores
    from speechkit.report.separation_tables import all_tables, sentence, value_of
    from speechkit.separation.judging import write_tracks
    from speechkit.separation.separate import load_window_separator

    names = [name for name in ("model", "beside") if name in context.inputs]
    separators = {name: load_window_separator(context.inputs[name], context.device) for name in names}
    for part in ("test", "mixtures_manifest"):
        if part not in context.inputs:
            continue
        references, unusable = read_references(context.inputs[part])
        done = _counter(context, len(references))
        systems = {
            f"{name}, {kind}": write_tracks(references, separator, context.scratch / part / name / kind, known, done)
            for name, separator in separators.items()
            for kind, known in (("number known", separator.speakers), ("counted", None))
        }
        items = score_items(references, systems, measures=context.config.measures, left_out=unusable)
        scores = compare_separation(items, by=context.config.by, groups=["set"])
        folder = context.output("scores") / part.removesuffix("_manifest")
        write_separation_scores(folder, scores, items.references, systems)
        for table in all_tables(scores, brief=True):
            context.say(table.markdown())
        gained = value_of(scores.systems[0].means.get(IMPROVEMENT), IMPROVEMENT, signed=True)
        context.main_figure = f"SI-SDR {gained.number} dB ({gained.ends()}) over the mixture, {sentence(scores)}"


def _counter(context: Context, total: int) -> Callable[[int], None]:
    """A callback that shows progress, and ends the stage if the user asked to stop."""

    def done(number: int) -> None:
        context.progress.update(number, total)
        if context.interrupted:
            raise Interrupted

    return done
