"""Spoken words as tokens: which stretch of which utterance says what, by whom."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from speechkit.data.records import Utterance
from speechkit.runtime import item_seed

TIER = "word"


class WordToken(msgspec.Struct, frozen=True):
    """Frames ``begin`` to ``end`` of an utterance, which say ``word``."""

    utterance: str
    word: str
    speaker: str
    begin: int
    end: int


class WordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which words are tokens.

    Attributes:
        min_seconds: shorter ones are left out: function words, hardly audible.
        max_seconds: longer ones are left out: the aligner lost its way.
        min_letters: shorter ones are left out.
        min_score: of the aligner, mean log-probability of a frame.
        widen_seconds: by how much both ends are moved out, not beyond the middle of the pause: CTC models hear a word
            in its middle.
        tokens_per_speaker: most tokens of one word by one speaker.
        max_tokens: of all; the words with most tokens first.
    """

    min_seconds: float = 0.2
    max_seconds: float = 1.5
    min_letters: int = 3
    min_score: float = -1.5
    widen_seconds: float = 0.04
    tokens_per_speaker: int = 5
    max_tokens: int = 1200


def token_frames(start_seconds: float, end_seconds: float, frame_rate: float) -> tuple[int, int]:
    """First frame and one past the last of a stretch: all frames whose middle lies in it, the last one too."""
    # Times are sums of rounded decimals: a middle that lies on the border by a hair counts as on it.
    return math.ceil(start_seconds * frame_rate - 0.5 - 1e-6), math.floor(end_seconds * frame_rate - 0.5 + 1e-6) + 1


def words_of(row: Utterance, config: WordConfig, frame_rate: float) -> list[WordToken]:
    """The tokens of an utterance with a word alignment, in features of so many frames a second."""
    items = (row.alignment or {}).get(TIER, [])
    tokens = []
    for index, item in enumerate(items):
        start, end = item.start, item.start + item.duration
        before = items[index - 1].start + items[index - 1].duration if index else 0.0
        after = items[index + 1].start if index + 1 < len(items) else row.duration
        start -= min(config.widen_seconds, max(0.0, (start - before) / 2))
        end += min(config.widen_seconds, max(0.0, (after - end) / 2))
        word = item.symbol.casefold()
        long_enough = config.min_seconds <= end - start <= config.max_seconds and len(word) >= config.min_letters
        if row.speaker is None or not long_enough or (item.score is not None and item.score < config.min_score):
            continue
        begin_frame, end_frame = token_frames(start, end, frame_rate)
        begin_frame, end_frame = max(0, begin_frame), min(end_frame, int(row.duration * frame_rate + 1e-6))
        if end_frame > begin_frame:
            tokens.append(WordToken(row.id, word, row.speaker, begin_frame, end_frame))
    return tokens


def select_tokens(tokens: Iterable[WordToken], config: WordConfig, seed: int = 0) -> list[WordToken]:
    """Tokens of words that occur twice at least, drawn where there are too many; the same for every encoder.

    Which tokens of a word stay depends on the seed and the token alone, not on the order or on other words.
    """
    groups: Mapping[tuple[str, str], list[WordToken]] = defaultdict(list)
    for token in tokens:
        groups[token.word, token.speaker].append(token)
    kept: dict[str, list[WordToken]] = defaultdict(list)
    for (word, _), members in groups.items():
        members.sort(key=lambda token: item_seed(seed, f"{token.utterance} {token.begin}"))
        kept[word] += members[: config.tokens_per_speaker]
    speakers = {word: len({token.speaker for token in members}) for word, members in kept.items()}
    counts = Counter({word: len(members) for word, members in kept.items() if len(members) > 1})
    # Words of several speakers first: they serve both tasks.
    ranked = sorted(counts, key=lambda word: (-speakers[word], -counts[word], word))
    chosen: list[WordToken] = []
    for word in ranked:
        if len(chosen) + counts[word] > config.max_tokens:
            break
        chosen += kept[word]
    return sorted(chosen, key=lambda token: (token.word, token.speaker, token.utterance, token.begin))
