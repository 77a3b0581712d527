"""Stages 4 and 8: the test's texts spoken, and what their speech is worth beside the recordings."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED, Context
from speechkit.tts.stages import Say


class SpeakConfig(msgspec.Struct, frozen=True):
    """How the texts are spoken.

    Attributes:
        vocoder: a folder of `recipes/vocoder`, or ``embedded``; it must take the frames that text2vec makes.
        speed: 2 is twice as fast.
        pause_seconds: between sentences.
    """

    vocoder: Annotated[str, SHARED] = "embedded"
    speed: Annotated[float, msgspec.Meta(gt=0, le=4)] = 1.0
    pause_seconds: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.25
    batch_size: Annotated[int, NEUTRAL] = 8


class SpeakTest(Say):
    """Each text by the model of stage 3 and the vocoder."""

    def setup(self, device: str) -> None:
        """Load both.

        Raises:
            UserError: if the vocoder takes other frames.
        """
        from speechkit.tts.text2vec import Text2Vec
        from speechkit.tts.vocoder import load_vocoder
        from speechkit.tts.voice import VocodedVoice

        model = Text2Vec.from_pretrained(self.inputs["model"]).to(device)
        self.voice = VocodedVoice(model, load_vocoder(self.config.vocoder, device), "wavthruvec")


class ReportConfig(msgspec.Struct, frozen=True):
    """How the page is made.

    Attributes:
        title: its heading.
        samples: texts that can be played.
        resamples: bootstrap draws of the intervals.
    """

    lang: Annotated[str, SHARED] = "en"
    recognizer: Annotated[str, SHARED] = "embedded"
    aligner: Annotated[str | None, SHARED] = "embedded"
    normalizer: Annotated[str, SHARED] = "english"
    title: str = "WavThruVec"
    samples: int = 12
    resamples: int = 2000


def report(context: Context) -> None:
    """Tables and a page of the speech beside the recordings of the same texts."""
    from speechkit.report.tts_page import write_report
    from speechkit.tts.scores.measuring import read_measured
    from speechkit.tts.scores.summary import RECORDINGS, Drawn, summarize

    config: ReportConfig = context.config
    manifests = {RECORDINGS: context.inputs["test_manifest"], "wavthruvec": context.inputs["manifest"]}
    rows, embeddings = {}, {}
    for name, folder in ((RECORDINGS, "recordings"), ("wavthruvec", "scores")):
        rows[name], embeddings[name] = read_measured(context.inputs[folder])
    spoken = {row.id for row in rows["wavthruvec"]}
    rows[RECORDINGS] = [row for row in rows[RECORDINGS] if row.id in spoken]
    scores = summarize(
        rows,
        embeddings,
        normalizer=config.normalizer,
        lang=config.lang,
        judge=config.recognizer,
        aligner=config.aligner,
        drawn=Drawn(resamples=config.resamples),
    )
    heard = {name: {row.id: row.heard for row in found} for name, found in rows.items()}
    write_report(context.output("report"), scores, manifests, heard, title=config.title, samples=config.samples)
