"""Claims about concept models: no future leaks, guidance, modes, books, files; planted vectors stand for speech."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechkit.encoders.spec import EncoderSpec
from speechkit.errors import ConfigError, UserError
from speechkit.lm.concepts.config import ConceptConfig, QuantizedConfig, RegressionConfig, TowerConfig, TwoTowerConfig
from speechkit.lm.concepts.model import ConceptModel, windows
from speechkit.lm.concepts.quantized import Quantized, residual_books
from speechkit.lm.concepts.tower import draw_blind
from speechkit.nn.noise_schedule import SamplingSteps, ScheduleConfig

WIDTH = 6
ENCODER = EncoderSpec("planted", "0", "1", "none", WIDTH, 16_000, 320)
SMALL = TowerConfig(width=16, heads=2, feed_width=24, layers=2, dropout=0)
PLAIN = SamplingSteps(steps=4, guidance=1, rescale=0, initial_noise=1, noise_divisor=1)
VARIANTS = {
    "base": RegressionConfig(),
    "two towers": TwoTowerConfig(layers=2, sampling=SamplingSteps(steps=4)),
    "codes": QuantizedConfig(books=3, codes=4, layers=2),
    "vectors": QuantizedConfig(foresees="vectors", books=3, codes=4, layers=2),
}


def planted(variant, width=WIDTH, tower=SMALL, seed=0, context=8):
    """A model whose closed gates are opened, so that everything reaches everything it may."""
    torch.manual_seed(seed)
    encoder = msgspec.structs.replace(ENCODER, dim=width)
    model = ConceptModel(
        ConceptConfig(encoder=encoder, speaker_directions=0, tower=tower, variant=variant, context=context)
    )
    for name, weight in model.named_parameters():
        if ".modulation." in name:
            torch.nn.init.normal_(weight, std=0.3)
    if isinstance(model.variant, Quantized):
        model.variant.centroids.normal_()
        model.variant.centroids[:, 0] = 0
    return model.double().eval()


def foreseen(model, concepts, seed=0):
    return model.predict(concepts, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_place_does_not_see_itself_or_what_comes_later(name):
    model = planted(VARIANTS[name])
    concepts = torch.randn(1, 7, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = foreseen(model, concepts)
    for place in range(7):
        changed = concepts.clone()
        changed[:, place] += 3
        after = foreseen(model, changed)
        assert torch.equal(after[:, : place + 1], before[:, : place + 1])
        if place < 6 and name in ("base", "two towers"):
            assert not torch.allclose(after[:, place + 1], before[:, place + 1])


def test_the_gradient_of_a_foreseen_concept_by_later_clean_ones_is_zero():
    model = planted(VARIANTS["two towers"])
    concepts = torch.randn(1, 6, WIDTH, dtype=torch.float64, requires_grad=True)
    noisy, levels = torch.randn(1, 6, WIDTH).double(), torch.randint(100, (1, 6))
    clean = model.variant.estimate_clean(noisy, levels, model.reader(concepts))
    for place in range(6):
        gradient = torch.autograd.grad(clean[0, place].square().sum(), concepts, retain_graph=True)[0][0]
        assert bool((gradient[place:] == 0).all())
        assert place == 0 or bool((gradient[:place].abs().sum(1) > 0).all())


@pytest.mark.parametrize("name", VARIANTS)
def test_padded_documents_cost_what_each_costs_alone(name):
    model = planted(VARIANTS[name])
    generator = torch.Generator().manual_seed(2)
    concepts = torch.randn(2, 5, WIDTH, dtype=torch.float64, generator=generator)
    changed = concepts.clone()
    changed[1, 3:] = 100.0
    lengths = torch.tensor([5, 3])
    losses = []
    for rows in (concepts, changed):
        torch.manual_seed(0)
        losses.append(float(model.loss(rows, lengths)[0].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_guidance_of_one_is_the_conditional_tower_alone():
    conditional = planted(TwoTowerConfig(layers=2, sampling=PLAIN))
    guided = planted(TwoTowerConfig(layers=2, sampling=msgspec.structs.replace(PLAIN, guidance=1.0000001)))
    concepts = torch.randn(1, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(foreseen(conditional, concepts), foreseen(guided, concepts), atol=1e-4)
    strong = planted(TwoTowerConfig(layers=2, sampling=msgspec.structs.replace(PLAIN, guidance=3.0)))
    assert not torch.allclose(foreseen(conditional, concepts), foreseen(strong, concepts), atol=1e-4)


def test_blind_places_foresee_the_same_whatever_was_said():
    model = planted(VARIANTS["two towers"])
    noisy, levels = torch.randn(1, 5, WIDTH).double(), torch.randint(100, (1, 5))
    blind = torch.tensor([[False, True, False, True, False]])
    one, other = (
        model.variant.estimate_clean(noisy, levels, model.reader(torch.randn(1, 5, WIDTH).double()), blind)
        for _ in range(2)
    )
    same = torch.isclose(one, other).all(-1)[0]
    assert same.tolist() == [True, True, False, True, False]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0.05, 0.9), st.integers(0, 99))
def test_a_share_of_places_is_blind_and_never_the_first(lengths, share, seed):
    torch.manual_seed(seed)
    blind = draw_blind(torch.tensor(lengths), max(lengths), share)
    assert not blind[:, 0].any()
    for row, length in zip(blind, lengths, strict=True):
        assert int(row.sum()) == int(torch.tensor(float(length - 1)).mul(share).floor())
        assert not row[length:].any()


def two_modes(documents, places, mode, deviation, random):
    sides = random.choice([-1.0, 1.0], (documents, places, 1))
    return torch.from_numpy(sides * mode + random.normal(0, deviation, (documents, places, len(mode)))).float()


def taught(variant, concepts, steps, rate=3e-3):
    torch.manual_seed(0)
    tower = TowerConfig(width=32, heads=2, feed_width=64, layers=1, dropout=0)
    model = planted(variant, concepts.shape[2], tower, context=16).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    rows = torch.full((len(concepts),), concepts.shape[1])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        model.loss(concepts, rows)[0].backward()
        optimizer.step()
    return model.eval()


@pytest.mark.slow
def test_of_two_things_that_may_follow_regression_says_neither_and_diffusion_one():
    random = np.random.default_rng(0)
    mode, deviation = np.array([1.5, -1.0, 0.5, 0.8]), 0.15
    concepts = two_modes(64, 8, mode, deviation, random)
    held = two_modes(32, 8, mode, deviation, random)
    sides = torch.tensor([[1.0], [-1.0]]) * torch.from_numpy(mode).float()
    config = TwoTowerConfig(layers=2, sampling=msgspec.structs.replace(PLAIN, steps=50))
    models = taught(RegressionConfig(), concepts, 80), taught(config, concepts, 400)
    with torch.no_grad():
        mean, drawn = (foreseen(model, held) for model in models)
    assert float(mean.norm(dim=-1).mean()) < 0.3 * float(np.linalg.norm(mode))
    nearest = torch.cdist(drawn.flatten(0, 1), sides).min(1)
    # The length of a vector of four normal numbers of this deviation is within 3 sd root(4) but once in 10,000.
    assert float((nearest.values < 3 * deviation * 2).float().mean()) > 0.95
    assert 0.3 < float(nearest.indices.float().mean()) < 0.7


@settings(max_examples=6)
@given(st.integers(0, 999), st.integers(1, 4))
def test_what_books_leave_over_never_grows(seed, books):
    random = np.random.default_rng(seed)
    concepts = random.standard_t(3, (40, 5)).astype(np.float32)
    model = Quantized(5, SMALL, QuantizedConfig(books=books, codes=6))
    model.fit(concepts, seed)
    other = torch.from_numpy(random.standard_t(3, (1, 30, 5)).astype(np.float32))
    _, partial = model.quantize(other)
    left = (other[..., None, :] - partial).norm(dim=-1)
    assert bool((left.diff(dim=-1) <= 1e-5).all())


def test_codes_are_those_of_a_slow_search_one_book_after_another():
    random = np.random.default_rng(4)
    concepts = random.normal(size=(50, 3)).astype(np.float32)
    model = Quantized(3, SMALL, QuantizedConfig(books=3, codes=5))
    model.fit(concepts, 0)
    codes, partial = model.quantize(torch.from_numpy(concepts[None]))
    for row, concept in enumerate(concepts):
        rest = concept.copy()
        for book, chosen in zip(model.centroids.numpy(), codes[0, row].tolist(), strict=True):
            distances = ((book - rest) ** 2).sum(1)
            assert distances[chosen] == pytest.approx(distances.min(), abs=1e-5)
            rest = rest - book[chosen]
        assert partial[0, row, -1].numpy() + rest == pytest.approx(concept, abs=1e-5)


@pytest.mark.parametrize("kind", ["codes", "vectors"])
def test_a_quantized_model_learns_which_of_its_sums_follows(kind):
    """Concepts alternate between two vectors: the next one is certain."""
    concepts = torch.tensor([[2.0, 0, 1], [-1, 1, -1]]).repeat(4, 1)[None].repeat(8, 1, 1)
    config = QuantizedConfig(foresees=kind, books=2, codes=3, layers=1, sharpness=20, temperature=0)
    torch.manual_seed(0)
    model = planted(config, 3, SMALL).float().train()
    noise = np.random.default_rng(0).normal(0, 0.02, (64, 3)).astype(np.float32)
    model.variant.fit(concepts.flatten(0, 1).numpy() + noise, 0)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(concepts, torch.full((8,), 8))[0].backward()
        optimizer.step()
    with torch.no_grad():
        found = foreseen(model.eval(), concepts)
    assert torch.allclose(found[:, 1:], concepts[:, 1:], atol=0.2)


def test_books_need_as_many_concepts_as_codes():
    with pytest.raises(UserError, match="too few for 9 clusters"):
        residual_books(np.zeros((4, 3), np.float32) + np.arange(4)[:, None].astype(np.float32), 1, 10, 0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_model_foresees_the_same(name, tmp_path):
    model = planted(VARIANTS[name]).float()
    model.space.scale.uniform_(0.5, 2)
    model.save_pretrained(tmp_path)
    again = ConceptModel.from_pretrained(tmp_path)
    assert again.config == model.config
    vectors = np.random.default_rng(0).normal(size=(20, WIDTH)).astype(np.float32)
    assert np.array_equal(again.concepts(vectors), model.concepts(vectors))
    concepts = model.concepts(vectors)
    assert np.array_equal(again.predict_document(concepts, 3), model.predict_document(concepts, 3))
    assert np.array_equal(again.generate(concepts, 3, 1), model.generate(concepts, 3, 1))


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path):
    planted(VARIANTS["codes"]).float().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "variant": {"type": "base"}}))
    with pytest.raises(UserError, match="get the files of one checkpoint"):
        ConceptModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "speechkit-unit-lm"}))
    with pytest.raises(UserError, match="cannot be loaded as a concept model"):
        ConceptModel.from_pretrained(tmp_path)


def test_vectors_of_another_width_are_refused():
    with pytest.raises(UserError, match="the vectors have width 4"):
        planted(VARIANTS["base"]).concepts(np.zeros((2, 4), np.float32))


@given(st.integers(1, 60), st.integers(2, 20))
def test_windows_make_each_place_new_once_with_half_the_context_before_it(count, context):
    seen = []
    for begin, end, new in windows(count, context):
        assert end - begin <= context
        assert new - begin >= min(new, context // 2)
        seen += range(new, end)
    assert seen == list(range(count))


def test_long_documents_are_foreseen_as_their_windows_are():
    model = planted(VARIANTS["base"], context=4).float()
    concepts = np.random.default_rng(5).normal(size=(9, WIDTH)).astype(np.float32)
    whole = model.predict_document(concepts)
    assert whole.shape == concepts.shape
    with torch.no_grad():
        last = model.predict(torch.from_numpy(concepts[None, 4:8]), torch.Generator())[0, -1]
    assert whole[7] == pytest.approx(last.numpy(), abs=1e-6)


def test_a_concept_that_goes_on_is_the_one_foreseen():
    model = planted(VARIANTS["base"]).float()
    concepts = np.random.default_rng(6).normal(size=(5, WIDTH)).astype(np.float32)
    more = model.generate(concepts, 2)
    asked = np.concatenate([concepts, more[:1], np.zeros((1, WIDTH), np.float32)])
    assert more[1] == pytest.approx(model.predict_document(asked)[-1], abs=1e-5)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="twice the heads"):
        TowerConfig(width=18, heads=4)
    with pytest.raises(ConfigError, match="fewer steps"):
        TwoTowerConfig(schedule=ScheduleConfig(levels=10), sampling=SamplingSteps(steps=20))
    with pytest.raises(ConfigError, match="needs positions trained without"):
        TwoTowerConfig(blind=0)
