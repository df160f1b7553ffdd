"""KD: distil the zero-shot model into the one that is fine-tuned (Hinton et al., arXiv:1503.02531).

    form=logits:    loss = CE(z, y) + weight * t^2 * mean KL(softmax(z0 / t) || softmax(z / t))
    form=features:  loss = CE(z, y) + weight * mean |f(x) - f0(x)|^2      (raw_features: before normalisation)

z0 and f0: the frozen zero-shot model on the same crop. A baseline of Lipsum-FT (arXiv:2404.00860), whose weight and
form are not known to us: the defaults are ours. Distances of features of single layers (LDIFS) are not offered.
"""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, Frozen, RawFeatures, unit
from surefoot.classifier import Classifier, Convention, Head
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.losses import class_kl
from surefoot.methods.base import Method, Progress, Stage, class_cross_entropy, head_classifier, initial_head


class KD(Method):
    summary: ClassVar[str] = "Fine-tuning with the zero-shot model as a teacher"
    paper: ClassVar[str] = "arXiv:1503.02531"
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        form: Literal["logits", "features", "raw_features"] = "logits"
        weight: NonNegativeFloat = 1.0
        temperature: PositiveFloat = 1.0  # of form=logits; larger is softer
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        alike: Convention = "scaled" if config.head == "linear" else config.head
        self.teacher_head = Head.zero_shot(backbone, prompts, convention=alike).requires_grad_(False)
        self.teacher = Frozen(RawFeatures(backbone.image))

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        raw, start = self.backbone.image.raw(batch.images), self.teacher(batch)  # (B, D)
        logits = self.head(raw)  # (B, C)
        if self.config.form == "logits":
            term = class_kl(logits, self.teacher_head(start), temperature=self.config.temperature)
        elif self.config.form == "features":
            term = squared_distance(unit(raw), unit(start))
        else:
            term = squared_distance(raw, start)
        return {
            "cross_entropy": class_cross_entropy(logits, batch.labels),
            "distillation": self.config.weight * term,
        }

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def squared_distance(features: Tensor, reference: Tensor) -> Tensor:
    """The mean over rows (N, D) of their squared distance."""
    return (features - reference).square().sum(-1).mean()
