"""Process parts sequentially in this process, for debugging."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from speechkit.pipeline.job import Job, PartResult
from speechkit.pipeline.work import make_worker, process_part


class InlineBackend:
    """Runs all parts in this process."""

    def run(
        self, job: Job, parts: Iterator[int], on_result: Callable[[PartResult], None], stop: Callable[[], bool]
    ) -> None:
        """As `Backend.run`."""
        worker = None
        index = job.index()
        for part in parts:
            if stop():
                return
            if worker is None:  # a resume with nothing left loads no model
                worker = make_worker(job, job.device)
            reported = 0.0

            def report_progress(seconds: float, part: int = part) -> None:
                nonlocal reported
                reported += seconds
                on_result(PartResult(part, audio_seconds=seconds))

            worker.advance = report_progress
            result = process_part(job, worker, index, part)
            remaining = max(0.0, result.audio_seconds - reported)
            on_result(msgspec.structs.replace(result, audio_seconds=remaining))

    def close(self) -> None:
        """As `Backend.close`."""
