"""Convert published checkpoints of MossFormer2 and Conv-TasNet.

MossFormer2 is published under two naming schemes: that of ClearerVoice-Studio (one file: ``enc``, ``mask_net``,
``dec``) and that of its authors' repository (``encoder.ckpt``, ``masknet.ckpt``, ``decoder.ckpt``). PyTorch files are
read without executing their code (`speechkit.io.torch_weights`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from speechkit.errors import UserError
from speechkit.separation.mossformer2 import MossFormer2, MossFormer2Config

PARTS = ("encoder", "masknet", "decoder")
PREFIXES = re.compile(r"^((model|module|ss_network|state_dict)\.)+")
RENAMED = (
    (r"^encoder\.", "enc."),
    (r"^decoder\.", "dec."),
    (r"^masknet\.", "mask_net."),
    (r"dual_mdl\.0\.intra_mdl\.mdl\.flashT\.", "mdl.intra_mdl.mossformerM."),
    (r"dual_mdl\.0\.intra_mdl\.mdl\.norm\.norm\.", "mdl.intra_mdl.norm."),
    (r"dual_mdl\.0\.intra_norm\.", "mdl.intra_norm."),
)
"""Patterns of names in the authors' repository, and their replacements in ClearerVoice-Studio."""
IGNORED = re.compile(r"\.rotary_pos_emb\.|\.inv_freq$")
"""Rotary frequencies, the same for all blocks; whether they are stored depends on a library's version."""
BLOCKS = "mask_net.mdl.intra_mdl.mossformerM"


def load_published(path: Path | str, *, sample_rate: int = 8_000, multiplied: bool = True) -> MossFormer2:
    """Load a published MossFormer2; its `save_pretrained` writes a folder for `load_separator`.

    Args:
        path: a ``.pt`` or ``.safetensors`` file, or the folder of ``encoder.ckpt``, ``masknet.ckpt`` and
            ``decoder.ckpt``.
        sample_rate: of its training data, which the file does not contain.
        multiplied: False for the WHAMR! checkpoint, whose masks do not multiply the filter bank's output.

    Raises:
        UserError: if a file cannot be read, or its weights are not those of a MossFormer2.
    """
    path = Path(path)
    weights: dict[str, Tensor] = {}
    if path.is_dir():
        for part in PARTS:
            weights.update({f"{part}.{name}": value for name, value in _read(path / f"{part}.ckpt").items()})
    else:
        weights = _read(path)
    # Training checkpoints also hold the optimiser's state.
    network_weights = {name: value for name, value in weights.items() if not name.startswith("optimizer.")}
    config, converted = published_weights(network_weights, str(path), sample_rate=sample_rate, multiplied=multiplied)
    network = MossFormer2(config)
    network.load_state_dict(converted)
    return network.eval()


