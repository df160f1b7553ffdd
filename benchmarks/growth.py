"""How a step's time and memory grow: with the batch, the size of the data set and the number of classes.

    python benchmarks/growth.py [backbone]

Each point is a process of its own: seconds (median of the steps after the first) and peak memory of FLYP and of
fine_tune. Wanted: linear in the batch, constant in images and classes (fine_tune's head has a row for each class, which
is its due). Images of the data set are noise that is made when it is read. Prints JSON. The default backbone is
iconclip.
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import torch
from PIL import Image

from surefoot.backbones.base import load_backbone
from surefoot.config import resolve
from surefoot.data.batch import training_batches
from surefoot.data.prompts import Prompts
from surefoot.data.task import Split
from surefoot.engine.feed import Feed
from surefoot.engine.optim import build_optimizer
from surefoot.engine.towers import towers_told
from surefoot.engine.train import Guard, build_fabric, train_step
from surefoot.methods.base import Progress

BATCHES, IMAGES, CLASSES = (32, 64, 128, 256), (1_000, 10_000, 100_000, 1_000_000), (10, 100, 1_000, 20_000)
METHODS, STEPS = ("flyp", "fine_tune"), 4


class Noise:
    """A source of small pictures that are drawn from their names."""

    def read(self, path: str) -> bytes:
        from io import BytesIO

        pixels = np.random.default_rng(int(path)).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "BMP")
        return stream.getvalue()

    def describe(self) -> str:
        return "noise"

    def listing(self) -> list[str]:
        return []


def measured(name: str, backbone: str, batch: int, images: int, classes: int, micro_batch: int) -> dict[str, float]:
    """Seconds of a step with its reading, and the peak memory of the process (GiB)."""
    config = resolve({"method": name, "engine.batch_size": batch, "data.workers": 0})
    names = tuple(f"thing {number}" for number in range(classes))
    prompts = Prompts(names, ("a photo of a {}.", "a drawing of a {}."), ("a photo of a {}",))
    method = config.method.plugin(config.method.options, load_backbone(backbone), prompts)
    labels = np.arange(images, dtype=np.int64) % classes
    split = Split("train", Noise(), tuple(map(str, range(images))), labels, np.full(images, -1, np.int64))
    fabric = build_fabric(config.engine)
    weights = list(method.train_only(method.stages[0].train).values())
    optimizer = build_optimizer({1.0: weights}, weight_decay=0.1)
    wrapped, stepped = fabric.setup(method, optimizer)
    method.train()
    guard, seconds = Guard(fabric, config.engine, optimizer), []
    spec = method.backbone.image_spec
    with (
        closing(training_batches(split, spec, config.data, batch_size=batch, seed=0)) as read,
        towers_told(method, micro_batch=micro_batch, compiled=False),
    ):
        stream = Feed.to(fabric, read)
        for step in range(STEPS):
            started = time.perf_counter()
            train_step(fabric, wrapped, stepped, stream, config.engine, Progress(step, 100, 0, 10), guard)
            method.after_step(Progress(step, 100, 0, 10))
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": round(statistics.median(seconds[1:]), 4), "peak_gib": round(peak, 3)}


def apart(name: str, backbone: str, *sizes: int) -> dict[str, float]:
    """`measured` in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, backbone, *map(str, sizes)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main(backbone: str) -> None:
    found = {
        name: {
            "batch": {n: apart(name, backbone, n, 1_000, 100, 0) for n in BATCHES},
            "batch in parts of 32": {n: apart(name, backbone, n, 1_000, 100, 32) for n in BATCHES},
            "images": {n: apart(name, backbone, 32, n, 100, 0) for n in IMAGES},
            "classes": {n: apart(name, backbone, 32, 100_000, n, 0) for n in CLASSES},
        }
        for name in METHODS
    }
    about = {"machine": f"{platform.machine()}, {torch.get_num_threads()} threads", "backbone": backbone}
    print(json.dumps({**about, "growth": found}, indent=1))


if __name__ == "__main__":
    given = sys.argv[1:]
    if given and given[0] == "--measure":
        print(json.dumps(measured(given[1], given[2], *(int(size) for size in given[3:]))))
    else:
        main(given[0] if given else "iconclip")
