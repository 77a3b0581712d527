"""HiPPO matrices, which make a linear state memorise its input as coefficients of Legendre polynomials.

Source: Gu et al. 2020 (HiPPO), Gu et al. 2021 (LSSL, appendix B, where the sign of LegS is missing), Gu et al. 2022
(S4D: diagonal forms).

Notation used for tensor shapes: N states.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Measure = Literal["legs", "legt"]
Diagonal = Literal["lin", "inv", "legs"]


def hippo(states: int, measure: Measure) -> tuple[Tensor, Tensor]:
    """A (N, N) and B (N,) of x' = A x + B u, float64.

    ``legs`` weights the whole past uniformly, ``legt`` the last unit of time. For ``legt`` the sum of
    sqrt(2 n + 1) x_n P_n(s), with s from -1 (oldest) to 1, reconstructs the window of a smooth input.
    """
    n = torch.arange(states, dtype=torch.float64)
    roots = (2 * n + 1).sqrt()
    row, column = n[:, None], n[None]
    products = roots[:, None] * roots[None]
    if measure == "legs":
        below = torch.where(row > column, products, torch.zeros_like(products))
        return -(below + torch.diag(n + 1)), roots
    signs = torch.where(column <= row, torch.ones_like(products), (-1.0) ** (row - column))
    return -products * signs, roots


def diagonal(states: int, kind: Diagonal) -> Tensor:
    """Poles with positive imaginary part of a diagonal state of N real numbers: (N / 2,) complex128.

    ``legs`` are the eigenvalues of the normal part of LegS, ``lin`` and ``inv`` closed-form approximations.
    """
    n = torch.arange(states // 2, dtype=torch.float64)
    if kind == "lin":
        imaginary = math.pi * n
    elif kind == "inv":
        imaginary = states / math.pi * (states / (2 * n + 1) - 1)
    else:
        matrix, roots = hippo(states, "legs")
        normal = matrix + roots[:, None] * roots[None] / 2  # -1/2 and a skew-symmetric matrix
        skew = normal + torch.eye(states, dtype=torch.float64) / 2
        imaginary = torch.linalg.eigvalsh(1j * skew).flip(0)[: states // 2].abs()
    return torch.complex(torch.full_like(imaginary, -0.5), imaginary)


def bilinear(matrix: Tensor, input_matrix: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear discretisation of A (N, N) and B (N,) with steps (H,): (H, N, N) and (H, N)."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    half = step[:, None, None] / 2 * matrix  # (H, N, N)
    right = torch.cat([identity + half, (step[:, None] * input_matrix)[..., None]], -1)  # (H, N, N + 1)
    solved = torch.linalg.solve(identity - half, right)
    return solved[..., :-1], solved[..., -1]


def log_steps(channels: int, least: float, most: float) -> Tensor:
    """Log steps (H,), drawn uniformly between those of ``least`` and ``most``."""
    return math.log(least) + torch.rand(channels) * math.log(most / least)