def published_weights(
    weights: Mapping[str, Tensor], name: str, *, sample_rate: int = 8_000, multiplied: bool = True
) -> tuple[MossFormer2Config, dict[str, Tensor]]:
    """Convert published weights of MossFormer2 to our names, and derive the configuration.

    Args:
        weights: under either naming scheme.
        name: their origin, for error messages.
        sample_rate: see `load_published`.
        multiplied: see `load_published`.

    Raises:
        UserError: if a weight is missing, unknown, or of a shape that does not fit the others.
    """
    remaining = {_published_name(key): value.float() for key, value in weights.items()}
    frequencies = remaining.get(f"{BLOCKS}.layers.0.rotary_pos_emb.freqs")
    remaining = {key: value for key, value in remaining.items() if not IGNORED.search(key)}
    taken: dict[str, Tensor] = {}

    def take(key: str) -> Tensor:
        if key not in remaining:
            raise UserError(f"{name}: has no weight {key}; give a checkpoint of MossFormer2 for separation")
        return remaining.pop(key)

    def put(ours: str, *theirs: str) -> None:
        """Concatenate weights and biases of layers with the same input; a convolution of one tap is linear."""
        for kind in ("weight", "bias"):
            if any(f"{layer}.{kind}" in remaining for layer in theirs):
                value = torch.cat([take(f"{layer}.{kind}") for layer in theirs])
                taken[f"{ours}.{kind}"] = value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value

    try:
        taken["filters.weight"] = take("enc.conv1d.weight")[:, 0]
        taken["synthesis.weight"] = take("dec.weight")[:, 0].T.contiguous()
        for ours, parts in (
            ("filters_norm", ["norm"]),
            ("input_proj", ["conv1d_encoder"]),
            ("frame_norm", ["mdl.intra_mdl.norm"]),
            ("item_norm", ["mdl.intra_norm"]),
            ("split", ["conv1d_out"]),
            ("gates", ["output.0", "output_gate.0"]),
            ("output_proj", ["conv1_decoder"]),
        ):
            put(ours, *[f"mask_net.{part}" for part in parts])
        taken["position_scale"] = take("mask_net.pos_enc.scale")
        taken["activation.weight"] = take("mask_net.prelu.weight")
        blocks = len({key for key in remaining if key.startswith(f"{BLOCKS}.layers.") and key.endswith("gamma")})
        for block in range(blocks):
            ours, theirs = f"blocks.{block}.attention", f"{BLOCKS}.layers.{block}"
            projections = [f"{theirs}.to_hidden.mdl", f"{theirs}.to_qk.mdl"]
            taken[f"{ours}.gain"] = torch.cat([take(f"{projection}.0.g") for projection in projections])
            put(f"{ours}.input_proj", *[f"{projection}.1" for projection in projections])
            taken[f"{ours}.taps.weight"] = torch.cat(
                [take(f"{projection}.3.sequential.1.conv.weight") for projection in projections]
            )
            taken[f"{ours}.scale"] = take(f"{theirs}.qk_offset_scale.gamma")
            taken[f"{ours}.offset"] = take(f"{theirs}.qk_offset_scale.beta")
            taken[f"{ours}.out_gain"] = take(f"{theirs}.to_out.mdl.0.g")
            put(f"{ours}.output_proj", f"{theirs}.to_out.mdl.1")
            taken[f"{ours}.out_taps.weight"] = take(f"{theirs}.to_out.mdl.3.sequential.1.conv.weight")

            ours, theirs = f"blocks.{block}.recurrence", f"{BLOCKS}.fsmn.{block}"
            gated = f"{theirs}.gated_fsmn"
            put(f"{ours}.input_proj", f"{theirs}.conv1.0")
            taken[f"{ours}.activation.weight"] = take(f"{theirs}.conv1.1.weight")
            put(f"{ours}.norm", f"{theirs}.norm1")
            for kind in ("weight", "bias"):
                taken[f"{ours}.halves_{kind}"] = torch.stack([take(f"{gated}.to_{u}.mdl.0.{kind}") for u in "uv"])
            put(f"{ours}.halves", f"{gated}.to_u.mdl.1", f"{gated}.to_v.mdl.1")
            taken[f"{ours}.taps.weight"] = torch.cat(
                [take(f"{gated}.to_{u}.mdl.3.sequential.1.conv.weight") for u in "uv"]
            )
            put(f"{ours}.widen", f"{gated}.fsmn.linear")
            put(f"{ours}.project", f"{gated}.fsmn.project")
            layers = sum(key.startswith(f"{gated}.fsmn.conv.conv") for key in remaining)
            for layer in range(layers):
                memory = f"{gated}.fsmn.conv"
                taken[f"{ours}.layers.{layer}.weight"] = take(f"{memory}.conv{layer + 1}.weight")[..., 0]
                taken[f"{ours}.layers.{layer}.norm_weight"] = take(f"{memory}.norm{layer + 1}.weight")
                taken[f"{ours}.layers.{layer}.norm_bias"] = take(f"{memory}.norm{layer + 1}.bias")
                taken[f"{ours}.layers.{layer}.slope"] = take(f"{memory}.prelu{layer + 1}.weight")
            put(f"{ours}.out_norm", f"{theirs}.norm2")
            put(f"{ours}.output_proj", f"{theirs}.conv2")
        # Depthwise convolutions have a dimension of one input channel.
        taken = {key: value[:, 0] if key.endswith("taps.weight") else value for key, value in taken.items()}
        if remaining:
            raise UserError(
                f"{name}: has {min(remaining)}, which MossFormer2 for separation does not have; give a checkpoint of it"
            )
        first = {key.removeprefix("blocks.0."): value for key, value in taken.items()}
        config = MossFormer2Config(
            speakers=len(taken["split.weight"]) // len(taken["input_proj.weight"]),
            sample_rate=sample_rate,
            filters=len(taken["filters.weight"]),
            kernel=taken["filters.weight"].shape[1],
            width=len(taken["input_proj.weight"]),
            blocks=blocks,
            expansion=2 * first["attention.output_proj.weight"].shape[1] // len(taken["input_proj.weight"]),
            query_key=first["attention.scale"].shape[1],
            rotary=min(32, first["attention.scale"].shape[1]),
            taps=first["attention.taps.weight"].shape[1],
            memory=len(first["recurrence.input_proj.weight"]),
            memory_taps=first["recurrence.layers.0.weight"].shape[2],
            memory_layers=layers,
            multiplied=multiplied,
        )
        with torch.device("meta"):
            wanted = {key: tuple(value.shape) for key, value in MossFormer2(config).state_dict().items()}
    except (IndexError, KeyError, RuntimeError, UnboundLocalError, ZeroDivisionError) as error:
        raise UserError(f"{name}: its weights do not fit one another ({error}); get the checkpoint again") from error
    if frequencies is None:
        frequencies = MossFormer2(config).frequencies.detach()
    taken["frequencies"] = frequencies
    for key, shape in wanted.items():
        if key not in taken or tuple(taken[key].shape) != shape:
            actual = tuple(taken[key].shape) if key in taken else "missing"
            raise UserError(f"{name}: {key} is {actual}, but the others need {shape}; get the checkpoint again")
    return config, taken


