"""Stages 7 and 8: continuations, synthesised if there is a decoder, and the page."""

from __future__ import annotations

from typing import Any

import msgspec

from speechkit.lm.records import Continued, Costs, UnitLmReport
from speechkit.lm.stages import continued, read_vocabulary
from speechkit.pipeline import Context
from speechkit.runtime import item_seed


def speak(context: Context) -> None:
    """Continue prompts of the test set, and synthesise some continuations if there is a decoder."""
    if context.config.decoder is None:
        continued(context)
        return
    from speechkit.io.audio import write_audio
    from speechkit.io.paths import safe_id
    from speechkit.tts.unit_decoder import load_unit_decoder, say_units
    from speechkit.tts.vocoder import load_vocoder

    spec = read_vocabulary(context)
    decoder = load_unit_decoder(context.config.decoder, context.device)
    decoder.check(spec.units.digest)
    vocoder: Any = load_vocoder(context.config.vocoder, context.device)
    continuations = continued(context)
    for prompt, row in ((continuation.prompt, continuation.sequence) for continuation in continuations):
        units: list[int] = [*prompt.units, *row.units]
        durations: list[int] | None = [*prompt.durations, *row.durations]
        if spec.merges is not None:  # tokens have no durations of their units
            units, durations = spec.merges.decode(units), None
        frames = decoder.frame_units(units, durations)
        speech = say_units(decoder, vocoder, frames, None, item_seed(context.seed, row.id))
        write_audio(context.output("continued") / f"{safe_id(row.id)}.wav", speech.waveform, speech.rate)


def report(context: Context) -> None:
    """The tables and the page."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.unit_lm_page import markdown, write_unit_lm_page

    costs = msgspec.json.decode(context.inputs["costs"].read_bytes(), type=Costs)
    continuations = msgspec.json.decode(context.inputs["degeneration"].read_bytes(), type=Continued)
    results = UnitLmReport(costs.systems, costs.savings, costs.entropy_bits_per_second, continuations)
    write_json(context.output("report.json"), results)
    write_text(context.output("table.md"), markdown(results))
    write_unit_lm_page(context.output("report.html"), results)
    best = min(costs.systems, key=lambda system: system.bits_per_second)
    context.main_figure = f"{best.system}: {best.bits_per_second:.1f} bits/s of unseen speakers' units"
