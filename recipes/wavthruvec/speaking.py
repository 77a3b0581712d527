"""Stage 4: synthesis of the test texts."""

from __future__ import annotations

from typing import Annotated

import msgspec

from speechkit.pipeline import NEUTRAL, SHARED
from speechkit.tts.stages import Say


class SpeakConfig(msgspec.Struct, frozen=True):
    """Synthesis of the test texts.

    Attributes:
        vocoder: a folder of `recipes/vocoder`, or ``embedded``; its input must be the frames of text2vec.
        speed: 2 is twice as fast.
        pause_seconds: pause between sentences.
    """

    vocoder: Annotated[str, SHARED] = "embedded"
    speed: Annotated[float, msgspec.Meta(gt=0, le=4)] = 1.0
    pause_seconds: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.25
    batch_size: Annotated[int, NEUTRAL] = 8


class SpeakTest(Say):
    """Synthesise texts with the model of stage 3 and the vocoder."""

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
