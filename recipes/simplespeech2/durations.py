"""Stage 4: comparison of three predictors of a sentence's duration; the chosen one is stored."""

from __future__ import annotations

from typing import Literal

import msgspec

from speechkit.pipeline import Context, Interrupted
from speechkit.training import TrainingConfig


class DurationConfig(msgspec.Struct, frozen=True):
    """The predictor to store, and the training of the network.

    The fourth predictor, `TokenSumDuration`, needs an aligned model (recipe wavthruvec) and no training; see
    docs/tts.md.
    """

    kept: Literal["bytes", "symbols", "network"] = "network"
    width: int = 64
    layers: int = 2
    batch_bytes: int = 2000
    loop: TrainingConfig = TrainingConfig(steps=1000, learning_rates=(2e-3,), log_every=100)


def learn_durations(context: Context) -> None:
    """Fit all predictors on the training texts, and write their mean errors on the validation texts."""
    import numpy as np

    from speechkit.io.atomic import write_json
    from speechkit.training import train
    from speechkit.tts.duration_network import DurationNetworkConfig, duration_objective
    from speechkit.tts.durations import SentenceDuration, fit_bytes, fit_symbols

    config: DurationConfig = context.config
    rows = list(context.read("cuts"))
    learnt = [row for row in rows if row.custom["part"] == "train"]
    texts, seconds = [row.text for row in learnt], [row.duration for row in learnt]
    objective = duration_objective(
        texts,
        seconds,
        DurationNetworkConfig(width=config.width, layers=config.layers),
        config.batch_bytes,
        config.loop.seed,
    )
    if not train(objective, config.loop, context.scratch, should_stop=lambda: context.interrupted, log=context.say):
        raise Interrupted
    predictors: dict[str, SentenceDuration] = {
        "bytes": fit_bytes(texts, seconds),
        "symbols": fit_symbols(texts, seconds),
        "network": objective.network,
    }
    judged = [row for row in rows if row.custom["part"] == "dev"] or learnt
    spoken = np.array([row.duration for row in judged])
    scores = {}
    for name, predictor in predictors.items():
        predicted = np.array([predictor.seconds(row.text) for row in judged])
        off = np.abs(predicted - spoken)
        scores[name] = {"seconds_off": float(off.mean()), "share_off": float((off / spoken).mean())}
        context.say(f"{name}: off by {scores[name]['seconds_off']:.3f} s, {100 * scores[name]['share_off']:.1f} %")
    predictors[config.kept].save_pretrained(context.output("model"))
    write_json(context.output("scores.json"), {"utterances": len(judged), "kept": config.kept, "predictors": scores})
