"""One training loop, from a laptop to many processes, that resumes as if it had never stopped."""

from speechkit.training.buckets import LengthBuckets
from speechkit.training.loop import TrainingConfig, train

__all__ = ["LengthBuckets", "TrainingConfig", "train"]
