"""Unsupervised alignment of tokens and frames: monotonic alignment search, its prior and its losses.

A path assigns every frame to one token, in order; every token has at least one frame.

Notation used for shapes: B items, T frames, L tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechkit.errors import AlignmentError
from speechkit.runtime.compiled import compiled

NO_BLANK = -1e4
"""Log-probability of CTC's blank: so low that no frame takes it and CTC sums over the paths of this module."""


def monotonic_path(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Frames per token on the path with the highest sum of scores.

    Shapes: scores (T, L) -> (L,), each at least 1, with the sum T. Ties are broken towards longer later tokens.
    Memory: T * L bytes.

    Raises:
        AlignmentError: if there are no tokens, or more of them than frames.
        ValueError: if a score is NaN.

    Source: Kim et al. 2020 (Glow-TTS), section 3.
    """
    frames, tokens = scores.shape
    if not 1 <= tokens <= frames:
        raise AlignmentError(
            f"{tokens} tokens cannot be aligned with {frames} frames; each token needs a frame, so drop the utterance "
            "or split it"
        )
    if np.isnan(scores).any():
        raise ValueError("the scores hold a NaN")
    return _best_path(np.ascontiguousarray(scores, np.float32))


@compiled
def _best_path(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    frames, tokens = scores.shape
    best = np.full(tokens, -np.inf, np.float64)
    best[0] = scores[0, 0]
    entered = np.zeros((frames, tokens), np.bool_)
    for frame in range(1, frames):
        # Only these tokens lie on a path. From the last one down, so that best[token - 1] is of the previous frame.
        lowest = max(0, tokens - (frames - frame))
        for token in range(min(frame, tokens - 1), lowest - 1, -1):
            entering = best[token - 1] if token > 0 else -np.inf
            if token == frame or entering > best[token]:
                entered[frame, token] = True
                best[token] = entering + scores[frame, token]
            else:
                best[token] = best[token] + scores[frame, token]
    durations = np.zeros(tokens, np.int32)
    token = tokens - 1
    for frame in range(frames - 1, -1, -1):
        durations[token] += 1
        if entered[frame, token]:
            token -= 1
    return durations


def monotonic_paths(scores: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """`monotonic_path` of each item of a padded batch: (B, T, L), (B,), (B,) -> durations (B, L), 0 in padding.

    A NaN counts as the lowest score: in training the loss is then NaN too, and the loop skips or ends that step.
    """
    durations = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.long)
    table = scores.detach().float().nan_to_num(nan=torch.finfo(torch.float32).min).cpu().numpy()
    for item, (length, count) in enumerate(zip(frames.tolist(), tokens.tolist(), strict=True)):
        durations[item, :count] = torch.from_numpy(monotonic_path(table[item, :length, :count]))
    return durations.to(scores.device)


def beta_binomial_log_prior(frames: int, tokens: int, concentration: float = 1.0) -> Tensor:
    """Log-prior (T, L) of the token of each frame, concentrated near the diagonal.

    Args:
        frames: T.
        tokens: L.
        concentration: larger values concentrate it more.

    Source: Shih et al. 2021 (RAD-TTS), section 3: frame t draws its token from the beta-binomial distribution of L - 1
    trials with alpha = concentration * t and beta = concentration * (T - t + 1).
    """
    trials = tokens - 1
    token = torch.arange(tokens, dtype=torch.float64)
    alpha = concentration * torch.arange(1, frames + 1, dtype=torch.float64)
    beta = alpha.flip(0)
    total = torch.tensor(concentration * (frames + 1), dtype=torch.float64)
    binomial = torch.lgamma(total.new_tensor(trials + 1.0)) - torch.lgamma(token + 1) - torch.lgamma(trials - token + 1)
    joint = torch.lgamma(token + alpha[:, None]) + torch.lgamma(trials - token + beta[:, None])  # (T, L)
    normaliser = torch.lgamma(total) - torch.lgamma(total + trials) - torch.lgamma(alpha) - torch.lgamma(beta)
    return (binomial + joint + normaliser[:, None]).float()


def forward_sum_loss(log_attention: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """Negative log-likelihood of all monotonic paths, per frame, averaged over the items.

    Shapes: log_attention (B, T, L), each row a log-softmax over the item's tokens (the gradient relies on it); frames
    (B,) and tokens (B,). An item with more tokens than frames has no path and contributes 0.

    Source: Badlani et al. 2021 (One TTS alignment), equation 3: CTC over the tokens in order, here without its blank.
    """
    batch, longest, width = log_attention.shape
    blank = log_attention.new_full((batch, longest, 1), NO_BLANK)
    log_probs = torch.cat([blank, log_attention.clamp_min(NO_BLANK)], dim=2).transpose(0, 1)  # (T, B, 1 + L)
    targets = torch.arange(1, width + 1, device=log_attention.device).expand(batch, width)
    total = torch.nn.functional.ctc_loss(
        log_probs.float(), targets, frames, tokens, reduction="none", zero_infinity=True
    )
    return (total / frames.clamp_min(1)).mean()


def binarisation_loss(log_attention: Tensor, durations: Tensor) -> Tensor:
    """Divergence of the soft attention (B, T, L) from the hard path (B, L), averaged over frames.

    Source: Badlani et al. 2021, section 2.3: minus the log-attention on the path.
    """
    path = path_matrix(durations, log_attention.shape[1])
    return -(log_attention * path).sum() / path.sum().clamp_min(1)


def path_matrix(durations: Tensor, frames: int) -> Tensor:
    """Durations (B, L) as a binary matrix (B, T, L) of the token of each frame; rows after the last frame are 0."""
    ends = durations.cumsum(1)
    frame = torch.arange(frames, device=durations.device)[None, :, None]
    return ((frame < ends[:, None]) & (frame >= (ends - durations)[:, None])).float()
