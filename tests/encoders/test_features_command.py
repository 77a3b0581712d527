"""From a manifest or recordings to a store: by the command, and by the recipe on several backends."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from recipes.ssl_features.recipe import recipe
from speechkit.cli.main import app
from speechkit.data import Utterance, write_manifest
from speechkit.encoders import FeatureStore, load_encoder
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe


@pytest.fixture
def manifest(tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for index, seconds in enumerate((1.0, 0.4, 33.0, 0.01)):
        waveform = (0.1 * generator.standard_normal(int(16_000 * seconds))).astype(np.float32)
        write_audio(tmp_path / f"{index}.wav", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=f"u{index}", audio_filepath=f"{index}.wav", num_samples=len(waveform), sample_rate=16_000
            )
        )
    (tmp_path / "4.wav").write_text("no audio at all")
    rows.append(Utterance.from_samples(id="u4", audio_filepath="4.wav", num_samples=16_000, sample_rate=16_000))
    write_manifest(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def speechkit(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout


def test_the_command_stores_every_cut_and_says_what_it_left_out(manifest, tmp_path):
    code, output = speechkit("features", manifest, "--encoder", "log-mel", "--out", tmp_path / "store", "--json")
    assert code == 0
    summary = json.loads(output.strip().splitlines()[-1])
    assert (summary["items"], summary["dim"], summary["model"]) == (3, 80, "log-mel")
    assert set(summary["dropped"]) == {"u3", "u4"}
    store = FeatureStore(tmp_path / "store")
    assert [len(store[name]) for name in store.ids()] == [50, 20, 1650]
    assert json.loads((tmp_path / "store" / "dropped.json").read_text()).keys() == {"u3", "u4"}
    code, shown = speechkit("features", "--show", tmp_path / "store")
    assert code == 0
    assert "1720" in shown


def test_recordings_are_encoded_in_windows_whose_effect_is_said(manifest, tmp_path):
    recording = manifest.parent / "2.wav"
    assert speechkit("features", recording, "--encoder", "mfcc", "--out", tmp_path / "store")[0] == 0
    assert FeatureStore(tmp_path / "store")["2"].shape == (1650, 39)
    code, output = speechkit("features", recording, "--encoder", "mfcc", "--deviation", "--json")
    assert code == 0
    assert 0 < json.loads(output)[str(recording)]["relative_error"] < 0.5


@pytest.mark.parametrize("backend", ["inline", "pool"])
def test_the_recipe_gives_the_same_frames_on_every_backend(manifest, tmp_path, checkpoint, backend):
    folder = checkpoint("hubert")
    settings = [f"manifest={manifest}", f"encoder={folder}", "layer=2", "features.compute=float32"]
    assert run_recipe(recipe, tmp_path / "exp", overrides=settings, backend=backend, workers=2, device="cpu") == 0
    store = FeatureStore(outputs(recipe, tmp_path / "exp", "store") / "store")
    assert sorted(store.ids()) == ["u0", "u1", "u2"]
    encoder = load_encoder(str(folder), layer=2, device="cpu", dtype="float32")
    assert store.spec == encoder.spec
    from speechkit.io.audio import read_audio

    expected = encoder.encode(read_audio(manifest.parent / "0.wav"))
    np.testing.assert_allclose(store["u0"], expected.astype(np.float16), atol=2e-3)
    drops = (outputs(recipe, tmp_path / "exp", "features") / "drops.jsonl").read_text()
    assert '"shorter_than_a_frame"' in drops
    assert '"unreadable_audio"' in drops


def test_what_is_missing_is_said_in_one_line(manifest, tmp_path):
    assert speechkit("features")[0] != 0
    assert speechkit("features", manifest, "--encoder", "log-mel")[0] != 0


def test_a_wrong_number_format_is_named_by_its_option(manifest, tmp_path, capsys):
    from speechkit.cli.main import call

    assert call(["features", str(manifest), "--compute", "foo", "--out", str(tmp_path / "s")]) == 2
    assert "--compute is 'foo'; choose auto, float32 or bfloat16" in capsys.readouterr().err
