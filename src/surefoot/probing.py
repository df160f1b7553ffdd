"""Run as a process of its own for `surefoot preflight`: two training steps, and what they took.

The settings come as JSON on standard input; the last line on standard output is JSON. A process of its own, so that one
that the memory does not suffice for ends alone, and that its peak is that of this probe.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from surefoot.config import RunConfig, resolve
from surefoot.data.batch import training_batches
from surefoot.engine.feed import Feed
from surefoot.engine.optim import build_optimizer, set_learning_rate
from surefoot.engine.rates import rate_groups
from surefoot.engine.towers import towers_told
from surefoot.engine.train import Guard, stage_steps, train_step
from surefoot.methods.base import Method, Progress, Stage
from surefoot.run import Parts, build_method

STEPS = 2  # the optimizer makes its moments in the first; the second is what counts
GIB = 2**30


def probe(config: RunConfig) -> dict[str, Any]:
    """Seconds and peak memory (GiB) of a step of `config.engine.batch_size` images, and what the run will consist of.

    Of several stages that is probed which trains most weights.
    """
    parts = Parts.build(config)
    method = build_method(config, parts.task)
    fabric, engine, train = parts.fabric, config.engine, parts.task.train
    fabric.to_device(method)
    about = {
        "images": len(train),
        "stages": [stage.share for stage in method.stages],
        "compares": method.smallest_batch > 1,
        "pixels": 3 * method.backbone.image_spec.size**2,
        "device": fabric.device.type,
    }
    if not method.stages:
        return {**about, "seconds": 0.0, "reading": 0.0, "gib": 0.0, "loading_gib": _peak(fabric.device)}
    stage = max(method.stages, key=lambda stage: _weights(method, stage))
    loading = _peak(fabric.device)
    _forget_peak(fabric.device)
    rates = {"image_lr": engine.image_lr, "text_lr": engine.text_lr, "layer_decay": engine.layer_decay}
    if engine.checkpointing:
        method.backbone.image.checkpoint_gradients()
        method.backbone.text.checkpoint_gradients()
    optimizer = build_optimizer(rate_groups(method, stage, **rates), weight_decay=engine.weight_decay)
    wrapped, stepped = fabric.setup(method, optimizer)
    set_learning_rate(optimizer, 0.0)
    method.train()
    guard = Guard(fabric, engine, optimizer)
    reading = training_batches(
        train,
        method.backbone.image_spec,
        config.data,
        batch_size=engine.batch_size,
        seed=config.seed,
        augment=stage.augment,
    )
    stream, seconds, waited = Feed.to(fabric, reading), 0.0, 0.0
    steps = max(STEPS, stage_steps(stage, engine, images=len(train)))
    with towers_told(method, micro_batch=engine.micro_batch, compiled=engine.compile):
        for step in range(STEPS):
            started = time.perf_counter()
            batch = next(stream)
            read = time.perf_counter()
            progress = Progress(step, steps, 0, max(1, -(-steps * engine.batch_size // len(train))))
            train_step(fabric, wrapped, stepped, iter([batch]), engine, progress, guard)
            method.after_step(progress)
            optimizer.zero_grad()
            guard.check()  # waits for the device
            seconds, waited = time.perf_counter() - started, read - started
    reading.close()
    return {**about, "seconds": seconds, "reading": waited, "gib": _peak(fabric.device), "loading_gib": loading}


def _weights(method: Method, stage: Stage) -> int:
    return sum(parameter.numel() for parameter in method.train_only(stage.train).values())


def _peak(device: torch.device) -> float:
    """The most memory so far (GiB): of a GPU what PyTorch took of it, else what the process had in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GIB
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB  # bytes on macOS


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").is_file():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # see proc(5)


if __name__ == "__main__":
    print(json.dumps(probe(resolve(json.load(sys.stdin)))))  # noqa: T201
