"""MIRO: keep what the layers say as the pre-trained ones say it (Cha et al., ECCV 2022, arXiv:2203.10789).

    loss = CE(W f(x) + b, y) + weight * sum over taps of 1/2 mean[(z - z0)^2 / v + log v],  v = softplus(r) + 1e-5

z: the output of a tap, z0: that of the frozen pre-trained tower on the same crop; taps: the stem and the blocks at 1/4,
1/2, 3/4 and the end of the depth (3, 6, 9, 12 of ViT-B). v: one number a tap and channel, 0.1 at first, learned at 10
times the rate. The mean encoder is the identity, as in the authors' code. Optimizer, batches and their departures are
those of `erm`.
"""

import math
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones.base import Backbone, ImageTower, parts_of
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, Stage, Start, Term, class_cross_entropy, head_classifier, initial_head

FLOOR, VARIANCE = 1e-5, 0.1  # the least and the first


class MutualInformationTerm(Term):
    class Config(Term.Config):
        weight: NonNegativeFloat = 1.0  # lambda of the paper

    config: Config
    lr = 10.0

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        if len(start.tower.parts) < 2:
            raise ValueError(
                f"miro compares what the blocks of the image tower give, and that of {backbone.name!r} does not name "
                "them (ImageTower.parts); kd with form=raw_features compares the last features of any tower"
            )
        self.teacher, self.watched = start.image, taps(start.tower)
        size, device = backbone.image_spec.size, backbone.log_scale.device
        with torch.no_grad(), parts_of(start.tower, self.watched) as parts:
            start.tower.raw(torch.zeros(1, 3, size, size, device=device))
        first = math.log(math.expm1(VARIANCE - FLOOR))
        maps = [parts[place] for place in self.watched]  # (1, C, H, W) or, of tokens, (1, L, C)
        shapes = [(z.shape[1], 1, 1) if z.ndim == 4 else (z.shape[-1],) for z in maps]
        self.variances = nn.ParameterList(torch.full(shape, first, device=device) for shape in shapes)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        ours, theirs = seen.parts, seen.parts_by(self.teacher)
        bounds = [
            gaussian_bound(ours[place], theirs[place], F.softplus(raw) + FLOOR)
            for place, raw in zip(self.watched, self.variances, strict=True)
        ]
        return {"mutual_information": self.config.weight * torch.stack(bounds).sum()}


class MIRO(Method):
    summary: ClassVar[str] = "Fine-tuning that keeps the outputs of the layers near the pre-trained ones"
    paper: ClassVar[str] = "arXiv:2203.10789"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0, "engine.warmup": 0.0}
    stages = (Stage(train=("backbone.image.", "head.", "term."), rates={"term.": MutualInformationTerm.lr}),)

    class Config(MutualInformationTerm.Config, Method.Config):
        head: Convention = "linear"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.term = MutualInformationTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels), **self.term(seen)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def taps(tower: ImageTower) -> tuple[int, ...]:
    """Places of the stem and of the blocks at the quarters of the depth, each once."""
    depth = len(tower.parts) - 1
    return tuple(dict.fromkeys([0, *(math.ceil(depth * quarter / 4) for quarter in (1, 2, 3, 4))]))


def gaussian_bound(student: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """1/2 mean[(student - teacher)^2 / variance + log variance] over all entries; the variance is one a channel."""
    squared = (student.float() - teacher.float()).square()
    return (squared / variance + variance.log()).mean() / 2
