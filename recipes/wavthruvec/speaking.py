"""Stage 4: the test's texts spoken."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED
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
