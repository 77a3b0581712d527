"""Claims about draft heads: what comes out has the model's own law, and training and drafting agree."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from speechkit.errors import ConfigError, UserError
from speechkit.lm.decoder import NetworkDecoder
from speechkit.lm.decoding import draft_tree as trees
from speechkit.lm.decoding.draft_heads import DraftHeads, HeadsDrafter, new_heads
from speechkit.lm.decoding.draft_tree import DraftTree, rejection
from speechkit.lm.decoding.sampling import SamplingConfig, sample
from speechkit.lm.decoding.speculative import DraftConfig, speculate
from speechkit.lm.objectives.draft_heads import DraftLoss
from speechkit.lm.packing import IGNORED
from speechkit.units.quantizers import UnitSet
from tests.lm.planted_networks import unit_model
from tests.lm.test_sequence_models import warm
from tests.lm.test_speculative import drawing_chance

FEW = UnitSet("c0ffee", 3, 50.0)
TREES = {
    "chain": DraftConfig(factors=(1, 1, 1)),
    "RSD-C": DraftConfig(factors=(3, 2)),
    "RSD-S": DraftConfig(width=3, levels=2),
}


def planted(layer="attention", units=FEW, heads=3, spread=0.7, seed=0, model_spread=0.4):
    """A model and heads that say something else than it does."""
    network = unit_model(layer, units=units, seed=seed, spread=model_spread).double()
    made = new_heads(network, heads).double()
    torch.manual_seed(seed + 1)
    for head in made.heads:
        torch.nn.init.normal_(head.weight, std=spread)
    return network, made


def drafter(network, heads):
    return NetworkDecoder(network), HeadsDrafter(heads, network)


def drafted_laws(network, heads, prompt, path):
    """The heads' law behind a token that follows a prompt, and behind each token of a drafted path."""
    made = HeadsDrafter(heads, network)
    state = made.follow(made.begin(prompt), path[:1], None)
    laws = [state.logp[0]]
    for token in path[1:]:
        state = made.step(state, np.array([token]))
        laws.append(state.logp[0])
    return np.stack(laws)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 50))
def test_every_order_of_drafts_by_the_heads_emits_the_models_law_exactly(prompt, count, seed):
    """Exact enumeration: p of the model, q of the heads, over all orders in which children can be drawn."""
    network, heads = planted(seed=seed)
    target = NetworkDecoder(network)
    line = [target.boundary, *prompt]
    q = np.exp(drafted_laws(network, heads, line[:-1], line[-1:])[0])
    p = np.exp(target.prefill(np.array([line]), np.array([len(line)]))[1].logp[0])
    law = np.zeros_like(p)
    for children in permutations(range(len(p)), count):
        reached = drawing_chance(q, children)
        chances, residual = rejection(p, q, children)
        for token, chance in zip(children, chances, strict=True):
            law[token] += reached * chance
            reached *= 1 - chance
        law += reached * residual
    assert np.abs(p - q).sum() > 1e-3
    # Chances of orders divide by what is left of q, a difference that may be as small as 1e-5.
    assert np.abs(law - p).sum() / 2 < 1e-10


def misfit(config, runs=600, seed=0):
    """Chi-square of the first two tokens of many runs, and the value that chance passes once in 10,000.

    Pairs that are expected less than five times count together.
    """
    network, heads = planted(model_spread=0.15, spread=0.8)
    target, draft = drafter(network, heads)
    sampling, prompt = SamplingConfig(max_tokens=2), [target.boundary, 1]
    generator = np.random.default_rng(seed)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(runs):
        found = speculate(target, draft, prompt, sampling, config, generator)
        line = (*found.tokens, target.boundary) if found.ended else tuple(found.tokens)
        counts[line] = counts.get(line, 0) + 1

    def law(line):
        tokens = [*prompt, *line]
        return np.exp(target.prefill(np.array([tokens]), np.array([len(tokens)]))[1].logp[0])

    expected = {}
    for first, chance in enumerate(law(())):
        if first == target.boundary:
            expected[(first,)] = runs * chance
        else:
            expected |= {(first, second): runs * chance * further for second, further in enumerate(law((first,)))}
    assert sum(expected.values()) == pytest.approx(runs)
    assert counts.keys() <= expected.keys()
    rare = [line for line in expected if expected[line] < 5]
    cells = [(counts.get(line, 0), expected[line]) for line in expected if line not in rare]
    if rare:
        cells.append((sum(counts.get(line, 0) for line in rare), sum(expected[line] for line in rare)))
    return sum((count - each) ** 2 / each for count, each in cells), chi2.isf(1e-4, len(cells) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TREES)
