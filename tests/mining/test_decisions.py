"""A curator's decisions: what the file may hold, and what they do to the kept sentences."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.data import AlignmentItem, Utterance
from speechkit.errors import UserError
from speechkit.mining.decisions import Decision, by_id, counted, curated, curated_outcome, read_decisions
from speechkit.mining.records import Outcome


def row(number: int, reason: str | None = None, text: str = "one two three") -> Utterance:
    words = [AlignmentItem(word, float(at), 0.5, -0.1) for at, word in enumerate(text.split())]
    return Utterance(
        id=f"r-{number}",
        audio_filepath="r.wav",
        offset=float(number),
        duration=0.5,
        sample_rate=16000,
        text=text,
        score=0.9,
        alignment={"word": words},
        custom={
            "recording": "r",
            "sentence": f"d-{number}",
            "character_errors": 0.1,
            **({} if reason is None else {"reason": reason}),
        },
    )


def file_of(tmp_path: Path, *decisions: dict, **head: object) -> Path:
    path = tmp_path / "decisions.json"
    content = {"format": "speechkit-decisions", "version": 1, "run": "run", "decisions": list(decisions), **head}
    path.write_bytes(msgspec.json.encode(content))
    return path


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, "accept", "reject", "edit"])), max_size=12))
def test_curated_set_is_what_was_kept_plus_accepted_less_rejected(rows: list[tuple[bool, str | None]]) -> None:
    kept = [row(at) for at, (is_kept, _) in enumerate(rows) if is_kept]
    candidates = [row(at, "low_confidence") for at, (is_kept, _) in enumerate(rows) if not is_kept]
    decisions = {
        f"r-{at}": Decision(
            f"r-{at}", "reject" if what == "reject" else "accept", "new words" if what == "edit" else None
        )
        for at, (_, what) in enumerate(rows)
        if what is not None
    }
    found = list(curated(kept, candidates, decisions))
    wanted = [at for at, (is_kept, what) in enumerate(rows) if what in ("accept", "edit") or (is_kept and what is None)]
    assert [item.id for item in found] == [f"r-{at}" for at in wanted]
    for at, item in zip(wanted, found, strict=True):
        what = rows[at][1]
        assert "reason" not in item.custom
        assert item.custom.get("curator") == {None: None, "accept": "accepted", "edit": "edited"}[what]
        assert item.text == ("new words" if what == "edit" else "one two three")
        assert ("character_errors" in item.custom) == (what != "edit")  # an estimate for the mined text
        assert item.custom.get("mined_text") == ("one two three" if what == "edit" else None)


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("one too three", ["one", "too", "three"]),
        ("One, two, three.", ["One,", "two,", "three."]),
        ("one three", None),
        ("one two and three", None),
        ("two three four", None),  # one word less before, one more behind: no word has another's time
    ],
)
def test_word_times_stay_where_words_were_replaced_one_for_one(text: str, symbols: list[str] | None) -> None:
    (item,) = curated([row(0)], [], {"r-0": Decision("r-0", "accept", text)})
    if symbols is None:
        assert item.alignment is None
    else:
        assert [(word.symbol, word.start) for word in item.alignment["word"]] == list(
            zip(symbols, [0.0, 1.0, 2.0], strict=True)
        )


def test_edit_that_changes_nothing_is_an_acceptance() -> None:
    (item,) = curated([row(0)], [], {"r-0": Decision("r-0", "accept", " one  two\nthree ")})
    assert item.custom["curator"] == "accepted"
    assert "mined_text" not in item.custom


def test_outcomes_follow_the_set() -> None:
    kept = Outcome("d-0", "d", "text", 0, 4, True)
    refused = Outcome("d-1", "d", "text", 5, 9, False, reason="low_confidence")
    assert curated_outcome(kept, {"d-0"}) is kept
    assert (curated_outcome(kept, set()).kept, curated_outcome(kept, set()).reason) == (False, "curator")
    assert (curated_outcome(refused, {"d-1"}).kept, curated_outcome(refused, {"d-1"}).reason) == (True, None)
    assert curated_outcome(refused, {"d-0"}) is refused


def test_decisions_are_counted_by_kind() -> None:
    made = [Decision("a", "accept"), Decision("b", "accept", "text"), Decision("c", "reject"), Decision("d", "reject")]
    assert counted(made, {"b", "d"}) == {
        "accepted": 2,
        "rejected": 2,
        "accepted against the miner": 1,
        "rejected against the miner": 1,
        "accepted with an edited text": 1,
    }


def test_file_round_trips(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"id": "a", "decision": "accept", "text": "Größe 3"}, {"id": "b", "decision": "reject"})
    found = by_id(read_decisions(path), path, "run", {"a", "b", "c"})
    assert found == {"a": Decision("a", "accept", "Größe 3"), "b": Decision("b", "reject")}


HEAD = b'{"format":"speechkit-decisions","version":1,"run":"run","decisions":'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of decisions"),
        (b"\xff\xfe\x00", "is not a file of decisions"),
        (b"null", "is not a file of decisions"),
        (b"[" * 200_000, "is not a file of decisions"),
        (b'{"x":' * 200_000, "is not a file of decisions"),
        (HEAD + b"[" * 200_000, "is not a file of decisions"),
        (HEAD + b"[]", "is not a file of decisions"),
        (HEAD + b'[{"id":"a","decision":"maybe"}]}', "is not a file of decisions"),
        (HEAD + b'[{"id":7,"decision":"accept"}]}', "is not a file of decisions"),
        (HEAD + b'[{"id":"a","decision":"accept","path":"/etc/passwd"}]}', "is not a file of decisions"),
        (HEAD + b'[{"id":"\\ud800","decision":"accept"}]}', "is not a file of decisions"),
        (HEAD + b'[{"id":"a","decision":"accept","text":"' + b"x" * 10_001 + b'"}]}', "is not a file of decisions"),
        (b'{"format":"speechkit-decisions","version":9,"run":"run","decisions":[]}', "is not a file of decisions"),
        (b'{"format":"\\u001b[2J","version":1,"run":"run","decisions":[]}', "is not a file of decisions"),
        (
            HEAD + b'[{"id":"a","decision":"accept"},{"id":"a","decision":"reject"}]}',
            "decision 2: 'a' was decided before",
        ),
        (HEAD + b'[{"id":"a","decision":"accept","text":" ,.\\n"}]}', "has no letter or digit"),
        (HEAD + b'[{"id":"a","decision":"accept","text":"a\\u0000b"}]}', "a control character"),
        (HEAD + b'[{"id":"a","decision":"reject","text":"b"}]}', "a rejected sentence has no text"),
    ],
)
def test_file_that_cannot_be_meant_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "decisions.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_decisions(path)
    said = str(caught.value)
    assert message in said
    assert said.startswith(f"{path}: ")
    assert said.isprintable()
    assert len(said) < len(str(path)) + 400


def test_missing_file_and_folder_are_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_decisions(path)


def test_other_run_and_unknown_id_are_named(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"id": "a", "decision": "accept"}, {"id": "x\u001b[2J" + "y" * 500, "decision": "reject"})
    with pytest.raises(UserError, match=r"was exported from another run .'run', this one is 'other'"):
        by_id(read_decisions(path), path, "other", {"a"})
    with pytest.raises(UserError, match="decision 2: this run has no sentence") as caught:
        by_id(read_decisions(path), path, "run", {"a"})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 250
