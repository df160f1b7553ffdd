"""What a step makes of a GPU: towers as large as ViT-B/16's, bfloat16, compiled, batches of 512.

    python benchmarks/gpu.py            # on a GPU
    python benchmarks/gpu.py --trial    # on a CPU, two images, not compiled: only to see that the script runs

The card's matrix rate is measured first: products of 8192 x 8192 bfloat16 matrices. The share is that of the
multiplications of a fine-tuning step, counted by torch.utils.flop_counter, at that rate, in the seconds of the step.
Wanted: 45 % for fine_tune; carot and star_ft at most 1.5 times its seconds. The profile says what bounds the rest: the
ten kernels that take most time. Images lie on the card, so that no loader is measured. Prints JSON.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from step_cost import steps_of

METHODS = ("fine_tune", "flyp", "carot", "star_ft")
WARM, STEPS, ROUNDS = 5, 10, 3


def waited(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_rate(device: str, size: int) -> float:
    """Multiplications and additions a second of large bfloat16 products: the best of some rounds."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(ROUNDS + 1):
        waited(device)
        started = time.perf_counter()
        for _ in range(STEPS):
            one @ other
        waited(device)
        best = max(best, STEPS * 2 * size**3 / (time.perf_counter() - started))
    return best


def seconds_of(step: Callable[[], float], device: str, *, warm: int, steps: int) -> float:
    for _ in range(warm):
        step()
    found = []
    for _ in range(ROUNDS):
        waited(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        waited(device)
        found.append((time.perf_counter() - started) / steps)
    return statistics.median(found)


def main(*, trial: bool) -> None:
    device = "cpu" if trial else "cuda"
    if not trial and not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py: there is no GPU; --trial shows on a CPU that the script runs")
    batch, size, steps = (2, 256, 1) if trial else (512, 8192, STEPS)
    rate = matrix_rate(device, size)
    rows: dict[str, dict[str, float]] = {}
    for name in METHODS:
        with FlopCounterMode(display=False) as counted:
            steps_of(name, views=0, batch=batch, patch=16, resident=True)()
        step = steps_of(name, views=0, batch=batch, patch=16, resident=True, compiled=not trial)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()  # of the step before, which was not compiled
        seconds = seconds_of(step, device, warm=1 if trial else WARM, steps=steps)
        flops = counted.get_total_flops()
        rows[name] = {
            "seconds": round(seconds, 4),
            "teraflops_a_step": round(flops / 1e12, 3),
            "share_of_matrix_rate": round(flops / seconds / rate, 3),
            "times_fine_tune": round(seconds / rows.get("fine_tune", {"seconds": seconds})["seconds"], 3),
        }
        if device == "cuda":
            rows[name]["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            torch.cuda.empty_cache()
    about = {
        "device": "cpu (trial: says nothing)" if trial else torch.cuda.get_device_name(),
        "batch": batch,
        "matrix_rate_teraflops": round(rate / 1e12, 2),
        "wanted": {"fine_tune share": 0.45, "carot, star_ft times fine_tune": 1.5},
    }
    print(json.dumps({**about, "steps": rows, "kernels": kernels(batch, trial=trial)}, indent=1))


def kernels(batch: int, *, trial: bool) -> dict[str, float]:
    """The share of the time of the ten largest kernels in a fine-tuning step."""
    step = steps_of("fine_tune", views=0, batch=batch, patch=16, resident=True, compiled=not trial)
    step()
    with profile(activities=[ProfilerActivity.CPU if trial else ProfilerActivity.CUDA]) as seen:
        step()
        waited("cpu" if trial else "cuda")
    times = {e.key: e.self_cpu_time_total if trial else e.self_device_time_total for e in seen.key_averages()}
    total = sum(times.values()) or 1
    largest = sorted(times, key=lambda key: times[key], reverse=True)[:10]
    return {name[:80]: round(times[name] / total, 3) for name in largest}


if __name__ == "__main__":
    main(trial="--trial" in sys.argv[1:])
