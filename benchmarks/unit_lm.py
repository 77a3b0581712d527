"""The unit language model beside transformers' Llama of the same weights: training, generation, and drafts.

Protocol: the size given (tiny), with drawn weights, exported as a plain `LlamaForCausalLM`; both give the same logits,
or the benchmark fails. One thread, float32, CPU seconds (other work on the machine costs wall time, not these), the
least of the repetitions, ways interleaved.

Training: forward and backward over the same recordings, whose lengths are drawn as those of read sentences are spread
(2 to 16 s at 23 units a second): ours packed in rows of 512, theirs padded batch by batch in the order of a shuffled
epoch; real tokens a second. Also theirs on full rows without padding, which is speed at equal size and batch.
Generation: 200 units behind 60, batch 1, sampling at temperature 0.8 and top-k 25; theirs by `generate` with its cache.
Drafts: units a call of the target and a CPU second, ends counted, for six sequences of at most 100 units; a bigram of
the target's own samples drafts six nodes a call, draft heads that were trained on the same samples four or six.
Drafting is in the time. Random weights give even laws; heads get HEAD_STEPS steps, and how much of their first law is
the target's, on those samples, says how far they came.

Run: python -m benchmarks.unit_lm [tiny|small] [drafts]

With ``drafts`` only these are measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from speechkit.lm.decoding.draft_heads import DraftHeads
    from speechkit.lm.unit_model import UnitModel

REPEATS, RECORDINGS, CONTEXT, ROWS, UNITS, SEQUENCES, HEAD_STEPS = 2, 48, 512, 4, 100, 6, 150
TREES = {
    "chain of 6": {"factors": (1,) * 6},
    "RSD-C 2,1,1": {"factors": (2, 1, 1)},
    "RSD-S 2x3": {"width": 2, "levels": 3},
}
HEAD_TREES = {
    "chain of 4": {"factors": (1,) * 4},
    "RSD-C 2,1,1": {"factors": (2, 1, 1)},
    "RSD-S 2x3": {"width": 2, "levels": 3},
}


def least(ways: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Tokens a CPU second of each way, the best of the repetitions behind the first."""
    best = dict.fromkeys(ways, 0.0)
    for turn in range(REPEATS + 1):
        for name, run in ways.items():
            began = time.process_time()
            tokens = run()
            if turn:
                best[name] = max(best[name], tokens / (time.process_time() - began))
    return best


def main() -> None:
    """Measure and print JSON."""
    import torch
    from transformers import AutoModelForCausalLM

    from speechkit.lm.decoder import NetworkDecoder
    from speechkit.lm.decoding.sampling import SamplingConfig, sample
    from speechkit.lm.llama import export_llama
    from speechkit.lm.objectives.next_token import next_token
    from speechkit.lm.packing import IGNORED
    from speechkit.lm.sizes import sized_stack
    from speechkit.lm.unit_batches import UnitBatches
    from speechkit.lm.unit_model import UnitModel, UnitModelConfig
    from speechkit.lm.vocabulary import UnitVocabulary
    from speechkit.nn.checkpoints import load_pretrained
    from speechkit.runtime import limit_threads
    from speechkit.units.quantizers import UnitSet
    from speechkit.units.sequences import UnitSequence

    limit_threads(1)
    torch.manual_seed(0)
    size = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    vocabulary = UnitVocabulary(UnitSet("benchmark", UNITS, 50.0))
    ours = UnitModel(UnitModelConfig(vocabulary=vocabulary, stack=sized_stack(size), context=CONTEXT))  # type: ignore[arg-type]
    torch.nn.init.normal_(ours.head.weight, std=0.3)
    with tempfile.TemporaryDirectory() as folder:
        export_llama(ours, folder)
        theirs = load_pretrained(AutoModelForCausalLM, folder, use_safetensors=True)
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(4, 2.2, RECORDINGS), 2, 16) * 23
    rows = [
        UnitSequence(str(n), random.integers(0, UNITS, int(size_)).tolist(), [1] * int(size_), "benchmark")
        for n, size_ in enumerate(lengths)
    ]
    probe = torch.from_numpy(random.integers(0, UNITS, (1, 64)))
    with torch.no_grad():
        assert torch.allclose(ours.eval()(probe), theirs(probe).logits, atol=1e-4), "the two are not one model"
    batches = UnitBatches(rows, vocabulary, CONTEXT, ROWS)
    packed = [batches[number] for number in range(3)]
    padded = []
    for begin in range(0, RECORDINGS, 12):
        some = [[UNITS, *row.units, UNITS] for row in rows[begin : begin + 12]]
        longest = max(map(len, some))
        ids = torch.tensor([each + [UNITS] * (longest - len(each)) for each in some])
        mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in some])
        padded.append((ids, mask))
    full = torch.from_numpy(random.integers(0, UNITS, (ROWS, CONTEXT)))

    def train_packed() -> int:
        ours.train()
        count = 0
        for batch in packed:
            next_token(ours, batch)[0].backward()
            count += int((batch["targets"] != IGNORED).sum())
        ours.zero_grad()
        return count

    def train_padded() -> int:
        theirs.train()
        count = 0
        for ids, mask in padded[:3]:
            theirs(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
            count += int(mask.sum()) - len(ids)
        theirs.zero_grad()
        return count

    def full_ours() -> int:
        logits = ours(full)[:, :-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), full[:, 1:].flatten()).backward()
        ours.zero_grad()
        return full.numel()

    def full_theirs() -> int:
        theirs(full, labels=full).loss.backward()
        theirs.zero_grad()
        return full.numel()

    decoder, prompt = NetworkDecoder(ours), [UNITS, *random.integers(0, UNITS, 59).tolist()]
    sampling = SamplingConfig(temperature=0.8, top_k=25, max_tokens=200)

    def ours_generate() -> int:
        ours.eval()
        return len(sample(decoder, [prompt], sampling, [np.random.default_rng(0)])[0].tokens) + 1

    def theirs_generate() -> int:
        theirs.eval()
        with torch.inference_mode():
            said = theirs.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64), do_sample=True,
                temperature=0.8, top_k=25, max_new_tokens=200, pad_token_id=UNITS,
            )  # fmt: skip
        return said.shape[1] - len(prompt)

    lines = ["## Unit language model", "", f"Size {size}, one thread, float32."]
    if "drafts" not in sys.argv[2:]:
        training = least(
            {
                "packed": train_packed,
                "llama padded": train_padded,
                "full rows": full_ours,
                "llama full rows": full_theirs,
            }
        )
        generation = least({"sample": ours_generate, "llama generate": theirs_generate})
        lines += [
            f"The same weights on both sides; tokens a CPU second, best of {REPEATS}.",
            "",
            "| what | speechkit | transformers' Llama | ratio |",
            "|---|---|---|---|",
            _line("training, recordings (packed; padded)", training["packed"], training["llama padded"]),
            _line("training, full rows of equal size", training["full rows"], training["llama full rows"]),
            _line("generation, batch 1", generation["sample"], generation["llama generate"]),
        ]
    lines += ["", *drafts_table(ours)]
    print("\n".join(lines))


