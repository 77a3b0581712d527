import math
import random
from collections import defaultdict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.data import AlignmentItem, Source, Utterance, read_manifest, recording_of, write_manifest
from speechkit.data.check import check_manifest
from speechkit.data.split import KEYS, Target, parse_targets, split_manifest, split_rows
from speechkit.data.stats import manifest_stats
from speechkit.errors import UserError
from speechkit.io.audio import audio_info

from .made import make_audio


def row(name: str = "u", begin: int = 0, length: int = 8000, **fields) -> Utterance:
    given = {"audio_filepath": "drei.wav", "sample_rate": 8000, "text": "hello", "speaker": "s"} | fields
    return Utterance.from_samples(id=name, offset_samples=begin, num_samples=length, **given)


@pytest.fixture
def corpus(tmp_path):
    make_audio(tmp_path)
    return tmp_path


def test_a_real_corpus_is_clean(shared_data, tmp_path):
    rows = []
    for path in sorted((shared_data / "LJSpeech-1.1/wavs").glob("*.flac"))[:20]:
        info = audio_info(path)
        rows.append(
            Utterance.from_samples(
                num_samples=info.num_samples,
                sample_rate=info.sample_rate,
                id=path.stem,
                audio_filepath=str(path),
                text="x",
                speaker="LJ",
            )
        )
    write_manifest(tmp_path / "m.jsonl", rows)
    report = check_manifest(tmp_path / "m.jsonl")
    assert report.ok
    assert (report.rows, report.audio_files, report.notes) == (20, 20, {})


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("unreadable audio", row(audio_filepath="none.wav")),
        ("unreadable audio", row(audio_filepath="m.jsonl")),
        ("beyond the audio", row(begin=20000)),
        ("negative offset", row(begin=-5)),
        ("no duration", row(length=0)),
        ("wrong sample rate", row(sample_rate=16000)),
        ("no such channel", row(channel=1)),
        ("not whole samples", msgspec.structs.replace(row(), offset=0.12345678)),
        ("alignment outside the cut", row(alignment={"word": [AlignmentItem("a", 0.5, 0.9)]})),
        ("duplicate id", row("good")),
    ],
)
def test_each_kind_of_problem_is_found_with_its_line(corpus, kind, bad):
    write_manifest(corpus / "m.jsonl", [row("good"), bad])
    report = check_manifest(corpus / "m.jsonl")
    assert report.problems == {kind: 1}
    assert len(report.examples) == 1
    assert report.examples[0].startswith(f"{corpus / 'm.jsonl'}:2: '{bad.id}' ")
    assert not report.ok


def test_empty_text_is_counted_and_no_problem(corpus):
    write_manifest(corpus / "m.jsonl", [row("a", text=None), row("b", text="  "), row("c", speaker=None)])
    report = check_manifest(corpus / "m.jsonl")
    assert report.ok
    assert report.notes == {"empty text": 2, "no speaker": 1}


