"""What a training step and MC dropout gain over the obvious way, on one CPU thread.

`python benchmarks/training.py` prints a table of ratios in some minutes. Every variant runs in a process of
its own, because the allocator is set by the environment; variants take turns, and medians are compared.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

SIZE, BATCH, PASSES = 224, 16, 50
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
VARIANTS = {
    "plain step": {},
    "step, float32": ALLOCATOR,
    "step, bfloat16": ALLOCATOR,
    f"{PASSES} full passes": {},
    f"mc_mean of {PASSES}": ALLOCATOR,
}


def work(variant: str) -> Callable[[], object]:
    """One training step of 16 slices of 224², or MC dropout of 2 such slices."""
    import torch

    from segtrail.config import Model
    from segtrail.models import training
    from segtrail.models.arrays import Stack
    from segtrail.models.networks import build, channels_last, folded, probabilities
    from segtrail.posterior.predict import mc_mean

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Model.model_validate(
        {
            "title": "",
            "filters": [8, 16, 32, 64, 128],
            "loss": "cross_entropy",
            "activation": "softmax",
            "members": 1,
            "dropout": {"rate": 0.5, "levels": 3} if "pass" in variant or "mc" in variant else None,
            "training": {
                "epochs": 1,
                "batch_size": BATCH,
                "learning_rate": 0.005,
                "precision": "bfloat16" if "bfloat16" in variant else "float32",
            },
        }
    )
    network = build(model, 1, 4)
    images, labels = torch.rand(BATCH, 1, SIZE, SIZE), torch.randint(0, 4, (BATCH, SIZE, SIZE))
    if variant == "plain step":
        optimiser = torch.optim.Adam(network.parameters(), lr=0.005)

        def plain() -> None:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimiser.step()

        return plain
    if variant.startswith("step"):
        network = channels_last(network)
        stack = Stack(images, labels.to(torch.uint8), torch.zeros(BATCH, dtype=torch.int64), ("a",))
        loss = training.make_loss(model, torch.ones(4, dtype=torch.int64))
        setting = training.Setting(model, 4, (0,), stack, stack, loss, torch.device("cpu"))
        means, squares = ([torch.zeros_like(p) for p in network.parameters()] for _ in range(2))
        state = training.State(network, means, squares)
        return lambda: training._train_epoch(setting, state, 0, 0.005)
    network.eval().requires_grad_(False)
    if variant.startswith("mc_mean"):
        network = folded(channels_last(network))
        network.dropout.train()
        two = images[:2].contiguous(memory_format=torch.channels_last)
        return lambda: mc_mean(network, model, two, PASSES)
    network.dropout.train()
    return lambda: sum(probabilities(network(images[:2]), model) for _ in range(PASSES)) / PASSES


def measure(variant: str) -> float:
    """Median seconds of a few repetitions in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} | VARIANTS[variant]
    command = [sys.executable, __file__, variant]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return statistics.median(json.loads(done.stdout))


def main() -> None:
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(3):
        for variant in VARIANTS:
            times[variant].append(measure(variant))
    seconds = {variant: statistics.median(values) for variant, values in times.items()}
    print(f"{'work':<22}{'seconds':>9}{'ratio':>8}  wanted")
    for variant, value in seconds.items():
        is_step = "step" in variant
        base = seconds["plain step" if is_step else f"{PASSES} full passes"]
        wanted = "" if value == base else "≥ 1.8" if is_step else "≥ 2.0"
        print(f"{variant:<22}{value:>9.3f}{base / value:>8.2f}  {wanted}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        job = work(sys.argv[1])
        job()
        result = []
        for _ in range(3):
            start = time.perf_counter()
            job()
            result.append(time.perf_counter() - start)
        print(json.dumps(result))
    else:
        main()
