"""Mixed error rate: characters of scripts written without spaces and words of all others, for code-switched speech.

The field abbreviates it MER, as it does the match error rate; here each is written in full.
Source: Lyu et al. 2010 (SEAME); characters of Chinese and Japanese and words of other scripts, as in ESPnet's recipe.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from speechkit.metrics.alignments import Alignments, Sentences, Vocabulary, align_sentences

# Han with its extensions, hiragana, katakana with phonetic extensions and half-width forms, bopomofo, and the marks of
# iteration and length among them. Hangul and Thai are left whole: Korean has spaces, Thai no agreed characters.
_RANGES = (
    "\u3005-\u3007\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30ff\u3105-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af"
)
WITHOUT_SPACES = re.compile(f"[{_RANGES}]")
_TOKEN = re.compile(f"[{_RANGES}]|[^\\s{_RANGES}]+")


def mixed_tokens(text: str) -> list[str]:
    """Each character of a script without spaces, and each word of the others; both may touch: ``你好world``."""
    return _TOKEN.findall(text)


def mixed_counts(done: Alignments) -> NDArray[np.int32]:
    """Hits, substitutions, deletions and insertions of the mixed tokens of each pair of texts, (pairs, 4)."""
    vocabulary = Vocabulary()

    def sentences(side: Sentences) -> Sentences:
        return Sentences((mixed_tokens(" ".join(side.tokens(i))) for i in range(len(side))), vocabulary)

    left, right = sentences(done.reference), sentences(done.hypothesis)
    return Alignments(done.ids, left, right, align_sentences(left, right)).counts
