"""LP-FT: first the head on frozen features, then everything (Kumar et al., ICLR 2022, arXiv:2202.10054).

    stage 1: CE(W f0(x) + b, y) over W, b        stage 2: CE(W f(x) + b, y) over W, b and the image tower

A trained head moves less in stage 2, so it distorts the features less. The paper starts from a random linear layer on
raw features (`head=linear`, the default). `head=scaled` starts stage 1 from the zero-shot class weights: another
baseline, and to be named as such. `probe_share` 1/3 is 5 of 15 epochs, as for CLIP on ImageNet.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, Frozen, RawFeatures
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, Stage, class_cross_entropy, head_classifier, initial_head


class LPFT(Method):
    summary: ClassVar[str] = "First the head alone, then image tower and head"
    paper: ClassVar[str] = "arXiv:2202.10054"
    recommended: ClassVar[dict[str, Any]] = {"engine.clip_norm": 1.0}

    class Config(Method.Config):
        head: Convention = "linear"
        probe_share: Annotated[float, Field(gt=0, lt=1)] = 1 / 3  # of the steps
        probe_lr_multiple: PositiveFloat = 30.0  # of engine.lr, in stage 1

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.frozen = Frozen(RawFeatures(backbone.image), views=1)
        self.stages = (
            Stage(train=("head.",), lr=config.probe_lr_multiple, share=config.probe_share, augment=False),
            Stage(train=("backbone.image.", "head."), share=1 - config.probe_share),
        )

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        features = seen.by(self.frozen) if seen.progress.stage == 0 else seen.raw  # (B, D)
        return {"cross_entropy": class_cross_entropy(self.head(features), seen.batch.labels)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
