"""Stages 9 and 11: synthetic minimal pairs, and the accuracies of models on them."""

from __future__ import annotations

from speechkit.lm.pair_stages import judge as judged
from speechkit.lm.pair_stages import pairs as made
from speechkit.pipeline import Context


def pairs(context: Context) -> None:
    """Synthesise words and sentences with every voice, and add official sets."""
    from speechkit.tts.espeak import phone_names
    from speechkit.tts.voice import load_voice

    made(context, phone_names, load_voice)


def judge(context: Context) -> None:
    """Compute the accuracies and write their table."""
    from speechkit.io.atomic import write_json, write_text
    from speechkit.report.unit_pairs_table import pairs_markdown

    scores = judged(context)
    write_json(context.output("scores.json"), scores)
    write_text(context.output("pairs.md"), pairs_markdown(scores))
    best = max((each for each in scores if each.system == "unit model"), key=lambda each: each.by_mean, default=None)
    if best is not None:
        context.main_figure = f"{best.test}: {100 * best.by_mean:.1f} % of pairs by means"
