"""Random access to the samples of an audio file, independent of how reads are divided.

libsndfile decodes WAV, FLAC, OGG Vorbis, Opus and MP3. Its seek in MP3 and Opus is sample-exact, but the decoder
restarts without state (bit reservoir, prediction), so the first samples differ from those of a full read by up to 0.05
of full scale. A segment of a lossy file is therefore decoded from the start of the file if that is near, otherwise with
a preroll of some seconds, which leaves a difference of 1e-7 in MP3 and 2e-3 in Opus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechkit.errors import AudioError
from speechkit.io.arrays import Float
from speechkit.io.layout import Layout, layout, present_parts
from speechkit.io.parts import Part, read_blocks

WHOLE_DECODE_SECONDS = 60.0
PREROLL_SECONDS = 2.0


def decode(path: Path | str, start: int = 0, num_samples: int | None = None) -> Iterator[Float]:
    """Decode samples ``start`` to ``start + num_samples`` in blocks, each float32 (samples, channels).

    Raises:
        AudioError: if the file is shorter than its header states, or has NaN or infinite samples.
    """
    plan = layout(path)
    num_samples = plan.num_samples - start if num_samples is None else num_samples
    if num_samples == 0:
        return
    end = start + num_samples
    origin = position = 0
    for part in present_parts(path, plan):
        begin = max(start - origin, 0)
        wanted = min(end - origin, part.num_samples) - begin
        if wanted > 0:
            position = origin + begin
            for block in _part_samples(part, plan, begin, wanted):
                position += len(block)
                if not np.isfinite(block).all():
                    sample = position - len(block) + int(np.argmin(np.isfinite(block).all(axis=1)))
                    raise AudioError(
                        f"{path}: sample {sample} ({sample / plan.sample_rate:.2f} s) is NaN or infinite; "
                        "write it again"
                    )
                yield block
            if position < origin + begin + wanted:
                raise AudioError(
                    f"{path}: is truncated or damaged: its header gives {plan.num_samples} samples and it ends after "
                    f"{position} ({position / plan.sample_rate:.2f} s); download it again"
                )
        origin += part.num_samples


def _part_samples(part: Part, plan: Layout, start: int, num_samples: int) -> Iterator[Float]:
    """Samples of a part from ``start`` on, decoded with the preroll that the codec needs."""
    first = start
    if not plan.seekable_exactly:
        near = start <= WHOLE_DECODE_SECONDS * plan.sample_rate
        first = 0 if near else start - int(PREROLL_SECONDS * plan.sample_rate)
    position = first
    for block in read_blocks(part, plan.channels, first, start + num_samples - first, plan.sample_rate):
        wanted = block[max(start - position, 0) :]
        position += len(block)
        if len(wanted):
            yield wanted
