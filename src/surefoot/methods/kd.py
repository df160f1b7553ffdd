"""KD: distil the zero-shot model into the one that is fine-tuned (Hinton et al., arXiv:1503.02531).

    form=logits:    loss = CE(z, y) + weight * t^2 * mean KL(softmax(z0 / t) || softmax(z / t))
    form=features:  loss = CE(z, y) + weight * mean |f(x) - f0(x)|^2      (raw_features: before normalisation)

z0 and f0: the frozen zero-shot model on the same crop. In a composition z is the student's features read by the
zero-shot class weights, as z0 is. A baseline of Lipsum-FT (arXiv:2404.00860), whose weight and
form are not known to us: the defaults are ours. Distances of features of single layers (LDIFS) are not offered.
"""

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, unit
from surefoot.classifier import Classifier, Convention, Head
from surefoot.data.prompts import Prompts
from surefoot.losses import class_kl
from surefoot.methods.base import Method, Seen, Stage, Start, Term, class_cross_entropy, head_classifier, initial_head


class DistillationTerm(Term):
    class Config(Term.Config):
        form: Literal["logits", "features", "raw_features"] = "logits"
        weight: NonNegativeFloat = 1.0
        temperature: PositiveFloat = 1.0  # of form=logits; larger is softer

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.teacher = start.image
        self.teacher_head = Head.zero_shot(backbone, prompts).requires_grad_(False)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        return self.of(self.teacher_head(seen.raw), seen)  # a base may have no head, so both are read by this one

    def of(self, logits: Tensor, seen: Seen) -> dict[str, Tensor]:
        """The term for the student's logits (B, C)."""
        start = seen.by(self.teacher)  # (B, D)
        if self.config.form == "logits":
            term = class_kl(logits, self.teacher_head(start), temperature=self.config.temperature)
        elif self.config.form == "features":
            term = squared_distance(seen.images, unit(start))
        else:
            term = squared_distance(seen.raw, start)
        return {"distillation": self.config.weight * term}


class KD(Method):
    summary: ClassVar[str] = "Fine-tuning with the zero-shot model as a teacher"
    paper: ClassVar[str] = "arXiv:1503.02531"
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(DistillationTerm.Config, Method.Config):
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.term = DistillationTerm(config, backbone, prompts, self.zero_shot)
        if config.head == "unit":  # then the teacher's logits must be rounded as the student's are
            self.term.teacher_head = Head.zero_shot(backbone, prompts, convention="unit").requires_grad_(False)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        logits = self.head(seen.raw)  # (B, C)
        return {"cross_entropy": class_cross_entropy(logits, seen.batch.labels), **self.term.of(logits, seen)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def squared_distance(features: Tensor, reference: Tensor) -> Tensor:
    """The mean over rows (N, D) of their squared distance."""
    return (features - reference).square().sum(-1).mean()
