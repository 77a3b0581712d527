"""Claims about quantizers of any kind: a folder gives back what was saved, and each of its codebooks names frames."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from speechkit.encoders import load_encoder
from speechkit.errors import UserError
from speechkit.units.codebook import Codebook
from speechkit.units.invariant.config import HeadConfig
from speechkit.units.invariant.head import InvariantHead
from speechkit.units.invariant.quantizer import InvariantQuantizer
from speechkit.units.quantizers import load_quantizer, open_quantizer, unit_sets
from speechkit.units.sequences import UnitSequence, quantize_recording, read_sequences, write_sequences
from speechkit.units.stacked import StackedQuantizer

SPEC = msgspec.structs.replace(load_encoder("mfcc").spec, dim=6)
FRAMES = np.random.default_rng(0).standard_normal((30, 6)).astype(np.float32)


def quantizers():
    zeros, ones = np.zeros(6, np.float32), np.ones(6, np.float32)
    head = InvariantHead(6, 5, HeadConfig(width=8), zeros, ones)
    residual = [Codebook(FRAMES[:3], None), Codebook(FRAMES[3:7] * 0.3, None)]
    return {
        "codebook": Codebook(FRAMES[:4], SPEC),
        "residual": StackedQuantizer("residual", residual, SPEC),
        "invariant": InvariantQuantizer(head, SPEC, "teacher", 1),
    }


@pytest.mark.parametrize("kind", list(quantizers()))
def test_a_folder_is_opened_as_what_it_holds(kind, tmp_path):
    quantizer = quantizers()[kind]
    quantizer.save(tmp_path)
    found = open_quantizer(tmp_path)
    assert type(found) is type(quantizer)
    assert unit_sets(found) == unit_sets(quantizer)
    units = found.assign(FRAMES).reshape(30, -1)
    for row, each, column in zip(quantize_recording("a", FRAMES, found), unit_sets(found), units.T, strict=True):
        assert row.frames().tolist() == column.tolist()
        assert row.codebook == each.digest
        assert max(row.units) < each.clusters
        assert each.frames_per_second == 50
    assert [row.units for row in quantize_recording("none", FRAMES[:0], found)] == [[]] * len(unit_sets(found))
    with pytest.raises(UserError, match="broken: "):
        quantize_recording("broken", FRAMES * np.nan, found)


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has neither codebook\.json nor quantizer\.json"):
        open_quantizer(tmp_path)
    with pytest.raises(UserError, match="gone: no such folder; give the folder of a quantizer, or embedded-50"):
        open_quantizer(tmp_path / "gone")
    (tmp_path / "quantizer.json").write_text("[1]")
    with pytest.raises(UserError, match="create it again"):
        open_quantizer(tmp_path)


def test_one_unit_a_frame_is_what_a_stacked_quantizer_does_not_give(tmp_path):
    for kind, quantizer in quantizers().items():
        quantizer.save(tmp_path / kind)
    with pytest.raises(UserError, match="several units"):
        load_quantizer(tmp_path / "residual")
    for kind in ("codebook", "invariant"):
        assert type(load_quantizer(tmp_path / kind)) is type(quantizers()[kind])


def test_files_of_several_codebooks_are_there_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]

    def broken():
        yield [UnitSequence("a", [1], [2], "x"), UnitSequence("a", [3], [2], "y")]
        raise UserError("frame 3 holds NaN")

    with pytest.raises(UserError, match="frame 3"):
        write_sequences(paths, broken())
    assert not list(tmp_path.iterdir())
    assert write_sequences(paths, [next(broken())]) == 1
    assert [read_sequences([path])[0].units for path in paths] == [[1], [3]]