def test_every_duplicate_is_counted_and_five_are_shown(corpus):
    write_manifest(corpus / "m.jsonl", [row("same") for _ in range(20)])
    report = check_manifest(corpus / "m.jsonl", audio=False)
    assert report.problems == {"duplicate id": 19}
    assert len(report.examples) == 5


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 30 * 16000), st.sampled_from("abc"), st.sampled_from(["en", "hi", None]),
            st.none() | st.text(max_size=20),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_stats_equal_plain_sums(rows):
    made = [
        Utterance.from_samples(
            num_samples=samples,
            sample_rate=16000,
            id=str(index),
            audio_filepath=f"{speaker}.wav",
            speaker=speaker,
            lang=lang,
            text=text,
        )
        for index, (samples, speaker, lang, text) in enumerate(rows)
    ]
    stats = manifest_stats(iter(made))
    seconds = sorted(samples / 16000 for samples, *_ in rows)
    assert stats.utterances == len(rows)
    assert stats.hours == pytest.approx(sum(seconds) / 3600)
    assert stats.speakers == stats.recordings == len({speaker for _, speaker, *_ in rows})
    assert stats.words == sum(len((text or "").split()) for *_, text in rows)
    assert sum(stats.hours_by_language.values()) == pytest.approx(stats.hours)
    if seconds:
        assert stats.median_seconds == pytest.approx(seconds[(len(seconds) - 1) // 2], abs=0.05)
        assert (stats.shortest_seconds, stats.longest_seconds) == (seconds[0], seconds[-1])


def corpus_of(speakers: int, documents: int, count: int, seed: int = 0) -> list[Utterance]:
    rng = random.Random(seed)
    return [
        row(
            f"u{index}",
            length=rng.randint(4000, 80000),
            speaker=f"s{rng.randrange(speakers)}",
            source=Source(f"d{rng.randrange(documents)}", 0, 1),
            audio_filepath=f"r{rng.randrange(documents)}.wav",
        )
        for index in range(count)
    ]


@settings(max_examples=25)
@given(st.integers(3, 40), st.integers(0, 5), st.sampled_from([("speaker",), ("document",), ("recording",)]))
def test_no_key_is_in_two_splits_and_no_row_is_lost(tmp_path_factory, groups, seed, by):
    folder = tmp_path_factory.mktemp("split")
    rows = corpus_of(groups, groups, 100, seed)
    write_manifest(folder / "m.jsonl", rows)
    if len({KEYS[by[0]](r) for r in rows}) < 3:
        return
    report = split_manifest(folder / "m.jsonl", folder / "out", parse_targets("train=0.8,dev=0.1,test=0.1"), by=by)
    where = defaultdict(set)
    ids = []
    for name in ("train", "dev", "test"):
        part = list(read_manifest(folder / "out" / f"{name}.jsonl"))
        assert part
        assert report.rows[name] == len(part)
        ids += [r.id for r in part]
        assert [r.id for r in part] == sorted((r.id for r in part), key=lambda u: int(u[1:]))
        for r in part:
            key = KEYS[by[0]](r)
            where[key.removeprefix("../")].add(name)
    assert sorted(ids) == sorted(r.id for r in rows)
    assert all(len(names) == 1 for names in where.values())


def test_splitting_by_two_keys_joins_what_hangs_together(tmp_path):
    rows = [
        row("a", speaker="s1", source=Source("d1", 0, 1)), row("b", speaker="s2", source=Source("d1", 0, 1)),
        row("c", speaker="s2", source=Source("d2", 0, 1)), row("d", speaker="s3", source=Source("d3", 0, 1)),
    ]  # fmt: skip
    write_manifest(tmp_path / "m.jsonl", rows)
    targets = parse_targets("train=rest,test=50%")
    split_manifest(tmp_path / "m.jsonl", tmp_path / "o", targets, by=("speaker", "document"))
    parts = [{r.id for r in read_manifest(tmp_path / "o" / f"{name}.jsonl")} for name in ("train", "test")]
    assert sorted(map(sorted, parts)) == [["a", "b", "c"], ["d"]]


def test_the_split_depends_on_seed_and_rows_not_on_their_order(tmp_path):
    rows = corpus_of(30, 30, 300)

    def parts(made: list[Utterance], seed: int) -> list[set[str]]:
        write_manifest(tmp_path / "m.jsonl", made)
        split_manifest(tmp_path / "m.jsonl", tmp_path / "o", parse_targets("train=rest,dev=0.2,test=0.2"), seed=seed)
        return [{r.id for r in read_manifest(tmp_path / "o" / f"{n}.jsonl")} for n in ("train", "dev", "test")]

    shuffled = random.Random(1).sample(rows, len(rows))
    assert parts(rows, 0) == parts(shuffled, 0)
    assert parts(rows, 0) != parts(rows, 1)


def test_hours_and_shares_are_met_within_a_group(tmp_path):
    rows = corpus_of(60, 1, 2000)
    write_manifest(tmp_path / "m.jsonl", rows)
    report = split_manifest(tmp_path / "m.jsonl", tmp_path / "o", parse_targets("train=rest,dev=0.2h,test=10%"))
    total = sum(r.duration for r in rows) / 3600
    group = total / 60
    assert report.hours["dev"] == pytest.approx(0.2, abs=group)
    assert report.hours["test"] == pytest.approx(total / 10, abs=group)
    assert sum(report.hours.values()) == pytest.approx(total)


def clip(number: int, recording: int, length: int = 8000) -> Utterance:
    custom = {"recording": f"r{recording}", "recording_offset": 3.0}
    return row(f"c{number}", length=length, audio_filepath=f"clips/c{number}.flac", custom=custom, speaker=None)


def test_cut_clips_of_one_recording_stay_together_and_with_their_recording(tmp_path):
    rows = [clip(number, number % 6) for number in range(24)]
    rows += [row(f"whole{r}", audio_filepath=f"r{r}.wav", speaker=None) for r in range(6)]
    write_manifest(tmp_path / "m.jsonl", rows)
    report = split_manifest(tmp_path / "m.jsonl", tmp_path / "o", parse_targets("a=0.5,b=0.5"), by=("recording",))
    assert report.groups == {"a": 3, "b": 3}
    parts = [{recording_of(r) for r in rows if r.id in ids_of(tmp_path / "o" / f"{name}.jsonl")} for name in "ab"]
    assert not parts[0] & parts[1]


def ids_of(path) -> set[str]:
    return {r.id for r in read_manifest(path)}


@pytest.mark.parametrize(
    ("path", "custom", "recording"),
    [
        ("one.flac", None, "one"), ("./one.wav", {}, "one"), ("c/1.flac", {"recording": "one"}, "one"),
        ("one.flac", {"recording": ""}, "one"), ("one.flac", {"recording": 3}, "one"), ("a.b.wav", None, "a.b"),
    ],
)  # fmt: skip
def test_the_recording_of_a_row(path, custom, recording):
    assert recording_of(row(audio_filepath=path, custom=custom)) == recording


def test_a_row_without_audio_path_still_has_a_recording():
    assert recording_of(row(audio_filepath=""))


PLACED = st.tuples(
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.floats(0.01, 100, allow_nan=False), st.booleans()
)


@settings(max_examples=60)
@given(
    st.lists(PLACED, min_size=3, max_size=40),
    st.sampled_from(["train=0.8,dev=0.1,test=0.1", "train=rest,dev=20%,test=1m", "a=1h,b=rest"]),
    st.sampled_from([("speaker",), ("recording",), ("recording", "document"), ("speaker", "document", "recording")]),
    st.randoms(use_true_random=False),
)
def test_a_split_knows_no_order_of_rows_leaks_nothing_and_leaves_no_part_empty(made, into, by, numbers):
    rows = [
        msgspec.structs.replace(
            row(
                f"u{i}",
                speaker=f"s{s}",
                source=Source(f"d{d}", 0, 1),
                audio_filepath=f"x{i}.wav" if cut else f"r{r}.wav",
            ),
            duration=seconds,
            custom={"recording": f"r{r}"} if cut else None,
        )
        for i, (s, d, r, seconds, cut) in enumerate(made)
    ]
    targets = parse_targets(into)
    components = slow_components(rows, by)
    if len(components) < len(targets):
        with pytest.raises(UserError, match=f"form {len(components)} separate part"):
            split_rows(rows, targets, by=by)
        return
    split = split_rows(rows, targets, by=by)
    assert split.components == len(components)
    assert all(len({split.of(rows[i]) for i in component}) == 1 for component in components)
    assert {split.of(r) for r in rows} == set(targets)
    for name in targets:
        inside = math.fsum(r.duration for r in rows if split.of(r) == name)
        assert split.seconds[name] == pytest.approx(inside)
    assert split_rows(numbers.sample(rows, len(rows)), targets, by=by) == split


def slow_components(rows: list[Utterance], by: tuple[str, ...]) -> list[set[int]]:
    components = [{i} for i in range(len(rows))]
    for key in by:
        for value in {KEYS[key](r) for r in rows}:
            touched = [c for c in components if any(KEYS[key](rows[i]) == value for i in c)]
            components = [c for c in components if c not in touched] + [set().union(*touched)]
    return components


def test_no_split_overshoots_by_more_than_a_component_and_a_large_one_goes_where_it_fits():
    rows = [row(f"u{i}", length=8000 * (100 if i == 0 else 1), speaker=f"s{i}") for i in range(101)]
    split = split_rows(rows, parse_targets("dev=10%,train=rest"), by=("speaker",))
    assert split.of(rows[0]) == "train"
    assert split.seconds["dev"] == pytest.approx(20, abs=1)
    assert split.notes == []


def test_notes_say_what_cannot_be_met():
    rows = [row(f"u{i}", length=8000 * 60, speaker=f"s{i}") for i in range(3)]
    (train, dev) = split_rows(rows, parse_targets("train=0.9,dev=0.1"), by=("speaker",)).notes
    assert train == "train holds 67% of the audio instead of 90%: the parts cannot be split further"
    assert dev == "dev holds 33% of the audio instead of 10%: the parts cannot be split further"
    notes = split_rows(rows, parse_targets("train=rest,dev=1h"), by=("speaker",)).notes
    assert "dev holds 0.03 h instead of 1.00 h: the splits ask for 1.00 h and there are 0.05 h" in notes


def test_optional_keys_may_be_missing_and_are_counted():
    rows = [row("a"), row("b", speaker=None, audio_filepath="b.wav"), row("c", speaker=None, audio_filepath="c.wav")]
    targets = parse_targets("train=0.5,dev=0.5")
    split = split_rows(rows, targets, by=("recording", "speaker"), optional=("speaker",))
    assert any(
        "2 of 3 utterances have no speaker: a speaker that is in several recordings may be in several splits" in note
        for note in split.notes
    )
    with pytest.raises(UserError, match="row:2: 'b' has no speaker"):
        split_rows(rows, targets, by=("speaker",), optional=("speaker",))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train", "write NAME="), ("train=1", "at least two"), ("a=0.9,b=0.3", "add up to 1.2"),
        ("a=rest,b=rest", "cannot both"), ("a=1h,b=1h", "no split takes the rest"), ("a=0.5,a=0.5", "given twice"),
        ("../x=0.5,b=0.5", "write NAME="), ("a=0,b=rest", "would be empty"), ("a=-1,b=rest", "write NAME="),
    ],
)  # fmt: skip
def test_bad_targets_are_refused(text, reason):
    with pytest.raises(UserError, match=reason):
        parse_targets(text)


def test_what_cannot_be_split_is_said(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [row("a"), row("b", speaker=None)])
    targets = {"train": Target(), "test": Target(share=0.5)}
    with pytest.raises(UserError, match=r"m\.jsonl:2: 'b' has no speaker"):
        split_manifest(tmp_path / "m.jsonl", tmp_path / "o", targets)
    with pytest.raises(UserError, match=r"train, test without leakage: 2 utterances form 1 separate part.*recording"):
        split_manifest(tmp_path / "m.jsonl", tmp_path / "o", targets, by=("recording",))
    with pytest.raises(UserError, match="cannot split by colour"):
        split_manifest(tmp_path / "m.jsonl", tmp_path / "o", targets, by=("colour",))
    assert not (tmp_path / "o").exists()
