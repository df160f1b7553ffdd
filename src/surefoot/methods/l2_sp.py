"""L2-SP: pull the weights towards those of the pre-trained model (Li et al., ICML 2018, arXiv:1802.01483).

    loss = CE(W f(x) + b, y) + weight * sum over the image tower of (theta - theta0)^2

The form of the LP-FT code: no factor of 1/2, weight 0.01, the head left alone (the paper decays it towards 0, too).
Under Adam a penalty in the loss is not a pull outside it, theta <- theta - lr * weight * (theta - theta0) after the
step, which is `form=decoupled`. Weight decay would pull to 0 besides, so it is off unless you set it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import (
    Method,
    Progress,
    Seen,
    Stage,
    Start,
    Term,
    class_cross_entropy,
    head_classifier,
    initial_head,
)
from surefoot.weights import ema_


class DistanceTerm(Term):
    holds_weights = True

    class Config(Term.Config):
        weight: NonNegativeFloat = 0.01
        form: Literal["loss", "decoupled"] = "loss"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.teacher, self.tower = start.image, (start.tower,)  # in a tuple: a part of the teacher

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        if self.config.form == "decoupled":
            return {}
        return {"distance": self.config.weight * squared_distance(*self.weights(seen.backbone))}

    def after_step(self, backbone: Backbone, progress: Progress) -> None:
        if self.config.form == "decoupled":
            ema_(*self.weights(backbone), momentum=max(0.0, 1 - progress.lr * self.config.weight))

    def weights(self, backbone: Backbone) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Those of the image tower now and at the start, by name."""
        return dict(backbone.image.named_parameters()), dict(self.tower[0].named_parameters())


class L2SP(Method):
    summary: ClassVar[str] = "Fine-tuning that pulls the weights towards the pre-trained ones"
    paper: ClassVar[str] = "arXiv:1802.01483"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0, "engine.clip_norm": 1.0}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(DistanceTerm.Config, Method.Config):
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.term = DistanceTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels), **self.term(seen)}

    def after_step(self, progress: Progress) -> None:
        self.term.after_step(self.backbone, progress)

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def squared_distance(weights: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
    """The sum over all tensors of the squared change of each coordinate."""
    return torch.stack([(tensor - start[name]).square().sum() for name, tensor in weights.items()]).sum()
