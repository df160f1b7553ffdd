"""Zero-shot: the pre-trained model as it is, its class weights made by the text tower (Radford et al., 2103.00020).

Nothing trains. Class weights: each prompt's unit feature, averaged over the templates, normalised.
"""

from typing import ClassVar

from torch import Tensor

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, class_cross_entropy, head_classifier, initial_head


class ZeroShot(Method):
    summary: ClassVar[str] = "The pre-trained model, untouched"
    paper: ClassVar[str] = "arXiv:2103.00020"

    def __init__(self, config: Method.Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention="scaled")

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        logits = self.head(seen.raw)  # (B, C)
        return {"cross_entropy": class_cross_entropy(logits, seen.batch.labels)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
