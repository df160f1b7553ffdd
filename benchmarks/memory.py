"""The memory of a large contrastive batch by cached gradients, against a small batch at once.

    python benchmarks/memory.py [method]

Peak memory of a process that makes a step of FLYP on towers as large as ViT-B/32's, after one of 32 images: a batch of
512 in parts of 32 (engine.micro_batch=32), and a batch of 32. Wanted: at most 1.3 times as much. Prints JSON.
"""

import json
import platform
import resource
import subprocess
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from step_cost import steps_of

LARGE, SMALL, WANTED = 512, 32, 1.3


def measured(name: str, batch: int, micro_batch: int) -> dict[str, float]:
    step = steps_of(name, views=0, batch=batch, micro_batch=micro_batch, first=SMALL)
    step()  # the optimizer makes its moments
    seconds = step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"batch": batch, "micro_batch": micro_batch, "peak_gib": round(peak, 2), "seconds": round(seconds, 2)}


def apart(name: str, batch: int, micro_batch: int) -> dict[str, float]:
    """`measured` in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(batch), str(micro_batch)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main(name: str) -> None:
    large, small = apart(name, LARGE, SMALL), apart(name, SMALL, 0)
    about = {"machine": f"{platform.machine()}, {torch.get_num_threads()} threads", "method": name}
    ratio = round(large["peak_gib"] / small["peak_gib"], 3)
    print(json.dumps({**about, "large": large, "small": small, "ratio": ratio, "wanted": WANTED}, indent=1))


if __name__ == "__main__":
    given = sys.argv[1:]
    if given and given[0] == "--measure":
        print(json.dumps(measured(given[1], int(given[2]), int(given[3]))))
    else:
        main(given[0] if given else "flyp")
