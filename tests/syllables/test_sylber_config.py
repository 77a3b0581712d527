"""Settings of the recipe that cannot be meant are refused when they are read, or before their stage begins."""

from pathlib import Path

import pytest

from speechkit.errors import ConfigError
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.discover import recipe_module

_training = recipe_module("sylber", "training")
SecondConfig = _training.SecondConfig
SeedsConfig = _training.SeedsConfig
TokensConfig = recipe_module("sylber", "judging").TokensConfig
recipe = recipe_module("sylber").recipe

CONF = Path(__file__).resolve().parents[2] / "recipes" / "sylber" / "conf"


@pytest.mark.parametrize("system", ["first greedy", "untrained dynamic", "envelope", "second gredy"])
def test_tokens_are_of_the_second_encoder_alone(system):
    with pytest.raises(ConfigError, match=r"tokens\.system:.*is not one of second greedy, second dynamic"):
        read_settings(recipe, overrides=[f"tokens.system={system}"])


@pytest.mark.parametrize(
    "setting",
    [
        "prepare.tune_utterances=-5",
        "prepare.min_seconds=0",
        "prepare.max_train_seconds=0",
        "prepare.max_seconds=0",
        "words.batch_size=0",
        "silver.max_deviation=0",
        "seeds.layers=0",
        "seeds.rate=0",
        "seeds.shortest=0",
        "seeds.silence_db=0",
        "seeds.silence_frames=-1",
        "seeds.standardising_batches=0",
        "seeds.measured_items=0",
        "train1.batch_seconds=0",
        "train1.crop_seconds=0",
        "train1.judged_batches=-1",
        "train2.crop_seconds=0",
        "train2.rate=0",
        "train2.measured_items=0",
        "train2.merge_range=[0.8, 1.1]",
        "segment.tune_utterances=0",
        "tokens.clusters=0",
        "tokens.max_segments=0",
        "tokens.longest_gap=-2",
        "score.tolerance_seconds=-1",
        "score.resamples=-1",
    ],
)
def test_numbers_out_of_range_are_refused_when_they_are_read(setting):
    key = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"command line: {key}: expected (int|float)"):
        read_settings(recipe, overrides=[setting])


def test_numbers_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match=r"merge_range.*\[0\.9, 0\.8\].*give two cosines.*-1 to 1.*lower"):
        SecondConfig(merge_range=(0.9, 0.8))
    with pytest.raises(ConfigError, match="give two cosines"):
        SecondConfig(merge_range=(0.9, 1.05))
    with pytest.raises(ConfigError, match=r"seeds\.longest.*6.*give.*least 7"):
        SeedsConfig(shortest=4, longest=6)
    with pytest.raises(ConfigError, match=r"tokens\.max_segments.*10, too few.*20 clusters"):
        TokensConfig(clusters=20, max_segments=10)


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_the_configurations_that_come_along_are_read(name):
    settings = read_settings(recipe, [CONF / f"{name}.yaml"])
    for stage in recipe.stages:
        settings.config(stage)
