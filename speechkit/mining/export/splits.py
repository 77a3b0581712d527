"""Train, dev and test with no document, recording or speaker in two of them."""

from __future__ import annotations

from collections.abc import Mapping

from speechkit.data.split import Split, Target, split_rows
from speechkit.mining.export.recordings import Manifest, utterances_of

DEFAULT_SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def split_without_leak(manifest: Manifest, shares: Mapping[str, float | Target] | None = None, seed: int = 0) -> Split:
    """Assign whole components to splits so that their audio comes near ``shares``; see `speechkit.data.split.place`.

    A component is everything that hangs together through a shared document, recording or speaker. A mined utterance
    need name no document and no speaker; the notes of the split say how many do not.

    Args:
        manifest: a manifest file or its utterances.
        shares: the share of each split, which add up to 1, or its target.
        seed: decides among components of similar size.

    Raises:
        UserError: if there are fewer components than splits, so that no split without a leak exists.
    """
    targets = {
        name: share if isinstance(share, Target) else Target(share=share)
        for name, share in (DEFAULT_SHARES if shares is None else shares).items()
    }
    return split_rows(
        utterances_of(manifest),
        targets,
        by=("recording", "document", "speaker"),
        optional=("document", "speaker"),
        seed=seed,
    )
