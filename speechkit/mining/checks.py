"""What can be checked in the settings of a mining run before its first stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from speechkit.errors import UserError, require
from speechkit.mining.config import PairingConfig, RegionsConfig

VOICE_SETTINGS = ("threshold", "min_speech_seconds", "min_silence_seconds", "pad_seconds")
SEARCH_SETTINGS = (
    "kgram",
    "window_characters",
    "passage_characters",
    "min_score",
    "min_share_of_best",
    "min_times_usual",
    "max_kgrams",
)


def missing_parts(configs: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each file, library or language that a chosen stage needs and lacks.

    Args:
        configs: the settings of the chosen stages by name.
    """
    for stage, check in CHECKS.items():
        if stage in configs:
            try:
                check(configs[stage])
            except UserError as error:
                yield str(error)


def settings_without_effect(configs: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each setting that was given and would silently do nothing beside the others."""
    hypotheses, refinement = configs.get("hypotheses"), configs.get("refinement")
    export, regions, pairing = configs.get("export"), configs.get("regions"), configs.get("pairing")
    if hypotheses is not None:
        from speechkit.asr.load import gives_emissions

        if not gives_emissions(hypotheses.recognizer):
            needed = (
                f"needs the emissions of a recogniser, which {hypotheses.recognizer} does not give; "
                "use the embedded one or a CTC model"
            )
            if refinement is not None and refinement.correct == "all":
                yield f"refinement.correct=all: {needed}"
            elif refinement is not None and refinement.lexicon != "auto":
                yield f"refinement.lexicon: {needed}"
            if export is not None and export.max_character_errors is not None:
                yield f"export.max_character_errors: {needed}"
    if refinement is not None and refinement.correct == "none" and refinement.lexicon != "auto":
        yield "refinement.lexicon has no effect with refinement.correct=none; leave one of them out"
    if regions is not None and regions.vad == "none":
        for name in _changed(regions, RegionsConfig(), VOICE_SETTINGS):
            yield f"regions.{name} has no effect with regions.vad=none; leave one of them out"
    if pairing is not None and pairing.pairs is not None:
        for name in _changed(pairing, PairingConfig(), SEARCH_SETTINGS):
            yield f"pairing.{name} has no effect with a list of pairs; leave one of them out"
    files = configs.get("files")
    if files is not None and files.channels == "each" and regions is not None and regions.channel >= 0:
        yield "regions.channel has no effect with channels=each, which mines every channel; leave one of them out"


def _changed(config: Any, defaults: Any, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(config, name) != getattr(defaults, name)]


def _recognizer(config: Any) -> None:
    from speechkit.asr.load import check_recognizer

    check_recognizer(config.recognizer, config.lang)


def _correction(config: Any) -> None:
    from speechkit.mining.correction import lexicon_missing, read_lexicon

    if config.correct == "all" and (missing := lexicon_missing(config.lexicon, config.lang)):
        raise UserError(f"refinement.correct=all: {missing}")
    if config.lexicon != "auto":
        read_lexicon(config.lexicon, config.lang)


def _calibration(config: Any) -> None:
    from speechkit.mining.confidence import load_calibration

    if config.calibration != "shipped":
        load_calibration(config.calibration)


def _export(config: Any) -> None:
    from speechkit.mining.decisions import read_decisions

    if config.decisions is not None:
        read_decisions(config.decisions)
    if config.dnsmos or config.min_dnsmos is not None:
        require("speechmos.dnsmos")
    if config.voice or config.min_voice is not None:
        require("resemblyzer")


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "hypotheses": _recognizer,
    "refinement": _correction,
    "selection": _calibration,
    "export": _export,
}
"""By stage; each raises a `UserError`."""
