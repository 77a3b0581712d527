"""Stages 4 to 6 of the recipe: what is speech, what is learnt from and what the student hears beside it."""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import soundfile

from speechkit.augment.mixing import recorded_noises
from speechkit.data import Utterance, write_manifest
from speechkit.data.records import AlignmentItem
from speechkit.errors import AudioError, UserError
from speechkit.pipeline import DropRecord
from speechkit.pipeline.discover import recipe_module
from speechkit.syllables import training_segments
from speechkit.syllables.training_segments import Seeds

_training = recipe_module("sylber", "training")
SeedsConfig = _training.SeedsConfig
make_seeds = _training.make_seeds

SEEDS = Seeds("dynamic", 4, 30, 32.0, 6)
SECOND = 16_000


def tone(seconds, level=0.1):
    return (level * np.sin(np.arange(round(seconds * SECOND)))).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * SECOND), np.float32)


def test_digital_silence_is_no_speech():
    assert SEEDS.speech_runs(silence(1)).tolist() == []
    # The speech is a fiftieth of the recording, so that the loudest twentieth of all frames would be silent ones.
    rare = np.concatenate([silence(6), tone(0.2), silence(3.8)])
    assert SEEDS.speech_runs(rare).tolist() == [[300, 310]]
    # 32 dB below the loud frames would lie below all levels.
    quiet = np.concatenate([tone(0.5, 1e-4), silence(0.5)])
    assert SEEDS.speech_runs(quiet).tolist() == [[0, 25]]


def test_recordings_without_digital_silence_have_the_speech_that_the_level_of_all_frames_gives():
    generator = np.random.default_rng(0)
    loudness = np.repeat(10 ** generator.uniform(-4, 0, 200), 320)
    waveform = (loudness * generator.standard_normal(len(loudness)) * 0.1).astype(np.float32)
    levels = 10 * np.log10((waveform.astype(np.float64).reshape(-1, 320) ** 2).mean(axis=1))
    loud = levels >= np.quantile(levels, 0.95) - 32
    expected = [int(place) for place in np.flatnonzero(np.diff([False, *loud, False]))]
    found = msgspec.structs.replace(SEEDS, silence_frames=0).speech_runs(waveform)
    assert found.ravel().tolist() == expected


def row(name, part=None, tier=None, **more):
    alignment = None if tier is None else {"syllable": tier}
    custom = None if part is None else {"part": part}
    fields = {"audio_filepath": f"{name}.wav", "duration": 1.0, "sample_rate": SECOND, **more}
    return Utterance(id=name, alignment=alignment, custom=custom, **fields)


class Given:
    """A context of rows in memory, for what is refused before anything is computed."""

    def __init__(self, config, inputs=(), **rows):
        self.config, self.rows, self.inputs, self.device = config, rows, dict(inputs), "cpu"
        self.said = []

    def read(self, name):
        return iter(self.rows.get(name, ()))

    def say(self, line):
        self.said.append(line)


GOOD = [AlignmentItem("a", 0.1, 0.2), AlignmentItem("b", 0.5, 0.1)]
BACKWARDS = [AlignmentItem("a", 0.5, 0.2), AlignmentItem("b", 0.1, 0.1)]
JUDGES = [row("s", "test"), row("t", "tune")]
TRAIN = {"train_manifest": "train.jsonl"}


@pytest.mark.parametrize(
    ("train", "dev", "message"),
    [
        ([row("u", tier=GOOD), row("v")], [], "v has no tier 'syllable'"),
        ([row("u", tier=GOOD), row("v", tier=BACKWARDS)], [], "v: tier 'syllable': segment 0.100 to 0.200 s runs back"),
        ([row("u", tier=GOOD)], [row("w")], "w has no tier 'syllable'"),
    ],
)
def test_every_row_must_have_the_tier_to_be_learnt(train, dev, message):
    with pytest.raises(UserError, match=message):
        make_seeds(Given(SeedsConfig(segmenter="tier"), TRAIN, train=train, dev=dev, silver=JUDGES))


@pytest.mark.parametrize(
    ("silver", "whom"), [(JUDGES[:1], "the other speakers"), (JUDGES[1:], "the test speakers"), ([], "the test")]
)
def test_training_does_not_begin_when_nothing_is_left_to_judge_by(silver, whom):
    drops = [DropRecord("x", "no_alignment"), DropRecord("y", "no_alignment")]
    given = Given(SeedsConfig(), TRAIN, silver=silver, words_drops=[DropRecord("z", "unreadable_audio")])
    given.rows["silver_drops"] = drops
    with pytest.raises(UserError, match=rf"no utterance.*{whom}.*left after stages 2.*3, 2 dropped.*no_al"):
        make_seeds(given)


def test_noise_in_which_nothing_sounds_is_refused_by_name(tmp_path):
    for name, samples in (("heard", tone(1)), ("silent", silence(1))):
        soundfile.write(tmp_path / f"{name}.wav", samples, SECOND)
    manifest = tmp_path / "noise.jsonl"
    heard = row("heard")
    write_manifest(manifest, [heard])
    assert [len(noise) for noise in recorded_noises(manifest)] == [SECOND]
    write_manifest(manifest, [heard, row("silent")])
    with pytest.raises(AudioError, match=r"noise\.jsonl: 'silent'.*silent.*not finite"):
        recorded_noises(manifest)
    write_manifest(manifest, [heard, row("none", audio_filepath="heard.wav", duration=0.0)])
    with pytest.raises(AudioError, match=r"noise\.jsonl: 'none'.*silent.*not finite"):
        recorded_noises(manifest)
    manifest.write_text("")
    with pytest.raises(UserError, match=r"noise\.jsonl: has no rows.*leave noise_manifest out"):
        recorded_noises(manifest)


@pytest.mark.parametrize(("merge", "expected"), [(0.98, (0.93, 1.0)), (-1.0, (-1.0, -0.95)), (0.7, (0.65, 0.75))])
def test_the_thresholds_of_a_batch_stay_cosines(monkeypatch, merge, expected):
    frames = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    encoder = SimpleNamespace(encode=lambda _: frames, spec=None)
    monkeypatch.setattr(training_segments, "estimate_thresholds", lambda *_, **__: SimpleNamespace(merge=merge))
    assert training_segments.estimate_teacher_segmentation(encoder, [tone(2)], SEEDS, 4.8).merge_range == pytest.approx(
        expected
    )
    assert training_segments.estimate_teacher_segmentation(encoder, [tone(2)], SEEDS, 4.8, (0.1, 0.2)).merge_range == (
        0.1,
        0.2,
    )
