"""WiSE-FT: fine-tune, then average the weights with the zero-shot model's (Wortsman et al., arXiv:2109.01903).

    theta = (1 - alpha) * theta_zero_shot + alpha * theta_fine_tuned

over every tensor of the image tower and of the head, whose zero-shot weights are those made by the text tower. Training
is that of FT. `surefoot blend` does the same to any finished run and can choose alpha on validation; here alpha is
fixed beforehand, 0.5 as the authors recommend where nothing is known of the shift.
"""

import copy
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, Stage, class_cross_entropy, head_classifier, initial_head
from surefoot.weights import interpolate


class WiSEFT(Method):
    summary: ClassVar[str] = "Fine-tune, then average the weights with the zero-shot model's"
    paper: ClassVar[str] = "arXiv:2109.01903"
    recommended: ClassVar[dict[str, Any]] = {"engine.clip_norm": 1.0}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.5  # 0 is zero-shot, 1 is fine-tuned
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        if config.head == "linear":
            raise ValueError("method.head=linear has no zero-shot weights to average with; choose scaled or unit")
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.start = [copy.deepcopy(part.state_dict()) for part in (backbone.image, self.head)]

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        logits = self.head(seen.raw)  # (B, C)
        return {"cross_entropy": class_cross_entropy(logits, seen.batch.labels)}

    def finalize(self) -> None:
        for part, start in zip((self.backbone.image, self.head), self.start, strict=True):
            end = {name: tensor.cpu() for name, tensor in part.state_dict().items()}
            part.load_state_dict(interpolate(start, end, self.config.alpha))

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
