"""The runner: what runs, what stays, and why."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from speechkit.data.records import Utterance
from speechkit.errors import ConfigError, SpeechkitError, UserError
from speechkit.io.hashing import digest_file
from speechkit.pipeline import (
    Context,
    Drop,
    Output,
    Recipe,
    Retry,
    Stage,
    Value,
    external,
    outputs,
    read_record_arrays,
    run_recipe,
    stage,
)
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.state import Inspector


def states(words, *overrides, exp="exp"):
    settings = read_settings(words.recipe, [], [f"prepare.words={words.words}", *overrides])
    inspector = Inspector(settings, words.folder / exp)
    return {stage.name: inspector.state(stage) for stage in words.recipe.stages}


def conditions(words, *overrides, exp="exp"):
    return [state.condition for state in states(words, *overrides, exp=exp).values()]


def mtimes(words):
    records = (words.folder / "exp").glob("*/*/_stage.json")
    return {path: path.stat().st_mtime_ns for path in sorted(records) if path.parent.name != "current"}


def test_a_second_run_does_nothing(words):
    assert words.run() == 0
    before = mtimes(words)
    assert words.run() == 0
    assert mtimes(words) == before
    assert conditions(words) == ["fresh"] * 4


def test_a_changed_key_makes_its_stage_stale_and_says_which_key(words):
    words.run()
    found = states(words, "case.case=lower")
    assert found["case"].condition == "stale"
    assert found["case"].reasons == ('config.case: "upper" -> "lower"',)
    assert found["noise"].condition == "waits"
    assert found["prepare"].condition == "fresh"


def test_going_back_to_an_old_config_finds_its_result(words):
    words.run()
    words.run("case.case=lower")
    before = mtimes(words)
    words.run()
    assert mtimes(words) == before
    assert "APPLE" in (words.current("02-case") / "rows.jsonl").read_text()


def test_neutral_fields_leave_a_stage_fresh(words):
    words.run()
    assert conditions(words, "case.batch_size=7") == ["fresh"] * 4


def test_neutral_batch_size_gives_the_same_bytes(words, tree_digest):
    words.run()
    words.run("case.batch_size=1", exp="other")
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "other")


def test_shared_keys_reach_the_stages_that_declare_them(words):
    words.run("lang=hi")
    assert '"hi-0-0"' in (words.current("01-prepare") / "rows.jsonl").read_text()
    assert states(words, "lang=pa")["prepare"].reasons == ('config.lang: "hi" -> "pa"',)


def test_an_unchanged_output_leaves_later_stages_fresh(words):
    words.run()
    before = mtimes(words)
    # A wider limit that no word reaches: stage 2 runs again and gives the same bytes.
    words.run("case.longest=9")
    changed = [path for path in mtimes(words) if path not in before]
    assert [path.parent.parent.name for path in changed] == ["02-case"]


def test_a_moved_exp_folder_is_still_fresh(words):
    words.run()
    shutil.move(words.folder / "exp", words.folder / "elsewhere")
    assert conditions(words, exp="elsewhere") == ["fresh"] * 4


def test_a_moved_input_is_still_the_same_input(words):
    words.run()
    words.words = words.words.rename(words.folder / "moved.txt")
    assert conditions(words) == ["fresh"] * 4


def test_an_edited_input_makes_the_stage_stale(words):
    words.run()
    words.words.write_text("other words")
    found = states(words)
    assert found["prepare"].condition == "stale"
    assert "input.words changed" in found["prepare"].reasons[0]


def test_a_later_stage_reads_what_an_earlier_one_was_given(tmp_path):
    class Prepare(msgspec.Struct, frozen=True):
        source: str | None = None

    def copy(context):
        context.output("out.txt").write_text("+".join(context.inputs[name].read_text() for name in context.inputs))

    recipe = Recipe(
        "given",
        (
            Stage(1, "prepare", copy, (external("source"),), (Output("out.txt"),), Prepare),
            Stage(
                2, "later", copy, (stage("prepare", "out.txt"), external("source", of="prepare")), (Output("out.txt"),)
            ),
        ),
    )
    (tmp_path / "source.txt").write_text("a")
    settings = [f"prepare.source={tmp_path / 'source.txt'}"]
    assert run_recipe(recipe, tmp_path / "exp", settings) == 0
    assert (outputs(recipe, tmp_path / "exp", "later") / "out.txt").read_text() == "a+a"
    (tmp_path / "source.txt").write_text("b")
    inspector = Inspector(read_settings(recipe, [], settings), tmp_path / "exp")
    assert inspector.state(recipe.stage("prepare")).condition == "stale"
    assert run_recipe(recipe, tmp_path / "exp", settings) == 0
    assert (outputs(recipe, tmp_path / "exp", "later") / "out.txt").read_text() == "b+b"
    with pytest.raises(UserError, match=r"prepare\.source: "):
        run_recipe(recipe, tmp_path / "exp", ["prepare.source=gone.txt"])


def test_an_input_edited_while_it_is_read_is_not_recorded_as_the_one_used(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("before")

    class Config(msgspec.Struct, frozen=True):
        source: str

    def edit(context: Context) -> None:
        context.output("out.txt").write_text("made from before")
        source.write_text("after")

    recipe = Recipe("r", (Stage(1, "edit", edit, (external("source"),), (Output("out.txt"),), Config),))
    with pytest.raises(SpeechkitError, match=r"input\.source changed.*run again"):
        run_recipe(recipe, tmp_path / "exp", [f"edit.source={source}"], quiet=True)
    settings = read_settings(recipe, [], [f"edit.source={source}"])
    assert Inspector(settings, tmp_path / "exp").state(recipe.stages[0]).condition == "stale"


def test_a_version_bump_makes_the_stage_stale(words):
    words.run()
    first, second, *rest = words.recipe.stages
    stages = (first, replace(second, version=2), *rest)
    words.recipe = replace(words.recipe, stages=stages)
    assert states(words)["case"].reasons == ("version: 1 -> 2",)


def test_a_new_seed_is_a_new_result(words):
    words.run()
    first = (words.current("04-noise") / "_stage.json").read_text()
    words.run("seed=2")
    second = (words.current("04-noise") / "_stage.json").read_text()
    assert json.loads(first)["output_digest"] != json.loads(second)["output_digest"]


def test_the_arrays_belong_to_the_output_digest(words):
    words.run()
    record = json.loads((words.current("04-noise") / "_stage.json").read_text())
    words.run("seed=2")
    other = json.loads((words.current("04-noise") / "_stage.json").read_text())
    assert (words.current("04-noise") / "noisy.jsonl").is_file()
    assert record["outputs"]["noisy.jsonl"]["digest"] != other["outputs"]["noisy.jsonl"]["digest"]


def test_a_damaged_result_is_noticed_and_made_again(words):
    words.run()
    target = words.current("02-case") / "rows.jsonl"
    good = target.read_bytes()
    target.write_bytes(good[:50])
    assert states(words)["case"].condition == "stale"
    assert states(words)["case"].reasons[0].startswith("rows.jsonl has 50 bytes where")
    words.run()
    assert target.read_bytes() == good


@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("name", ["02-case/rows.jsonl", "04-noise/arrays"])
def test_a_result_that_was_changed_at_its_size_is_made_again(words, name, forged):
    words.run()
    assert set(conditions(words)) == {"fresh"}
    folder, file = name.split("/")
    target = words.current(folder) / file
    target = min(target.iterdir()) if target.is_dir() else target
    good, times = target.read_bytes(), target.stat()
    target.write_bytes(good[:-2] + bytes([good[-2] ^ 1]) + good[-1:])
    if forged:
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = states(words)[folder[3:]]
    assert found.condition == "stale"
    assert found.reasons[0].endswith("has changed since it was committed")
    words.run()
    assert target.read_bytes() == good


def test_a_result_is_read_again_only_when_it_was_touched(words, monkeypatch):
    words.run()
    read = []
    monkeypatch.setattr("speechkit.pipeline.content.digest_file", lambda path: read.append(path) or digest_file(path))
    assert set(conditions(words)) == {"fresh"}
    assert [path.name for path in read if "exp" in path.parts] == []
    target = words.current("02-case") / "rows.jsonl"
    target.touch()
    assert states(words)["case"].condition == "fresh"
    assert target in read


def test_audio_that_changes_under_the_same_manifest_makes_its_readers_stale(tmp_path):
    loudness = [1]

    def synthesise(context: Context) -> None:
        clips = context.output("clips")
        clips.mkdir()
        (clips / "a.raw").write_bytes(bytes(loudness))
        context.write(
            "manifest.jsonl", [Utterance(id="a", audio_filepath="clips/a.raw", duration=1.0, sample_rate=16000)]
        )

    def score(context: Context) -> None:
        clip = context.inputs["manifest"].parent / "clips" / "a.raw"
        context.output("score.json").write_text(str(clip.read_bytes()[0]))

    recipe = Recipe(
        "audio",
        (
            Stage(1, "synthesis", synthesise, outputs=(Output("clips"), Output("manifest.jsonl", schema=Utterance))),
            Stage(2, "score", score, inputs=(stage("synthesis", "manifest.jsonl"),), outputs=(Output("score.json"),)),
        ),
    )
    run_recipe(recipe, tmp_path / "exp")
    loudness[0] = 2
    run_recipe(recipe, tmp_path / "exp", stop=1, force=True)
    run_recipe(recipe, tmp_path / "exp")
    assert (tmp_path / "exp" / "02-score" / "current" / "score.json").read_text() == "2"


def test_a_result_that_lacks_a_declared_output_is_made_again(words):
    words.run()
    path = words.current("02-case") / "_stage.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "outputs": {}}))
    assert states(words)["case"].condition == "stale"
    assert states(words)["case"].reasons == ("rows.jsonl is missing",)
    words.run()
    assert json.loads(path.read_text())["outputs"] == record["outputs"]


def test_starting_behind_a_stale_stage_is_refused(words):
    words.run()
    with pytest.raises(UserError, match=r"needs stage 2 case.*stale.*--stage 2"):
        words.run("case.case=lower", start=4)


def test_start_and_stop_select_stages(words):
    words.run(stop=2)
    assert not (words.folder / "exp" / "04-noise").exists()
    words.run(start=4, stop=4)
    assert (words.folder / "exp" / "04-noise" / "current").exists()
    with pytest.raises(UserError, match=r"no stage 3.*1 prepare, 2 case"):
        words.run(start=3)


def test_dry_run_writes_nothing(words, capsys):
    assert words.run(dry_run=True) == 0
    assert not list((words.folder / "exp").glob("*"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["1", "prepare", "not", "run"]
    assert "stage 1 prepare runs first" in lines[1]


def test_force_runs_again_and_gives_the_same_bytes(words, tree_digest):
    words.run()
    digest, before = tree_digest(words.folder / "exp"), mtimes(words)
    words.run(force=True)
    assert tree_digest(words.folder / "exp") == digest
    assert all(mtimes(words)[path] != before[path] for path in before)
    assert not list((words.folder / "exp").glob("*/*.work"))


def test_a_forced_stage_that_writes_something_else_is_followed_by_the_next_one(tmp_path):
    """The result of a stage that reads a clock, or of a changed library, under the same fingerprint."""
    first = [0]

    def count(context: Context) -> None:
        first[0] += 1
        context.output("count.txt").write_text(str(first[0]))

    def double(context: Context) -> None:
        context.output("double.txt").write_text(str(2 * int(context.inputs["count"].read_text())))

    recipe = Recipe(
        "counts",
        (
            Stage(number=1, name="count", run=count, outputs=(Output("count.txt"),)),
            Stage(
                number=2,
                name="double",
                run=double,
                inputs=(stage("count", "count.txt"),),
                outputs=(Output("double.txt"),),
            ),
        ),
    )
    for number in (1, 2):
        assert run_recipe(recipe, tmp_path, quiet=True, force=number > 1) == 0
        assert (tmp_path / "02-double" / "current" / "double.txt").read_text() == str(2 * number)


def test_drops_are_listed_with_reasons_and_counted(words):
    words.run()
    folder = words.current("02-case")
    drops = [json.loads(line) for line in (folder / "drops.jsonl").read_text().splitlines()]
    assert {drop["reason"] for drop in drops} == {"too_long"}
    kept = len((folder / "rows.jsonl").read_text().splitlines())
    assert kept + len(drops) == 24
    assert json.loads((folder / "_stage.json").read_text())["dropped"] == {"too_long": 6}


def test_arrays_come_back_by_reference(words):
    words.run()
    manifest = words.current("04-noise") / "noisy.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert len({row["features"] for row in rows}) == len(rows)
    arrays = [read_record_arrays(manifest, row["features"])["noise"] for row in rows]
    assert all(array.shape == (3,) for array in arrays)
    with pytest.raises(UserError, match="leads out"):
        read_record_arrays(manifest, "../../../../../etc/passwd#0")


def test_retry_leaves_the_part_open_and_the_next_run_tries_it_again(words, tree_digest):
    fail = words.folder / "fail.txt"
    fail.write_text("en-0-2")
    with pytest.raises(SpeechkitError, match=r"1 item failed.*first, en-0-2.*part 0: told.*fail"):
        words.run(f"case.fail_file={fail}")
    work = next((words.folder / "exp" / "02-case").glob("*.work"))
    errors = [json.loads(line) for line in (work / "errors.jsonl").read_text().splitlines()]
    assert [error["id"] for error in errors] == ["en-0-2"]
    assert len(list(work.glob("part-*-of-*[0-9].jsonl"))) == 4  # of 5: the neighbours are done
    assert states(words, f"case.fail_file={fail}")["case"].condition == "part done"
    fail.write_text("")
    assert words.run(f"case.fail_file={fail}") == 0
    words.run(exp="clean")
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "clean")


def test_more_errors_than_allowed_stop_the_stage(words):
    fail = words.folder / "fail.txt"
    fail.write_text(" ".join(f"en-0-{n}" for n in range(8)))
    with pytest.raises(SpeechkitError, match=r"more than max_error_rate 0\.1 allows"):
        words.run(f"case.fail_file={fail}")
    work = next((words.folder / "exp" / "02-case").glob("*.work"))
    assert not list(work.glob("part-0000[234]-of-*"))


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    number: int = 0
    features: str | None = None


class NoConfig(msgspec.Struct, frozen=True):
    pass


def one_worker(process, tmp_path: Path, *, items: int = 6, **stage_options) -> Recipe:
    """A recipe whose second stage answers with ``process``."""

    def make(context: Context) -> None:
        context.write("items.jsonl", (Item(f"i{n}", n) for n in range(items)))

    class Answers:
        def __init__(self, config: object) -> None:
            pass

        def process(self, batch: list[Item]) -> list[object]:
            return process(batch)

    options = {"outputs": (Output("out.jsonl", Item),), "drop_reasons": ("odd",), "part_records": 2, **stage_options}
    return Recipe(
        "one",
        (
            Stage(1, "make", make, (), (Output("items.jsonl", Item, min_records=0),)),
            Stage(2, "answer", Answers, (stage("make", "items.jsonl"),), **options),
        ),
    )


def test_an_exception_names_the_item_that_raises_it_and_spares_its_neighbours(tmp_path):
    def process(batch):
        return [Item(item.id, 1 // (item.number - 3) or 1) for item in batch]

    with pytest.raises(SpeechkitError, match=r"i3.*part 1: ZeroDivisionError:.*log:.*run.log"):
        run_recipe(one_worker(process, tmp_path), tmp_path / "exp", quiet=True)
    assert "Traceback" in (tmp_path / "exp" / "run.log").read_text()


def test_one_input_may_give_several_outputs_and_drops(tmp_path):
    def process(batch):
        return [[Item(f"{i.id}a", i.number), Drop("odd", id=f"{i.id}b"), Item(f"{i.id}c")] for i in batch]

    run_recipe(recipe := one_worker(process, tmp_path), tmp_path / "exp", quiet=True)
    folder = outputs(recipe, tmp_path / "exp", "answer")
    rows = [json.loads(line)["id"] for line in (folder / "out.jsonl").read_text().splitlines()]
    assert rows[:4] == ["i0a", "i0c", "i1a", "i1c"]
    assert '"id":"i0b"' in (folder / "drops.jsonl").read_text()


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (lambda batch: [Drop("unheard_of") for _ in batch], "drop reason 'unheard_of' is not declared"),
        (lambda batch: [], "returned 0 answers for 2 records"),
        (lambda batch: [None for _ in batch], "returned None"),
        (lambda batch: [Item(5) for _ in batch], "not a valid record"),
    ],
)
def test_an_answer_that_breaks_the_contract_fails_at_once(tmp_path, process, message):
    with pytest.raises(SpeechkitError, match=message) as caught:
        run_recipe(one_worker(process, tmp_path), tmp_path / "exp", quiet=True)
    assert caught.value.exit_code == 1


def test_a_stage_that_wrote_nothing_failed_and_says_what_it_dropped(tmp_path):
    with pytest.raises(UserError, match=r"stage 2 answer.*0 records.*6 records.*read.*dropped: odd 6"):
        run_recipe(one_worker(lambda b: [Drop("odd") for _ in b], tmp_path), tmp_path / "exp", quiet=True)


def test_the_next_run_tries_what_was_dropped_when_a_stage_lacks_what_it_must_hold(tmp_path):
    mended = tmp_path / "mended"
    seen: list[str] = []

    def process(batch):
        seen.extend(item.id for item in batch)
        return [item if item.number < 5 or mended.exists() else Drop("odd", "it is torn") for item in batch]

    output = Output("out.jsonl", Item, holds=(("id", "i0"), ("id", "i5")))
    recipe = one_worker(process, tmp_path, outputs=(output,))
    expected = r"no record whose id is i5 \(6 records .* dropped: odd 1, the first i5 \(it is torn\)\); fix the dropped"
    for _ in range(2):
        with pytest.raises(UserError, match=expected):
            run_recipe(recipe, tmp_path / "exp", quiet=True)
    assert seen == ["i0", "i1", "i2", "i3", "i4", "i5", "i4", "i5"]
    mended.touch()
    assert run_recipe(recipe, tmp_path / "exp", quiet=True) == 0
    folder = outputs(recipe, tmp_path / "exp", "answer")
    assert [json.loads(line)["id"] for line in (folder / "out.jsonl").read_text().splitlines()] == seen[:6]
    assert not (folder / "drops.jsonl").read_text()


def test_an_empty_input_fails_unless_nothing_is_allowed(tmp_path):
    with pytest.raises(SpeechkitError, match="0 records"):
        run_recipe(one_worker(list, tmp_path, items=0), tmp_path / "exp", quiet=True)
    relaxed = one_worker(list, tmp_path, items=0, outputs=(Output("out.jsonl", Item, min_records=0),))
    assert run_recipe(relaxed, tmp_path / "exp2", quiet=True) == 0


def test_max_error_rate_zero_stops_at_the_first_error(tmp_path):
    seen = []

    def process(batch):
        seen.extend(batch)
        return [Retry("no") for _ in batch]

    with pytest.raises(SpeechkitError):
        run_recipe(one_worker(process, tmp_path, max_error_rate=0.0), tmp_path / "exp", quiet=True)
    assert len(seen) == 2


def test_a_record_keeps_its_type_with_arrays_of_every_shape(tmp_path):
    import numpy as np

    arrays = {
        "scalar": np.float32(3.5).reshape(()),
        "empty": np.zeros((0, 4), np.float16),
        "matrix": np.arange(6, dtype=np.int64).reshape(2, 3).T,
    }
    recipe = one_worker(lambda b: [Value(item, arrays) for item in b], tmp_path)
    run_recipe(recipe, tmp_path / "exp", quiet=True)
    manifest = outputs(recipe, tmp_path / "exp", "answer") / "out.jsonl"
    row = json.loads(manifest.read_text().splitlines()[3])
    assert row["features"] == "arrays/00001-of-00003.safetensors#1"
    back = read_record_arrays(manifest, row["features"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id":"a"}\n{"id":3}\n', r"in.jsonl:2: Expected `str`, got `int`"),
        ('{"id":"a"}\n{"id":"b', r"in.jsonl:2: .*the last line is truncated"),
        ('{"id":"a"}\nnot json\n', r"in.jsonl:2: "),
    ],
)
def test_a_bad_line_of_the_users_is_named(tmp_path, content, message):
    class Config(msgspec.Struct, frozen=True):
        rows: str

    class Pass:
        def __init__(self, config: object) -> None:
            pass

        def process(self, batch: list[Item]) -> list[Item]:
            return batch

    source = tmp_path / "in.jsonl"
    source.write_text(content)
    stages = (Stage(1, "pass", Pass, (external("rows", schema=Item),), (Output("out.jsonl", Item),), Config),)
    with pytest.raises(UserError, match=message):
        run_recipe(Recipe("r", stages), tmp_path / "exp", [f"pass.rows={source}"], quiet=True)


def test_a_missing_input_is_the_users_fault(words):
    words.words.unlink()
    with pytest.raises(UserError, match=r"prepare.words:.*words.txt: no such file.*folder"):
        words.run()


def test_finished_cells_of_a_stopped_stage_are_not_computed_again(tmp_path):
    computed: list[int] = []

    def cell(number: int) -> list[float] | None:
        computed.append(number)
        return None if computed == [0, 1] else [number / 2]

    def cells(context: Context) -> None:
        rows = [context.kept(f"cell-{number}", list[float], lambda number=number: cell(number)) for number in range(3)]
        context.output("cells.json").write_text(json.dumps(rows))

    recipe = Recipe("cells", (Stage(number=1, name="cells", run=cells, outputs=(Output("cells.json"),)),))
    assert run_recipe(recipe, tmp_path, quiet=True) == 130
    assert run_recipe(recipe, tmp_path, quiet=True) == 0
    assert computed == [0, 1, 1, 2]
    assert json.loads((tmp_path / "01-cells" / "current" / "cells.json").read_text()) == [[0.0], [0.5], [1.0]]


def test_a_whole_set_stage_that_fails_keeps_its_scratch(tmp_path):
    tries = []

    def train(context: Context) -> None:
        tries.append((context.scratch / "checkpoint").exists())
        (context.scratch / "checkpoint").write_text("half way")
        if len(tries) == 1:
            raise ValueError("out of luck")
        context.output("model/weights").write_text("trained")

    recipe = Recipe("t", (Stage(1, "train", train, (), (Output("model/weights"),)),))
    with pytest.raises(SpeechkitError, match=r"stage 1 train: ValueError: out of luck.*log:"):
        run_recipe(recipe, tmp_path / "exp", quiet=True)
    assert run_recipe(recipe, tmp_path / "exp", quiet=True) == 0
    assert tries == [False, True]
    assert not list((tmp_path / "exp").glob("*/*.work"))


def test_an_output_that_was_not_written_is_a_failure(tmp_path):
    recipe = Recipe("t", (Stage(1, "lazy", lambda context: None, (), (Output("x.txt"),)),))
    with pytest.raises(SpeechkitError, match=r"stage 1 lazy: x\.txt.*not written"):
        run_recipe(recipe, tmp_path / "exp", quiet=True)


def test_a_result_survives_on_a_file_system_without_links(words, monkeypatch, tree_digest):
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(1, "Operation not permitted")

    words.run(exp="linked")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert words.run() == 0
    assert outputs(words.recipe, words.folder / "exp", "noise").is_dir()
    assert tree_digest(words.folder / "exp") == tree_digest(words.folder / "linked")
    assert conditions(words) == ["fresh"] * 4


class Cautious(msgspec.Struct, frozen=True):
    """Refuses a combination, by either kind of error."""

    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, above {self.high}")
        if self.high > 9:
            raise ConfigError(f"high is {self.high}, it must be below 10")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [("late.low=2", "stage 2 late: late: low is 2, above 1"), ("late.high=10", "stage 2 late: high is 10")],
)
def test_settings_of_all_chosen_stages_are_read_before_the_first_one_runs(setting, sentence, tmp_path):
    ran = []

    def write(context: Context) -> None:
        ran.append(context.config)
        context.output("done").write_text("done")

    early = Stage(number=1, name="early", run=write, outputs=(Output("done"),))
    late = Stage(number=2, name="late", run=write, outputs=(Output("done"),), config=Cautious)
    recipe = Recipe("two", (early, late))
    with pytest.raises(ConfigError, match=sentence):
        run_recipe(recipe, tmp_path, [setting], quiet=True)
    assert not ran
    assert run_recipe(recipe, tmp_path, [setting], stop=1, quiet=True) == 0  # what is not chosen need not be right
    assert len(ran) == 1
    assert run_recipe(recipe, tmp_path, [setting], dry_run=True) == 0
