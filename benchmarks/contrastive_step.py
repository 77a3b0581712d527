"""A training step of wav2vec 2.0 by transformers' loss and by ours, on the same network, masks and negatives.

Protocol: the small and the base size in float32, three items of eight seconds of noise (the time does not depend on
what is heard), half of the frames masked, 100 negatives; forward and backward. A process for each way, one thread; the
least CPU seconds of its steps behind the first, and the peak of the process. In evaluation mode, where no code is
drawn, both give the same losses, or the benchmark fails.

Run: python -m benchmarks.contrastive_step
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks import compare_steps, peak_megabytes

STEPS, SECONDS, ITEMS = 4, 8, 3
WAYS = ("transformers", "speechkit")


def measure(size: str, way: str) -> dict[str, float]:
    """CPU seconds of a step, megabytes, and the contrastive loss in evaluation mode."""
    import torch
    from transformers import Wav2Vec2ForPreTraining

    from speechkit.encoders.pretraining.contrastive import ContrastiveObjective
    from speechkit.encoders.pretraining.sizes import sized_config
    from speechkit.runtime import limit_threads

    limit_threads(1)
    torch.manual_seed(0)
    network = Wav2Vec2ForPreTraining(sized_config(size))  # type: ignore[arg-type]
    objective = ContrastiveObjective(network, 0)
    lengths = torch.tensor([SECONDS * 16_000] * ITEMS)
    batch = objective.prepare({"inputs": torch.randn(ITEMS, SECONDS * 16_000), "lengths": lengths}, 0)
    inputs = torch.nn.functional.pad(batch["inputs"], (40, 40))
    masked = int(batch["mask"].sum())

    def loss(train: bool):
        objective.network.train(train)
        if way == "speechkit":
            value, parts = objective.loss(objective.network, batch)
            return value, parts["contrastive"]
        network.set_gumbel_temperature(float(batch["temperature"]))
        answer = network(
            inputs,
            attention_mask=torch.ones_like(inputs, dtype=torch.long),
            mask_time_indices=batch["mask"],
            sampled_negative_indices=batch["negatives"],
        )
        return answer.loss / masked, float(answer.contrastive_loss.detach()) / masked

    with torch.no_grad():
        _, value = loss(False)
    times = []
    for _ in range(STEPS):
        began = time.process_time()
        loss(True)[0].backward()
        times.append(time.process_time() - began)
        network.zero_grad()
    peak = peak_megabytes()
    return {"seconds": min(times[1:]), "megabytes": peak, "loss": value}


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    print("## A step of contrastive pre-training\n")
    print(f"{ITEMS} items of {SECONDS} s, float32, one thread, forward and backward; the same loss from both.\n")
    print("| size | way | CPU s | transformers / this | peak MB |")
    print("|---|---|---|---|---|")
    for size in ("small", "base"):
        compare_steps("benchmarks.contrastive_step", [size], WAYS, "loss", 1e-3)


if __name__ == "__main__":
    main()
