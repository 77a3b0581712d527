"""SubRip subtitles: one file a recording, with cues short enough to read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from speechkit.data import Utterance
from speechkit.io.atomic import write_text
from speechkit.mining.export.recordings import Manifest, Word, end_of, recordings, start_of, words_of

LINE_CHARACTERS = 42
LINES = 2
CUE_SECONDS = 7.0
SENTENCE_MARKS = ".!?…।॥。！？"
CLAUSE_MARKS = ",;:–—，、；："


def write_subtitles(manifest: Manifest, folder: Path | str) -> list[Path]:
    """Write ``<recording>.srt`` for every recording.

    Long sentences become several cues of at most two lines of 42 characters and about 7 seconds, cut at punctuation
    where possible; their times come from the word alignment, or from the share of characters where there is none.
    """
    paths = []
    for recording, cuts in recordings(manifest):
        cues = [cue for cut in cuts for cue in cues_of(cut)]
        path = Path(folder) / f"{recording}.srt"
        write_text(path, format_subtitles(cues))
        paths.append(path)
    return paths


def format_subtitles(cues: Sequence[tuple[float, float, str]]) -> str:
    """Cues (start and end in seconds, text of one or more lines) as SubRip text; each lasts a millisecond or more."""
    blocks = []
    for number, (start, end, text) in enumerate(cues, start=1):
        begin = round(start * 1000)
        stop = max(begin + 1, round(end * 1000))
        # An arrow in the text would be read as a time line by simple parsers.
        blocks.append(f"{number}\n{_clock(begin)} --> {_clock(stop)}\n{text.replace('-->', '→')}\n")
    return "\n".join(blocks)


def _clock(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d},{thousandths:03d}"


def cues_of(utterance: Utterance) -> list[tuple[float, float, str]]:
    """The utterance as cues: (start, end, text of at most two lines), in order."""
    words = _timed_tokens(utterance)
    if not words:
        return []
    cues = []
    for begin, end in _groups(words):
        group = words[begin:end]
        cues.append((group[0].start, group[-1].end, _folded([word.text for word in group])))
    return cues


def _timed_tokens(utterance: Utterance) -> list[Word]:
    tokens = [piece for token in (utterance.text or "").split() for piece in _pieces(token)]
    words = words_of(utterance)
    if len(words) == len(tokens):
        return [Word(token, word.start, word.end, word.score) for token, word in zip(tokens, words, strict=True)]
    # Without a time for each word, time passes with the characters.
    total = sum(len(token) + 1 for token in tokens)
    timed, at = [], 0
    duration = end_of(utterance) - start_of(utterance)
    for token in tokens:
        start = start_of(utterance) + duration * at / total
        at += len(token) + 1
        timed.append(Word(token, start, start_of(utterance) + duration * at / total, None))
    return timed


def _pieces(token: str) -> list[str]:
    # Scripts without spaces come as one long token: any character may begin a line.
    return [token[at : at + LINE_CHARACTERS] for at in range(0, len(token), LINE_CHARACTERS)]


def _groups(words: Sequence[Word]) -> list[tuple[int, int]]:
    """Cut the words into cues: the fewest, cut after punctuation, of even length."""

    @cache
    def best(begin: int) -> tuple[float, int]:
        if begin == len(words):
            return 0.0, begin
        options = []
        for end in range(begin + 1, len(words) + 1):
            text = " ".join(word.text for word in words[begin:end])
            fits = len(text) <= LINES * LINE_CHARACTERS and words[end - 1].end - words[begin].start <= CUE_SECONDS
            if end > begin + 1 and not (fits and _fits_lines([word.text for word in words[begin:end]])):
                break
            fill = len(text) / (LINES * LINE_CHARACTERS)
            options.append((1.0 + (1 - fill) ** 2 + _break_cost(words, end) + best(end)[0], end))
        return min(options)

    groups, begin = [], 0
    # Filled from the end, so that the recursion never goes deeper than one call.
    for start in range(len(words), -1, -1):
        best(start)
    while begin < len(words):
        end = best(begin)[1]
        groups.append((begin, end))
        begin = end
    return groups


def _break_cost(words: Sequence[Word], end: int) -> float:
    if end == len(words) or words[end - 1].text[-1] in SENTENCE_MARKS:
        return 0.0
    return 0.15 if words[end - 1].text[-1] in CLAUSE_MARKS else 0.6


def _fits_lines(tokens: Sequence[str]) -> bool:
    return all(len(line) <= LINE_CHARACTERS for line in _folded(tokens).split("\n"))


def _folded(tokens: Sequence[str]) -> str:
    """One line, or two of similar length where one is too long."""
    whole = " ".join(tokens)
    if len(whole) <= LINE_CHARACTERS or len(tokens) < 2:
        return whole
    splits = [(" ".join(tokens[:cut]), " ".join(tokens[cut:])) for cut in range(1, len(tokens))]
    first, second = min(splits, key=lambda lines: max(len(lines[0]), len(lines[1])))
    return f"{first}\n{second}"
