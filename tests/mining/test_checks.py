"""Settings that cannot work, or would silently do nothing, are refused before the first stage."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec
import pytest

import speechkit.mining.documents as documents
import speechkit.mining.mined_set as mining
from speechkit.cli.main import call
from speechkit.cli.mine import lines_of
from speechkit.data.records import Utterance
from speechkit.errors import UserError
from speechkit.mining import mine
from speechkit.mining.export.card import data_card, format_card
from speechkit.mining.stages import NO_EMISSIONS
from tests.mining.test_mine import transcripts  # noqa: F401 - a fixture

SAMPLE = Path(__file__).resolve().parents[2] / "recipes/mining/sample"


@pytest.fixture
def without_lexicon(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *args: None if name == "pocketsphinx" else find_spec(name, *args)
    )


def refusal(out: Path, *overrides: str, **options: object) -> str:
    """The message of a run that ends before its first stage."""
    with pytest.raises(UserError) as caught:
        mine(SAMPLE / "audio", SAMPLE / "documents", out, overrides=overrides, **options)
    assert not list(out.glob("stages/0*"))
    return str(caught.value)


@pytest.mark.usefixtures("without_lexicon")
def test_correction_of_everything_without_a_lexicon_names_the_extra_and_the_file(tmp_path: Path) -> None:
    message = refusal(tmp_path / "out", "refinement.correct=all")
    assert "refinement.correct=all: OCR errors are not corrected: no lexicon is installed" in message
    assert "[align]" in message
    assert "refinement.lexicon=FILE" in message


@pytest.mark.parametrize(("overrides", "wanted"), [
    (["refinement.correct=none", "refinement.lexicon={words}"], "refinement.lexicon has no effect"),
    (["refinement.lexicon={missing}"], "none.txt: "),
    (["selection.calibration={missing}"], "none.txt: "),
    (["regions.vad=none", "regions.threshold=0.7"], "regions.threshold has no effect"),
    (["files.channels=each", "regions.channel=1"], "regions.channel has no effect"),
    (["pairing.pairs={pairs}", "pairing.min_score=0.1"], "pairing.min_score has no effect"),
])  # fmt: skip
def test_setting_without_effect_and_missing_file_are_refused(tmp_path: Path, overrides, wanted: str) -> None:
    files = {name: tmp_path / file for name, file in (("words", "w.txt"), ("missing", "none.txt"), ("pairs", "p.tsv"))}
    files["words"].write_text("hen\n")
    files["pairs"].write_text("bees.ogg\tbees.html\n")
    assert wanted in refusal(tmp_path / "out", *(item.format(**files) for item in overrides))


@pytest.mark.parametrize(
    "setting", ["refinement.correct=all", "refinement.lexicon={}", "export.max_character_errors=0.03"]
)
def test_settings_that_need_emissions_are_refused_for_a_recogniser_without(tmp_path: Path, setting: str) -> None:
    (tmp_path / "words.txt").write_text("hen\n")
    (tmp_path / "talk.ctm").write_text("talk 1 0.0 0.5 hen\n")
    recognizer = f"words:{tmp_path / 'talk.ctm'}"
    message = refusal(tmp_path / "out", setting.format(tmp_path / "words.txt"), recognizer=recognizer)
    assert "needs the emissions of a recogniser" in message


def test_separator_without_separation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [str(SAMPLE / "audio"), str(SAMPLE / "documents")]
    assert call(["mine", *inputs, "--out", str(tmp_path / "out"), "--separator", "embedded"]) == 2
    assert "--separator embedded: is for --separate" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "backend"), [([], "inline"), (["--workers", "4"], "pool"),
                                                  (["--workers", "4", "--backend", "ray"], "ray")])  # fmt: skip
def test_several_workers_are_a_pool_unless_a_backend_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], backend: str
) -> None:
    chosen = []

    def begin(recipe: object, stages: Path, overrides: object, backend: str, **others: object) -> int:
        chosen.append(backend)
        raise UserError("the run would begin now")

    monkeypatch.setattr(mining, "run_recipe", begin)
    inputs = [str(SAMPLE / "audio"), str(SAMPLE / "documents")]
    assert call(["mine", *inputs, "--out", str(tmp_path / "out"), *options]) == 2
    assert chosen == [backend]


@pytest.mark.slow
def test_scans_that_cannot_be_corrected_are_named_by_summary_card_and_command(
    transcripts: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = documents.read_document
    monkeypatch.setattr(
        documents, "read_document", lambda *args, **named: msgspec.structs.replace(read(*args, **named), kind="scan")
    )
    mined = mine(
        SAMPLE / "audio",
        SAMPLE / "documents",
        tmp_path / "out",
        recognizer=f"words:{transcripts}",
        overrides=["regions.vad=energy"],
    )
    assert mined.summary.warnings == [NO_EMISSIONS]
    assert f"warning: {NO_EMISSIONS}" in lines_of(mined, 0)
    assert f"- {NO_EMISSIONS}" in (tmp_path / "out/README.md").read_text()


def test_card_shows_small_shares_with_four_digits() -> None:
    rows = [
        Utterance.from_samples(
            id=str(at), audio_filepath="a.wav", offset_samples=0, num_samples=16000, sample_rate=16000, text="words",
            custom={"character_errors": share},
        )
        for at, share in enumerate((0.0026, 0.021))
    ]  # fmt: skip
    text = format_card(data_card(rows))
    assert "| wrong characters of the text (share, estimated) | 0.0026 to 0.0210, mean 0.0118 |" in text
