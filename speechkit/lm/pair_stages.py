"""Stages of the recipe unit_lm for minimal pairs: synthesize the items and score them with the models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np

from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.lm.pair_scores import PairClip, PairScore, evaluate_systems, read_gold, story_pairs
from speechkit.lm.stages import part_rows, read_vocabulary
from speechkit.lm.word_pairs import Pair, grammar_pairs, word_pairs
from speechkit.pipeline import Context, Interrupted
from speechkit.units.sequences import UnitSequence

OFFICIAL = ("swuggy", "sblimp", "storycloze")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
PHONE_ORDER = 5
PAIR_DROPS = ("unspeakable", "unreadable_audio")
Count = Annotated[int, msgspec.Meta(ge=0)]
PhonesOf = Callable[[list[str]], list[tuple[str, ...]]]
"""Function from texts to their phones, with "_" between words."""


class Voice(Protocol):
    """Interface of a text-to-speech voice, see `speechkit.tts.voice.SpeakingVoice`."""

    def say(self, text: str) -> Any:
        """Synthesize a text; the result has ``waveform`` and ``rate``."""


class PairsConfig(msgspec.Struct, frozen=True):
    """Settings of the minimal-pair test sets.

    Attributes:
        voices: voices that speak the words and sentences, named as for ``speechkit say --voice``; two or more are
        better; without any, neither set is made.
        words: maximum number of word/non-word pairs; words come from the texts of the training manifest.
        sentences: maximum number of sentence pairs.
        swuggy: folder of the official sWUGGY, with its ``gold.csv``.
        sblimp: folder of the official sBLIMP, with its ``gold.csv``.
        storycloze: folder of StoryCloze, with a table in the same format.
    """

    voices: tuple[str, ...] = ()
    words: Count = 200
    sentences: Count = 120
    swuggy: str | None = None
    sblimp: str | None = None
    storycloze: str | None = None


class JudgeConfig(msgspec.Struct, frozen=True):
    """``stories``: maximum number of story pairs from test recordings. ``ngram_order``: order of the unit n-gram."""

    stories: Count = 200
    ngram_order: Annotated[int, msgspec.Meta(ge=1, le=6)] = 4


def pairs(context: Context, phones_of: PhonesOf, load_voice: Callable[[str], Voice]) -> None:
    """Synthesize words and sentences with every voice, and list the clips of the official sets.

    Args:
        context: of the stage.
        phones_of: converts texts to phones.
        load_voice: loads a voice by name.
    """
    clips: list[PairClip] = []
    recordings: list[Utterance] = []
    context.output("clips").mkdir(exist_ok=True)
    if context.config.voices:
        for clip, recording in _synthesize(context, phones_of, load_voice):
            clips.append(clip)
            recordings.append(recording)
    for test in OFFICIAL:
        if test in context.inputs:
            for clip, recording in _official(context, test):
                clips.append(clip)
                recordings.append(recording)
    context.write("pairs.jsonl", clips)
    context.write("recordings.jsonl", recordings)
    context.say(f"{len(clips)} clips of words, sentences and official sets")


def _synthesize(
    context: Context, phones_of: PhonesOf, load_voice: Callable[[str], Voice]
) -> Iterator[tuple[PairClip, Utterance]]:
    from speechkit.io.audio import write_audio
    from speechkit.io.paths import safe_id
    from speechkit.lm.ngram_training import estimate

    config = context.config
    texts = [" ".join(WORD.findall((row.text or "").lower())) for row in context.read("train_manifest")]
    texts = [text for text in texts if text]
    if not texts:
        raise UserError("the training manifest has no texts; give one with texts, or set pairs.voices=[]")
    counts = Counter(word for text in texts for word in text.split())
    words = sorted(counts)
    lexicon = dict(zip(words, phones_of(words), strict=True))
    random = np.random.default_rng([context.seed, 9])
    known = {word: phones for word, phones in lexicon.items() if phones and "_" not in phones}
    single = word_pairs(counts, known, config.words, random) if config.words else []
    phrases = _with_phones(grammar_pairs(config.sentences, random), phones_of)
    # Phone n-grams, as a topline with access to the text.
    by_words = estimate((known[word] for text in texts for word in text.split() if word in known), PHONE_ORDER)[0]
    by_phrases = estimate(phones_of(texts), PHONE_ORDER)[0]
    total = 2 * len(config.voices) * (len(single) + len(phrases))
    done = 0
    for name in config.voices:
        voice = load_voice(name)
        for test, test_pairs, model in (("words", single, by_words), ("grammar", phrases, by_phrases)):
            for pair in test_pairs:
                for side, (text, phones) in enumerate(zip(pair.texts, pair.phones, strict=True)):
                    if context.interrupted:
                        raise Interrupted
                    clip = PairClip(
                        id=f"{test}/{pair.name}/{name}/{('right', 'wrong')[side]}", test=test, pair=pair.name,
                        kind=pair.kind, voice=name, right=not side, text=text,
                        phone_score=model.sentence(list(phones)), phone_count=len(phones),
                    )  # fmt: skip
                    done += 1
                    context.progress.update(done, total)
                    try:
                        speech = voice.say(text)
                    except UserError as error:
                        context.drop(clip.id, "unspeakable", str(error))
                        continue
                    path = f"clips/{safe_id(clip.id)}.flac"
                    write_audio(context.output("clips").parent / path, speech.waveform, speech.rate)
                    yield clip, _recording(clip, path, len(speech.waveform), speech.rate)


def _with_phones(pairs: Sequence[Pair], phones_of: PhonesOf) -> list[Pair]:
    phones = phones_of([text for pair in pairs for text in pair.texts])
    return [
        Pair(pair.name, pair.kind, pair.texts, (phones[2 * index], phones[2 * index + 1]))
        for index, pair in enumerate(pairs)
    ]


def _official(context: Context, test: str) -> Iterator[tuple[PairClip, Utterance]]:
    from speechkit.errors import AudioError
    from speechkit.io.audio import audio_info

    for clip, path in read_gold(context.inputs[test], test):
        try:
            info = audio_info(path)
        except AudioError as error:
            context.drop(clip.id, "unreadable_audio", str(error))
            continue
        yield clip, _recording(clip, str(path.resolve()), info.num_samples, info.sample_rate)


def _recording(clip: PairClip, path: str, samples: int, rate: int) -> Utterance:
    return Utterance.from_samples(
        id=clip.id, audio_filepath=path, num_samples=samples, sample_rate=rate, speaker=clip.voice,
        custom={"manifest": "recordings"},
    )  # fmt: skip


def judge(context: Context) -> list[PairScore]:
    """Accuracies of the networks, of a unit n-gram, and of baselines without lexical knowledge."""
    from speechkit.lm.networks import load_unit_network
    from speechkit.units.token_sequences import encode_sequence

    spec = read_vocabulary(context)
    clips: list[PairClip] = list(context.read("pairs"))
    rows: list[UnitSequence] = list(context.read("said"))
    if spec.merges is not None:
        rows = [encode_sequence(row, spec.merges) for row in rows]
    parts = part_rows(context)
    story_clips, story_units = _stories(context, parts["test"])
    if not clips and not story_clips:
        return []
    networks = {
        "unit model": load_unit_network(context.inputs["trained"]).to(context.device),
        "baseline": load_unit_network(context.inputs["baseline"]).to(context.device),
    }
    return evaluate_systems(
        [*clips, *story_clips], [*rows, *story_units], networks, parts["train"], spec.tokens,
        context.config.ngram_order, context.seed, lambda: context.interrupted,
    )  # fmt: skip


def _stories(context: Context, test: Sequence[UnitSequence]) -> tuple[list[PairClip], list[UnitSequence]]:
    """Test recordings whose ids end in a number, sorted; the prefix before the number is the chapter."""
    speakers = {row.id: row.speaker or "" for row in context.read("recordings")}
    named = [(match, row) for row in test if (match := re.fullmatch(r"(.*)[-_](\d+)", row.id)) and speakers[row.id]]
    named.sort(key=lambda item: (item[0][1], int(item[0][2])))
    clips, units = story_pairs(
        [row for _, row in named],
        [speakers[row.id] for _, row in named],
        [(match[1], int(match[2])) for match, _ in named],
        np.random.default_rng([context.seed, 11]),
    )
    limit = 2 * context.config.stories
    return clips[:limit], units[:limit]
