"""From a manifest or recordings to a store: by the command, and by the recipe on several backends."""

import json
import re

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from speechkit.cli.main import app, call
from speechkit.data import Utterance, write_manifest
from speechkit.data.manifest import read_manifest
from speechkit.encoders import FeatureStore, load_encoder
from speechkit.errors import UserError
from speechkit.io.audio import write_audio
from speechkit.pipeline import outputs, run_recipe
from speechkit.pipeline.discover import recipe_module

recipe = recipe_module("ssl_features").recipe


@pytest.fixture
def manifest(tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for index, seconds in enumerate((1.0, 0.4, 36.0, 0.01)):
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
    assert code == 2  # two of the five are left out
    summary = json.loads(output.strip().splitlines()[-1])
    assert (summary["items"], summary["dim"], summary["model"]) == (3, 80, "log-mel")
    assert set(summary["dropped"]) == {"u3", "u4"}
    store = FeatureStore(tmp_path / "store")
    assert [len(store[name]) for name in store.ids()] == [50, 20, 1800]
    assert json.loads((tmp_path / "store" / "dropped.json").read_text()).keys() == {"u3", "u4"}
    code, shown = speechkit("features", "--show", tmp_path / "store")
    assert code == 0
    assert "1870" in shown


def test_clipped_and_silent_recordings_are_encoded_and_named(tmp_path):
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    waveforms = {"clip": np.clip(noise, -1, 1), "still": np.zeros(32_000), "good": 0.1 * noise}
    for name, waveform in waveforms.items():
        write_audio(tmp_path / f"{name}.wav", waveform, 16_000)
    rows = [
        Utterance.from_samples(id=f"row-{name}", audio_filepath=f"{name}.wav", num_samples=32_000, sample_rate=16_000)
        for name in waveforms
    ]
    write_manifest(tmp_path / "m.jsonl", rows)
    inputs = [tmp_path / "m.jsonl", *(tmp_path / f"{name}.wav" for name in waveforms)]
    code, output = speechkit("features", *inputs, "--encoder", "mfcc", "--out", tmp_path / "store", "--json")
    assert code == 0
    summary = json.loads(output.strip().splitlines()[-1])
    assert summary["items"] == 6
    clipped, silent = ["clipped audio"], ["silent audio"]
    assert summary["noted"] == {"row-clip": clipped, "row-still": silent, "clip": clipped, "still": silent}


def test_recordings_are_encoded_in_windows_whose_effect_is_said(manifest, tmp_path):
    recording = manifest.parent / "2.wav"
    assert speechkit("features", recording, "--encoder", "mfcc", "--out", tmp_path / "store")[0] == 0
    assert FeatureStore(tmp_path / "store")["2"].shape == (1800, 39)
    code, output = speechkit("features", recording, "--encoder", "mfcc", "--deviation", "--json")
    assert code == 0
    assert 0 < json.loads(output)[str(recording)]["relative_error"] < 0.5


@pytest.mark.parametrize("backend", ["inline", pytest.param("pool", marks=pytest.mark.slow)])
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


def loud(monkeypatch, beyond):
    """Make the frames of log-mel of loud waveforms too large."""
    from speechkit.encoders.families.signal_features import SignalFeatures

    frames = SignalFeatures.frames
    monkeypatch.setattr(
        SignalFeatures, "frames", lambda self, w: frames(self, w) * (beyond if np.abs(w).max() > 0.9 else 1)
    )


@pytest.mark.parametrize(("dtype", "beyond", "advice"), [("float16", 1e5, True), ("float32", np.inf, False)])
def test_what_does_not_fit_is_left_out_and_the_rest_stays(manifest, tmp_path, monkeypatch, dtype, beyond, advice):
    loud(monkeypatch, beyond)
    write_audio(manifest.parent / "1.wav", np.linspace(-1, 1, 6400, dtype=np.float32), 16_000)
    arguments = ["--encoder", "log-mel", "--dtype", dtype, "--out", tmp_path / "store", "--json"]
    code, output = speechkit("features", manifest, *arguments)
    assert code == 2
    dropped = json.loads(output.strip().splitlines()[-1])["dropped"]
    assert dropped["u1"].startswith(f"not_finite: in {dtype}; ")
    assert ("float32 holds them" in dropped["u1"]) is advice
    assert FeatureStore(tmp_path / "store").ids() == ["u0", "u2"]
    settings = [f"manifest={manifest}", "encoder=log-mel", f"features.dtype={dtype}"]
    assert run_recipe(recipe, tmp_path / "exp", overrides=settings, device="cpu") == 0
    assert sorted(FeatureStore(outputs(recipe, tmp_path / "exp", "store") / "store").ids()) == ["u0", "u2"]


def test_a_recording_with_nan_costs_no_other(manifest, tmp_path):
    import soundfile

    soundfile.write(manifest.parent / "0.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    assert speechkit("features", manifest, "--encoder", "log-mel", "--out", tmp_path / "store")[0] == 2
    assert FeatureStore(tmp_path / "store").ids() == ["u1", "u2"]
    dropped = json.loads((tmp_path / "store" / "dropped.json").read_text())
    assert dropped["u0"].startswith("unreadable_audio: ")


@pytest.mark.parametrize("rows", [slice(3, None), slice(0, 0)])
def test_nothing_encoded_is_an_error_and_leaves_the_store_that_was(manifest, tmp_path, rows, capsys):
    arguments = ["--encoder", "log-mel", "--out", str(tmp_path / "store")]
    assert call(["features", str(manifest), *arguments]) == 2
    kept = list(read_manifest(manifest))[rows]
    write_manifest(tmp_path / "none.jsonl", kept)
    capsys.readouterr()
    assert call(["features", str(tmp_path / "none.jsonl"), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert ("none of 2 recordings could be processed" in error) if kept else ("holds no recordings" in error)
    assert FeatureStore(tmp_path / "store").ids() == ["u0", "u1", "u2"]
    settings = [f"manifest={tmp_path / 'none.jsonl'}", "encoder=log-mel"]
    with pytest.raises(UserError, match=r"no cut could.*encoded.*drops\.jsonl has.*reasons"):
        run_recipe(recipe, tmp_path / "exp", overrides=settings, device="cpu")


def test_what_is_wrong_is_said_before_an_encoder_is_loaded(manifest, tmp_path, monkeypatch):
    import speechkit.encoders.load

    monkeypatch.setattr(speechkit.encoders.load, "load_encoder", lambda *_, **__: pytest.fail("loaded"))
    store = ["--out", tmp_path / "store"]
    twice = tmp_path / "twice.jsonl"
    twice.write_text(manifest.read_text() + manifest.read_text().splitlines()[1] + "\n")
    (tmp_path / "0.flac").write_bytes((tmp_path / "0.wav").read_bytes())
    for arguments, sentence in (
        ([], "nothing to encode"),
        ([manifest], "--out is not given"),
        ([tmp_path / "none.jsonl", *store], "none.jsonl: no such file"),
        ([tmp_path / "none.wav", *store], "none.wav: no such file"),
        ([manifest, "--out", manifest], "is a file"),
        ([manifest, *store, "--dtype", "float64"], "choose float16 or float32"),
        ([manifest, *store, "--compute", "foo"], "--compute is 'foo'; choose auto, float32 or bfloat16"),
        ([twice, *store], "duplicate id 'u1', twice"),
        ([manifest, twice, *store], "twice.jsonl: duplicate id 'u0', as in .*m.jsonl"),
        ([tmp_path / "0.wav", tmp_path / "0.flac", *store], "0.flac: duplicate id '0', as in .*0.wav"),
        (["--show", manifest], "m.jsonl: is a file; name the folder"),
    ):
        result = CliRunner().invoke(app, ["features", *map(str, arguments)])
        assert isinstance(result.exception, UserError)
        assert re.search(sentence, str(result.exception)), sentence
    assert not (tmp_path / "store").exists()
    with pytest.raises(UserError, match=r"twice\.jsonl:.*duplicate id 'u1'"):
        run_recipe(recipe, tmp_path / "exp", overrides=[f"manifest={twice}"], quiet=True, device="cpu")


def test_every_channel_of_a_recording_is_an_item_counted_from_one(tmp_path):
    sound = 0.1 * np.random.default_rng(0).standard_normal((24_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "talk.wav", sound, 16_000)
    for channel in (0, 1):
        soundfile.write(tmp_path / f"only{channel}.wav", sound[:, channel], 16_000)
    inputs = [str(tmp_path / name) for name in ("talk.wav", "only0.wav", "only1.wav")]
    result = CliRunner().invoke(app, ["features", *inputs, "--encoder", "mfcc", "--out", str(tmp_path / "store")])
    assert result.exit_code == 0, result.output
    store = FeatureStore(tmp_path / "store")
    assert store.ids() == ["talk-channel1", "talk-channel2", "only0", "only1"]
    for channel in (0, 1):
        np.testing.assert_array_equal(store[f"talk-channel{channel + 1}"], store[f"only{channel}"])
