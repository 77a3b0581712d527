"""Seeds per item, independent of workers and order."""

from __future__ import annotations

import hashlib
import random
import sys


def item_seed(seed: int, item: str) -> int:
    """A seed for one item, in [0, 2**63): the same for any worker, order or backend."""
    digest = hashlib.blake2b(f"{seed}\0{item}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, the last two only if they are loaded.

    For training runs; per-item work uses `item_seed` with its own generator.
    """
    random.seed(seed)
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
