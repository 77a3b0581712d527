"""Published checkpoints of MossFormer2 and Conv-TasNet as separators of ours.

MossFormer2 has been published under two sets of names: ClearerVoice-Studio's (one file: ``enc``, ``mask_net``, ``dec``)
and that of its authors' own repository (``encoder.ckpt``, ``masknet.ckpt``, ``decoder.ckpt``). Files of PyTorch are
read without running what is in them (`speechkit.io.torch_weights`).
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
BEGINNINGS = re.compile(r"^((model|module|ss_network|state_dict)\.)+")
RENAMED = (
    (r"^encoder\.", "enc."),
    (r"^decoder\.", "dec."),
    (r"^masknet\.", "mask_net."),
    (r"dual_mdl\.0\.intra_mdl\.mdl\.flashT\.", "mdl.intra_mdl.mossformerM."),
    (r"dual_mdl\.0\.intra_mdl\.mdl\.norm\.norm\.", "mdl.intra_mdl.norm."),
    (r"dual_mdl\.0\.intra_norm\.", "mdl.intra_norm."),
)
"""Names of the authors' repository, and those of ClearerVoice-Studio."""
SPARE = re.compile(r"\.rotary_pos_emb\.|\.inv_freq$")
"""Frequencies of positions, the same for all blocks, and stored or not by the version of a library."""
BLOCKS = "mask_net.mdl.intra_mdl.mossformerM"


