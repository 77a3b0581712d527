"""The last stages of the recipe: counting is taught from mixtures, and every way of use is scored."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.mixtures import Mixture, with_mixture
from speechkit.data.records import Utterance
from speechkit.io.audio import write_audio
from speechkit.pipeline.discover import recipe_module

pytestmark = pytest.mark.slow  # a separator runs over every mixture
RATE = 8000


def voice(seed, seconds=3):
    """Noise in syllables with a spectrum of its own."""
    random = np.random.default_rng(seed)
    loud = np.repeat(random.uniform(0, 1, 5 * seconds), RATE // 5) > 0.4
    wave = np.convolve(random.standard_normal(seconds * RATE), np.sin(np.arange(40) * (0.1 + 0.1 * seed)), "same")
    return 0.1 * loud * wave / np.abs(wave).max()


def mixtures(folder, name, count=4):
    """Pairs and lone speakers of a part, the pairs in noise."""
    rows = []
    for n in range(count):
        lone = n % 2
        sources = [voice(n)] if lone else [voice(n), voice(n + 10)]
        noise = 0.002 * np.random.default_rng(n).standard_normal(len(sources[0])) * (not lone)
        write_audio(folder / f"{name}/mix/{n}.flac", sum(sources) + noise, RATE)
        for k, source in enumerate(sources, 1):
            write_audio(folder / f"{name}/s{k}/{n}.flac", source, RATE)
        write_audio(folder / f"{name}/noise/{n}.flac", noise, RATE)
        row = Utterance.from_samples(
            id=f"{name}-{n}",
            audio_filepath=f"{name}/mix/{n}.flac",
            num_samples=len(noise),
            sample_rate=RATE,
            custom={"set": "alone" if lone else "pairs"},
        )
        names = [f"../s{k}/{n}.flac" for k in range(1, len(sources) + 1)]
        facts = Mixture(sources=names, speakers=["x", "y"][: len(names)], noise=None if lone else f"../noise/{n}.flac")
        rows.append(with_mixture(row, facts))
    write_manifest(folder / f"{name}.jsonl", rows)
    return folder / f"{name}.jsonl"


def context(tmp_path, config, **inputs):
    """What a stage sees, with its outputs in ``tmp_path / "out"``."""
    said: list[str] = []
    return SimpleNamespace(
        inputs=inputs,
        config=config,
        device="cpu",
        scratch=tmp_path / "scratch",
        interrupted=False,
        progress=SimpleNamespace(update=lambda done, total: None),
        output=lambda name: tmp_path / "out" / name,
        read=lambda name: read_manifest(inputs[name]),
        say=said.append,
        said=said,
    )


def test_a_separator_learns_to_count_and_is_scored_in_both_ways_of_use(tmp_path):
    from speechkit.separation.counting import read_counting
    from speechkit.separation.model import new_separator, separator_config

    judging = recipe_module("mossformer2").recipe.stages[3].run.__globals__
    (tmp_path / "model").mkdir()
    new_separator(separator_config("mossformer2-tiny", blocks=1)).save_pretrained(tmp_path / "model")
    dev, test = mixtures(tmp_path, "dev"), mixtures(tmp_path, "test")
    judging["teach_counting"](context(tmp_path, judging["CountingConfig"](), model=tmp_path / "model", dev=dev))
    counting = read_counting(tmp_path / "out/model")
    assert counting.speech is not None, "noise alone was among the examples"
    seen = context(tmp_path, judging["ScoreConfig"](by="speaker"), model=tmp_path / "out/model", test=test)
    judging["score"](seen)
    scores = json.loads((tmp_path / "out/scores/test/scores.json").read_text())
    assert [system["name"] for system in scores["systems"]] == ["model, number known", "model, counted"]
    assert (scores["mixtures"], scores["lone"], scores["left_out"]) == (4, 2, [])
    assert set(scores["systems"][0]["groups"]["set"]) == {"pairs"}
    assert (tmp_path / "out/scores/test/report.html").is_file()
    assert any("SI-SDRi dB" in said for said in seen.said)


def test_settings_that_cannot_be_are_refused():
    config = recipe_module("mossformer2").recipe.stages[4].config
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"measures": ["mos"]}, config)
