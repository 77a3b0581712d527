"""Recordings become files of tracks: whole, none over another, and one bad recording ends no run."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.records import Utterance
from speechkit.errors import AudioError, ConfigError, UserError
from speechkit.io.audio import read_audio, write_audio
from speechkit.separation.files import TrackOptions, separate_file, separate_files
from speechkit.separation.inputs import named_inputs
from speechkit.separation.streaming import Windowing
from tests.separation.oracles import OracleSeparator, SplitSeparator, no_voice
from tests.separation.test_separate import BY_LEVEL, of
from tests.separation.test_streaming import talkers

SHORT = TrackOptions(windowing=Windowing(1.0, 0.25))
TWO = TrackOptions(speakers=2, windowing=Windowing(1.0, 0.25))


def separated(paths, folder, model=None, options=SHORT, **more):
    return separate_files(paths, folder, model or SplitSeparator(), options=options, embed=no_voice, **more)


def test_the_files_hold_what_the_function_gives(tmp_path):
    sources = talkers(4)
    write_audio(tmp_path / "talk.wav", sources.sum(0), 8000)
    done = separate_file(
        tmp_path / "talk.wav", tmp_path / "out", OracleSeparator(sources, seed=1), options=TWO, embed=no_voice
    )
    expected = of(read_audio(tmp_path / "talk.wav", sample_rate=None), OracleSeparator(sources, seed=1), speakers=2)
    assert done.tracks == ["talk_source1.wav", "talk_source2.wav"]
    for track, wanted in zip(done.tracks, expected.tracks, strict=True):
        found = read_audio(tmp_path / "out" / track, sample_rate=None)
        np.testing.assert_allclose(found, wanted, atol=1 / 32_000)


@pytest.mark.parametrize(
    ("rate", "out_rate", "kind"), [(44_100, None, "wav"), (8000, 16_000, "flac"), (48_000, 8000, "wav")]
)
def test_rates_and_formats(tmp_path, rate, out_rate, kind):
    mixture = talkers(2, rate)[0]
    stereo = np.stack([mixture, 0.5 * mixture], axis=1)
    soundfile.write(tmp_path / "talk.wav", stereo, rate)
    options = TrackOptions(2, out_rate, kind, windowing=Windowing(1.0, 0.25))
    done = separate_file(tmp_path / "talk.wav", tmp_path, SplitSeparator(), options=options, embed=no_voice)
    info = soundfile.info(tmp_path / f"talk_source1.{kind}")
    assert (info.samplerate, info.channels, info.frames) == (out_rate or rate, 1, done.num_samples)
    assert abs(info.frames / info.samplerate - 2) < 1e-3


def test_a_channel_can_be_chosen(tmp_path):
    mixture = talkers(2)[0]
    soundfile.write(tmp_path / "talk.wav", np.stack([0 * mixture, mixture], axis=1), 8000)
    options = TrackOptions(2, channel=1, windowing=Windowing(1.0, 0.25))
    separate_file(tmp_path / "talk.wav", tmp_path, SplitSeparator(), options=options, embed=no_voice)
    summed = sum(read_audio(tmp_path / f"talk_source{track}.wav", sample_rate=8000) for track in (1, 2))
    np.testing.assert_allclose(summed, mixture, atol=2e-4)


def test_a_lone_speaker_gives_one_file_and_silence_one_silent_one(tmp_path):
    model = SplitSeparator()
    model.counting = BY_LEVEL
    model.separate_windows = lambda windows: np.stack([1e-4 * windows[:, ::-1], windows], axis=1)
    lone = talkers(2, 16_000)[0]
    write_audio(tmp_path / "lone.wav", lone, 16_000)
    write_audio(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    found = separated([tmp_path / "lone.wav", tmp_path / "silent.wav"], tmp_path / "out", model)
    assert [file.tracks for file in found.files] == [["lone_source1.wav"], ["silent_source1.wav"]]
    assert [file.count.speakers for file in found.files] == [1, 0]
    assert found.files[1].notes == ["silent audio"]
    np.testing.assert_array_equal(read_audio(tmp_path / "out" / "lone_source1.wav"), read_audio(tmp_path / "lone.wav"))
    assert not read_audio(tmp_path / "out" / "silent_source1.wav").any()


def test_one_unreadable_recording_is_left_out_with_its_reason_and_the_others_are_done(tmp_path):
    recordings = tmp_path / "in"
    (recordings / "deep").mkdir(parents=True)
    write_audio(recordings / "a.wav", talkers(1)[0], 8000)
    write_audio(recordings / "deep" / "z.flac", talkers(1)[0], 8000)
    (recordings / "broken.wav").write_bytes(b"RIFF no sound")
    (recordings / "empty.wav").touch()
    wrong = np.where(np.arange(8000) == 70, np.nan, 0)
    soundfile.write(recordings / "nan.wav", wrong, 8000, subtype="FLOAT")
    told = []
    found = separated([recordings], tmp_path / "out", reported=told.append)
    assert [file.name for file in found.files] == ["a", "z"]
    assert sorted(Path(path).name for path in found.failed) == ["broken.wav", "empty.wav", "nan.wav"]
    assert "sample 70" in found.failed[str(recordings / "nan.wav")]
    assert len(told) == 5
    rows = list(read_manifest(tmp_path / "out" / "tracks.jsonl"))
    assert [row.id for row in rows] == [track.removesuffix(".wav") for file in found.files for track in file.tracks]
    assert rows[0].custom["recording"] == "a"
    assert rows[0].custom["separated"]["mixture"] == "../in/a.wav"
    summary = json.loads((tmp_path / "out" / "separation.json").read_text())
    assert len(summary["files"]) == 2
    assert summary["real_time_factor"] > 0
    assert not list((tmp_path / "out").glob(".tmp*"))
    assert not list((tmp_path / "out").glob("nan*"))


def test_recordings_of_one_name_get_tracks_of_their_own(tmp_path):
    for name in ("a/talk.wav", "b/talk.wav", "b/Talk.flac", "b-talk.wav.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_audio(tmp_path / name, talkers(1)[0], 8000)
    inputs = named_inputs([tmp_path, tmp_path / "a" / "talk.wav"], tmp_path / "out")
    names = [name.casefold() for _, name, _ in inputs]
    assert len(inputs) == 4
    assert len(set(names)) == 4
    assert named_inputs([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert (
        len({item.name for item in named_inputs([tmp_path / "a" / "talk.wav", tmp_path / "b" / "talk.wav"], tmp_path)})
        == 2
    )


def test_the_rows_of_a_manifest_are_separated_as_the_cuts_that_they_are(tmp_path):
    mixture = talkers(3)[0]
    write_audio(tmp_path / "talk.wav", mixture, 8000)
    rows = [
        Utterance.from_samples(
            id=f"one/{index}", audio_filepath="talk.wav", offset_samples=begin, num_samples=9000, sample_rate=8000
        )
        for index, begin in enumerate((0, 9000))
    ]
    rows.append(Utterance.from_samples(id="gone", audio_filepath="gone.wav", num_samples=9, sample_rate=8000))
    write_manifest(tmp_path / "m.jsonl", rows)
    found = separated([tmp_path / "m.jsonl"], tmp_path / "out", options=TWO)
    assert list(found.failed) == ["gone"]
    assert [file.num_samples for file in found.files] == [9000, 9000]
    tracks = [read_audio(tmp_path / "out" / track, sample_rate=None) for track in found.files[1].tracks]
    np.testing.assert_allclose(sum(tracks), mixture[9000:18_000], atol=2e-4)
    with pytest.raises(ConfigError, match="one/0: channel is 1, but rows of manifests have their own"):
        separated([tmp_path / "m.jsonl"], tmp_path / "other", options=msgspec.structs.replace(TWO, channel=1))


@pytest.mark.parametrize("speakers", [1, 2])
def test_the_length_of_a_cut_at_another_rate_is_that_of_its_files(tmp_path, speakers):
    write_audio(tmp_path / "talk.wav", talkers(1, 44_100)[0], 44_100)
    row = Utterance.from_samples(
        id="cut", audio_filepath="talk.wav", offset_samples=1003, num_samples=20_001, sample_rate=44_100
    )
    write_manifest(tmp_path / "m.jsonl", [row])
    options = TrackOptions(speakers, 16_000, windowing=Windowing(1.0, 0.25))
    done = separated([tmp_path / "m.jsonl"], tmp_path / "out", options=options).files[0]
    assert len(done.tracks) == speakers
    for track in done.tracks:
        assert soundfile.info(tmp_path / "out" / track).frames == done.num_samples


def test_no_input_is_written_over(tmp_path):
    for name in ("talk.wav", "talk_source1.wav"):
        write_audio(tmp_path / name, talkers(1)[0], 8000)
    before = (tmp_path / "talk_source1.wav").read_bytes()
    with pytest.raises(UserError, match=r"talk_source1\.wav: is an input"):
        separated([tmp_path / "talk.wav", tmp_path / "talk_source1.wav"], tmp_path)
    assert (tmp_path / "talk_source1.wav").read_bytes() == before


def test_a_folder_of_tracks_inside_the_folder_of_recordings_is_no_input(tmp_path):
    write_audio(tmp_path / "talk.wav", talkers(1)[0], 8000)
    for _ in range(2):
        found = separated([tmp_path], tmp_path / "tracks")
        assert [file.name for file in found.files] == ["talk"]


def test_what_is_done_is_kept_until_the_recording_or_the_settings_change(tmp_path):
    write_audio(tmp_path / "talk.wav", talkers(2)[0], 8000)
    model = SplitSeparator()

    def call(options=TWO, **more):
        return separated([tmp_path / "talk.wav"], tmp_path / "out", model, options, digest="weights", **more).files[0]

    first = call()
    model.separate_windows = None  # would fail
    assert call() == first
    with pytest.raises(TypeError):
        call(force=True)
    del model.separate_windows
    (tmp_path / "out" / "talk_source2.wav").unlink()
    assert call().tracks == first.tracks
    assert (tmp_path / "out" / "talk_source2.wav").is_file()
    lone = call(TrackOptions(speakers=1, windowing=Windowing(1.0, 0.25)))
    assert lone.tracks == ["talk_source1.wav"]
    assert not (tmp_path / "out" / "talk_source2.wav").exists()  # no track of another count is left


def test_a_failed_write_leaves_no_half_of_a_track(tmp_path, monkeypatch):
    write_audio(tmp_path / "talk.wav", talkers(2)[0], 8000)
    import speechkit.separation.files as files

    def full(path, blocks, rate):
        next(iter(blocks))
        raise AudioError(f"{path}: cannot be written; check the free space of the disk")

    monkeypatch.setattr(files, "write_blocks", full)
    found = separated([tmp_path / "talk.wav"], tmp_path / "out")
    assert list(found.failed) == [str(tmp_path / "talk.wav")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["separation.json", "tracks.jsonl"]


def test_clipping_and_a_short_file_are_no_reason_to_stop(tmp_path):
    write_audio(tmp_path / "clipped.wav", np.clip(40 * talkers(2)[0], -0.7, 0.7), 8000)
    write_audio(tmp_path / "short.wav", talkers(1)[0][:400], 8000)
    found = separated([tmp_path / "clipped.wav", tmp_path / "short.wav"], tmp_path / "out", options=TWO)
    assert not found.failed
    assert "clipped audio" in found.files[0].notes
    assert found.files[1].num_samples == 400


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.wav: no such file"):
        separated([tmp_path / "nowhere.wav"], tmp_path / "out")
    with pytest.raises(UserError, match="holds no recordings"):
        separated([tmp_path], tmp_path / "out")


@pytest.mark.slow
def test_three_hours_take_no_more_memory_than_ten_minutes(tmp_path):
    block = (3e4 * talkers(30)[0]).astype(np.int16)

    def most(name, blocks):
        with soundfile.SoundFile(tmp_path / name, "w", 8000, 1, "PCM_16") as file:
            for _ in range(blocks):
                file.write(block)
        done = separate_file(tmp_path / name, tmp_path, SplitSeparator(), options=TrackOptions(2), embed=no_voice)
        assert done.num_samples == len(block) * blocks
        for track in done.tracks:
            (tmp_path / track).unlink()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

    if shutil.disk_usage(tmp_path).free < 3 << 30:
        pytest.skip("needs 3 GB of disk")
    ten_minutes = most("short.wav", 20)
    assert most("long.wav", 360) < ten_minutes + 60
