"""Corpora of mixtures in their published layouts, with real short audio, and the mixtures at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from speechkit.data.audio import read_waveform
from speechkit.data.mixtures import mixture_of, read_sources
from speechkit.errors import UserError
from speechkit.metrics.separation import si_sdr

NAME = "4077-13754-0001_5142-33396-0065"
AT_HAND = Path(os.environ.get("SPEECHKIT_DATA", "absent")) / "libri2mix-8k"


@pytest.fixture
def librimix(tmp_path, tone, text):
    source = tmp_path / "Libri2Mix"
    part = source / "wav8k/min/test"
    for folder in ("mix_clean", "mix_both", "mix_single", "s1", "s2", "noise"):
        for name in (NAME, "1-2-0003_4-5-0006"):
            tone(part / folder / f"{name}.wav", 2000, 8000)
    rows = [(NAME, "2000"), ("1-2-0003_4-5-0006", "1999"), ("7-7-7_8-8-8", "2000")]
    text(
        source / "wav8k/min/metadata/mixture_test_mix_clean.csv",
        "mixture_ID,mixture_path,source_1_path,source_2_path,length\n"
        + "".join(f"{n},/elsewhere/test/mix_clean/{n}.wav,/e/s1/{n}.wav,/e/s2/{n}.wav,{c}\n" for n, c in rows),
    )
    text(
        source / "metadata/Libri2Mix/libri2mix_test-clean.csv",
        "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,noise_path,noise_gain\n"
        f"{NAME},test-clean/a.flac,0.5,test-clean/b.flac,1.25,tt/n.wav,0.7\n",
    )
    speech = tmp_path / "LibriSpeech/test-clean"
    text(speech / "4077/13754/4077-13754.trans.txt", "4077-13754-0001 THE FIRST\n")
    text(speech / "5142/33396/5142-33396.trans.txt", "5142-33396-0065 THE SECOND\n")
    return source


def test_librimix_gives_sources_speakers_gains_and_texts(run, librimix):
    done = run("librimix", librimix)
    done.check_against_soundfile()
    names = [split.split for split in done.summary.splits]
    assert names == ["wav8k-min-test-mix_both", "wav8k-min-test-mix_clean", "wav8k-min-test-mix_single"]
    (row,) = done.utterances("wav8k-min-test-mix_clean")
    manifest = done.out / "wav8k-min-test-mix_clean.jsonl"
    mixture = mixture_of(row, manifest)
    assert mixture.speakers == ["4077", "5142"]
    assert mixture.gains == [0.5, 1.25]
    assert mixture.texts == ["THE FIRST", "THE SECOND"]
    assert mixture.noise is None
    assert [len(source) for source in read_sources(row, manifest, 8000)] == [2000, 2000]
    assert done.reasons("wav8k-min-test-mix_clean") == {
        "1-2-0003_4-5-0006": "length_differs",
        "7-7-7_8-8-8": "audio_missing",
    }
    assert done.split("wav8k-min-test-mix_clean").speakers == 2


def test_librimix_of_the_folder_where_no_table_is(run, librimix):
    done = run("librimix", librimix, splits=["*-mix_both", "*-mix_single"])
    both = done.utterances("wav8k-min-test-mix_both")
    assert len(both) == 2
    mixture = mixture_of(both[1], done.out / "x.jsonl")
    assert mixture.noise == f"../noise/{NAME}.wav"
    alone = mixture_of(done.utterances("wav8k-min-test-mix_single")[1], done.out / "x.jsonl")
    assert alone.speakers == ["4077"]
    assert alone.texts == ["THE FIRST"]
    assert len(alone.sources) == 1


def test_both_numbers_of_speakers_below_one_folder(run, librimix, tone):
    for folder in ("mix_clean", "s1", "s2", "s3"):
        tone(librimix.parent / f"Libri3Mix/wav16k/max/dev/{folder}/1-1-1_2-2-2_3-3-3.wav")
    done = run("librimix", librimix.parent, splits=["Libri3Mix-*"])
    (row,) = done.utterances("Libri3Mix-wav16k-max-dev-mix_clean")
    assert mixture_of(row, done.out / "x.jsonl").speakers == ["1", "2", "3"]


def test_sources_that_do_not_fit_are_left_out(run, librimix, tone):
    part = librimix / "wav8k/min/test"
    tone(part / f"s2/{NAME}.wav", 2000, 16000)
    (part / "s1/1-2-0003_4-5-0006.wav").unlink()
    with pytest.raises(UserError, match=r"rate_differs 1|audio_missing 1"):
        run("librimix", librimix, splits=["*-mix_both"])


@pytest.mark.parametrize("speakers", [2, 3])
def test_wsj0_mix_names_its_speakers(run, tmp_path, tone, speakers):
    name = "_".join(f"0{k}{k}a010{k}_{k}.5" for k in range(1, speakers + 1))
    root = tmp_path / f"wsj/{speakers}speakers/wav8k/min"
    for part in ("tr", "tt"):
        for folder in ("mix", *(f"s{k}" for k in range(1, speakers + 1))):
            tone(root / part / folder / f"{name}.wav", 1000, 8000)
    done = run("wsj0_mix", tmp_path / "wsj")
    done.check_against_soundfile()
    assert [s.split for s in done.summary.splits] == [f"{speakers}speakers-wav8k-min-{p}-mix" for p in ("tr", "tt")]
    (row,) = done.utterances(f"{speakers}speakers-wav8k-min-tt-mix")
    mixture = mixture_of(row, done.out / "x.jsonl")
    assert mixture.speakers == ["011", "022", "033"][:speakers]
    assert [Path(source).parent.name for source in mixture.sources] == ["s1", "s2", "s3"][:speakers]


def test_wham_has_noise_where_the_mixture_has_it(run, tmp_path, tone):
    for folder in ("mix_clean", "mix_both", "mix_single", "s1", "s2", "noise"):
        tone(tmp_path / f"wham/wav8k/min/tt/{folder}/011a0101_1_022a0102_-1.wav", 1000, 8000)
    done = run("wham", tmp_path / "wham")
    told = {
        split.split.rpartition("-")[2]: mixture_of(done.utterances(split.split)[0], done.out / "x.jsonl")
        for split in done.summary.splits
    }
    assert {name: (len(m.sources), m.noise is not None) for name, m in told.items()} == {
        "mix_clean": (2, False),
        "mix_both": (2, True),
        "mix_single": (1, True),
    }


def test_whamr_takes_sources_without_a_room_unless_asked(run, tmp_path, tone):
    name = "011a0101_1_022a0102_-1.wav"
    kinds = [f"{kind}_{room}" for kind in ("mix_both", "s1", "s2") for room in ("anechoic", "reverb")]
    for folder in (*kinds, "noise"):
        tone(tmp_path / f"whamr/wav8k/min/tt/{folder}/{name}", 1000, 8000)
    done = run("whamr", tmp_path / "whamr")
    told = {}
    for split in done.summary.splits:
        mixture = mixture_of(done.utterances(split.split)[0], done.out / "x.jsonl")
        told[split.split.removeprefix("wav8k-min-tt-")] = {Path(source).parent.name for source in mixture.sources}
    assert told == {
        "mix_both_anechoic": {"s1_anechoic", "s2_anechoic"},
        "mix_both_reverb": {"s1_anechoic", "s2_anechoic"},
        "mix_both_reverb-to_reverb": {"s1_reverb", "s2_reverb"},
    }


def test_a_folder_in_another_layout_says_what_is_wanted(run, tmp_path):
    (tmp_path / "odd").mkdir()
    for corpus in ("librimix", "wsj0_mix", "wham", "whamr"):
        with pytest.raises(UserError, match=r"wav8k/min/PART; give the folder"):
            run(corpus, tmp_path / "odd")
    with pytest.raises(UserError, match="no tracks in a known layout"):
        run("mixture_folder", tmp_path / "odd")


def test_a_folder_of_mixtures_reports_what_has_no_partner(run, tmp_path, tone):
    for name in ("a_mix", "a_s1", "a_s2", "b_mix", "c_s1"):
        tone(tmp_path / f"some/{name}.wav")
    done = run("mixture_folder", tmp_path / "some")
    assert [row.id for row in done.utterances("all")] == ["a"]
    assert done.reasons("all") == {"b": "audio_missing", "c": "audio_missing"}


@pytest.mark.skipif(not AT_HAND.is_dir(), reason="needs libri2mix-8k in SPEECHKIT_DATA")
def test_the_mixtures_at_hand_are_prepared_and_are_not_the_sum_of_their_sources(run):
    done = run("mixture_folder", AT_HAND)
    done.check_against_soundfile()
    rows = done.utterances("all")
    assert len(rows) == 12
    manifest = done.out / "all.jsonl"
    scores, residuals, fitted = [], [], []
    for row in rows:
        mixture = read_waveform(row, manifest, sample_rate=8000)
        sources = np.stack(read_sources(row, manifest, 8000))
        scores += si_sdr(sources, mixture).tolist()
        gains = np.linalg.lstsq(sources.T, mixture, rcond=None)[0]
        power = np.mean(mixture**2)
        residuals.append(np.mean((mixture - sources.sum(0)) ** 2) / power)
        fitted.append(np.mean((mixture - gains @ sources) ** 2) / power)
    assert np.mean(scores) == pytest.approx(GOLDEN_MIXTURE_SI_SDR, abs=0.001)
    assert 10 * np.log10(np.mean(residuals)) > -15, "sources are scaled to their own peak: their sum is another mixture"
    assert 10 * np.log10(np.max(fitted)) < -50, "two gains restore it"


GOLDEN_MIXTURE_SI_SDR = 0.028  # dB over 24 sources; measured once, and what every separator starts from
