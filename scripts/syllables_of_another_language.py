"""How the segmenters do on a language that the training did not hear, judged by a rough truth.

    python scripts/syllables_of_another_language.py EXP MANIFEST.jsonl --lang de [--limit 200]

EXP is the recipe's folder, with stages 4 to 7 done. The truth is rough: phones come from letters by rule, aligned
with the sounds of an English acoustic model. Beside boundary scores it therefore prints what needs no alignment: the
number of segments by the number of written nuclei, and their correlation over utterances.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from speechkit.data.audio import read_waveform
from speechkit.data.manifest import read_manifest
from speechkit.encoders import load_encoder
from speechkit.errors import AlignmentError, SpeechkitError, UserError
from speechkit.pipeline import outputs
from speechkit.pipeline.discover import recipe_module
from speechkit.runtime import item_seed
from speechkit.syllables.comparison import seconds_of, truth_times
from speechkit.syllables.evaluation import score
from speechkit.syllables.segmenters import Choice, segmenter_of
from speechkit.syllables.silver_alignment import PhoneAligner, align_silver
from speechkit.syllables.syllabification import is_vowel
from speechkit.text import get_normalizer
from speechkit.text.rough_pronunciation import rough_phones


def judge_language(
    choices: list[Choice], folders: dict[str, Path], manifest: Path, lang: str, limit: int, device: str
) -> None:
    """Print a table of the systems; ``folders`` has the encoder of each that is not the envelope."""
    aligner = PhoneAligner(lang)
    normalizer = get_normalizer("simple")
    rows = sorted(read_manifest(manifest), key=lambda row: item_seed(0, row.id))[:limit]
    waveforms, truth, nuclei, failed = [], [], [], 0
    for row in rows:
        words = normalizer.normalize(row.text or "").text.split()
        waveform = read_waveform(row, manifest)
        try:
            silver = align_silver(aligner, waveform, words)
        except AlignmentError:
            failed += 1
            continue
        waveforms.append(waveform)
        truth.append(truth_times(silver.syllable))
        nuclei.append(sum(is_vowel(phone) for word in words for phone in rough_phones(word, lang)))
    if not truth:
        raise UserError(f"{manifest}: no utterance could be aligned; is the language {lang}?")
    print(f"{len(truth)} utterances of {sum(map(len, waveforms)) / 16_000 / 60:.1f} minutes, {failed} not aligned")
    print("system             F1     R-value  segments/nuclei  correlation")
    inputs: dict[str, list[Any]] = {"envelope": waveforms}
    for choice in choices:
        name = choice.system.split()[0]
        if name not in inputs:
            encoder = load_encoder(str(folders[name]), device=device)
            inputs[name] = [encoder.encode(waveform) for waveform in waveforms]
        spans = [segmenter_of(choice).segment(item) for item in inputs[name]]
        items = [(wanted, seconds_of(cut)) for wanted, cut in zip(truth, spans, strict=True)]
        plain = score(items, "plain").boundaries
        counts = np.array([len(cut) for cut in spans], np.float64)
        correlation = np.corrcoef(counts, nuclei)[0, 1] if counts.std() and np.std(nuclei) else 0.0
        print(
            f"{choice.system:18s} {plain['f1'].value:.3f}  {plain['r_value'].value:.3f}    "
            f"{counts.sum() / sum(nuclei):.2f}             {correlation:.3f}",
            flush=True,
        )


def main() -> int:
    """Judge the systems of a finished recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--lang", choices=["de", "hi"], required=True)
    parser.add_argument("--limit", type=int, default=100, help="utterances, drawn")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    recipe = recipe_module("sylber").recipe
    try:
        choices = msgspec.json.decode(
            (outputs(recipe, arguments.exp, "segment") / "choices.json").read_bytes(), type=list[Choice]
        )
        folders = {
            "untrained": outputs(recipe, arguments.exp, "seeds") / "encoder",
            "first": outputs(recipe, arguments.exp, "train1") / "model",
            "second": outputs(recipe, arguments.exp, "train2") / "model",
        }
        judge_language(choices, folders, arguments.manifest, arguments.lang, arguments.limit, arguments.device)
    except SpeechkitError as error:
        print(f"syllables_of_another_language: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
