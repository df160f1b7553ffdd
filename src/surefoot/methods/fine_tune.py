"""FT: the image tower and a head that starts from the zero-shot class weights, trained with cross-entropy.

    loss = CE(W f(x) + b, y)

The baseline of Wortsman et al. (WiSE-FT, arXiv:2109.01903). Their runs clip the gradient to norm 1 and decay every
trained tensor; both are the defaults here. The text tower and the scale stay as they were.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, Stage, class_cross_entropy, head_classifier, initial_head


class FineTune(Method):
    summary: ClassVar[str] = "Image tower and head with cross-entropy, from the zero-shot weights"
    paper: ClassVar[str] = "arXiv:2109.01903"
    recommended: ClassVar[dict[str, Any]] = {"engine.clip_norm": 1.0}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        head: Convention = "scaled"
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        logits = self.head(seen.raw)  # (B, C)
        smoothing = self.config.label_smoothing
        return {"cross_entropy": class_cross_entropy(logits, seen.batch.labels, label_smoothing=smoothing)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
