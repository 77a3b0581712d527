"""Published results on the SLUE corpora's own sets, shown beside measured results for reference only.

Sources: the SLUE leaderboard v0.2 (Shon et al. 2022, SLUE: new benchmark tasks for spoken language understanding
evaluation on natural speech), and the results that ESPnet publishes with its SLUE recipes. There are no rows for
question answering, localisation, intents and slots, for lack of a source.
"""

from __future__ import annotations

import msgspec

LEADERBOARD = "SLUE leaderboard v0.2"
ESPNET = "ESPnet recipe"
ENTITIES, SENTIMENTS = "F1 of (tag, phrase), 7 combined tags", "macro F1 of three classes"
ACTS, SUMMARIES = "macro F1 of 18 acts", "ROUGE-L of titles and abstracts"


class Published(msgspec.Struct, frozen=True):
    """A published score of one system, in percent.

    ``way`` is "end to end", "pipeline" or "text" (a text model on reference transcripts, the upper bound of pipelines).
    ``corpus`` and ``split`` name the evaluation set as in ``speechkit prepare``.
    """

    task: str
    system: str
    way: str
    measure: str
    value: float
    corpus: str
    split: str
    source: str


# System, way, F1 of entities, macro F1 of sentiments; both on the test sets. LM: decoded with a language model.
_LEADERBOARD = (
    ("DeBERTa-L", "text", 81.4, 66.8),
    ("DeBERTa-B", "text", 81.4, 65.5),
    ("BERT-B", "text", 81.2, 63.3),
    ("W2V2-L + LM, DeBERTa-L", "pipeline", 71.8, 65.5),
    ("W2V2-B + LM, DeBERTa-L", "pipeline", 69.2, 65.4),
    ("W2V2-B + LM, DeBERTa-B", "pipeline", 68.5, 63.6),
    ("W2V2-B + LM, BERT-B", "pipeline", 68.6, 60.5),
    ("W2V2-L, DeBERTa-L", "pipeline", 59.7, 65.7),
    ("W2V2-B, DeBERTa-L", "pipeline", 49.5, 63.6),
    ("W2V2-B, DeBERTa-B", "pipeline", 46.4, 62.1),
    ("W2V2-B, BERT-B", "pipeline", 47.4, 60.1),
    ("W2V2-L + LM", "end to end", 64.8, 50.1),
    ("W2V2-B + LM", "end to end", 63.4, 48.6),
    ("HuBERT-B + LM", "end to end", 61.9, 49.4),
    ("W2V2-L", "end to end", 50.5, 50.1),
    ("W2V2-B-VP100K + LM", "end to end", 61.8, 38.9),
    ("W2V2-B", "end to end", 49.6, 48.6),
    ("HuBERT-B", "end to end", 49.8, 49.4),
    ("W2V2-B-VP100K", "end to end", 47.9, 38.9),
)
# Encoder by ESPnet's name, F1 of entities on the development set.
_ENTITIES_ON_DEV = (
    ("Conformer", 54.7),
    ("WavLM", 74.5),
    ("WavLM + mBART", 74.6),
    ("WavLM + SLURP", 75.7),
    ("W2V2", 69.5),
    ("HuBERT", 69.7),
)
# Encoder by ESPnet's name, macro F1 of dialog acts on test: a light head, a complex head, fine-tuned.
_DIALOG_ACTS = (
    ("HuBERT", 48.0, 66.1, 72.7),
    ("W2V2", 51.2, 65.8, 71.3),
    ("WavLM", 54.6, 67.4, 71.5),
    ("Whisper", 59.7, 67.8, 69.8),
    ("OWSM", 66.3, 69.4, 72.1),
    ("SLURP", 54.4, 66.3, 68.7),
)
# Encoder by ESPnet's name, ROUGE-L on test.
_SUMMARIES = (
    ("HuBERT", 16.0),
    ("W2V2", 16.2),
    ("WavLM", 16.4),
    ("Whisper", 16.0),
    ("OWSM", 16.5),
    ("SLURP", 15.4),
)

PUBLISHED: tuple[Published, ...] = (
    *(
        Published("ner", system, way, ENTITIES, entities, "slue_voxpopuli", "test", LEADERBOARD)
        for system, way, entities, _ in _LEADERBOARD
    ),
    *(
        Published("ner", encoder, "end to end", ENTITIES, value, "slue_voxpopuli", "dev", ESPNET)
        for encoder, value in _ENTITIES_ON_DEV
    ),
    *(
        Published("sentiment", system, way, SENTIMENTS, sentiment, "slue_voxceleb", "test", LEADERBOARD)
        for system, way, _, sentiment in _LEADERBOARD
    ),
    *(
        Published("dialog-acts", f"{encoder}, {head}", "end to end", ACTS, value, "slue_hvb", "test", ESPNET)
        for encoder, *values in _DIALOG_ACTS
        for head, value in zip(("frozen, light head", "frozen, complex head", "fine-tuned"), values, strict=True)
    ),
    *(
        Published("summarisation", encoder, "end to end", SUMMARIES, value, "slue_ted", "test", ESPNET)
        for encoder, value in _SUMMARIES
    ),
)


def published_for(task: str) -> list[Published]:
    """The published results of a task, test splits first, best first."""
    return sorted((row for row in PUBLISHED if row.task == task), key=lambda row: (row.split != "test", -row.value))
