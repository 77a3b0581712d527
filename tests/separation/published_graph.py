"""MossFormer2 as it was published, step by step: the oracle of tests and of `benchmarks.separation`.

Weights have the names and shapes of ClearerVoice-Studio's checkpoints, or of those of the authors' repository. Nothing
is fused: channels lie before frames where a convolution wants them so, the memory convolves images, and sequences are
padded to whole groups.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from speechkit.separation.mossformer2 import MossFormer2Config

BLOCKS = "mask_net.mdl.intra_mdl.mossformerM"
PARAMETERS_THAT_ARE_FIXED = ("rotary_pos_emb.freqs", "pos_enc.inv_freq")


def published_state(config: MossFormer2Config, seed: int = 0, spread: float = 0.3) -> dict[str, Tensor]:
    """A state dict of random weights; gains, biases and slopes are far from where training begins."""
    generator = torch.Generator().manual_seed(seed)
    width, memory, hidden = config.width, config.memory, config.width * config.expansion
    state: dict[str, Tensor] = {}

    def around(value: float, *shape: int) -> Tensor:
        return value + spread * torch.randn(*shape, generator=generator)

    def drawn(*shape: int) -> Tensor:
        fan_in = max(1, torch.Size(shape[1:]).numel())
        return torch.randn(*shape, generator=generator) * fan_in**-0.5

    def linear(name: str, into: int, out: int, *taps: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = drawn(out, into, *taps)
        if bias:
            state[f"{name}.bias"] = around(0.0, out)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = around(1.0, channels), around(0.0, channels)

    def convolved(name: str, into: int, out: int, scale: bool) -> None:
        if scale:
            state[f"{name}.mdl.0.g"] = around(1.0, 1)
        else:
            norm(f"{name}.mdl.0", into)
        linear(f"{name}.mdl.1", into, out)
        state[f"{name}.mdl.3.sequential.1.conv.weight"] = drawn(out, 1, config.taps)

    state["enc.conv1d.weight"] = drawn(config.filters, 1, config.kernel)
    norm("mask_net.norm", config.filters)
    linear("mask_net.conv1d_encoder", config.filters, width, 1, bias=False)
    state["mask_net.pos_enc.scale"] = around(1.0, 1)
    state["mask_net.pos_enc.inv_freq"] = 1.0 / 10_000 ** (torch.arange(0, width, 2).float() / width)
    for block in range(config.blocks):
        name = f"{BLOCKS}.fsmn.{block}"
        linear(f"{name}.conv1.0", width, memory, 1)
        state[f"{name}.conv1.1.weight"] = around(0.25, 1)
        norm(f"{name}.norm1", memory)
        convolved(f"{name}.gated_fsmn.to_u", memory, memory, scale=False)
        convolved(f"{name}.gated_fsmn.to_v", memory, memory, scale=False)
        linear(f"{name}.gated_fsmn.fsmn.linear", memory, memory)
        linear(f"{name}.gated_fsmn.fsmn.project", memory, memory, bias=False)
        for layer in range(1, config.memory_layers + 1):
            dense = f"{name}.gated_fsmn.fsmn.conv"
            state[f"{dense}.conv{layer}.weight"] = drawn(memory, layer, config.memory_taps, 1)
            norm(f"{dense}.norm{layer}", memory)
            state[f"{dense}.prelu{layer}.weight"] = around(0.25, memory)
        norm(f"{name}.norm2", memory)
        linear(f"{name}.conv2", memory, width, 1)
    for block in range(config.blocks):
        name = f"{BLOCKS}.layers.{block}"
        state[f"{name}.rotary_pos_emb.freqs"] = 1.0 / 10_000 ** (torch.arange(0, config.rotary, 2) / config.rotary)
        convolved(f"{name}.to_hidden", width, hidden, scale=True)
        convolved(f"{name}.to_qk", width, config.query_key, scale=True)
        state[f"{name}.qk_offset_scale.gamma"] = around(0.0, 4, config.query_key) * 5
        state[f"{name}.qk_offset_scale.beta"] = around(0.0, 4, config.query_key)
        convolved(f"{name}.to_out", hidden // 2, width, scale=True)
    norm("mask_net.mdl.intra_mdl.norm", width)
    norm("mask_net.mdl.intra_norm", width)
    linear("mask_net.conv1d_out", width, width * config.speakers, 1)
    linear("mask_net.conv1_decoder", width, config.filters, 1, bias=False)
    state["mask_net.prelu.weight"] = around(0.25, 1)
    linear("mask_net.output.0", width, width, 1)
    linear("mask_net.output_gate.0", width, width, 1)
    state["dec.weight"] = drawn(config.filters, 1, config.kernel)
    return state


def authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as the authors' own repository names them."""
    renamed = {}
    for key, value in state.items():
        for ours, theirs in (
            (f"{BLOCKS}.", "mask_net.dual_mdl.0.intra_mdl.mdl.flashT."),
            ("mask_net.mdl.intra_mdl.norm.", "mask_net.dual_mdl.0.intra_mdl.mdl.norm.norm."),
            ("mask_net.mdl.intra_norm.", "mask_net.dual_mdl.0.intra_norm."),
            ("mask_net.", "masknet."),
            ("enc.", "encoder."),
            ("dec.", "decoder."),
        ):
            if key.startswith(ours):
                key = theirs + key.removeprefix(ours)
        renamed[key] = value
    return renamed


