"""Averaging the weights of models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechkit.asr.ctc_model import CtcConfig, CtcModel
from speechkit.errors import UserError
from speechkit.shipped import load_module

_average = load_module(Path(__file__).parents[2] / "scripts", "average_models")
average_models = _average.average_models
main = _average.main


def _saved(folder: Path, seed: int, **shape: object) -> Path:
    torch.manual_seed(seed)
    config = CtcConfig(width=16, heads=2, encoder_layers=1, top_layers=1, max_frames=50, **shape)  # type: ignore[arg-type]
    CtcModel(config).save_pretrained(folder)
    return folder


def test_the_average_is_the_mean_of_the_weights_and_loads(tmp_path: Path) -> None:
    folders = [_saved(tmp_path / str(seed), seed, dropout=0.1 * seed) for seed in range(3)]
    average_models(folders, tmp_path / "mean")
    mean = CtcModel.from_pretrained(tmp_path / "mean")
    states = [CtcModel.from_pretrained(folder).state_dict() for folder in folders]
    for name, value in mean.state_dict().items():
        expected = torch.stack([state[name] for state in states]).mean(0)
        torch.testing.assert_close(value, expected, atol=2e-3, rtol=1e-3)  # weights are kept in float16
    assert mean.config.dropout == 0.0


def test_models_of_different_shape_are_refused_by_name(tmp_path: Path) -> None:
    first, second = _saved(tmp_path / "a", 0), _saved(tmp_path / "b", 1, vocabulary=("<blank>", " ", "a"))
    with pytest.raises(UserError, match=r"b: differs.*shape.*symbols"):
        average_models([first, second], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_a_folder_without_a_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    model = _saved(tmp_path / "a", 0)
    with pytest.raises(UserError, match="at least two"):
        average_models([model], tmp_path / "mean")
    arguments = ["average", str(model), str(tmp_path / "empty"), "--out", str(tmp_path / "mean")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "empty: holds no model of ours" in capsys.readouterr().err
