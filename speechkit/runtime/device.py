"""Choice of device and number format, based on measurements.

On the CPU, encoders of the wav2vec 2.0 family are fastest one utterance at a time, in bfloat16 autocast where the
processor multiplies bfloat16 faster (17 to 20 times real time for a base model on 2 cores, 9 to 11 in float32);
elsewhere it is slower, and float32 is used. On a GPU, bfloat16 if supported, else float16.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from speechkit.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICE = re.compile(r"(auto|cpu|mps|cuda(:\d+)?)\Z")


def choose_device(name: str = "auto") -> str:
    """The device to use: "cpu", "cuda:0" or "mps".

    "auto" takes the first GPU if there is one. torch is loaded only if a GPU may be used.

    Raises:
        UserError: if the device does not exist; available ones are named.
    """
    if not DEVICE.match(name):
        raise UserError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or mps")
    if name == "cpu":
        return name
    import torch

    gpus = gpu_count()
    if name == "auto":
        if gpus:
            return "cuda:0"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("device mps needs an Apple GPU, which is missing; use auto or cpu")
        return name
    index = int(name.partition(":")[2] or 0)
    if index >= gpus:
        raise UserError(f"device {name}: torch sees {gpus} CUDA GPUs here; use auto or cpu")
    return f"cuda:{index}"


def gpu_count() -> int:
    """CUDA GPUs that torch sees here."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def autocast_dtype(device: str) -> torch.dtype | None:
    """The dtype for ``torch.autocast`` on ``device``, or None if float32 is faster or the only one."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device == "cpu" and has_fast_bfloat16():
        return torch.bfloat16
    return None


def has_fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32: AMX, Arm's BF16, and AVX512-BF16 of AMD.

    On an Intel processor with AVX512-BF16 but no AMX, products take 1.5 times as long as in float32.
    """
    vendor = ""
    try:
        with cpuinfo.open(encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "vendor_id":
                    vendor = value.strip()
                if name.strip().lower() in ("flags", "features"):
                    flags = set(value.split())
                    return bool(flags & {"amx_bf16", "bf16"}) or ("avx512_bf16" in flags and vendor != "GenuineIntel")
    except OSError:
        pass
    return False


def describe_devices() -> list[str]:
    """Description of every device that torch sees."""
    import torch

    descriptions = [f"cpu: {torch.get_num_threads()} threads, bfloat16 {'fast' if has_fast_bfloat16() else 'slow'}"]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            descriptions.append(f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        descriptions.append("mps: Apple GPU")
    return descriptions
