"""Three families of pre-training: what is masked and drawn, and that each learns on real batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.data import Utterance
from speechkit.encoders import load_encoder
from speechkit.encoders.families.autoregressive import AutoregressiveConfig, AutoregressiveModel
from speechkit.encoders.pretraining.batches import WaveformBatches
from speechkit.encoders.pretraining.contrastive import ContrastiveObjective, contrastive_loss
from speechkit.encoders.pretraining.generative import GenerativeObjective
from speechkit.encoders.pretraining.masking import negatives, span_masks
from speechkit.encoders.pretraining.objective import pretraining
from speechkit.encoders.pretraining.predictive import IGNORED, PredictiveObjective
from speechkit.encoders.pretraining.sizes import sized_config
from speechkit.encoders.stages import write_layers
from speechkit.encoders.store import FeatureStore
from speechkit.errors import ConfigError
from speechkit.io.audio import write_audio
from speechkit.nn.masks import length_mask
from speechkit.training import TrainingConfig, train

FRAMES = st.lists(st.integers(1, 120), min_size=1, max_size=5)


@settings(max_examples=80)
@given(FRAMES, st.floats(0.01, 0.3), st.integers(1, 15), st.integers(0, 99))
def test_masks_lie_inside_their_items_and_leave_something_to_see(frames, share, span, seed):
    mask = span_masks(frames, share, span, np.random.default_rng(seed))
    assert mask.shape == (len(frames), max(frames))
    for row, count in enumerate(frames):
        assert not mask[row, count:].any()
        if count >= 2:
            assert mask[row, :count].any()
            assert not mask[row, :count].all()


def test_about_half_of_the_frames_are_masked_with_the_settings_of_the_paper():
    mask = span_masks([500] * 40, 0.065, 10, np.random.default_rng(0))
    assert 0.44 < mask.mean() < 0.54  # 49 % by the paper's own count


@settings(max_examples=80)
@given(FRAMES, st.integers(1, 9), st.integers(0, 99))
def test_negatives_are_other_masked_frames_of_the_same_item(frames, count, seed):
    generator = np.random.default_rng(seed)
    mask = span_masks(frames, 0.1, 3, generator)
    chosen = negatives(mask, count, generator)
    batch, longest = mask.shape
    assert chosen.shape == (batch, longest, count)
    for row in range(batch):
        masked = mask[row].sum()
        for frame in np.flatnonzero(mask[row]):
            rows, places = np.divmod(chosen[row, frame], longest)
            assert (rows == row).all()
            assert mask[row, places].all()
            if masked > 1:
                assert (places != frame).all()


@pytest.fixture
def batches(tmp_path):
    """Tones that change every half second: the network can learn what comes behind a mask."""
    generator = np.random.default_rng(0)
    rows = []
    for index in range(6):
        pitches = np.repeat(generator.choice([200.0, 900.0, 2_500.0], size=4), 8_000)
        waveform = 0.2 * np.sin(2 * np.pi * np.cumsum(pitches) / 16_000) + 0.01 * generator.standard_normal(32_000)
        write_audio(tmp_path / f"{index}.wav", waveform.astype(np.float32), 16_000)
        rows.append(
            Utterance.from_samples(
                id=str(index), audio_filepath=f"{index}.wav", num_samples=len(waveform), sample_rate=16_000
            )
        )
    return WaveformBatches(rows, tmp_path / "m.jsonl", 6.0, 1.5, 3)


def learn(objective, batches, folder, steps, rate=2e-3):
    logged = []
    config = TrainingConfig(
        steps=steps, learning_rates=(rate,), warmup_steps=5, log_every=5, evaluate_every=steps, save_every=steps
    )
    train(pretraining(objective, batches, objective.save, batches, 0), config, folder, log=logged.append)
    return [dict((part.rsplit(" ", 1)) for part in line.split(": ", 1)[1].split(", ")) for line in logged]


@pytest.mark.slow
def test_the_contrastive_family_learns_and_its_folder_loads(batches, tmp_path):
    from transformers import Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    config = sized_config("tiny", num_negatives=10, num_codevectors_per_group=8, layerdrop=0.0, hidden_dropout=0.0)
    network = Wav2Vec2ForPreTraining(config)
    objective = ContrastiveObjective(network, seed=0, feature_gradient=1.0, feature_penalty=0.0)
    logged = learn(objective, batches, tmp_path / "run", 120)
    assert float(logged[-1]["cosine"]) > float(logged[0]["cosine"]) + 0.08  # predictions come nearer to their targets
    assert float(logged[-1]["codevector_perplexity"]) > float(logged[0]["codevector_perplexity"])  # of more codes
    objective.save(tmp_path / "model")
    encoder = load_encoder(str(tmp_path / "model"), device="cpu")
    assert encoder.encode(np.zeros(3_200, np.float32)).shape == (10, 32)


def test_the_contrastive_losses_are_those_of_transformers(batches):
    from transformers import Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    network = Wav2Vec2ForPreTraining(sized_config("tiny", num_negatives=10, num_codevectors_per_group=8)).eval()
    objective = ContrastiveObjective(network, seed=0)
    batch = objective.prepare(batches(1), 1)
    with torch.no_grad():
        _, ours = objective.loss(objective.network.eval(), batch)
        theirs = network(
            torch.nn.functional.pad(batch["inputs"], (40, 40)),
            attention_mask=length_mask(batch["lengths"] + 80, batch["inputs"].shape[1] + 80).long(),
            mask_time_indices=batch["mask"],
            sampled_negative_indices=batch["negatives"],
        )
    masked = int(batch["mask"].sum())
    assert ours["contrastive"] == pytest.approx(float(theirs.contrastive_loss) / masked, rel=1e-4)
    assert ours["diversity"] == pytest.approx(float(theirs.diversity_loss) / masked, rel=1e-5)
    assert ours["codevector_perplexity"] == pytest.approx(float(theirs.codevector_perplexity), rel=1e-5)


def test_codes_that_no_frame_takes_leave_the_gradient_finite(batches):
    from transformers import Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    network = Wav2Vec2ForPreTraining(sized_config("tiny", num_negatives=10, num_codevectors_per_group=8))
    with torch.no_grad():
        network.quantizer.weight_proj.bias[3] = -1e4
    objective = ContrastiveObjective(network, seed=0)
    loss, _ = objective.loss(objective.network.train(), objective.prepare(batches(1), 1))
    loss.backward()
    gradients = [weight.grad for weight in objective.network.parameters() if weight.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_negative_with_the_codes_of_the_target_does_not_count():
    generator = torch.Generator().manual_seed(0)
    found, wanted = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    codes = torch.tensor([[0, 1], [0, 1], [0, 2], [3, 1]])
    wanted[1] = wanted[0]
    place = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    cosine = torch.nn.functional.cosine_similarity(found[:, None], wanted[None], dim=-1) / 0.1
    expected = 0.0
    for frame, others in enumerate([[2, 3], [2, 3], [0, 1, 3], [0, 1, 2]]):
        expected += float(torch.logsumexp(cosine[frame, [frame, *others]], 0) - cosine[frame, frame]) / 4
    assert float(contrastive_loss(found, wanted, codes, place, 0.1)) == pytest.approx(expected, rel=1e-5)
    assert float(contrastive_loss(found, wanted, None, place, 0.1)) > expected
    one = wanted[:1].expand(4, -1)  # all codes fallen together: nothing to pay, or all
    assert float(contrastive_loss(found, one, torch.zeros(4, 2, dtype=torch.long), place, 0.1)) == 0
    assert float(contrastive_loss(found, one, None, place, 0.1)) == pytest.approx(np.log(4), rel=1e-5)


def test_the_predictive_family_learns_its_targets_at_the_place_of_the_crop(batches, tmp_path):
    from transformers import Wav2Vec2Model

    torch.manual_seed(0)

    def targets(item):
        return np.arange(100) // 25 + 4 * item

    objective = PredictiveObjective(
        Wav2Vec2Model(sized_config("tiny", layerdrop=0.0, hidden_dropout=0.0)), 24, targets, seed=0
    )
    batch = objective.prepare(batches(1), 1)
    for row, (item, begin) in enumerate(zip(batch["items"].tolist(), batch["begins"].tolist(), strict=True)):
        frames = int(batch["lengths"][row]) // 320
        expected = targets(item)[begin // 320 :][:frames]
        assert batch["targets"][row, :frames].tolist() == expected.tolist()
        assert (batch["targets"][row, frames:] == IGNORED).all()
    logged = learn(objective, batches, tmp_path / "run", 40)
    assert float(logged[-1]["loss"]) < 0.9 * float(logged[0]["loss"])
    objective.save(tmp_path / "model")
    assert load_encoder(str(tmp_path / "model"), device="cpu").num_layers == 2


def test_the_generative_family_learns_to_foretell_and_sees_nothing_that_comes_later(batches, tmp_path):
    torch.manual_seed(0)
    objective = GenerativeObjective(AutoregressiveModel(AutoregressiveConfig(width=32, layers=2)))
    logged = learn(objective, batches, tmp_path / "run", 60, rate=5e-3)
    assert float(logged[-1]["loss"]) < 0.8 * float(logged[0]["loss"])
    objective.save(tmp_path / "model")
    encoder = load_encoder(str(tmp_path / "model"), device="cpu")
    assert (encoder.num_layers, encoder.spec.dim) == (2, 32)
    frames = torch.randn(1, 30, 80)
    changed = frames.clone()
    changed[:, 20:] += 1
    with torch.no_grad():
        once, again = objective.network(frames)[-1], objective.network(changed)[-1]
    assert torch.equal(once[:, :20], again[:, :20])
    assert not torch.equal(once[:, 20:], again[:, 20:])


@pytest.mark.parametrize("width", [16, 100])
def test_all_layers_of_an_autoregressive_encoder_can_be_kept_and_probed(width, tmp_path):
    AutoregressiveModel(AutoregressiveConfig(width=width, layers=2)).save_pretrained(tmp_path / "model")
    waveform = np.random.default_rng(0).standard_normal(9_000).astype(np.float32)
    encoder = load_encoder(str(tmp_path / "model"), device="cpu")
    assert write_layers(tmp_path / "store", encoder, [("a", waveform), ("brief", waveform[:100])], "float32") == 2
    cache = FeatureStore(tmp_path / "store", "all")
    assert (cache.num_layers, cache.frames("a"), cache.frames("brief")) == (3, 28, 0)
    assert cache.spec == encoder.spec
    for layer in (1, 2):
        alone = load_encoder(str(tmp_path / "model"), layer=layer, device="cpu").encode(waveform)
        np.testing.assert_array_equal(cache.layer("a", layer), alone)
    mel = load_encoder("log-mel").encode(waveform)
    np.testing.assert_array_equal(cache.layer("a", 0)[:, :80], mel[:, :width])
    assert not cache.layer("a", 0)[:, 80:].any()
    assert load_encoder(str(tmp_path / "model"), layer=0, device="cpu").encode_layers(waveform).shape == (1, 28, 80)


def test_an_autoregressive_encoder_keeps_the_promises_of_all_encoders(tmp_path):
    AutoregressiveModel(AutoregressiveConfig(width=16, layers=2)).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path), device="cpu")
    generator = np.random.default_rng(0)
    items = [generator.standard_normal(count).astype(np.float32) for count in (9_000, 4_000, 100)]
    for item, frames in zip(items, encoder.encode_batch(items), strict=True):
        assert frames.shape == (len(item) // 320, 16)
        np.testing.assert_array_equal(frames, encoder.encode(item))
    assert encoder.encode_layers(items[0]).shape == (3, 28, 16)
    assert load_encoder(str(tmp_path), layer=0, device="cpu").spec.dim == 80
    with pytest.raises(ConfigError, match="layers 0 to 2"):
        load_encoder(str(tmp_path), layer=3, device="cpu")
    with pytest.raises(ConfigError, match="choose one of them"):
        load_encoder(str(tmp_path), layer_weights=[1, 1, 1], device="cpu")


def test_a_batch_depends_on_its_number_alone(batches):
    from transformers import Wav2Vec2ForPreTraining

    objective = ContrastiveObjective(Wav2Vec2ForPreTraining(sized_config("tiny")), seed=0)
    once, again = (objective.prepare(batches(9), 9) for _ in range(2))
    assert all(torch.equal(once[name], again[name]) for name in once)
