"""LP: only the head trains, on features of the frozen image tower.

    loss = CE(W f0(x) + b, y)

Default: the form of the WiSE-FT code (arXiv:2109.01903): the head starts from the zero-shot class weights, images come
through the evaluation transform, so each feature is computed once and remembered. Its learning rate there is about 30
times that of fine-tuning. `head=linear` is the other common form: a random linear layer on raw features.
"""

from typing import Any, ClassVar

from pydantic import PositiveFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, Frozen, RawFeatures
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, Stage, class_cross_entropy, head_classifier, initial_head


class LinearProbe(Method):
    summary: ClassVar[str] = "Only the head, on frozen features"
    paper: ClassVar[str] = "arXiv:2109.01903"
    recommended: ClassVar[dict[str, Any]] = {"engine.clip_norm": 1.0}

    class Config(Method.Config):
        head: Convention = "scaled"
        lr_multiple: PositiveFloat = 30.0  # of engine.lr

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.features = Frozen(RawFeatures(backbone.image), views=1)
        self.stages = (Stage(train=("head.",), lr=config.lr_multiple, augment=False),)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        logits = self.head(seen.by(self.features))  # (B, C)
        return {"cross_entropy": class_cross_entropy(logits, seen.batch.labels)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
