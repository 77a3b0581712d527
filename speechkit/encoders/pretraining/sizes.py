"""Shapes of wav2vec 2.0 encoders that are trained here.

All norm over channels only (``feat_extract_norm="layer"``): no statistic reaches across time, so that padding cannot
leak into a frame, in these classes or in anybody else's.
"""

from __future__ import annotations

from typing import Any, Literal

NARROW_CONVOLUTIONS = (128, 128, 192, 192, 256, 320, 384)
"""Channels of the seven convolutions: the first ones run at up to 3,200 frames a second, so they are narrow."""

_SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "codevector_dim": 32,
        "proj_codevector_dim": 32,
    },
    "small": {
        "hidden_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "conv_dim": NARROW_CONVOLUTIONS,
        "num_conv_pos_embeddings": 64,
    },
    "base": {},
}


def sized_config(size: Literal["tiny", "small", "base"], **settings: Any) -> Any:
    """A ``Wav2Vec2Config``: ``tiny`` for tests, ``small`` (nine million parameters) for a laptop, ``base`` for GPUs.

    Args:
        size: of the network; ``base`` has the 12 layers of 768 of Baevski et al. 2020.
        settings: any field of the configuration, before the shape's own.
    """
    from transformers import Wav2Vec2Config

    plain = {
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "feat_proj_dropout": 0.0,
        "activation_dropout": 0.0,
        "attn_implementation": "sdpa",
    }
    return Wav2Vec2Config(**{**plain, **settings, **_SHAPES[size]})


def student_config(teacher: Any) -> Any:
    """A ``Wav2Vec2Config`` whose transformer has the shape of a Whisper encoder's, without dropout or masks."""
    shape = {
        "hidden_size": teacher.d_model,
        "num_hidden_layers": teacher.encoder_layers,
        "num_attention_heads": teacher.encoder_attention_heads,
        "intermediate_size": teacher.encoder_ffn_dim,
    }
    config = sized_config("small", hidden_dropout=0.0, attention_dropout=0.0, layerdrop=0.0, apply_spec_augment=False)
    config.update(shape)
    return config
