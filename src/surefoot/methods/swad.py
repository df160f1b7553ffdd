"""SWAD: train as ERM does, and average the weights of every step in the valley of the validation loss.

    theta = mean of the segments that LossValley chooses; a segment = mean of theta over the steps between two looks

Cha et al., NeurIPS 2021 (arXiv:2102.08604). At each look the loss is that of the weights as they stand: cross-entropy
on validation, averaged over its groups (DomainBed's source domains). What is chosen is that of the authors' code
(`loss_valley`). Departures: those of `erm`, whose falling rate moves the weights less and less; training goes on where
the valley is dead, without effect. A run is cut into `segments`; the first is its first step, as in DomainBed.
"""

from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones.base import Average, Backbone, evaluating
from surefoot.classifier import Classifier, Convention
from surefoot.data.held_out import HeldOut
from surefoot.data.prompts import Prompts
from surefoot.loss_valley import History, LossValley
from surefoot.methods.base import Method, Progress, Seen, Stage, class_cross_entropy, head_classifier, initial_head


class SWAD(Method):
    summary: ClassVar[str] = "Training whose result is the mean of the weights while the validation loss is low"
    paper: ClassVar[str] = "arXiv:2102.08604"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0, "engine.warmup": 0.0}
    selected_on = "validation"
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        segments: PositiveInt = 50  # looks at validation, besides that after the first step
        optimum_patience: PositiveInt = 3  # N_s of the paper
        overfit_patience: PositiveInt = 6  # N_e
        tolerance: NonNegativeFloat = 0.3  # r
        head: Convention = "linear"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.segment_image, self.segment_head = Average(backbone.image), Average(self.head)
        valley = LossValley(config.optimum_patience, config.overfit_patience, config.tolerance)
        self.history = History(valley, averaged(backbone.image, self.head), segments=config.segments + 1)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels)}

    def after_step(self, progress: Progress) -> None:
        if self.history.dead:
            return
        looks = segment_ends(progress.steps, self.config.segments)
        count = progress.step - max((look for look in looks if look < progress.step), default=-1)  # with this step
        self.segment_image.follow(self.backbone.image, 1 - 1 / count)
        self.segment_head.follow(self.head, 1 - 1 / count)

    def consult(self, held_out: HeldOut, progress: Progress) -> None:
        if self.history.dead or progress.step not in segment_ends(progress.steps, self.config.segments):
            return
        loss = self.validation_loss(held_out)
        self.history.add(loss, averaged(self.segment_image.module, self.segment_head.module))

    @torch.no_grad()
    def validation_loss(self, held_out: HeldOut) -> float:
        """The mean over groups of their images' mean cross-entropy. ValueError where there are no images."""
        losses, groups = [torch.empty(0)], [torch.empty(0)]
        with evaluating(self):
            for batch in held_out.once():
                logits = self.head(self.backbone.image.raw(batch.images))  # (B, C)
                losses.append(F.cross_entropy(logits, batch.labels, reduction="none").cpu())
                groups.append(batch.groups.cpu())
        loss, group = torch.cat(losses).double(), torch.cat(groups)  # (n)
        if len(loss) == 0:
            raise ValueError("swad chooses by the loss on validation images, and there are none; give the task some")
        return torch.stack([loss[group == one].mean() for one in torch.unique(group)]).mean().item()

    @torch.no_grad()
    def finalize(self) -> None:
        self.history.end(averaged(self.backbone.image, self.head))

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def segment_ends(steps: int, segments: int) -> list[int]:
    """The steps, from 0, after which a segment ends: the first, the last, and those that part the way evenly."""
    return sorted({round(number * (steps - 1) / segments) for number in range(segments + 1)})


def averaged(image: nn.Module, head: nn.Module) -> list[Tensor]:
    """What is averaged: all parameters of both."""
    return [*image.parameters(), *head.parameters()]
