"""Weights of transformers checkpoints, loaded completely or not at all.

transformers itself would initialise missing weights randomly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from speechkit.errors import UserError
from speechkit.nn.checkpoints import load_pretrained, readable

SPARE = ("masked_spec_embed", "num_batches_tracked")
"""Suffixes of weights that a forward pass does not need: the embedding of masked samples, and a batch counter."""
SHOWN = 3
"""Number of weight names shown in an error."""
ENCODER = ("an encoder", "config.json and model.safetensors")
"""Kind of checkpoint, and the files of its folder, for errors."""


def load_whole(
    network: Any,
    name: str,
    needed: Callable[[str], bool] = lambda key: True,
    described: tuple[str, str] = ENCODER,
    *,
    new_head: bool = False,
    dtype: torch.dtype | str = torch.float32,
    **options: Any,
) -> tuple[Any, list[str]]:
    """A model of a transformers class, and the names of randomly initialised weights.

    Args:
        network: the class, or an ``AutoModel``.
        name: hub id or folder.
        needed: whether a weight, by name, must be in the checkpoint; unused ones need not.
        described: kind of checkpoint and its files, for errors.
        new_head: whether a head and pooler that are missing or of another shape may be initialised randomly, for
            training.
        dtype: of the weights; ``auto``: as stored.
        options: for `speechkit.nn.checkpoints.load_pretrained`.

    Raises:
        UserError: if the checkpoint cannot be read, is stored as pickle only, lacks weights, or holds them in other
            shapes than its configuration says.
    """

    def must_be_stored(key: str) -> bool:
        body = key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key
        return needed(key) and not key.endswith(SPARE) and (body or not new_head)

    with readable(name, described), _silent():
        # Only safetensors: a pickle can run code. Shapes that differ are told by name below.
        model, report = load_pretrained(
            network,
            name,
            use_safetensors=True,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    of_other_shape = {key: (tuple(stored), tuple(expected)) for key, stored, expected in report["mismatched_keys"]}
    other = sorted(key for key in of_other_shape if not new_head or must_be_stored(key))
    if other:
        key, (stored, expected) = other[0], of_other_shape[other[0]]
        more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise UserError(
            f"{name}: {key} has shape {stored} where config.json says {expected}{more}; get the weights and "
            "config.json of one checkpoint"
        )
    missing = sorted({*report["missing_keys"], *of_other_shape})
    lost = [key for key in missing if must_be_stored(key)]
    if lost:
        more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
        raise UserError(
            f"{name}: its weights lack {', '.join(lost[:SHOWN])}{more}, which config.json asks for; get the whole "
            "checkpoint again"
        )
    return model, missing


@contextmanager
def _silent() -> Iterator[None]:
    """Silence transformers' report on weights; relevant problems are raised as errors."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
