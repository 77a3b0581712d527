"""Token trees proposed by a draft model, and the verifier that makes the output follow the target's distribution.

Recursive rejection sampling (Jeon et al. 2024, RSD): at a node, children are tested in the order in which they were
drawn without replacement from q. A rejection replaces p by its residual, and q by q without the rejected token. For
any draft, the output has the distribution of sampling from the target alone. A chain is a tree with one child per node
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
        tokens: (N,) token of each node.
        parents: (N,) an earlier node, or `ROOT`; siblings are in the order in which they were drawn.
        draft: (N + 1, V) probabilities from which the children of the root, and of each node, were drawn.
    """

    tokens: Tokens
    parents: Tokens
    draft: LogProbabilities

    def children(self, node: int) -> list[int]:
        """Children of a node or of `ROOT`, in drawing order."""
        return [int(child) for child in np.flatnonzero(self.parents == node)]


def verify(tree: DraftTree, target: LogProbabilities, generator: np.random.Generator) -> tuple[list[int], int]:
    """The accepted path from the root, and the next token, sampled from the residual of the target.

    Args:
        tree: of N nodes.
        target: (N + 1, V) next-token probabilities of the target after the root and each node.
        generator: draws one number per test, and one for the last token.
    """
    path: list[int] = []
    node = ROOT
    while True:
        children = tree.children(node)
        rates, residual = rejection(target[node + 1], tree.draft[node + 1], tree.tokens[children].tolist())
        accepted = next((child for child, rate in zip(children, rates, strict=True) if generator.random() < rate), None)
        if accepted is None:
            return path, draw(residual, generator)
        path.append(accepted)
        node = accepted


def rejection(
    p: LogProbabilities, q: LogProbabilities, children: Sequence[int]
) -> tuple[list[float], LogProbabilities]:
    """Acceptance probability of each child if those before it are rejected, and the residual (V,) if all are."""
    rates = []
    for token in children:
        # A token of draft probability 0 cannot have been drawn.
        rates.append(min(1.0, float(p[token] / q[token])))
        p = _residual(p, q)
        q = _without(q, token)
    return rates, p


def _residual(p: LogProbabilities, q: LogProbabilities) -> LogProbabilities:
    left = np.maximum(p - q, 0.0)
    total = left.sum()
    # Equal distributions have no residual, and nothing is rejected.
    return np.asarray(left / total) if total > 0 else p


def _without(q: LogProbabilities, token: int) -> LogProbabilities:
    left = q.copy()
    left[token] = 0.0
    total = left.sum()
    return np.asarray(left / total) if total > 0 else left
