"""Stages 5 and 8: recordings of speakers that were never heard, made again, and what they are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.atomic import write_json
from speechkit.io.paths import safe_id
from speechkit.pipeline import SHARED, Context, Interrupted


class SynthesisConfig(msgspec.Struct, frozen=True):
    """What hears the recordings, for vocoders of encoder frames or units; as in stage 2."""

    encoder: Annotated[str, SHARED] = "embedded"
    codebook: Annotated[str, SHARED] = "embedded-100"


class SynthesisSpeed(msgspec.Struct, frozen=True):
    """How quick the vocoder was on these recordings, and how much it is.

    Attributes:
        seconds: of speech.
        taken_seconds: of work.
        first_seconds: median time to the first samples.
        look_ahead_seconds: of frames that a stream waits for.
        parameters: of the vocoder.
    """

    seconds: float
    taken_seconds: float
    first_seconds: float
    look_ahead_seconds: float
    parameters: int


def synthesize(context: Context) -> None:
    """Write each test recording as the vocoder says it again, and as it is.

    Raises:
        UserError: if none could be made.
        Interrupted: if the user asked to stop.
    """
    from statistics import median

    from speechkit.data.audio import read_waveform
    from speechkit.errors import AudioError
    from speechkit.io.audio import write_audio
    from speechkit.tts.vocoder.copy_synthesis import analysis_of
    from speechkit.tts.vocoder.copy_synthesis import synthesize as spoken
    from speechkit.tts.vocoder.load import load_vocoder

    vocoder = load_vocoder(context.inputs["model"], context.device)
    analysis, rate = analysis_of(vocoder, context.config.encoder, context.config.codebook, context.device)
    made: list[Utterance] = []
    recorded: list[Utterance] = []
    seconds, taken, firsts = 0.0, 0.0, []
    clips = {name: context.output(name) for name in ("made", "recorded")}
    for row in context.read("test"):
        if context.interrupted:
            raise Interrupted
        try:
            waveform = read_waveform(row, context.inputs["test_manifest"], sample_rate=rate)
            speaker = vocoder.reference(waveform) if vocoder.speaker is not None else None
        except AudioError as error:
            context.drop(row.id, "unreadable_audio", str(error))
            continue
        speech = spoken(vocoder, analysis(waveform), speaker, context.seed % 2**31)
        if not len(speech.waveform):
            context.drop(row.id, "too_short", f"{len(waveform)} samples are less than a frame")
            continue
        for rows, name, samples, its_rate in (
            (made, "made", speech.waveform, speech.rate),
            (recorded, "recorded", waveform, rate),
        ):
            path = Path(name) / f"{safe_id(row.id)}.flac"
            write_audio(clips[name] / path.name, samples, its_rate)
            rows.append(
                Utterance.from_samples(
                    id=row.id,
                    audio_filepath=path.as_posix(),
                    num_samples=len(samples),
                    sample_rate=its_rate,
                    text=row.text,
                    speaker=row.speaker,
                    lang=row.lang,
                )
            )
        seconds, taken = seconds + speech.seconds, taken + speech.taken_seconds
        firsts.append(speech.first_seconds)
        context.progress.update(len(made), len(made))
    if not made:
        raise UserError("no test recording could be made again; drops.jsonl says why")
    context.write("made.jsonl", made)
    context.write("recorded.jsonl", recorded)
    config = vocoder.config
    speed = SynthesisSpeed(
        seconds,
        taken,
        median(firsts),
        config.context_frames / config.input.frame_rate,
        sum(parameter.numel() for parameter in vocoder.parameters()),
    )
    write_json(context.output("speed.json"), speed)
    context.say(
        f"{seconds:.0f} s of speech, {seconds / taken:.0f} times as quick as it is spoken; the first samples after "
        f"{speed.first_seconds * 1000:.0f} ms"
    )


class ReportConfig(msgspec.Struct, frozen=True):
    """The judges' names for the page, as in stages 6 and 7, and how it is made.

    Attributes:
        samples: recordings that can be played on the page.
        resamples: bootstrap draws of the intervals.
    """

    recognizer: Annotated[str, SHARED] = "embedded"
    aligner: Annotated[str | None, SHARED] = "embedded"
    lang: Annotated[str, SHARED] = "en"
    normalizer: Annotated[str, SHARED] = "english"
    samples: Annotated[int, msgspec.Meta(ge=0)] = 12
    resamples: Annotated[int, msgspec.Meta(ge=1)] = 2000


def report(context: Context) -> None:
    """Tables and the page of what was measured, beside the recordings."""
    from speechkit.report.tts_page import main_figure, write_report
    from speechkit.tts.scores.measuring import read_measured
    from speechkit.tts.scores.summary import RECORDINGS, BootstrapSettings

    config = context.config
    clips = context.inputs["clips"]
    scores, _ = write_report(
        context.output("report.html").parent,
        {RECORDINGS: read_measured(context.inputs["recorded"]), "vocoder": read_measured(context.inputs["made"])},
        {RECORDINGS: clips / "recorded.jsonl", "vocoder": clips / "made.jsonl"},
        normalizer=config.normalizer,
        lang=config.lang,
        judge=config.recognizer,
        aligner=config.aligner,
        intervals=BootstrapSettings(resamples=config.resamples, seed=context.seed % 2**32),
        title="Recordings made again by the vocoder",
        samples=config.samples,
    )
    for system in scores.systems:
        shown = [f"{name} {figure.value:.3g}" for name, figure in system.figures.items()]
        context.say(f"{system.name}: {', '.join(shown)}")
    context.main_figure = main_figure(scores)
