"""Token trees proposed by a draft model, and the verifier that makes the output follow the target's distribution.

Recursive rejection sampling (Jeon et al. 2024, RSD): at a node, children are tested in the order in which they were
drawn without replacement from q. One that is refused leaves the residual of p behind, and q without it. Whatever drew
the tree, what comes out is distributed as if the target had been sampled alone. A chain is a tree of one child a node
(Leviathan et al. 2023). Torch-free, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechkit.lm.decoding.sampling import draw
from speechkit.lm.interface import ROOT, LogProbabilities, Tokens


@dataclass(frozen=True)
class DraftTree:
    """Proposed continuations of one sequence.

    Attributes:
        tokens: (N,)
        parents: (N,) an earlier node, or `ROOT`; nodes of one parent stand in the order in which they were drawn.
        draft: (N + 1, V) probabilities that the children of the root, and of each node, were drawn from.
    """

    tokens: Tokens
    parents: Tokens
    draft: LogProbabilities

    def children(self, node: int) -> list[int]:
        """Of a node or of `ROOT`, in drawing order."""
        return [int(child) for child in np.flatnonzero(self.parents == node)]


def verify(tree: DraftTree, target: LogProbabilities, generator: np.random.Generator) -> tuple[list[int], int]:
    """The accepted path from the root, and the next token, drawn from the target.

    Args:
        tree: N nodes.
        target: (N + 1, V) probabilities of the target behind the root and each node.
        generator: draws one number a test, and one for the last token.
    """
    path: list[int] = []
    node = ROOT
    while True:
        children = tree.children(node)
        chances, residual = rejection(target[node + 1], tree.draft[node + 1], tree.tokens[children].tolist())
        accepted = next(
            (child for child, chance in zip(children, chances, strict=True) if generator.random() < chance), None
        )
        if accepted is None:
            return path, draw(residual, generator)
        path.append(accepted)
        node = accepted


def rejection(
    p: LogProbabilities, q: LogProbabilities, children: Sequence[int]
) -> tuple[list[float], LogProbabilities]:
    """The chance of each child once those before it are refused, and the law of the token if all are: (V,), (V,), k."""
    chances = []
    for token in children:
        # A token of draft probability 0 cannot have been drawn.
        chances.append(min(1.0, float(p[token] / q[token])))
        p = _residual(p, q)
        q = _without(q, token)
    return chances, p


def _residual(p: LogProbabilities, q: LogProbabilities) -> LogProbabilities:
    left = np.maximum(p - q, 0.0)
    total = left.sum()
    # Equal laws leave nothing, and refuse nothing.
    return np.asarray(left / total) if total > 0 else p


def _without(q: LogProbabilities, token: int) -> LogProbabilities:
    left = q.copy()
    left[token] = 0.0
    total = left.sum()
    return np.asarray(left / total) if total > 0 else left
