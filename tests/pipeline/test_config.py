"""Config: everything wrong is reported at once, and YAML means what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechkit.errors import ConfigError, UserError
from speechkit.pipeline import NEUTRAL, SHARED, Output, Recipe, Stage, external, stage
from speechkit.pipeline.config import read_settings
from speechkit.pipeline.yaml_data import parse_scalar, parse_yaml


class Window(msgspec.Struct, frozen=True):
    size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    shape: Literal["hann", "hamming"] = "hann"


class Nothing(msgspec.Struct, frozen=True):
    """Settings that are still to come."""


class Holder(msgspec.Struct, frozen=True):
    nothing: Nothing = Nothing()


class Config(msgspec.Struct, frozen=True):
    rate: float = 0.1
    name: str = "x"
    note: str | None = None
    sizes: list[int] = []
    window: Window = Window()
    lang: Annotated[str, SHARED] = "en"
    workers: Annotated[int, NEUTRAL] = 1
    table: dict[str, int] = {}


class Needy(msgspec.Struct, frozen=True):
    path: str
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


def nothing(context: object) -> None:
    pass


RECIPE = Recipe(
    "r",
    (
        Stage(1, "first", nothing, (), (Output("a"),), Config),
        Stage(2, "second", nothing, (), (Output("a"),), Needy),
    ),
    defaults={"first": {"name": "recipe"}},
)


def first(*overrides: str, text: str | None = None, folder: Path | None = None) -> Config:
    files = []
    if text is not None and folder is not None:
        files = [folder / "c.yaml"]
        files[0].write_text(text)
    return read_settings(RECIPE, files, overrides).config(RECIPE.stages[0])


def test_later_layers_win(tmp_path):
    assert first().name == "recipe"
    assert first(text="first: {name: file}", folder=tmp_path).name == "file"
    assert first("first.name=shell", text="first: {name: file}", folder=tmp_path).name == "shell"


def test_arguments_of_a_call_are_values_over_the_files_and_under_the_shell(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("first: {name: file, rate: 3.0}")
    arguments = {"lang": "1e3", "first": {"name": "a, b: [c", "window": {"size": 7}}}
    config = read_settings(RECIPE, [file], ["first.window.size=8"], arguments).config(RECIPE.stages[0])
    assert (config.lang, config.name, config.rate, config.window.size) == ("1e3", "a, b: [c", 3.0, 8)
    with pytest.raises(ConfigError, match=r"argument: first\.rate"):
        read_settings(RECIPE, [], [], {"first": {"rate": "fast"}})


class Sharp(msgspec.Struct, frozen=True):
    window: Window = Window(size=20, shape="hamming")


def test_a_nested_key_leaves_its_neighbours_as_the_field_has_them_by_default():
    recipe = Recipe("sharp", (Stage(1, "first", nothing, (), (Output("a"),), Sharp),))
    found = read_settings(recipe, [], ["first.window.size=30"]).config(recipe.stages[0])
    assert found == Sharp(Window(size=30, shape="hamming"))


def test_nested_keys_and_plain_tables(tmp_path):
    config = first(
        "first.window.size=20", text="first:\n  window: {shape: hamming}\n  table: {a: 1}\n", folder=tmp_path
    )
    assert config.window == Window(20, "hamming")
    assert config.table == {"a": 1}


def test_several_settings_may_be_given_at_once_in_the_shell():
    assert first("first.window={shape: hamming, size: 7}").window == Window(7, "hamming")
    config = first("first.window={size: 30}", "first={rate: 2.0, window: {shape: hamming}}", "first.window.size=3")
    assert (config.rate, config.window) == (2.0, Window(3, "hamming"))
    with pytest.raises(ConfigError, match=r"command line: unknown key 'first\.window\.siz'"):
        first("first.window={siz: 1}")
    with pytest.raises(ConfigError, match=r"command line: first\.window is a group of settings.*first\.window\.size"):
        first("first.window=7")


def test_a_group_without_fields_takes_no_value():
    recipe = Recipe("empty", (Stage(1, "first", nothing, (), (Output("a"),), Holder),))
    with pytest.raises(ConfigError, match=r"first\.nothing is a group of settings; it has none"):
        read_settings(recipe, [], ["first.nothing=7"])


def test_a_shared_key_reaches_the_section_and_the_section_wins():
    assert first("lang=hi").lang == "hi"
    assert first("lang=hi", "first.lang=pa").lang == "pa"
    with pytest.raises(ConfigError, match=r"unknown key 'second\.lang'.*give lang=….*read.*first"):
        first("second.lang=hi")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1", 1.0), (".5", 0.5), ("2.", 2.0), ("-1E6", -1e6), (".inf", float("inf"))],
)
def test_numbers_are_numbers(text, value, tmp_path):
    assert first(text=f"first: {{rate: {text}}}", folder=tmp_path).rate == value
    assert first(f"first.rate={text}").rate == value


@pytest.mark.parametrize(
    "word", ["no", "on", "off", "yes", "No", "n", "2024-01-01", "12:30", "1_000", "0b1", "=", "<<"]
)
def test_words_are_words(word, tmp_path):
    assert first(text=f"first: {{name: {word}}}", folder=tmp_path).name == word
    assert first(f"first.name={word}").name == word
    assert first(f"lang={word}").lang == word


def test_text_fields_take_any_text_from_the_shell():
    assert first("first.name=12").name == "12"
    assert first("first.name=a=b: [c").name == "a=b: [c"
    assert first("first.note=null").note is None
    assert first("first.note=true").note == "true"
    assert first("first.sizes=[1, 2]").sizes == [1, 2]


def test_all_mistakes_at_once_with_place_key_and_suggestion(tmp_path):
    text = "first:\n  rat: 0.2\n  name: 12\n  window:\n    size: 101\n    shape: haming\nfrist:\n  a: 1\nlang: [a]\n"
    with pytest.raises(ConfigError) as caught:
        first("first.workers=many", "window.size=3", "nonsense", text=text, folder=tmp_path)
    file = tmp_path / "c.yaml"
    assert str(caught.value).splitlines() == [
        f"{file}:2: unknown key 'first.rat'; did you mean 'first.rate'?",
        f"{file}:3: first.name: expected str, got int: 12; put it in quotes",
        f"{file}:5: first.window.size: expected int <= 100: 101",
        f"{file}:6: first.window.shape: 'haming' is not one of hann, hamming; did you mean hamming?",
        f"{file}:7: unknown key 'frist'; the top-level keys are first, lang, second, seed",
        f"{file}:9: lang: expected str, got array: ['a']",
        "command line: first.workers: expected int, got str: 'many'",
        "command line: unknown key 'window.size'; did you mean 'first.window.size'?",
        "'nonsense' is not of the form key=value",
    ]


def test_a_required_key_is_asked_for_when_its_stage_is():
    settings = read_settings(RECIPE)
    assert settings.config(RECIPE.stages[0])
    with pytest.raises(ConfigError, match=r"second\.path.*missing.*give.*second\.path="):
        settings.config(RECIPE.stages[1])


def test_a_combination_that_the_config_rejects_is_named():
    with pytest.raises(ConfigError, match=r"second: low 5.*above high 2"):
        read_settings(RECIPE, [], ["second.path=x", "second.low=5"]).config(RECIPE.stages[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system [ls]", r"c:1: tag .*os.system is not data"),
        ("a: !!str 1", "c:1: tag"),
        ("a: &x 1\nb: *x", "c:1: anchors are not data"),
        ("a: 1\nb: 2\na: 3", "c:3: duplicate key 'a', first on line 1"),
        ("- 1", "c:1: a config is a mapping"),
        ("a: [1", "c:1: "),
        ("? [a]\n: 1", "c:1: a key must be a string"),
        ("a: 1\n---\nb: 2", "c:"),
        ("[" * 3000, "c"),
    ],
)
def test_yaml_that_is_more_than_data_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, "c")


def test_an_empty_file_is_an_empty_config():
    assert parse_yaml("# nothing\n", "c").data == {}


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.yaml: cannot read"):
        read_settings(RECIPE, [tmp_path / "absent.yaml"])
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_settings(RECIPE, [tmp_path / "latin.yaml"])


@given(st.text())
def test_any_text_from_the_shell_is_a_value_or_one_clear_error(text):
    parse_scalar(text)
    assert first(f"first.name={text}").name is not None


@given(st.floats(allow_nan=False))
def test_every_float_that_python_prints_is_read_back(value):
    assert float(parse_scalar(repr(value).replace("inf", ".inf"))) == value


def test_a_recipe_that_contradicts_itself_is_refused_with_every_contradiction():
    class Thawed(msgspec.Struct):
        a: int = 1

    class Worker:
        pass

    with pytest.raises(UserError) as caught:
        Recipe(
            "bad",
            (
                Stage(2, "one", nothing, (), (Output("../x"),), Thawed),
                Stage(2, "one", nothing, (stage("late", "x"), stage("one", "y")), ()),
                Stage(3, "Three", Worker, (external("gone"),), (Output("a.txt"), Output("a.txt"))),
                Stage(4, "far", nothing, (external("a", of="one"), external("b", of="never")), (Output("x"),)),
            ),
        )
    for problem in (
        "Thawed must be frozen",
        "not a path inside",
        "numbers must increase, but 2 came before",
        "the name is taken by stage 2",
        "'late' is not an earlier stage",
        "stage one has no output 'y'",
        "it has no outputs",
        "lower-case letters",
        "field 'gone', which NoConfig lacks",
        "field 'a', which stage one lacks",
        "'b' is of 'never', which is not an earlier stage",
        "Worker has no process(batch)",
        "two outputs have the same path",
        "one output, a .jsonl file",
    ):
        assert problem in str(caught.value), problem
