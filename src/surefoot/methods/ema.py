"""EMA: fine-tune, and keep the exponential moving average of the weights, from the zero-shot model on.

    average <- momentum * average + (1 - momentum) * theta      after every step; average = theta0 at first

The average of image tower and head is what is left at the end. Training is that of FT. A baseline of Lipsum-FT
(arXiv:2404.00860), whose momentum is not known to us. Not to be confused with CaRot's teacher, which is updated rarely.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from surefoot.backbones.base import Average, Backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress, Seen, Stage, class_cross_entropy, head_classifier, initial_head
from surefoot.weights import ema_


class EMA(Method):
    summary: ClassVar[str] = "Fine-tune, and keep the moving average of the weights"
    paper: ClassVar[str] = "arXiv:2404.00860"
    recommended: ClassVar[dict[str, Any]] = {"engine.clip_norm": 1.0}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.999  # 0 is fine-tuning, 1 zero-shot
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.average_image, self.average_head = Average(backbone.image), Average(self.head)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        logits = self.head(seen.raw)  # (B, C)
        return {"cross_entropy": class_cross_entropy(logits, seen.batch.labels)}

    def after_step(self, progress: Progress) -> None:
        self.average_image.follow(self.backbone.image, self.config.momentum)
        self.average_head.follow(self.head, self.config.momentum)

    def finalize(self) -> None:
        for part, average in ((self.backbone.image, self.average_image), (self.head, self.average_head)):
            ema_(dict(part.named_parameters()), dict(average.module.named_parameters()), momentum=0.0)

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
