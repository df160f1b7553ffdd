"""The training step against the same forward and backward written by hand in plain torch.

    python benchmarks/step.py

Prints JSON: seconds a step of both, the ratio pair by pair (median), and how much cutting and de-duplicating captions
saves. Both train the image tower and head of IconCLIP on the same batches of 128 with the same kernels.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from surefoot.backbones.base import load_backbone
from surefoot.checkpoint import TrainState
from surefoot.config import resolve
from surefoot.data.batch import Batch, training_batches
from surefoot.data.prompts import Prompts
from surefoot.engine.optim import build_optimizer
from surefoot.engine.train import build_fabric, fit
from surefoot.methods.base import Stage
from surefoot.run import build_method, load_task

STEPS, ROUNDS = 5, 7


def main() -> None:
    config = resolve({"method": "fine_tune", "engine.epochs": 1, "data.workers": 0})
    task = load_task()
    spec = load_backbone("iconclip").image_spec
    stream = training_batches(task.train, spec, config.data, batch_size=config.engine.batch_size, seed=0)
    batches = [next(stream) for _ in range(STEPS)]
    engine, plain = engine_steps(batches), plain_steps(batches)
    pairs = [(timed(engine), timed(plain)) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
                "batch": config.engine.batch_size,
                "precision": config.engine.precision,
                "seconds_a_step": {
                    "surefoot": round(statistics.median(a for a, _ in pairs) / STEPS, 4),
                    "plain_torch": round(statistics.median(b for _, b in pairs) / STEPS, 4),
                },
                "ratio": round(statistics.median(a / b for a, b in pairs), 3),
                "text": text_savings(),
            },
            indent=1,
        )
    )


def engine_steps(batches: list[Batch]) -> Callable[[], None]:
    """Steps through the engine, as `surefoot train` makes them, without what surrounds the loop."""
    images = STEPS * 128
    config = resolve({"method": "fine_tune", "engine.epochs": 1})
    method = build_method(config, load_task())
    fabric = build_fabric(config.engine)
    fabric.to_device(method)

    def stream(_: Stage, *, start: int) -> Iterator[Batch]:
        yield from batches[start:]

    def steps() -> None:
        fit(fabric, method, stream, config.engine, TrainState(), images=images, seed=0, on_look=lambda *_: None)

    return steps


def plain_steps(batches: list[Batch]) -> Callable[[], None]:
    """The same by hand: autocast, cross-entropy, backward, clip, the same AdamW."""
    config = resolve({"method": "fine_tune"})
    method = build_method(config, load_task())
    parameters = method.train_only(method.stages[0].train).values()
    method.train()

    def steps() -> None:
        optimizer = build_optimizer({1.0: list(parameters)}, weight_decay=config.engine.weight_decay)
        for batch in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.engine.precision == "bf16"):
                features = method.backbone.image.raw(batch.images)
                with torch.autocast("cpu", enabled=False):
                    logits = F.linear(F.normalize(features.float(), dim=-1), method.head.weight, method.head.bias)
                    loss = F.cross_entropy(logits, batch.labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return steps


def text_savings() -> dict[str, float]:
    """Seconds to encode the captions of a batch: whole context and every caption, against cut and each once."""
    backbone = load_backbone("iconclip")
    prompts = Prompts.from_task(load_task())
    names = [prompts.templates[i % 4].replace("{}", prompts.classes[i % 40]) for i in range(128)]
    context = backbone.tokenizer.context
    tokens = backbone.tokenize(names)
    padded = F.pad(tokens, (0, context - tokens.shape[1]), value=backbone.tokenizer.pad)
    with torch.no_grad():
        full = [timed(lambda: backbone.text(padded)) for _ in range(ROUNDS)]
        short = [timed(lambda: backbone.encode_text(names)) for _ in range(ROUNDS)]
    return {
        "whole_context_s": round(statistics.median(full), 4),
        "cut_and_once_s": round(statistics.median(short), 4),
        "speed_up": round(statistics.median(a / b for a, b in zip(full, short, strict=True)), 2),
    }


def timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
