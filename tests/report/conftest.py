"""The records of a mining run over the sample that the project carries, made from its known times."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

from speechkit.data import AlignmentItem, Source, Utterance
from speechkit.io.audio import audio_info
from speechkit.mining.records import (
    Gap,
    Outcome,
    PairAlignment,
    Recording,
    SelectionSummary,
    SentenceMatch,
    UnmatchedStretch,
    WordTime,
)
from speechkit.report.mining_data import RecognisedTimes, Records

SAMPLE = Path(__file__).resolve().parents[2] / "recipes" / "mining" / "sample"
UNREAD = "This passage stands in the document and nobody has read it aloud so far."
THRESHOLD = 0.8


def simulated_run(times: int = 1) -> Records:
    """A run over the sample; with ``times`` above 1 the recordings occur again under other names."""
    truth = msgspec.json.decode((SAMPLE / "truth.json").read_bytes())
    random_numbers = random.Random(7)
    recordings, alignments, outcomes, utterances, candidates, heard = [], [], [], [], [], []
    unmatched: Counter[str] = Counter()
    for copy in range(times):
        for name, sentences in truth.items():
            identifier = name if copy == 0 else f"{name}-{copy}"
            made = _one(identifier, f"{name}.ogg", sentences, random_numbers)
            recordings.append(made[0])
            alignments.append(made[1])
            outcomes += made[2]
            utterances += [row for row in made[3] if "reason" not in row.custom]
            candidates += [row for row in made[3] if "reason" in row.custom]
            heard.append(_heard(identifier, sentences))
            for stretch in made[4]:
                unmatched[stretch.reason] += stretch.end - stretch.start
    kept = [each for each in outcomes if each.kept]
    summary = SelectionSummary(
        threshold=THRESHOLD,
        min_precision=0.98,
        expected_precision=sum(u.score for u in utterances) / max(1, len(utterances)),
        kept=len(kept),
        kept_seconds=sum(u.duration for u in utterances),
        rejected=dict(Counter(each.reason for each in outcomes if each.reason)),
        unmatched_seconds=dict(unmatched),
        audio_seconds=sum(r.num_samples / r.sample_rate for r in recordings),
        run="0123456789abcdef",
    )
    return Records(
        recordings=lambda: iter(recordings),
        alignments=lambda: iter(alignments),
        outcomes=lambda: iter(outcomes),
        utterances=lambda: iter(utterances),
        candidates=lambda: iter(candidates),
        heard=lambda: iter(heard),
        summary=summary,
    )


def _one(name: str, file: str, sentences: list[dict], random_numbers: random.Random):
    info = audio_info(SAMPLE / "audio" / file)
    seconds, at = info.num_samples / info.sample_rate, 0
    path, gaps, matches, outcomes, utterances, stretches = [(0, 0.0)], [], [], [], [], []
    for index, sentence in enumerate(sentences):
        text, start, end = sentence["text"], sentence["start"], sentence["end"]
        if not sentence["written"]:
            gaps.append(Gap("untranscribed", at, at, start, end))
            stretches.append(UnmatchedStretch(name, start, end, "untranscribed"))
            path += [(at, start), (at, end)]
            continue
        if index % 7 == 5:
            gaps.append(Gap("unread", at, at + len(UNREAD), start, start))
            outcomes.append(
                Outcome(f"{name}-x{index}", f"{name}-text", UNREAD, at, at + len(UNREAD), False, 1, "not_found")
            )
            at += len(UNREAD) + 1
        probability = min(0.9999, 1 - random_numbers.random() ** 3 * 0.5)
        begin, at = at, at + len(text)
        path += [(begin, start), (at, end)]
        step = (end - start) / len(text)
        words, position = [], 0
        for word in text.split():
            place = text.index(word, position)
            position = place + len(word)
            words.append(WordTime(word, start + place * step, start + position * step, -0.1))
        match = SentenceMatch(
            f"{name}-{index:05d}", name, f"{name}-text", start, end, 0.9, 0.05, 0.6, len(text) / (end - start), -0.2,
            -1.5, words, None,
        )  # fmt: skip
        matches.append(match)
        kept = probability >= THRESHOLD
        decided = msgspec.structs.replace(match, words=[], probability=probability)
        reason = None if kept else "low_confidence"
        outcomes.append(
            Outcome(match.sentence, match.document, text, begin, at, kept, 1 + index // 10, reason, decided)
        )
        items = [AlignmentItem(w.word, w.start - start, w.end - w.start, w.score) for w in words]
        why = {} if kept else {"reason": "low_confidence"}
        utterances.append(
            Utterance(
                id=f"{name}-{start:09.2f}-{match.sentence}",
                audio_filepath=file,
                offset=start,
                duration=end - start,
                sample_rate=info.sample_rate,
                text=text,
                lang="en",
                score=probability,
                alignment={"word": items},
                source=Source(match.document, begin, at, 1 + index // 10),
                custom={"recording": name, "sentence": match.sentence, "similarity": 0.9, **why},
            )
        )
        if not kept:
            stretches.append(UnmatchedStretch(name, start, end, "rejected_sentence"))
        at += 1
    covered = sum(s.end - s.start for s in stretches)
    covered += sum(u.duration for u in utterances if "reason" not in u.custom)
    stretches.append(UnmatchedStretch(name, 0.0, seconds - covered, "silence"))
    path.append((at, seconds))
    speech = [(round(s["start"] * 16000), round(s["end"] * 16000)) for s in sentences]
    recording = Recording(name, file, info.sample_rate, info.num_samples, info.channels, speech)
    return recording, PairAlignment(name, f"{name}-text", path, gaps, matches), outcomes, utterances, stretches


def _heard(name: str, sentences: list[dict]) -> RecognisedTimes:
    """The sample as a recogniser hears it that leaves out every seventh letter and knows no capitals."""
    letters, starts, ends = [], [], []
    for sentence in sentences:
        text = f"{sentence['text'].lower()} "
        edges = np.linspace(sentence["start"], sentence["end"], len(text) + 1)
        for at, letter in enumerate(text):
            if at % 7 != 6 or letter == " ":
                letters.append(letter)
                starts.append(edges[at])
                ends.append(edges[at + 1])
    return RecognisedTimes(name, "".join(letters), np.array(starts), np.array(ends))


@pytest.fixture(scope="session")
def run() -> Records:
    return simulated_run()


@pytest.fixture(scope="session")
def audio_root() -> Path:
    return SAMPLE / "audio"
