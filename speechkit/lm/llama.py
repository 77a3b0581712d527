"""Export of attention-only unit models as plain ``LlamaForCausalLM``, which transformers, vLLM and others serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from speechkit.errors import UserError
from speechkit.nn.sequence.softmax_attention import AttentionConfig

if TYPE_CHECKING:
    from torch import Tensor

    from speechkit.lm.unit_model import UnitModel

NAMES = {
    "mixer.query": "self_attn.q_proj",
    "mixer.key": "self_attn.k_proj",
    "mixer.value": "self_attn.v_proj",
    "mixer.out": "self_attn.o_proj",
    "feed.gate": "mlp.gate_proj",
    "feed.up": "mlp.up_proj",
    "feed.down": "mlp.down_proj",
    "mixer_norm": "input_layernorm",
    "feed_norm": "post_attention_layernorm",
}
"""Names of a layer's weights in our models and in Llama."""


def export_llama(model: UnitModel, folder: str | Path, *, half: bool = False) -> None:
    """Write ``config.json`` and ``model.safetensors`` of the same network under Llama's names.

    The duration head is not exported: Llama has none.

    Raises:
        UserError: if a layer is not full attention with rotary positions and a feed-forward, or if layers differ.
    """
    import torch
    from safetensors.torch import save

    from speechkit.io.atomic import write_bytes
    from speechkit.nn.checkpoints import CONFIG, WEIGHTS

    config = llama_config(model)
    weights = {
        name: value.detach().to("cpu", torch.float16 if half else value.dtype).clone()
        for name, value in llama_weights(model).items()
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    config["dtype"] = "float16" if half else "float32"
    write_bytes(folder / CONFIG, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")


def llama_config(model: UnitModel) -> dict[str, Any]:
    """``config.json`` of the same network; see `export_llama`."""
    stack, vocabulary = model.config.stack, model.config.vocabulary
    first = stack.layers[0]
    if (
        not isinstance(first, AttentionConfig)
        or first != _plain(first)
        or stack.feed_width == 0
        or any(layer != first for layer in stack.layers)
    ):
        kinds = sorted({layer.mixer for layer in stack.layers})
        raise UserError(
            f"a stack of {', '.join(kinds)} cannot be exported as Llama, whose layers are all rotary attention without "
            "a window and a feed-forward network; save the model in its own format"
        )
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary.size,
        "hidden_size": stack.width,
        "intermediate_size": stack.feed_width,
        "num_hidden_layers": len(stack.layers),
        "num_attention_heads": first.heads,
        "num_key_value_heads": first.key_heads or first.heads,
        "head_dim": stack.width // first.heads,
        "hidden_act": "silu",
        "max_position_embeddings": model.config.context,
        "rms_norm_eps": stack.norm_eps,
        "rope_parameters": {"rope_theta": first.period, "rope_type": "default"},
        "rope_theta": first.period,
        "attention_bias": first.bias,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": vocabulary.boundary,
        "eos_token_id": vocabulary.boundary,
        "pad_token_id": None,
        "speechkit": msgspec.to_builtins(vocabulary),
    }


def _plain(layer: AttentionConfig) -> AttentionConfig:
    """The layer's settings without those that Llama does not have."""
    return AttentionConfig(heads=layer.heads, key_heads=layer.key_heads, period=layer.period, bias=layer.bias)


def llama_weights(model: UnitModel) -> dict[str, Tensor]:
    """The weights under Llama's names."""
    weights: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if name.startswith("stack.layers."):
            number, _, rest = name.removeprefix("stack.layers.").partition(".")
            part, _, kind = rest.rpartition(".")
            weights[f"model.layers.{number}.{NAMES[part]}.{kind}"] = value
    weights["model.embed_tokens.weight"] = model.embedding.weight
    weights["model.norm.weight"] = model.stack.norm.weight
    weights["lm_head.weight"] = model.head.weight
    return weights
