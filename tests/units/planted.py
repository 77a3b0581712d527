"""Training data of tests of invariant quantizers, with units planted in features, and small heads."""

from __future__ import annotations

import numpy as np
import torch

from speechkit.encoders.spec import EncoderSpec
from speechkit.units.codebook import Codebook
from speechkit.units.invariant.config import HeadConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.smoothed import SmoothedCodebook, Smoothing

DIM, CLUSTERS = 6, 5
ENCODER = EncoderSpec(model="planted", weights="w", layer="3", normalization="none", dim=DIM)
SMALL = HeadConfig(width=16, layers=2, kernel=3, dropout=0.0)


def quantizer(seed=0, shape=SMALL):
    torch.manual_seed(seed)
    head = InvariantHead(DIM, CLUSTERS, shape, np.zeros(DIM, np.float32), np.ones(DIM, np.float32))
    return InvariantQuantizer(head, ENCODER, "t", 1)


def planted(items=40, seed=0):
    """A teacher, and features in runs around planted centres; ``bend`` is what a channel does to them."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((CLUSTERS, DIM)).astype(np.float32) * 2
    bend = np.random.default_rng(8).standard_normal((DIM, DIM)).astype(np.float32)
    store, versions = {}, {}
    for item in range(items):
        labels = np.repeat(random.integers(0, CLUSTERS, 12), random.integers(2, 6, 12))
        clean = centres[labels] + 0.3 * random.standard_normal((len(labels), DIM))
        slow = np.repeat(labels, 2)
        store[f"{item}"] = clean.astype(np.float32)
        store[f"{item}+bent"] = (clean @ bend + 0.5).astype(np.float32)
        store[f"{item}+slow"] = (centres[slow] + 0.3 * random.standard_normal((len(slow), DIM))).astype(np.float32)
        versions[str(item)] = [str(item), f"{item}+bent", f"{item}+slow"]
    return SmoothedCodebook(Codebook(centres, ENCODER), Smoothing(), 1.0), store, versions