def drafts_table(network: UnitModel) -> list[str]:
    """Lines of a table: units a call of the model, and a second, by what drafts and in what trees."""
    from speechkit.lm.decoder import NetworkDecoder
    from speechkit.lm.decoding.draft_heads import HeadsDrafter
    from speechkit.lm.decoding.sampling import SamplingConfig, sample
    from speechkit.lm.decoding.speculative import DraftConfig, speculate
    from speechkit.lm.ngram_training import estimate
    from speechkit.lm.table_model import NgramTable

    decoder = NetworkDecoder(network)
    told = sample(decoder, [[UNITS]] * 24, SamplingConfig(max_tokens=100), list(map(np.random.default_rng, range(24))))
    bigram = NgramTable(estimate([list(map(str, each.tokens)) for each in told], 2)[0], UNITS)
    plain = SamplingConfig(max_tokens=100)
    heads, overlap = _trained_heads(network, [each.tokens for each in told])
    ways = {("bigram", name): (bigram, shape) for name, shape in TREES.items()}
    ways |= {("heads", name): (HeadsDrafter(heads, network), shape) for name, shape in HEAD_TREES.items()}
    drafts: list[tuple[str, str, int, float, float]] = []
    speculate(decoder, bigram, [UNITS], plain, DraftConfig(factors=(1,)), np.random.default_rng(0))  # warms up
    began = time.process_time()
    alone = [sample(decoder, [[UNITS]], plain, [np.random.default_rng(seed)])[0] for seed in range(SEQUENCES)]
    rate = sum(len(each.tokens) + each.ended for each in alone) / (time.process_time() - began)
    for (by, name), (draft, shape) in ways.items():
        config = DraftConfig(**shape)  # type: ignore[arg-type]
        began = time.process_time()
        found = [
            speculate(decoder, draft, [UNITS], plain, config, np.random.default_rng(seed)) for seed in range(SEQUENCES)
        ]
        seconds = time.process_time() - began
        units = sum(len(each.tokens) + each.ended for each in found)
        drafts.append((by, name, config.nodes, units / sum(each.target_calls for each in found), units / seconds))
    return [
        f"Units a call of the target and a CPU second, random weights; a bigram of its own samples, or draft heads of "
        f"{HEAD_STEPS} steps on them (overlap of the first: {overlap:.2f}). Without drafts: {rate:,.0f} a second.",
        "",
        "| drafted by | tree | nodes | units a call | units a second |",
        "|---|---|---|---|---|",
        *(f"| {by} | {name} | {nodes} | {units:.2f} | {speed:,.0f} |" for by, name, nodes, units, speed in drafts),
    ]


def _trained_heads(network: UnitModel, lines: list[list[int]]) -> tuple[DraftHeads, float]:
    """Draft heads that have seen samples of the model, and the overlap of the first head's law with the model's."""
    import torch

    from speechkit.lm.decoding.draft_heads import new_heads
    from speechkit.lm.objectives.draft_heads import DraftLoss
    from speechkit.lm.objectives.next_token import padded
    from speechkit.lm.packing import IGNORED

    heads = new_heads(network, 4)
    rows = [{"tokens": [UNITS, *line], "targets": [*line, UNITS]} for line in lines if line]
    batches = [padded(rows[begin : begin + 6], {"tokens": 0, "targets": IGNORED}) for begin in range(0, len(rows), 6)]
    loss = DraftLoss(network)
    optimizer = torch.optim.AdamW(heads.parameters(), 1e-3, weight_decay=0.0)
    overlap = 0.0
    for step in range(HEAD_STEPS):
        optimizer.zero_grad()
        value, numbers = loss(heads, batches[step % len(batches)])
        value.backward()
        optimizer.step()
        overlap = numbers["head_0_overlap"]
    return heads.eval(), overlap


def _line(name: str, ours: float, theirs: float) -> str:
    return f"| {name} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} |"


if __name__ == "__main__":
    main()
