"""Comparison of separators: folders and manifests, intervals and pairs, lone speakers, and items that are bad."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from speechkit.data.manifest import read_manifest, write_manifest
from speechkit.data.mixtures import Mixture, with_mixture
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.io.audio import write_audio
from speechkit.metrics.separated_tracks import OpenMixture, read_estimates, read_references, tracks_of
from speechkit.metrics.separation import score_separation
from speechkit.metrics.separation_comparison import RecognisedTexts, compare_separation
from speechkit.metrics.separation_items import IMPROVEMENT, SI_SDR, score_items

RATE = 8000


def noise(seed, samples=4000):
    return 0.1 * np.random.default_rng(seed).standard_normal(samples)


def mixture_set(folder, count=6, samples=4000):
    """Flat references, and the estimates of a good and a poor system in folders of their own, in other orders."""
    for n in range(count):
        one, two = noise(2 * n, samples), noise(2 * n + 1, samples)
        for name, wave in (("mix", one + two), ("source1", one), ("source2", two)):
            write_audio(folder / f"ref/m{n}_{name}.wav", wave, RATE)
        for system, leak in (("good", 0.1), ("poor", 0.4)):
            leak *= 1 + 0.2 * np.sin(n)
            write_audio(folder / f"{system}/m{n}_source1.wav", two + leak * one, RATE)
            write_audio(folder / f"{system}/m{n}_source2.wav", one + leak * two, RATE)
    return folder / "ref"


def compared(folder, systems=("good", "poor"), **options):
    references, left_out = read_references(folder / "ref")
    estimates = {name: read_estimates(folder / name) for name in systems}
    scoring = {name: options.pop(name) for name in ("measures", "tolerance_seconds") if name in options}
    items = score_items(references, estimates, left_out=left_out, **scoring)
    return compare_separation(items, resamples=200, **options), items


def test_means_intervals_and_the_paired_difference(tmp_path):
    mixture_set(tmp_path)
    scores, _ = compared(tmp_path)
    good, poor = scores.systems
    values = [source.values[IMPROVEMENT] for item in good.items for source in item.sources]
    assert good.means[IMPROVEMENT].value == pytest.approx(np.mean(values))
    assert good.means[IMPROVEMENT].count == 12
    low, high = good.means[IMPROVEMENT].interval.low, good.means[IMPROVEMENT].interval.high
    assert low < good.means[IMPROVEMENT].value < high
    assert [source.track for source in good.items[0].sources] == [1, 0]
    (pair,) = scores.pairs
    assert pair.difference.difference == pytest.approx(good.means[SI_SDR].value - poor.means[SI_SDR].value)
    assert pair.difference.interval.low > 0
    assert pair.holm_p < 0.05
    assert scores.baseline.means[SI_SDR].value == pytest.approx(0, abs=0.3)
    assert not scores.left_out


def test_an_item_equals_the_score_of_its_waveforms(tmp_path):
    mixture_set(tmp_path, 1)
    references, _ = read_references(tmp_path / "ref")
    opened = OpenMixture(references[0], tracks_of(read_estimates(tmp_path / "good"), references[0]))
    whole = score_separation(*opened.read())
    (item,) = compared(tmp_path, ["good"])[0].systems[0].items
    assert [s.values[SI_SDR] for s in item.sources] == pytest.approx([s.si_sdr_db for s in whole])


def test_a_recording_of_many_blocks_is_scored_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("speechkit.metrics.separation_items.BLOCK_SECONDS", 4)
    mixture_set(tmp_path, 1, samples=13 * RATE)
    references, _ = read_references(tmp_path / "ref")
    opened = OpenMixture(references[0], tracks_of(read_estimates(tmp_path / "good"), references[0]))
    assert len(list(opened.blocks(4 * RATE))) == 4
    (item,) = compared(tmp_path, ["good"])[0].systems[0].items
    assert [s.values[SI_SDR] for s in item.sources] == pytest.approx(
        [s.si_sdr_db for s in score_separation(*opened.read())]
    )
    assert (item.swaps.windows, item.swaps.swaps) == (3, 0)


@pytest.mark.parametrize("damage", ["missing", "short", "rate", "nan", "text", "empty"])
def test_a_bad_track_leaves_its_mixture_out_of_all_systems_and_never_ends_the_run(tmp_path, damage):
    mixture_set(tmp_path)
    path = tmp_path / "poor/m2_source1.wav"
    if damage == "missing":
        path.unlink()
        (tmp_path / "poor/m2_source2.wav").unlink()
    elif damage == "nan":
        import soundfile

        soundfile.write(path, np.full(4000, np.nan), RATE, subtype="FLOAT")
    elif damage in ("text", "empty"):
        path.write_text("not audio" if damage == "text" else "")
    else:
        write_audio(path, noise(1, 3000 if damage == "short" else 4000), RATE if damage == "short" else 16000)
    scores, _ = compared(tmp_path)
    assert scores.mixtures == 5
    (left_out,) = scores.left_out
    assert (left_out.id, left_out.system) == ("m2", "poor")
    expected = {
        "missing": "has no track",
        "short": "3000 samples and its mixture 4000",
        "rate": "16000 Hz and its mixture 8000 Hz",
        "nan": "not finite|NaN",
        "text": "m2_source1",
        "empty": "empty",
    }[damage]
    import re

    assert re.search(expected, left_out.reason), left_out.reason
    assert all(len(system.items) == 5 for system in scores.systems)


def test_a_difference_in_length_may_be_allowed(tmp_path):
    mixture_set(tmp_path)
    write_audio(tmp_path / "good/m0_source1.wav", noise(1, 3992), RATE)
    assert len(compared(tmp_path)[0].left_out) == 1
    assert not compared(tmp_path, tolerance_seconds=0.01)[0].left_out


def test_nothing_scored_is_an_error_that_says_why(tmp_path):
    mixture_set(tmp_path, 2)
    (tmp_path / "other").mkdir()
    write_audio(tmp_path / "other/elsewhere_s1.wav", noise(0), RATE)
    with pytest.raises(UserError, match="no mixture could be scored; the first: m0: other has no track of it"):
        compared(tmp_path, ["other"])
    with pytest.raises(UserError, match="has no mixture with sources"):
        read_references(tmp_path / "good")


def test_tracks_of_no_reference_are_noted(tmp_path):
    mixture_set(tmp_path)
    for name in ("m4_mix", "m4_source1", "m4_source2"):
        (tmp_path / f"ref/{name}.wav").unlink()
    (note,) = compared(tmp_path)[0].notes[:1]
    assert note.startswith("good: tracks of 1 mixtures without references")


def test_lone_speakers_stand_apart_from_overlapped_mixtures(tmp_path):
    mixture_set(tmp_path, 3)
    speech = noise(9)
    for name, wave in (("mix", speech), ("source1", speech), ("source2", 0 * speech)):
        write_audio(tmp_path / f"ref/lone_{name}.wav", wave, RATE)
    write_audio(tmp_path / "good/lone_source1.wav", speech, RATE)
    write_audio(tmp_path / "poor/lone_source1.wav", 0.5 * speech + 0.05 * noise(10), RATE)
    write_audio(tmp_path / "poor/lone_source2.wav", 0.5 * speech, RATE)
    scores, _ = compared(tmp_path)
    assert (scores.mixtures, scores.lone) == (4, 1)
    good, poor = scores.systems
    assert good.means[IMPROVEMENT].count == 6
    assert good.lone[SI_SDR].value == 100
    assert good.leaked.value == -100, "a track that was not written leaks nothing"
    assert good.missed == 0
    assert poor.leaked.value == pytest.approx(-6, abs=0.2)


def test_a_speaker_without_a_track_is_missed_and_gains_nothing(tmp_path):
    mixture_set(tmp_path, 2)
    (tmp_path / "good/m0_source2.wav").unlink()
    good = compared(tmp_path, ["good"])[0].systems[0]
    assert good.missed == 1
    gains = [source.values[IMPROVEMENT] for source in good.items[0].sources]
    assert 0 in gains


def manifest_of(folder, count=4, samples=4000, offset=0):
    """References of a manifest with speakers and texts; each mixture a cut of a longer file where offset is given."""
    plain = [
        Utterance.from_samples(
            id=f"id {n}",
            audio_filepath=f"ref/m{n}_mix.wav",
            offset_samples=offset,
            num_samples=samples - offset,
            sample_rate=RATE,
        )
        for n in range(count)
    ]
    texts = ["one two three", "four five six seven"]
    rows = [
        with_mixture(
            row,
            Mixture(
                sources=[f"m{n}_source1.wav", f"m{n}_source2.wav"], speakers=[f"a{n % 2}", f"b{n % 2}"], texts=texts
            ),
        )
        for n, row in enumerate(plain)
    ]
    write_manifest(folder / "ref.jsonl", rows)
    return folder / "ref.jsonl"


def test_speakers_are_drawn_where_they_are_known(tmp_path):
    mixture_set(tmp_path)
    references, _ = read_references(manifest_of(tmp_path))
    items = score_items(references, {"good": read_estimates(tmp_path / "good")})
    scores = compare_separation(items, by="speaker", resamples=100)
    assert scores.units == 4
    assert scores.systems[0].means[SI_SDR].interval.units == 4
    with pytest.raises(UserError, match="has no speaker"):
        compared(tmp_path, by="speaker")


def test_the_empty_track_of_a_lone_speaker_has_no_speaker_to_draw(tmp_path):
    mixture_set(tmp_path, 2)
    for n in range(2):
        write_audio(tmp_path / f"ref/m{n}_source2.wav", np.zeros(4000), RATE)
        write_audio(tmp_path / f"ref/m{n}_mix.wav", noise(2 * n), RATE)
    references, _ = read_references(manifest_of(tmp_path, 2))
    items = score_items(references, {"good": read_estimates(tmp_path / "good")})
    scores = compare_separation(items, by="speaker", resamples=50)
    assert (scores.several, scores.lone, scores.baseline.means) == (0, 2, {})
    assert scores.units == 2
    assert scores.baseline.lone[SI_SDR].count == 2
    assert scores.systems[0].leaked.interval.units == 2


def test_groups_are_fields_of_the_references(tmp_path):
    mixture_set(tmp_path, 4)
    path = manifest_of(tmp_path)
    rows = [
        msgspec.structs.replace(row, custom={**row.custom, "set": "ab"[n % 2]})
        for n, row in enumerate(read_manifest(path))
    ]
    write_manifest(path, rows)
    references, _ = read_references(path)
    items = score_items(references, {"good": read_estimates(tmp_path / "good")})
    good = compare_separation(items, groups=["set", "absent"], resamples=50).systems[0]
    assert set(good.groups) == {"set"}
    assert [mean.count for mean in good.groups["set"].values()] == [4, 4]
    assert np.mean([mean.value for mean in good.groups["set"].values()]) == pytest.approx(good.means[IMPROVEMENT].value)


def test_a_separators_manifests_and_cuts_are_matched(tmp_path):
    mixture_set(tmp_path)
    references, _ = read_references(manifest_of(tmp_path, offset=1000))
    whole = read_estimates(tmp_path / "good")
    rows = [
        Utterance.from_samples(
            id=f"m{n}_mix_source{k}",
            audio_filepath=f"m{n}_source{k}.wav",
            num_samples=4000,
            sample_rate=RATE,
            custom={"recording": f"m{n}_mix", "separated": {"mixture": f"../ref/m{n}_mix.wav", "track": k}},
        )
        for n in range(4)
        for k in (1, 2)
    ]
    write_manifest(tmp_path / "good/tracks.jsonl", rows)
    named = read_estimates(tmp_path / "good/tracks.jsonl")
    for reference in references:
        assert tracks_of(named, reference) == tracks_of(whole, reference)
    plain = [with_mixture(row, Mixture(sources=["m0_source1.wav"])) for row in rows[:1]]
    write_manifest(tmp_path / "good/mixtures.jsonl", [msgspec.structs.replace(plain[0], id="id 0")])
    assert len(tracks_of(read_estimates(tmp_path / "good/mixtures.jsonl"), references[0])) == 1
    opened = OpenMixture(references[0], tracks_of(named, references[0]))
    assert opened.samples == 3000
    assert [part.shape[-1] for part in opened.read()] == [3000] * 3


def test_cuts_of_one_recording_keep_their_tracks_apart(tmp_path):
    mixture_set(tmp_path, 1)
    rows = [
        Utterance.from_samples(
            id=f"{cut}_source1",
            audio_filepath=f"{cut}_source1.wav",
            num_samples=2000,
            sample_rate=RATE,
            custom={"recording": cut, "separated": {"mixture": "ref/m0_mix.wav", "track": 1}},
        )
        for cut in ("first", "second")
    ]
    write_manifest(tmp_path / "tracks.jsonl", rows)
    estimates = read_estimates(tmp_path / "tracks.jsonl")
    references, _ = read_references(tmp_path / "ref")
    for cut in ("first", "second"):
        reference = msgspec.structs.replace(references[0], id=cut)
        assert tracks_of(estimates, reference) == [str(tmp_path / f"{cut}_source1.wav")]
    assert tracks_of(estimates, references[0]) is None, "which of the two is not said"


def test_words_of_tracks_mixtures_and_sources(tmp_path):
    mixture_set(tmp_path)
    references, _ = read_references(manifest_of(tmp_path))
    items = score_items(references, {"good": read_estimates(tmp_path / "good")})
    ids = [reference.id for reference in references]
    said = ["one two three", "four five six seven"]
    heard = RecognisedTexts(
        mixtures=dict.fromkeys(ids, "one four two six"),
        sources=dict.fromkeys(ids, said),
        # The tracks stand in the other order.
        tracks={"good": {each: ["four five six seven", "one two three seven"] for each in ids}},
    )
    scores = compare_separation(items, recognised=heard, resamples=50)
    assert scores.baseline.clean_word_error_rate.value == 0
    assert scores.baseline.clean_leaked_words.value == 0
    good = scores.systems[0]
    assert good.word_error_rate.value == pytest.approx(1 / 7)
    assert good.leaked_words.value == pytest.approx(1 / 7)
    assert scores.baseline.leaked_words.value == pytest.approx(4 / 7)
    with pytest.raises(UserError, match="have no texts"):
        compared(tmp_path, recognised=heard)


def test_other_measures_stand_beside(tmp_path):
    pytest.importorskip("fast_bss_eval")
    mixture_set(tmp_path, 2)
    scores, _ = compared(tmp_path, ["good"], measures=["sdr"])
    assert set(scores.systems[0].means) == {"si_sdr", "si_sdr_improvement", "sdr", "sdr_improvement"}
    assert scores.systems[0].means["sdr"].value >= scores.systems[0].means["si_sdr"].value - 0.01
