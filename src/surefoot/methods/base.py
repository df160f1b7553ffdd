"""What a fine-tuning method is: a module whose forward gives weighted loss terms, and stages that say what trains.

A method never sees an optimizer, a rank, a loader or a file. Methods share the functions below and those of
`losses`; none inherits from another.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from surefoot.backbones.base import Backbone, Frozen
from surefoot.classifier import Classifier, Convention, Head
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts


class Progress(NamedTuple):
    """Where a run stands: in its `stage` (from 0), at `step` of `steps` and in `epoch` of `epochs` (both from 0).

    `lr` is the learning rate of this step, for what moves weights outside the optimizer.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    stage: int = 0
    lr: float = 0.0

    @property
    def moment(self) -> int:
        """A number that no other step of the run has: what is drawn afresh in each step is drawn from it."""
        return self.stage << 32 | self.step

    @property
    def share(self) -> float:
        """The share of the stage's steps that are done, in [0, 1)."""
        return self.step / self.steps


@dataclass(frozen=True)
class Stage:
    """A part of a run: which parameters train (prefixes of their names) and how.

    `lr` multiplies `engine.lr`; `share` is the part of all steps; without `augment` images come through the
    evaluation transform.
    """

    train: tuple[str, ...]
    lr: float = 1.0
    share: float = 1.0
    augment: bool = True


class Method(nn.Module, ABC):
    """Base of the plug-ins in `methods/`: one subclass a file, its options in the nested Config.

    `stages` run one after the other. `recommended` holds settings ("engine.clip_norm": 1.0) that apply to this method
    unless the user sets them. `smallest_batch` is 2 where the images of a batch are compared with each other.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    recommended: ClassVar[Mapping[str, Any]] = {}
    smallest_batch: ClassVar[int] = 1
    stages: tuple[Stage, ...] = ()

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.prompts = prompts

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Weighted loss terms, scalars; their plain sum is the loss."""

    @abstractmethod
    def classifier(self) -> Classifier:
        """How this method predicts, as it stands now."""

    def after_step(self, progress: Progress) -> None:
        """Called after each optimizer step, before the gradients are cleared (EMA, projections)."""

    def finalize(self) -> None:
        """Called once after the last stage (WiSE-FT)."""

    def remember_crops(self, views: int) -> None:
        """Let every `Frozen` teacher remember what it sees: each image has `views` fixed crops (0: always new ones)."""
        for part in self.modules():
            if isinstance(part, Frozen):
                part.remember(views)

    def train_only(self, prefixes: Sequence[str]) -> dict[str, nn.Parameter]:
        """Let only parameters whose names start with one of `prefixes` train, and return them by name."""
        unused = [p for p in prefixes if not any(name.startswith(p) for name, _ in self.named_parameters())]
        if unused:
            raise ValueError(f"stage trains {unused}, but no parameter's name starts so")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(tuple(prefixes)))
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def initial_head(backbone: Backbone, prompts: Prompts, *, convention: Convention) -> Head:
    """The zero-shot head, or a random one where the convention ("linear") has no zero-shot start."""
    if convention == "linear":
        return Head.random(backbone.dim, len(prompts.classes), seed=prompts.seed)
    return Head.zero_shot(backbone, prompts, convention=convention)


def head_classifier(backbone: Backbone, head: Head, prompts: Prompts) -> Classifier:
    """The image tower with a trained head."""
    return Classifier(backbone, head, classes=prompts.classes, templates=prompts.templates)


def class_cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits (B, C) with labels (B); smoothing spreads that share evenly over the classes."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def gather(tensor: Tensor) -> Tensor:
    """The rows of all processes, in rank order, with gradient; `tensor` itself in a single process.

    Every process must then compute the same loss on the joined batch: the gradient that reaches the weights, averaged
    over processes as DDP does, is that of one process with the whole batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return tensor
    joined: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # each process holds the same loss, so the sum over processes of the gradient is its multiple
        start = distributed.get_rank() * ctx.rows
        return gradients[0][start : start + ctx.rows] * distributed.get_world_size()
