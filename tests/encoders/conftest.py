"""Small random checkpoints of every family, made with the classes that load real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

CONVOLUTIONS = {
    50: {"conv_dim": (16,) * 7},
    25: {"conv_dim": (16,) * 8, "conv_stride": (5, *[2] * 7), "conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2)},
    20: {"conv_dim": (16,) * 7, "conv_stride": (5, 2, 2, 2, 2, 2, 5), "conv_kernel": (10, 3, 3, 3, 3, 2, 5)},
}
"""By frames a second."""
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}

FAMILIES = (
    "wav2vec2",
    "wav2vec2-stable",
    "hubert",
    "hubert-batch-norm",
    "wavlm",
    "data2vec-audio",
    "wav2vec2-bert",
    "whisper",
)


def make_checkpoint(family: str, folder: Path, rate: int = 50) -> Path:
    """Write a random checkpoint of a family with so many frames a second, as `from_pretrained` reads it."""
    import torch
    import transformers as t

    torch.manual_seed(0)
    extractor = t.Wav2Vec2FeatureExtractor(do_normalize=family != "wav2vec2", return_attention_mask=True)
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    if family == "wav2vec2":
        model = t.Wav2Vec2Model(t.Wav2Vec2Config(**SHAPE, **CONVOLUTIONS[rate]))
    elif family == "wav2vec2-stable":
        model = t.Wav2Vec2Model(t.Wav2Vec2Config(**SHAPE, **CONVOLUTIONS[rate], **stable))
    elif family == "hubert":
        model = t.HubertModel(t.HubertConfig(**SHAPE, **CONVOLUTIONS[rate]))
    elif family == "hubert-batch-norm":
        model = t.HubertModel(t.HubertConfig(**SHAPE, **CONVOLUTIONS[rate], conv_pos_batch_norm=True))
        norm = model.encoder.pos_conv_embed.batch_norm
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.normal_(norm.bias)
    elif family == "wavlm":
        model = t.WavLMModel(t.WavLMConfig(**SHAPE, **CONVOLUTIONS[rate], **stable))
    elif family == "data2vec-audio":
        model = t.Data2VecAudioModel(t.Data2VecAudioConfig(**SHAPE, **CONVOLUTIONS[rate], conv_pos_kernel_size=5))
    elif family == "wav2vec2-bert":
        shape = {key: value for key, value in SHAPE.items() if not key.startswith("num_conv_pos")}
        stride = 100 // rate
        config = t.Wav2Vec2BertConfig(**shape, feature_projection_input_dim=80 * stride, conv_depthwise_kernel_size=7)
        model = t.Wav2Vec2BertModel(config)
        extractor = t.SeamlessM4TFeatureExtractor(stride=stride)
    else:
        config = t.WhisperConfig(
            d_model=32,
            encoder_layers=3,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_layers=1,
            decoder_attention_heads=4,
            decoder_ffn_dim=64,
            vocab_size=100,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
            max_source_positions=30 * rate,
        )
        model = t.WhisperModel(config)
        extractor = t.WhisperFeatureExtractor(hop_length=8_000 // rate)
    with torch.no_grad():  # the biases that are zero at the start would hide a forgotten mask
        for value in model.parameters():
            if value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    """A function from a family, and frames a second, to the folder of its checkpoint."""
    made: dict[tuple[str, int], Path] = {}

    def folder(family: str, rate: int = 50) -> Path:
        if (family, rate) not in made:
            made[family, rate] = make_checkpoint(family, tmp_path_factory.mktemp(family.replace("-", "_")), rate)
        return made[family, rate]

    return folder
