"""Conv-TasNet gives the tracks of torchaudio's, with its weights."""

from __future__ import annotations

import pytest
import torch

from speechkit.separation.model import new_separator, separator_config
from speechkit.separation.published import torchaudio_weights


@pytest.mark.parametrize(("samples", "speakers", "mask"), [(1600, 2, "relu"), (803, 3, "relu"), (5, 2, "sigmoid")])
def test_tracks_equal_those_of_torchaudio_with_its_weights(samples, speakers, mask):
    models = pytest.importorskip("torchaudio.models")
    torch.manual_seed(0)
    theirs = models.ConvTasNet(
        speakers, enc_kernel_size=10, enc_num_feats=24, msk_num_feats=12, msk_num_hidden_feats=20, msk_num_layers=3,
        msk_num_stacks=2, msk_activate=mask,
    ).eval()  # fmt: skip
    for value in theirs.parameters():
        value.data += 0.2 * torch.randn_like(value)
    ours = new_separator(
        separator_config(
            "conv-tasnet-base", speakers=speakers, kernel=10, filters=24, width=12, hidden=20, layers=3, stacks=2,
            mask=mask,
        )
    ).eval()  # fmt: skip
    ours.load_state_dict(torchaudio_weights(theirs.state_dict()))
    mixture = torch.randn(2, samples)
    with torch.no_grad():
        torch.testing.assert_close(ours(mixture), theirs(mixture[:, None]), atol=1e-4, rtol=1e-4)


def test_base_has_the_published_number_of_weights():
    with torch.device("meta"):
        base = new_separator(separator_config("conv-tasnet-base"))
        tiny = new_separator(separator_config("conv-tasnet-tiny"))
    assert sum(value.numel() for value in base.parameters()) == 4_984_881
    assert sum(value.numel() for value in tiny.parameters()) <= 1_000_000
