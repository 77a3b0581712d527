"""Silver alignments: phone times by a forced aligner, guided by the word times of a CTC model.

Utterances are split at the pauses between CTC words and aligned part by part, which keeps errors local. Needs the extra
``align`` (pocketsphinx with its English model and dictionary, both BSD).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from speechkit.data.records import AlignmentItem, Utterance
from speechkit.errors import AlignmentError, require
from speechkit.io.arrays import Float
from speechkit.syllables.syllabification import SILENCES, bare, syllable_tier
from speechkit.text.rough_pronunciation import rough_phones

WORD_TIER, PHONE_TIER = "word", "phone"
MAX_DEVIATION_SECONDS = 0.5
"""How far the beginning of a word may lie from where the CTC model has it, before its utterance gets no phones."""
SAMPLE_RATE = 16_000
FRAME_SAMPLES = 160
MIN_STRETCH_SECONDS = 0.05
RETRY_SAMPLES = (0, 53, 106, 27, 80)
"""Samples trimmed from the start in retries of a word without phones, which shifts the frame grid."""


class SilverAlignment(msgspec.Struct, frozen=True):
    """Alignment tiers of one utterance.

    Attributes:
        word: words, from the start of their first to the end of their last phone.
        phone: phones of the words; gaps are silence.
        syllable: syllables by maximal onset, see `syllable_tier`.
        rough_words: number of words with phones from letter rules.
        deviation_seconds: median distance of word starts from the CTC words; None without them.
        worst_seconds: the largest distance.
    """

    word: list[AlignmentItem]
    phone: list[AlignmentItem]
    syllable: list[AlignmentItem]
    rough_words: int
    deviation_seconds: float | None
    worst_seconds: float | None

    def tiers(self) -> dict[str, list[AlignmentItem]]:
        """The tiers by name, for a manifest."""
        return {"word": self.word, "phone": self.phone, "syllable": self.syllable}


class PhoneAligner:
    """Forced alignment by pocketsphinx, with letter-to-sound rules for unknown words.

    Args:
        lang: of the words. Only English has a dictionary; other languages use letter rules with English phones, which
            is approximate.

    Raises:
        MissingExtraError: if pocketsphinx is not installed.
    """

    def __init__(self, lang: str = "en") -> None:
        pocketsphinx: Any = require("pocketsphinx")
        self.lang = lang
        self._decoder: Any = pocketsphinx.Decoder(pocketsphinx.Config(lm=None, loglevel="FATAL"))
        self._known: dict[str, tuple[str, bool]] = {}

    def align(self, waveform: Float, words: Sequence[str]) -> list[tuple[str, int, list[AlignmentItem]]]:
        """Phones of each word: (word, its index in ``words``, phones with seconds from the start of the waveform).

        Words without phones by the rules are left out. ``waveform`` is (samples,) at 16 kHz.

        Raises:
            AlignmentError: if alignment fails.
        """
        entries = [(index, entry) for index, word in enumerate(words) if (entry := self._entry(word))]
        phones = self._align(waveform, [entry for _, entry in entries], 0)
        return [(words[index], index, word_phones) for (index, _), word_phones in zip(entries, phones, strict=True)]

    def _align(self, waveform: Float, entries: Sequence[str], begin: int) -> list[list[AlignmentItem]]:
        """Phones of each dictionary entry; ``waveform`` starts at sample ``begin``."""
        if not entries or len(waveform) < MIN_STRETCH_SECONDS * SAMPLE_RATE:
            raise AlignmentError(
                f"{len(entries)} words in {len(waveform) / SAMPLE_RATE:.2f} s cannot be aligned; remove the utterance"
            )
        decoder = self._decoder
        for trim in RETRY_SAMPLES if len(entries) == 1 else RETRY_SAMPLES[:1]:
            pcm = (np.clip(waveform[trim:], -1, 1) * 32767).astype("<i2").tobytes()
            try:
                decoder.set_align_text(" ".join(entries))
                self._decode(pcm)
                words = [(part.start_frame, part.end_frame + 1) for part in decoder.seg() if not _silent(part.word)]
            except (RuntimeError, TypeError) as error:
                raise AlignmentError("forced alignment failed; check that the text was spoken") from error
            if len(words) != len(entries):
                raise AlignmentError(
                    f"forced alignment found {len(words)} of {len(entries)} words; check that the text was spoken"
                )
            try:
                decoder.set_alignment()
                self._decode(pcm)
            except RuntimeError:
                continue
            return [
                [_item(phone, begin + trim) for phone in entry]
                for entry in decoder.get_alignment()
                if not _silent(entry.name)
            ]
        if len(entries) == 1:
            raise AlignmentError(f"forced alignment found no phones for {entries[0]!r}; remove the utterance")
        # The phone pass can fail after the word pass: split at the longest pause between words, nearest to the middle
        # in a tie, and align both parts.
        pauses = [later[0] - earlier[1] for earlier, later in pairwise(words)]
        cut = 1 + max(range(len(pauses)), key=lambda index: (pauses[index], -abs(2 * index + 2 - len(words))))
        sample = (words[cut - 1][1] + words[cut][0]) // 2 * FRAME_SAMPLES
        left = self._align(waveform[:sample], entries[:cut], begin)
        return left + self._align(waveform[sample:], entries[cut:], begin + sample)

    def is_rough(self, word: str) -> bool:
        """Whether a word's phones come from letter rules."""
        self._entry(word)
        return self._known[word][1]

    def _decode(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, no_search=False, full_utt=True)
        self._decoder.end_utt()

    def _entry(self, word: str) -> str:
        """The word's name in the aligner's dictionary; empty for a word without phones."""
        if word not in self._known:
            name = word.casefold()
            if self.lang == "en" and self._decoder.lookup_word(name):
                self._known[word] = name, False
            else:
                phones = rough_phones(word, self.lang)
                entry = f"rough{len(self._known)}" if phones else ""
                if phones:
                    self._decoder.add_word(entry, " ".join(phones), True)
                self._known[word] = entry, True
        return self._known[word][0]


