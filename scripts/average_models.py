"""Average the weights of models fine-tuned from one another: often better than the best of them, at no extra cost.

    python scripts/average_models.py exp/first/02-train/current/model exp/second/02-train/current/model --out model

Source: Wortsman et al. 2022 (model soups, section 2). Models trained from different initial weights cannot be
averaged: their hidden units do not correspond.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from speechkit.errors import UserError


def average_models(folders: Sequence[Path], out: Path) -> None:
    """Write a model whose weights are the mean of the given models' weights.

    Raises:
        UserError: if fewer than two folders are given, one holds no model of ours, or two differ in shape or symbols.
    """
    import msgspec
    import torch

    from speechkit.asr.ctc_model import CtcModel
    from speechkit.asr.load import is_own_model

    if len(folders) < 2:
        raise UserError("give at least two model folders to average")
    for folder in folders:
        if not is_own_model(folder):
            raise UserError(
                f"{folder}: holds no model of ours; give folders that hold config.json and model.safetensors"
            )
    mean = CtcModel.from_pretrained(folders[0])
    # Dropout only affects training: models that differ in it alone can be averaged.
    shape = msgspec.structs.replace(mean.config, dropout=0.0)
    weights = {name: value.to(torch.float64) for name, value in mean.state_dict().items()}
    for folder in folders[1:]:
        other = CtcModel.from_pretrained(folder)
        if msgspec.structs.replace(other.config, dropout=0.0) != shape:
            raise UserError(f"{folder}: differs in shape or symbols from {folders[0]}; average models of one family")
        for name, value in other.state_dict().items():
            weights[name] += value
    averaged = CtcModel(shape)
    averaged.load_state_dict({name: (total / len(folders)).float() for name, total in weights.items()})
    averaged.save_pretrained(out)


def main() -> None:
    """Command-line entry point."""
    parser = argparse.ArgumentParser(description="Average the weights of models that were trained on from one another.")
    parser.add_argument("models", nargs="+", type=Path, help="folders of models")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write")
    arguments = parser.parse_args()
    try:
        average_models(arguments.models, arguments.out)
    except UserError as error:
        print(f"average: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