def published_tracks(state: dict[str, Tensor], config: MossFormer2Config, mixture: Tensor) -> Tensor:
    """(B, S) -> (B, N, S), with no regard to items of unequal lengths and without dropout."""
    encoded = F.conv1d(mixture[:, None], state["enc.conv1d.weight"], stride=config.kernel // 2).relu()  # (B, F, T)
    x = F.group_norm(encoded, 1, state["mask_net.norm.weight"], state["mask_net.norm.bias"], 1e-8)
    x = F.conv1d(x, state["mask_net.conv1d_encoder.weight"])
    angles = torch.arange(x.shape[2]).float()[:, None] * state["mask_net.pos_enc.inv_freq"]
    x = x + (torch.cat([angles.sin(), angles.cos()], -1) * state["mask_net.pos_enc.scale"]).T
    inner = x.transpose(1, 2).contiguous()  # (B, T, D)
    for block in range(config.blocks):
        inner = attention(state, f"{BLOCKS}.layers.{block}", config, inner)
        inner = recurrence(state, f"{BLOCKS}.fsmn.{block}", config, inner)
    inner = layer_norm(state, "mask_net.mdl.intra_mdl.norm", inner, 1e-6).transpose(1, 2).contiguous()
    inner = F.group_norm(inner, 1, state["mask_net.mdl.intra_norm.weight"], state["mask_net.mdl.intra_norm.bias"], 1e-8)
    x = F.prelu(inner + x, state["mask_net.prelu.weight"])
    x = conv(state, "mask_net.conv1d_out", x)
    x = x.view(len(mixture) * config.speakers, config.width, -1)
    x = conv(state, "mask_net.output.0", x).tanh() * conv(state, "mask_net.output_gate.0", x).sigmoid()
    masks = F.conv1d(x, state["mask_net.conv1_decoder.weight"]).relu()
    masks = masks.view(len(mixture), config.speakers, config.filters, -1)
    tracks = []
    for speaker in range(config.speakers):
        kept = masks[:, speaker] * encoded if config.multiplied else masks[:, speaker]
        tracks.append(F.conv_transpose1d(kept, state["dec.weight"], stride=config.kernel // 2)[:, 0])
    whole = torch.stack(tracks, 1)
    return F.pad(whole, (0, mixture.shape[1] - whole.shape[2]))


def attention(state: dict[str, Tensor], name: str, config: MossFormer2Config, x: Tensor) -> Tensor:
    """Gated single-head attention, local and global."""
    batch, frames, _ = x.shape
    shifted, stays = x.chunk(2, -1)
    normed = torch.cat([F.pad(shifted, (0, 0, 1, -1)), stays], -1)
    v, u = convolved(state, f"{name}.to_hidden", normed, scale=True).chunk(2, -1)
    qk = convolved(state, f"{name}.to_qk", normed, scale=True)
    gamma, beta = state[f"{name}.qk_offset_scale.gamma"], state[f"{name}.qk_offset_scale.beta"]
    heads = torch.einsum("btd,hd->bthd", qk, gamma) + beta
    quad_q, lin_q, quad_k, lin_k = (rotated(head, state[f"{name}.rotary_pos_emb.freqs"]) for head in heads.unbind(2))
    padding = -frames % config.group
    quad_q, quad_k, lin_q, lin_k, v_all, u_all = (
        F.pad(each, (0, 0, 0, padding)).view(batch, -1, config.group, each.shape[2])
        for each in (quad_q, quad_k, lin_q, lin_k, v, u)
    )
    real = (torch.arange(frames + padding) < frames).view(1, -1, 1, config.group)
    similar = torch.einsum("...id,...jd->...ij", quad_q, quad_k) / config.group
    weights = (similar.relu() ** 2).masked_fill(~real, 0.0)
    attended = []
    for values in (v_all, u_all):
        near = torch.einsum("...ij,...jd->...id", weights, values)
        memory = torch.einsum("bgnd,bgne->bde", lin_k, values) / frames
        far = torch.einsum("bgnd,bde->bgne", lin_q, memory)
        attended.append((near + far).flatten(1, 2)[:, :frames])
    att_v, att_u = attended
    return x + convolved(state, f"{name}.to_out", att_u * v * torch.sigmoid(att_v * u), scale=True)


def recurrence(state: dict[str, Tensor], name: str, config: MossFormer2Config, x: Tensor) -> Tensor:
    """The gated feed-forward sequential memory network."""
    down = F.prelu(conv(state, f"{name}.conv1.0", x.transpose(1, 2)), state[f"{name}.conv1.1.weight"])
    given = layer_norm(state, f"{name}.norm1", down.transpose(1, 2))
    u = convolved(state, f"{name}.gated_fsmn.to_u", given, scale=False)
    v = convolved(state, f"{name}.gated_fsmn.to_v", given, scale=False)
    fsmn = f"{name}.gated_fsmn.fsmn"
    inner = F.linear(u, state[f"{fsmn}.linear.weight"], state[f"{fsmn}.linear.bias"]).relu()
    skip = F.linear(inner, state[f"{fsmn}.project.weight"]).transpose(1, 2)[..., None]  # (B, M, T, 1)
    out = skip
    for layer in range(1, config.memory_layers + 1):
        dilation = 2 ** (layer - 1)
        pad = config.memory_taps // 2 * dilation
        out = F.conv2d(
            F.pad(skip, (0, 0, pad, pad)),
            state[f"{fsmn}.conv.conv{layer}.weight"],
            dilation=(dilation, 1),
            groups=config.memory,
        )
        norm = f"{fsmn}.conv.norm{layer}"
        out = F.instance_norm(out, weight=state[f"{norm}.weight"], bias=state[f"{norm}.bias"], eps=1e-5)
        out = F.prelu(out, state[f"{fsmn}.conv.prelu{layer}.weight"])
        skip = torch.cat([out, skip], 1)
    remembered = u + out[..., 0].transpose(1, 2)
    up = layer_norm(state, f"{name}.norm2", v * remembered + given)
    return conv(state, f"{name}.conv2", up.transpose(1, 2)).transpose(1, 2) + x


def convolved(state: dict[str, Tensor], name: str, x: Tensor, *, scale: bool) -> Tensor:
    """Norm, linear map, SiLU, and a depthwise convolution beside the identity."""
    if scale:
        length = torch.norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        x = x / length.clamp(min=1e-5) * state[f"{name}.mdl.0.g"]
    else:
        x = layer_norm(state, f"{name}.mdl.0", x)
    x = F.silu(F.linear(x, state[f"{name}.mdl.1.weight"], state[f"{name}.mdl.1.bias"]))
    weight = state[f"{name}.mdl.3.sequential.1.conv.weight"]
    beside = F.conv1d(x.transpose(1, 2), weight, padding=weight.shape[2] // 2, groups=len(weight))
    return x + beside.transpose(1, 2)


def rotated(x: Tensor, frequencies: Tensor) -> Tensor:
    """(B, T, Q) whose first dimensions are turned in neighbouring pairs."""
    turns = 2 * len(frequencies)
    angles = (torch.arange(x.shape[1]).float()[:, None] * frequencies).repeat_interleave(2, -1)
    first, rest = x[..., :turns], x[..., turns:]
    pairs = first.reshape(*first.shape[:-1], -1, 2)
    half = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
    return torch.cat([first * angles.cos() + half * angles.sin(), rest], -1)


def layer_norm(state: dict[str, Tensor], name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def conv(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"])
