"""What a training step of each method costs, as a multiple of plain fine-tuning in the same run.

    python benchmarks/step_cost.py [method ...]

Towers as large as ViT-B/32's with random weights, batches of 32 random images, bfloat16 where the machine has it.
Steps of a method and of fine-tuning take turns; the ratio is the median over the pairs. `remembered` is the same with a
teacher that knows the crops already (data.views). Peak memory is that of a process which does nothing else, in GiB;
each method runs in processes of its own. Prints JSON.
"""

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch

from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.data.prompts import DEFAULT_CONTEXTS, DEFAULT_TEMPLATES, Prompts
from surefoot.engine.feed import Feed
from surefoot.engine.optim import build_optimizer
from surefoot.engine.towers import towers_told
from surefoot.engine.train import Guard, build_fabric, train_step
from surefoot.methods.base import Method, Progress
from towers import Towers

METHODS = ("car_ft", "lipsum_ft", "flyp", "carot", "star_ft", "tracer", "kd", "l2_sp", "flyp+star_ft+lipsum_ft")
REMEMBERS = ("car_ft", "lipsum_ft", "kd")  # whose teacher sees images alone
BATCH, ROUNDS, CLASSES = 32, 5, 100


def prompts(classes: int = CLASSES) -> Prompts:
    """Class names of three words in the default templates."""
    words = ["red", "fox", "oak", "tree", "old", "car", "sea", "bird", "big", "dog"]
    names = tuple(f"{words[i // 10 % 10]} {words[i % 10]} {i}" for i in range(classes))
    return Prompts(names, DEFAULT_TEMPLATES, DEFAULT_CONTEXTS)


def steps_of(
    name: str,
    *,
    views: int,
    batch: int = BATCH,
    micro_batch: int = 0,
    classes: int = CLASSES,
    compiled: bool = False,
    patch: int = 32,
    first: int = 0,
    resident: bool = False,
) -> Callable[[], float]:
    """A function that makes one step through the engine and gives its seconds (on a GPU those of queueing it).

    `resident`: the images lie on the device already.
    """
    sizes = {"engine.batch_size": batch, "engine.micro_batch": micro_batch}
    config = resolve({"method": name, "data.views": views, "data.workers": 0, **sizes})
    plugin = config.method.plugin
    method: Method = plugin(config.method.options, Towers(patch), prompts(classes))
    method.remember_crops(views)
    fabric = build_fabric(config.engine)
    stage = method.stages[0]
    groups = stage.by_rate(method.train_only(stage.train))
    optimizer = build_optimizer(groups, weight_decay=config.engine.weight_decay)
    wrapped, stepped = fabric.setup(method, optimizer)
    method.train()
    guard, at = Guard(fabric, config.engine, optimizer), 0
    images = endless(batch, classes, first=first, place=fabric.to_device if resident else lambda given: given)
    batches = Feed(fabric, images) if resident else Feed.to(fabric, images)

    def step() -> float:
        nonlocal at
        progress = Progress(at, 1000, 0, 10)
        started = time.perf_counter()
        with towers_told(method, micro_batch=micro_batch, compiled=compiled):
            train_step(fabric, wrapped, stepped, batches, config.engine, progress, guard)
        method.after_step(progress)
        optimizer.zero_grad()
        at += 1
        return time.perf_counter() - started

    return step


def endless(
    count: int = BATCH, classes: int = CLASSES, *, first: int = 0, place: Callable[[Batch], Batch] = lambda given: given
) -> Iterator[Batch]:
    """The same images each time (at first only `first` of them): what they show does not change what a step costs."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 224, 224, generator=draw)
    labels, index = torch.randint(classes, (count,), generator=draw), torch.arange(count)
    batch = Batch(images, labels, torch.full_like(index, -1), index, torch.zeros_like(index)).placed(place)
    if first:
        yield Batch(*(part[:first] for part in batch[:5]))
    while True:
        yield batch


def paired(name: str, views: int) -> dict[str, float]:
    plain, step = steps_of("fine_tune", views=0), steps_of(name, views=views)
    pairs = [(plain(), step()) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    ratio = statistics.median(cost / base for base, cost in pairs)
    return {"ratio": round(ratio, 3), "seconds": round(statistics.median(cost for _, cost in pairs), 3)}


def peak(name: str, views: int) -> dict[str, float]:
    step = steps_of(name, views=views)
    step(), step()
    return {"peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}


def apart(what: str, name: str, views: int) -> dict[str, float]:
    """`paired` or `peak` in a process of its own."""
    command = [sys.executable, __file__, f"--{what}", name, str(views)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main(names: Sequence[str]) -> None:
    rows = {"fine_tune": {"ratio": 1.0, **apart("peak", "fine_tune", 0)}}
    for name in names:
        rows[name] = {**apart("paired", name, 0), **apart("peak", name, 0)}
        if name in REMEMBERS:
            rows[name]["remembered_ratio"] = apart("paired", name, 1)["ratio"]
    about = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "precision": resolve({}).engine.precision,
        "batch": BATCH,
    }
    print(json.dumps({**about, "steps": rows}, indent=1))


if __name__ == "__main__":
    given = sys.argv[1:]
    if given and given[0] in ("--paired", "--peak"):
        print(json.dumps({"--paired": paired, "--peak": peak}[given[0]](given[1], int(given[2]))))
    else:
        main(given or METHODS)
