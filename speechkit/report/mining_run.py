"""Load the data of a mining page from the output folders of a run."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from speechkit import __version__
from speechkit.data import Utterance, read_jsonl, read_manifest
from speechkit.errors import UserError
from speechkit.mining.command import command_line, without_place
from speechkit.mining.export.sound import SentenceQuality
from speechkit.mining.records import Outcome, PairAlignment, RecognizedText, Recording, SelectionSummary
from speechkit.pipeline.arrays import read_record_arrays
from speechkit.pipeline.folder import current_folder, read_record
from speechkit.report.mining_data import MiningReport, RecognisedTimes, Records
from speechkit.report.mining_gather import gather
from speechkit.text import normalizer_for

PACKAGES = ("torch", "numpy", "onnxruntime", "silero-vad", "pypdfium2")
STAGES = {
    "documents": "01-documents",
    "regions": "02-regions",
    "hypotheses": "03-hypotheses",
    "pairing": "04-pairing",
    "alignment": "05-alignment",
    "refinement": "06-refinement",
    "selection": "07-selection",
}
EXPORT, PAGE = "08-export", "09-report"


def load_run(
    run: Path | str, *, audio: Path | str | None = None, title: str | None = None, max_views: int = 12
) -> MiningReport:
    """Load the page data of a finished run, with its duration.

    Args:
        run: the output folder of `speechkit mine`, or the recipe's folder of stages.
        audio: current folder of the recordings; by default that of the run.
        title: heading; by default the name of the run's folder.
        max_views: number of alignments that are plotted.

    Raises:
        UserError: if the folder has no finished run.
    """
    root = Path(run) / "stages" if (Path(run) / "stages").is_dir() else Path(run)
    folders = {}
    for name, folder_name in STAGES.items():
        folder = current_folder(root / folder_name)
        if folder is None:
            raise UserError(
                f"{run}: holds no finished mining run (stage {name} has no result); run speechkit mine first"
            )
        folders[name] = folder
    page, exported = current_folder(root / PAGE), current_folder(root / EXPORT)
    record = read_record(page) if page is not None else None
    command = str(record.run.get("config", {}).get("command", "")) if record is not None else ""
    return data_of_stages(
        folders,
        audio=audio,
        title=title or Path(run).resolve().name,
        max_views=max_views,
        timed=True,
        command=command,
        quality=exported / "quality.jsonl" if exported is not None else None,
    )


def data_of_stages(
    folders: Mapping[str, Path],
    *,
    audio: Path | str | None = None,
    title: str,
    max_views: int = 12,
    timed: bool = False,
    command: str = "",
    quality: Path | None = None,
) -> MiningReport:
    """Load the page's data from the committed folders of the stages, by stage name.

    ``quality`` is the file of quality columns that the export wrote, if there is one. ``command`` is the command of
    the run. With ``timed``, the page shows the duration of the run, so that two runs differ; otherwise equal inputs
    give equal bytes.
    """
    facts = {name: record.run for name, folder in folders.items() if (record := read_record(folder)) is not None}
    config = {name: _plain(fact.get("config", {})) for name, fact in facts.items()}
    audio = audio or facts.get("regions", {}).get("config", {}).get("audio") or "audio"
    lang = str(config.get("regions", {}).get("lang") or config.get("alignment", {}).get("lang", "en"))
    wanted = str(config.get("hypotheses", {}).get("recognizer", "auto"))
    recognizer = recognizer_of(folders["hypotheses"] / "hypotheses.jsonl") or wanted
    if not command:  # stages were run one by one
        documents = str(facts.get("documents", {}).get("config", {}).get("documents", "documents"))
        precision = float(config.get("selection", {}).get("min_precision", 0.98))
        options = {"lang": lang, "recognizer": wanted, "min_precision": precision}
        command = command_line(str(audio), documents, "mined", options)
    seconds = sum(float(fact.get("seconds", 0.0)) for fact in facts.values())
    return gather(
        _records(folders, quality),
        title=title,
        audio_root=audio,
        lang=lang,
        max_views=max_views,
        seconds_taken=seconds if timed and seconds else None,
        config=config,
        versions=_versions(lang, recognizer),
        commands=[command],
    )


def _records(folders: Mapping[str, Path], quality: Path | None) -> Records:
    selection = folders["selection"]
    summaries = list(read_jsonl(selection / "summary.jsonl", SelectionSummary))
    if len(summaries) != 1:
        path = selection / "summary.jsonl"
        raise UserError(f"{path}: holds {len(summaries)} summaries and one is needed; run the selection stage again")
    return Records(
        recordings=lambda: read_jsonl(folders["regions"] / "recordings.jsonl", Recording),
        alignments=lambda: read_jsonl(folders["refinement"] / "alignments.jsonl", PairAlignment),
        outcomes=lambda: read_jsonl(selection / "outcomes.jsonl", Outcome),
        utterances=lambda: read_manifest(selection / "utterances.jsonl", Utterance),
        candidates=lambda: read_manifest(selection / "candidates.jsonl", Utterance),
        heard=lambda: _heard(folders["hypotheses"] / "hypotheses.jsonl"),
        summary=summaries[0],
        quality=functools.partial(_quality, quality),
    )


def _quality(path: Path | None) -> Iterator[SentenceQuality]:
    if path is not None and path.is_file():
        yield from read_jsonl(path, SentenceQuality)


def _heard(hypotheses: Path) -> Iterator[RecognisedTimes]:
    for record in read_jsonl(hypotheses, RecognizedText):
        if record.features is not None and record.text:
            arrays = read_record_arrays(hypotheses, record.features, ("starts", "ends"))
            yield RecognisedTimes(record.recording, record.text, arrays["starts"], arrays["ends"])


def recognizer_of(hypotheses: Path) -> str | None:
    """Name of the recogniser that produced the hypotheses; None if there are none."""
    first = next(iter(read_jsonl(hypotheses, RecognizedText)), None)
    return first.recognizer if first is not None else None


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    # Local input paths are private and must not appear on a page that may be shared.
    return {key: without_place(value) if isinstance(value, str) else value for key, value in config.items()}


def _versions(lang: str, recognizer: str) -> dict[str, str]:
    normalizer = normalizer_for(lang).spec
    versions = {
        "Python": platform.python_version(),
        "speechkit": __version__,
        "recogniser": recognizer,
        "normaliser": f"{normalizer.name}, version {normalizer.version}",
    }
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
