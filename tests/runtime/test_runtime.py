"""Device, threads and seeds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import UserError
from speechkit.runtime import available_cpus, choose_device, item_seed, limit_threads, seed_everything
from speechkit.runtime.device import autocast_dtype, has_fast_bfloat16


def test_cpu_needs_no_torch():
    code = (
        "import sys; from speechkit.runtime import choose_device; choose_device('cpu'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "", "CPU"])
def test_an_unknown_device_is_named(name):
    with pytest.raises(UserError, match=r"unknown device.*use auto, cpu"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_the_users_fault():
    with pytest.raises(UserError, match=r"torch sees \d+ CUDA GPUs"):
        choose_device("cuda:99")


def test_auto_is_a_device_that_works():
    import torch

    assert torch.zeros(2, device=choose_device("auto")).sum().item() == 0


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("processor : 0\nflags : fpu avx2 avx512f\n", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16\n", True),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16\n", False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16\n", True),
        ("Features : fp asimd bf16 i8mm\n", True),
        ("flags : fpu notbf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_only_where_the_processor_is_faster_with_it(tmp_path, text, fast):
    (tmp_path / "cpuinfo").write_text(text)
    assert has_fast_bfloat16(tmp_path / "cpuinfo") is fast
    assert not has_fast_bfloat16(tmp_path / "absent")


def test_autocast_follows_the_processor():
    import torch

    assert autocast_dtype("cpu") == (torch.bfloat16 if has_fast_bfloat16() else None)


@given(st.integers(0, 2**63 - 1), st.text())
def test_item_seeds_fit_every_generator_and_depend_on_both(seed, item):
    found = item_seed(seed, item)
    assert 0 <= found < 2**63
    assert found == item_seed(seed, item)
    assert found != item_seed(seed, item + "x")


def test_item_seed_is_the_same_in_every_process_and_version():
    assert item_seed(1, "utt-1") == 1170312389106565513


def test_seed_everything_repeats():
    import random

    import numpy as np
    import torch

    draws = []
    for _ in range(2):
        seed_everything(5)
        draws.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert draws[0] == draws[1]


def test_threads_are_limited_here_and_in_children():
    code = (
        "from speechkit.runtime import limit_threads; import torch, os, subprocess, sys; limit_threads(1);"
        "print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
    with pytest.raises(ValueError):
        limit_threads(0)
    assert available_cpus() >= 1


@pytest.mark.parametrize(("given", "asked"), [("3", "3"), (None, "None"), ("many", "None")])
def test_what_the_user_asked_for_outlives_the_limits_of_stages(given, asked):
    code = "from speechkit.runtime import *; limit_threads(1); limit_threads(2); print(asked_threads())"
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    environment |= {"OMP_NUM_THREADS": given} if given else {}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == asked


def test_threads_of_a_library_that_is_loaded_are_limited_too():
    code = (
        "import numpy, threadpoolctl; from speechkit.runtime import limit_threads;"
        "limit_threads(2); limit_threads(1); print({pool['num_threads'] for pool in threadpoolctl.threadpool_info()})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"