def _silent(word: str) -> bool:
    return bare(word) in SILENCES or word.startswith(("<", "[", "+"))


def _item(phone: Any, begin: int) -> AlignmentItem:
    start = (phone.start * FRAME_SAMPLES + begin) / SAMPLE_RATE
    return AlignmentItem(phone.name, round(start, 4), round(phone.duration * FRAME_SAMPLES / SAMPLE_RATE, 4))


def split_at_pauses(
    words: Sequence[AlignmentItem], duration: float, min_pause: float = 0.4
) -> list[tuple[float, float, int, int]]:
    """Split words in the middle of pauses: (begin, end in seconds, first word, one past the last) of each part.

    A pause is a gap between words of at least ``min_pause`` seconds.
    """
    cuts = [0]
    cuts += [
        index
        for index in range(1, len(words))
        if words[index].start - (words[index - 1].start + words[index - 1].duration) >= min_pause
    ]
    times = [0.0]
    for index in cuts[1:]:
        previous_end = words[index - 1].start + words[index - 1].duration
        times.append((previous_end + words[index].start) / 2)
    ends = [*cuts[1:], len(words)]
    return list(zip(times, [*times[1:], duration], cuts, ends, strict=True))


def align_silver(
    aligner: PhoneAligner, waveform: Float, words: Sequence[str], ctc_words: Sequence[AlignmentItem] | None = None
) -> SilverAlignment:
    """Word, phone and syllable tiers of an utterance.

    Args:
        aligner: of the words' language.
        waveform: (samples,) at 16 kHz.
        words: as spoken, in order.
        ctc_words: the same words with times; without them the utterance is aligned as a whole.
    """
    if ctc_words is not None and [item.symbol for item in ctc_words] != list(words):
        raise AlignmentError(f"the {len(ctc_words)} aligned words differ from the {len(words)} words of the text")
    duration = len(waveform) / SAMPLE_RATE
    parts = [(0.0, duration, 0, len(words))] if ctc_words is None else split_at_pauses(ctc_words, duration)
    word_tier, phone_tier, distances = [], [], []
    for begin, end, first, last in parts:
        low = round(begin * SAMPLE_RATE)
        high = round(end * SAMPLE_RATE)
        for word, index, phones in aligner.align(waveform[low:high], words[first:last]):
            shift = low / SAMPLE_RATE
            moved = [msgspec.structs.replace(phone, start=round(phone.start + shift, 4)) for phone in phones]
            start = moved[0].start
            length = round(moved[-1].start + moved[-1].duration - start, 4)
            if ctc_words is not None:
                distances.append(abs(start - ctc_words[first + index].start))
            word_tier.append(AlignmentItem(word, start, length))
            phone_tier += moved
    return SilverAlignment(
        word_tier,
        phone_tier,
        syllable_tier(word_tier, phone_tier),
        sum(aligner.is_rough(word) for word in words),
        round(float(np.median(distances)), 4) if distances else None,
        round(max(distances), 4) if distances else None,
    )


def add_phones(
    aligner: PhoneAligner, row: Utterance, waveform: Float, max_deviation: float = MAX_DEVIATION_SECONDS
) -> Utterance:
    """The utterance with a tier ``phone`` beside its tier ``word``, or as it was where the alignment fails.

    Args:
        aligner: of the utterance's language.
        row: with a text and times of its words.
        waveform: (samples,) at 16 kHz.
        max_deviation: seconds by which a word may begin earlier or later than in the tier ``word``.
    """
    tiers = row.alignment or {}
    try:
        silver = align_silver(aligner, waveform, (row.text or "").split(), tiers[WORD_TIER])
    except AlignmentError:  # the words stay
        return row
    if (silver.worst_seconds or 0.0) > max_deviation:
        return row
    return msgspec.structs.replace(row, alignment={**tiers, PHONE_TIER: silver.phone})
