"""Device, threads and seeds."""

from speechkit.runtime.ahead import ahead
from speechkit.runtime.device import autocast_dtype, choose_device, describe_devices, gpu_count
from speechkit.runtime.seeds import item_seed, seed_everything
from speechkit.runtime.threads import asked_threads, available_cpus, limit_threads

__all__ = [
    "ahead",
    "asked_threads",
    "autocast_dtype",
    "available_cpus",
    "choose_device",
    "describe_devices",
    "gpu_count",
    "item_seed",
    "limit_threads",
    "seed_everything",
]
