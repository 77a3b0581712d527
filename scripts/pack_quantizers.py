"""Keep quantizers that were trained together in one folder, at half precision, by their number of units.

    python scripts/pack_quantizers.py exp/units_invariant/05-train/current/quantizers/k-* --out DIR

`speechkit.units.embedded.unpack("100", DIR)` gives one of them back.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from speechkit.errors import UserError
from speechkit.units.embedded import pack_folders


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description="Keep quantizers that were trained together in one folder.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="QUANTIZER", help="folders, one for each size")
    parser.add_argument("--out", type=Path, required=True, help="the folder that is made")
    parser.add_argument("--switch-penalty", type=float, help="in nats, if not that of training")
    parser.add_argument("--bigram-weight", type=float, help="if not that of training; 0: no bigram")
    options = parser.parse_args()
    try:
        pack_folders(options.folders, options.out, options.switch_penalty, options.bigram_weight)
    except UserError as error:
        print(f"pack: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
