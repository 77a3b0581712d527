"""Folders of mixtures and tracks in each layout, and what cannot be told apart."""

from __future__ import annotations

import pytest

from speechkit.data.track_folders import find_tracks
from speechkit.errors import UserError


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def shown(folder, **options):
    return {
        name: [path.relative_to(folder).as_posix() for path in tracks.numbered(**options)]
        for name, tracks in find_tracks(folder).items()
    }


def test_flat_files_with_a_number(tmp_path):
    touched(
        tmp_path, "b_mix.flac", "b_source1.flac", "b_source2.flac", "a_mixture.wav", "a_s1.wav", "a_spk_2.wav", "x.txt"
    )
    assert shown(tmp_path) == {"a": ["a_s1.wav", "a_spk_2.wav"], "b": ["b_source1.flac", "b_source2.flac"]}
    assert find_tracks(tmp_path)["a"].mixture == tmp_path / "a_mixture.wav"


def test_estimates_beside_their_sources(tmp_path):
    touched(tmp_path, "i_mix.wav", "i_source1.wav", "i_source2.wav", "i_source1hat.wav", "i_source2hat.wav")
    assert shown(tmp_path) == {"i": ["i_source1.wav", "i_source2.wav"]}
    assert shown(tmp_path, estimates=True) == {"i": ["i_source1hat.wav", "i_source2hat.wav"]}


def test_a_folder_for_each_speaker(tmp_path):
    touched(tmp_path, "mix_clean/u_v.wav", "s1/u_v.wav", "s2/u_v.wav", "noise/u_v.wav")
    assert shown(tmp_path) == {"u_v": ["s1/u_v.wav", "s2/u_v.wav"]}
    assert find_tracks(tmp_path)["u_v"].noise == tmp_path / "noise/u_v.wav"


def test_the_mixture_is_chosen_where_there_are_several(tmp_path):
    touched(tmp_path, "mix_clean/u.wav", "mix_both/u.wav", "s1/u.wav", "s2/u.wav")
    with pytest.raises(UserError, match="holds mix_both, mix_clean; give one of them"):
        find_tracks(tmp_path)
    assert find_tracks(tmp_path / "mix_both")["u"].mixture == tmp_path / "mix_both/u.wav"
    assert len(find_tracks(tmp_path / "mix_both")["u"].sources) == 2


def test_a_folder_for_each_mixture(tmp_path):
    touched(tmp_path, "one/mix.wav", "one/s1.wav", "one/s2.wav", "two/est1.wav")
    assert shown(tmp_path) == {"one": ["one/s1.wav", "one/s2.wav"], "two": ["two/est1.wav"]}


def test_tracks_stand_in_the_order_of_their_numbers(tmp_path):
    touched(tmp_path, *(f"x_s{n}.wav" for n in (10, 2, 1)))
    assert shown(tmp_path) == {"x": ["x_s1.wav", "x_s2.wav", "x_s10.wav"]}


def test_what_cannot_be_told_apart_is_an_error(tmp_path):
    touched(tmp_path / "two", "x_s1.wav", "x_s1.flac")
    with pytest.raises(UserError, match="both the same track of 'x'"):
        find_tracks(tmp_path / "two")
    touched(tmp_path / "none", "speech.wav")
    with pytest.raises(UserError, match="no tracks in a known layout"):
        find_tracks(tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read"):
        find_tracks(tmp_path / "absent")


def test_tracks_named_after_the_mixtures_file_are_those_of_the_mixture(tmp_path):
    touched(tmp_path, "i_mix_source1.wav", "i_mix_source2.wav", "mix_source1.wav")
    assert shown(tmp_path) == {"i": ["i_mix_source1.wav", "i_mix_source2.wav"], "mix": ["mix_source1.wav"]}
