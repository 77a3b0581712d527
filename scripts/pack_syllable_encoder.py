"""Keep the encoder and the tuned segmenters of a finished recipe sylber as they are in the package.

    python scripts/pack_syllable_encoder.py exp/sylber --out speechkit/encoders/models/syllables

The encoder must have been trained from ``embedded``: only what differs from it is stored, in int8.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from speechkit.encoders.derived import pack_difference
from speechkit.errors import UserError
from speechkit.io.atomic import write_json
from speechkit.pipeline import outputs
from speechkit.pipeline.discover import recipe_module
from speechkit.syllables.segmenters import SETTINGS_FILE, SegmenterChoice


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", type=Path, help="folder of the recipe sylber, with stages 6 and 7 done")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recipe = recipe_module("sylber").recipe
    try:
        count = pack_difference(outputs(recipe, options.exp, "train2") / "model", options.out)
        chosen = (outputs(recipe, options.exp, "segment") / "choices.json").read_bytes()
    except UserError as error:
        print(f"pack: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    choices = msgspec.json.decode(chosen, type=list[SegmenterChoice])
    settings = {choice.segmenter: choice.settings for choice in choices if choice.system.startswith("second ")}
    write_json(options.out / SETTINGS_FILE, settings)
    print(f"{options.out}: {count} arrays, settings of {', '.join(settings)}")


if __name__ == "__main__":
    main()
