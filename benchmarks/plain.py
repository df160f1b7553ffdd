"""The losses of FLYP, CaRot and StarFT written plainly, and what our steps save on them.

    python benchmarks/plain.py [method ...]

Plainly: every caption is encoded, filled up to the text tower's whole context; captions and spurious captions go
through it one after the other; the logits of both directions are products of their own; teachers do the same, without a
gradient; the moving average goes over the tensors one by one; AdamW is that of a new torch.optim.AdamW. The numbers are
those of the methods (tests/benchmarks/test_plain.py). Towers as large as ViT-B/32's, batches of 32; plain steps and
ours take turns, and the ratio is the median over the pairs. Prints JSON.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from step_cost import BATCH, endless, prompts, steps_of
from surefoot.backbones.base import Backbone
from surefoot.config import resolve
from surefoot.data.batch import Batch
from surefoot.methods.base import Method, Progress
from towers import Towers

METHODS, WANTED = ("flyp", "carot", "star_ft"), {"flyp": 1.5, "carot": 1.5, "star_ft": 1.9}
ROUNDS = 3


def text_features(backbone: Backbone, sentences: Sequence[str]) -> Tensor:
    """Unit features (B, D), every sentence filled up to the whole context."""
    tokens = backbone.tokenize(sentences)
    room = backbone.tokenizer.context - tokens.shape[1]
    return F.normalize(backbone.text.raw(F.pad(tokens, (0, room), value=backbone.tokenizer.pad)), dim=-1)


def image_features(backbone: Backbone, images: Tensor) -> Tensor:
    return F.normalize(backbone.image.raw(images), dim=-1)


def both_logits(images: Tensor, texts: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return scale * images @ texts.T, scale * texts @ images.T


def contrastive(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    by_image, by_text = both_logits(images, texts, scale)
    target = torch.arange(len(images))
    return (F.cross_entropy(by_image, target) + F.cross_entropy(by_text, target)) / 2


def flyp(method: Method, teacher: Backbone, batch: Batch, progress: Progress) -> Tensor:  # noqa: ARG001
    student = method.backbone
    images = image_features(student, batch.images)
    texts = text_features(student, method.prompts.captions(batch))
    return contrastive(images, texts, student.scale)


def carot(method: Method, teacher: Backbone, batch: Batch, progress: Progress) -> Tensor:  # noqa: ARG001
    student, config = method.backbone, method.config
    captions = method.prompts.captions(batch)
    images, texts = image_features(student, batch.images), text_features(student, captions)
    by_image, by_text = both_logits(images, texts, student.scale)
    target = torch.arange(len(images))
    loss = (F.cross_entropy(by_image, target) + F.cross_entropy(by_text, target)) / 2
    with torch.no_grad():
        soft_image, soft_text = both_logits(
            image_features(teacher, batch.images), text_features(teacher, captions), teacher.scale
        )
    for logits, soft in ((by_image, soft_image), (by_text, soft_text)):
        loss = loss - config.distillation * (soft.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
    visual, textual = student.image.output_weight, student.text.output_weight
    gram = visual.T @ visual
    loss = loss + config.orthogonality * torch.linalg.norm(gram - torch.eye(len(gram)))
    return loss + config.cross_projection * torch.linalg.norm(visual @ textual.T)


def star_ft(method: Method, teacher: Backbone, batch: Batch, progress: Progress) -> Tensor:
    student, term = method.backbone, method.term
    images = image_features(student, batch.images)
    texts = text_features(student, method.captions.captions(batch))
    loss = contrastive(images, texts, student.scale)
    spurious = method.prompts.spurious_captions(term.pool, batch)
    ours, _ = both_logits(images, text_features(student, spurious), term.scale)
    with torch.no_grad():
        theirs, _ = both_logits(image_features(teacher, batch.images), text_features(teacher, spurious), term.scale)
    same = batch.labels[:, None] == batch.labels[None, :]
    ours, theirs = ours.masked_fill(same, -1e8), theirs.masked_fill(same, -1e8)
    divergence = F.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), reduction="batchmean", log_target=True)
    return loss + method.config.weight * term.remaining(progress) * divergence


LOSSES = {"flyp": flyp, "carot": carot, "star_ft": star_ft}


def teacher_of(method: Method, name: str) -> Backbone:
    """The copy of the student that the method itself holds."""
    if name == "flyp":
        return method.backbone
    return method.term.average.module if name == "carot" else method.term.teacher.module


def plain_steps(name: str) -> Callable[[], float]:
    """A function that makes one plain step and gives its seconds."""
    config = resolve({"method": name})
    method = config.method.plugin(config.method.options, Towers(), prompts())
    teacher, weights = teacher_of(method, name), list(method.train_only(method.stages[0].train).values())
    optimizer = torch.optim.AdamW(weights, lr=1e-6, weight_decay=0.1)
    precision = resolve({}).engine.concrete().precision
    method.train()
    batches, at = endless(), 0

    def step() -> float:
        nonlocal at
        batch, progress = next(batches), Progress(at, 1000, 0, 10)
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = LOSSES[name](method, teacher, batch, progress)
        loss.backward()
        optimizer.step()
        if name == "carot" and at % 20 == 0:  # 500 of 25,030 steps, as in the method
            with torch.no_grad():
                for average, weight in zip(teacher.parameters(), method.backbone.parameters(), strict=True):
                    average.mul_(0.9).add_(weight, alpha=0.1)
        optimizer.zero_grad()
        at += 1
        return time.perf_counter() - started

    return step


def main(names: Sequence[str]) -> None:
    found = {}
    for name in names:
        plain, ours = plain_steps(name), steps_of(name, views=0)
        pairs = [(plain(), ours()) for _ in range(ROUNDS + 1)][1:]  # the first warms up
        found[name] = {
            "plain_seconds": round(statistics.median(slow for slow, _ in pairs), 3),
            "surefoot_seconds": round(statistics.median(fast for _, fast in pairs), 3),
            "ratio": round(statistics.median(slow / fast for slow, fast in pairs), 2),
            "ratios": [round(slow / fast, 2) for slow, fast in pairs],
            "wanted": WANTED[name],
        }
    about = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "precision": resolve({}).engine.concrete().precision,
        "batch": BATCH,
    }
    print(json.dumps({**about, "methods": found}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:] or METHODS)