def test_two_tokens_together_have_the_law_of_the_model(kind):
    value, limit = misfit(TREES[kind])
    assert value < limit


@pytest.mark.slow
def test_a_verifier_that_forgets_what_the_heads_drew_is_found_out(monkeypatch):
    monkeypatch.setattr(trees, "_without", lambda q, token: q)
    value, limit = misfit(TREES["RSD-S"], runs=1000)
    assert value > 2 * limit


@pytest.mark.slow
def test_drafts_of_the_heads_tested_in_order_of_probability_are_found_out(monkeypatch):
    honest = DraftTree.children

    def likeliest_first(self, node):
        return sorted(honest(self, node), key=lambda child: -self.draft[node + 1, self.tokens[child]])

    monkeypatch.setattr(DraftTree, "children", likeliest_first)
    value, limit = misfit(TREES["RSD-S"], runs=1000)
    assert value > 2 * limit


@pytest.mark.parametrize("layer", ["attention", "windowed attention", "lstm"])
@pytest.mark.parametrize("kind", TREES)
def test_greedy_speculation_with_heads_gives_the_greedy_sequence(layer, kind):
    network, heads = planted(layer)
    target, draft = drafter(network, heads)
    greedy, prompt = SamplingConfig(temperature=0, max_tokens=24), [target.boundary, 2, 0]
    alone = sample(target, [prompt], greedy, [np.random.default_rng(0)])[0]
    config = {name: getattr(TREES[kind], name) for name in ("factors", "width", "levels")}
    found = speculate(target, draft, prompt, greedy, DraftConfig(**config, temperature=1.0), np.random.default_rng(1))
    assert found.tokens == alone.tokens
    assert found.logp == pytest.approx(alone.logp)


@pytest.mark.slow
def test_heads_of_a_text_model_draft_for_it(tmp_path):
    network = warm("llama", tmp_path)._network
    target = NetworkDecoder(network)
    greedy = SamplingConfig(temperature=0, max_tokens=12)
    alone = sample(target, [[target.boundary]], greedy, [np.random.default_rng(0)])[0]
    draft = HeadsDrafter(new_heads(network, 2), network)
    config = DraftConfig(factors=(2, 1), temperature=1.0)
    assert speculate(target, draft, [target.boundary], greedy, config, np.random.default_rng(0)).tokens == alone.tokens


@pytest.mark.parametrize("layer", ["attention", "lstm"])
def test_heads_say_the_same_in_training_and_behind_what_the_model_has_read(layer):
    """The loss of a batch is that of the laws that `HeadsDrafter` gives behind each thought and path of true tokens."""
    network, heads = planted(layer, heads=2)
    line = [3, 0, 2, 1, 1, 0]
    batch = {"tokens": torch.tensor([line]), "targets": torch.tensor([[*line[1:], 3]])}
    size = heads.boundary + 1
    total = 0.0
    model = network.logits(network.hidden(batch["tokens"]))[0, :, :size].log_softmax(-1).detach().numpy()
    for head in range(2):
        costs = []
        for place in range(head + 1, len(line)):
            read = line[: place - head]
            law = drafted_laws(network, heads, read, line[len(read) : place + 1])[head]
            wanted = model[place]
            costs.append(-law[int(batch["targets"][0, place])] + (np.exp(wanted) * (wanted - law)).sum())
        total += 0.8**head * float(np.mean(costs))
    loss, numbers = DraftLoss(network)(heads, batch)
    keys, values = [], []
    with torch.no_grad():
        thoughts = network.hidden(batch["tokens"])
        at = torch.arange(len(line))
        from speechkit.lm.objectives.draft_heads import _trigrams

        grams = heads.grams(_trigrams(batch["tokens"], torch.zeros_like(batch["tokens"]), 3))
        for part in (heads.keys_and_values(thoughts, at, grams=False), heads.keys_and_values(grams, at, grams=True)):
            keys.append(part[0])
            values.append(part[1])
        seen = torch.cat([at[:, None] - 1 >= at, at[:, None] >= at], 1)[None]
        guesses = heads.estimate(grams, at, torch.cat(keys, 2), torch.cat(values, 2), seen)
        total += float(torch.nn.functional.smooth_l1_loss(guesses[:, 1:], thoughts[:, 1:]))
    assert float(loss.detach()) == pytest.approx(total, abs=1e-5)
    assert set(numbers) == {"head_0_overlap", "head_1_overlap"}