def load_published(path: Path | str, *, sample_rate: int = 8_000, multiplied: bool = True) -> MossFormer2:
    """A published MossFormer2; its `save_pretrained` writes a folder for `load_separator`.

    Args:
        path: a ``.pt`` or ``.safetensors`` file, or the folder of ``encoder.ckpt``, ``masknet.ckpt`` and
            ``decoder.ckpt``.
        sample_rate: that it was trained for, which the file does not say.
        multiplied: false for the one of WHAMR!, whose masks are not multiplied with the filter bank's output.

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
    # A file of a training also holds an optimiser's state.
    whole = {name: value for name, value in weights.items() if not name.startswith("optimizer.")}
    config, converted = published_weights(whole, str(path), sample_rate=sample_rate, multiplied=multiplied)
    network = MossFormer2(config)
    network.load_state_dict(converted)
    return network.eval()


def published_weights(
    weights: Mapping[str, Tensor], name: str, *, sample_rate: int = 8_000, multiplied: bool = True
) -> tuple[MossFormer2Config, dict[str, Tensor]]:
    """The configuration and the weights, by our names, of published ones of MossFormer2.

    Args:
        weights: under either set of names.
        name: where they are from, for errors.
        sample_rate: see `load_published`.
        multiplied: see `load_published`.

    Raises:
        UserError: if one is missing, is left over, or has a shape that does not fit the others.
    """
    left = {_published_name(key): value.float() for key, value in weights.items()}
    frequencies = left.get(f"{BLOCKS}.layers.0.rotary_pos_emb.freqs")
    left = {key: value for key, value in left.items() if not SPARE.search(key)}
    taken: dict[str, Tensor] = {}

    def take(key: str) -> Tensor:
        if key not in left:
            raise UserError(f"{name}: has no {key}; give the checkpoint of a MossFormer2 for separation")
        return left.pop(key)

    def put(ours: str, *theirs: str) -> None:
        """Weights and biases of maps that share their input; a convolution of one tap is a map."""
        for kind in ("weight", "bias"):
            if any(f"{each}.{kind}" in left for each in theirs):
                value = torch.cat([take(f"{each}.{kind}") for each in theirs])
                taken[f"{ours}.{kind}"] = value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value

    try:
        taken["filters.weight"] = take("enc.conv1d.weight")[:, 0]
        taken["synthesis.weight"] = take("dec.weight")[:, 0].T.contiguous()
        for ours, parts in (
            ("filters_norm", ["norm"]),
            ("enter", ["conv1d_encoder"]),
            ("frame_norm", ["mdl.intra_mdl.norm"]),
            ("item_norm", ["mdl.intra_norm"]),
            ("split", ["conv1d_out"]),
            ("gates", ["output.0", "output_gate.0"]),
            ("leave", ["conv1_decoder"]),
        ):
            put(ours, *[f"mask_net.{each}" for each in parts])
        taken["position_scale"] = take("mask_net.pos_enc.scale")
        taken["activation.weight"] = take("mask_net.prelu.weight")
        blocks = len({key for key in left if key.startswith(f"{BLOCKS}.layers.") and key.endswith("gamma")})
        for block in range(blocks):
            ours, theirs = f"blocks.{block}.attention", f"{BLOCKS}.layers.{block}"
            entering = [f"{theirs}.to_hidden.mdl", f"{theirs}.to_qk.mdl"]
            taken[f"{ours}.gain"] = torch.cat([take(f"{each}.0.g") for each in entering])
            put(f"{ours}.enter", *[f"{each}.1" for each in entering])
            taken[f"{ours}.taps.weight"] = torch.cat([take(f"{each}.3.sequential.1.conv.weight") for each in entering])
            taken[f"{ours}.scale"] = take(f"{theirs}.qk_offset_scale.gamma")
            taken[f"{ours}.offset"] = take(f"{theirs}.qk_offset_scale.beta")
            taken[f"{ours}.out_gain"] = take(f"{theirs}.to_out.mdl.0.g")
            put(f"{ours}.leave", f"{theirs}.to_out.mdl.1")
            taken[f"{ours}.out_taps.weight"] = take(f"{theirs}.to_out.mdl.3.sequential.1.conv.weight")

            ours, theirs = f"blocks.{block}.recurrence", f"{BLOCKS}.fsmn.{block}"
            gated = f"{theirs}.gated_fsmn"
            put(f"{ours}.enter", f"{theirs}.conv1.0")
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
            layers = sum(key.startswith(f"{gated}.fsmn.conv.conv") for key in left)
            for layer in range(layers):
                memory = f"{gated}.fsmn.conv"
                taken[f"{ours}.layers.{layer}.weight"] = take(f"{memory}.conv{layer + 1}.weight")[..., 0]
                taken[f"{ours}.layers.{layer}.norm_weight"] = take(f"{memory}.norm{layer + 1}.weight")
                taken[f"{ours}.layers.{layer}.norm_bias"] = take(f"{memory}.norm{layer + 1}.bias")
                taken[f"{ours}.layers.{layer}.slope"] = take(f"{memory}.prelu{layer + 1}.weight")
            put(f"{ours}.out_norm", f"{theirs}.norm2")
            put(f"{ours}.leave", f"{theirs}.conv2")
        # Depthwise convolutions have a dimension of one input channel.
        taken = {key: value[:, 0] if key.endswith("taps.weight") else value for key, value in taken.items()}
        if left:
            raise UserError(
                f"{name}: has {min(left)}, which no MossFormer2 for separation has; give the checkpoint of one"
            )
        first = {key.removeprefix("blocks.0."): value for key, value in taken.items()}
        config = MossFormer2Config(
            speakers=len(taken["split.weight"]) // len(taken["enter.weight"]),
            sample_rate=sample_rate,
            filters=len(taken["filters.weight"]),
            kernel=taken["filters.weight"].shape[1],
            width=len(taken["enter.weight"]),
            blocks=blocks,
            expansion=2 * first["attention.leave.weight"].shape[1] // len(taken["enter.weight"]),
            query_key=first["attention.scale"].shape[1],
            rotary=min(32, first["attention.scale"].shape[1]),
            taps=first["attention.taps.weight"].shape[1],
            memory=len(first["recurrence.enter.weight"]),
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
            has = tuple(taken[key].shape) if key in taken else "missing"
            raise UserError(f"{name}: {key} is {has} where the others ask for {shape}; get the checkpoint again")
    return config, taken


def torchaudio_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of torchaudio's ``ConvTasNet`` by the names of `speechkit.separation.conv_tasnet`."""
    taken = {
        "filters.weight": weights["encoder.weight"][:, 0],
        "synthesis.weight": weights["decoder.weight"][:, 0].T,
        "slope": weights["mask_generator.output_prelu.weight"],
    }
    for ours, theirs in (("norm", "input_norm"), ("enter", "input_conv"), ("leave", "output_conv")):
        for kind in ("weight", "bias"):
            taken[f"{ours}.{kind}"] = weights[f"mask_generator.{theirs}.{kind}"]
    block = 0
    while f"mask_generator.conv_layers.{block}.skip_out.weight" in weights:
        theirs, ours = f"mask_generator.conv_layers.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            taken[f"{ours}.enter.{kind}"] = weights[f"{theirs}.conv_layers.0.{kind}"]
            norms = [weights[f"{theirs}.conv_layers.{layer}.{kind}"] for layer in (2, 5)]
            taken[f"{ours}.norms_{kind}"] = torch.stack(norms)
            leaving = [f"{theirs}.{name}.{kind}" for name in ("res_out", "skip_out")]
            taken[f"{ours}.leave.{kind}"] = torch.cat([weights[name] for name in leaving if name in weights])
        taken[f"{ours}.slopes"] = torch.stack([weights[f"{theirs}.conv_layers.{layer}.weight"] for layer in (1, 4)])
        taken[f"{ours}.taps.weight"] = weights[f"{theirs}.conv_layers.3.weight"][:, 0]
        taken[f"{ours}.bias"] = weights[f"{theirs}.conv_layers.3.bias"]
        block += 1
    return {key: value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value for key, value in taken.items()}


def _published_name(key: str) -> str:
    key = BEGINNINGS.sub("", key)
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
