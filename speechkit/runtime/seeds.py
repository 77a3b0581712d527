"""Seeds that depend on the item, not on who works on it."""

from __future__ import annotations

import hashlib
import random
import sys


def item_seed(seed: int, item: str) -> int:
    """A seed for one item, in [0, 2**63): the same whatever worker, order or backend meets it."""
    digest = hashlib.blake2b(f"{seed}\0{item}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, the last two only if they are loaded.

    For a training run as a whole; per-item work uses `item_seed` with a generator of its own.
    """
    random.seed(seed)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