def test_packed_documents_cost_what_each_costs_alone():
    network, heads = planted(heads=2)
    lines = [[3, 0, 2, 1], [3, 1, 1, 2]]
    targets = [[*line[1:], 3] for line in lines]
    loss = DraftLoss(network)
    alone = [
        float(loss(heads, {"tokens": torch.tensor([x]), "targets": torch.tensor([y])})[0].detach())
        for x, y in zip(lines, targets, strict=True)
    ]
    packed = loss(
        heads,
        {
            "tokens": torch.tensor([lines[0] + lines[1] + [0]]),
            "targets": torch.tensor([targets[0] + targets[1] + [IGNORED]]),
            "documents": torch.tensor([[0] * 4 + [1] * 4 + [-1]]),
        },
    )[0]
    assert float(packed.detach()) == pytest.approx(sum(alone) / 2, abs=1e-6)


def test_the_model_is_frozen_and_heads_learn_its_law():
    network = unit_model(units=FEW, seed=3, spread=0.4)
    heads = new_heads(network, 2)
    before = [each.clone() for each in network.parameters()]
    rows = sample(
        NetworkDecoder(network), [[3]] * 16, SamplingConfig(max_tokens=12), list(map(np.random.default_rng, range(16)))
    )
    tokens = torch.full((16, 14), 3)
    targets = torch.full((16, 14), IGNORED)
    for place, row in enumerate(rows):
        line = [3, *row.tokens, *([3] if row.ended else [])]
        tokens[place, : len(line) - 1] = torch.tensor(line[:-1])
        targets[place, : len(line) - 1] = torch.tensor(line[1:])
    batch = {"tokens": tokens, "targets": targets}
    loss = DraftLoss(network)
    optimizer = torch.optim.AdamW(heads.parameters(), 3e-3)
    first = loss(heads, batch)
    for _ in range(40):
        optimizer.zero_grad()
        loss(heads, batch)[0].backward()
        optimizer.step()
    last = loss(heads, batch)
    assert float(last[0].detach()) < 0.9 * float(first[0].detach())
    assert last[1]["head_0_overlap"] > first[1]["head_0_overlap"]
    assert last[1]["head_0_overlap"] >= last[1]["head_1_overlap"] - 0.02
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))
    assert torch.equal(heads.embedding, network.embedding.weight)


def test_saved_heads_draft_the_same(tmp_path):
    network, heads = planted()
    heads.float().save_pretrained(tmp_path)
    again = DraftHeads.from_pretrained(tmp_path)
    assert again.config == heads.config
    network = network.float()
    assert np.array_equal(
        drafted_laws(network, heads, [3, 0], [1, 2, 0]), drafted_laws(network, again, [3, 0], [1, 2, 0])
    )


def test_trees_deeper_than_the_heads_and_heads_of_other_models_are_refused():
    network, heads = planted(heads=2)
    target, draft = drafter(network, heads)
    with pytest.raises(ConfigError, match="a draft tree of depth 3"):
        speculate(target, draft, [3], SamplingConfig(), TREES["chain"], np.random.default_rng(0))
    with pytest.raises(UserError, match="draft heads use the codebook"):
        HeadsDrafter(heads, unit_model(units=UnitSet("other", 3, 50.0)))
    wide = unit_model(units=FEW, width=32).double()
    with pytest.raises(UserError, match="model of width 16"):
        speculate(
            NetworkDecoder(wide),
            HeadsDrafter(heads, wide),
            [3],
            SamplingConfig(),
            TREES["RSD-C"],
            np.random.default_rng(0),
        )