def torchaudio_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert weights of torchaudio's ``ConvTasNet`` to the names of `speechkit.separation.conv_tasnet`."""
    taken = {
        "filters.weight": weights["encoder.weight"][:, 0],
        "synthesis.weight": weights["decoder.weight"][:, 0].T,
        "slope": weights["mask_generator.output_prelu.weight"],
    }
    for ours, theirs in (("norm", "input_norm"), ("input_proj", "input_conv"), ("output_proj", "output_conv")):
        for kind in ("weight", "bias"):
            taken[f"{ours}.{kind}"] = weights[f"mask_generator.{theirs}.{kind}"]
    block = 0
    while f"mask_generator.conv_layers.{block}.skip_out.weight" in weights:
        theirs, ours = f"mask_generator.conv_layers.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            taken[f"{ours}.input_proj.{kind}"] = weights[f"{theirs}.conv_layers.0.{kind}"]
            norms = [weights[f"{theirs}.conv_layers.{layer}.{kind}"] for layer in (2, 5)]
            taken[f"{ours}.norms_{kind}"] = torch.stack(norms)
            outputs = [f"{theirs}.{name}.{kind}" for name in ("res_out", "skip_out")]
            taken[f"{ours}.output_proj.{kind}"] = torch.cat([weights[name] for name in outputs if name in weights])
        taken[f"{ours}.slopes"] = torch.stack([weights[f"{theirs}.conv_layers.{layer}.weight"] for layer in (1, 4)])
        taken[f"{ours}.taps.weight"] = weights[f"{theirs}.conv_layers.3.weight"][:, 0]
        taken[f"{ours}.bias"] = weights[f"{theirs}.conv_layers.3.bias"]
        block += 1
    return {key: value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value for key, value in taken.items()}


def _published_name(key: str) -> str:
    key = PREFIXES.sub("", key)
    for theirs, name in RENAMED:
        key = re.sub(theirs, name, key)
    return key


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        from speechkit.nn.checkpoints import readable

        with readable(path, ("weights", "a .safetensors file")):
            return dict(load_file(path))
    from speechkit.io.torch_weights import read_torch_weights

    return {name: torch.from_numpy(value) for name, value in read_torch_weights(path).items()}
