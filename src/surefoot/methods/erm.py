"""ERM: plain training of image tower and head, in the form of DomainBed (Gulrajani and Lopez-Paz, arXiv:2007.01434).

    loss = CE(W dropout(f(x)) + b, y),    W and b random, f(x) not normalised

Adam without weight decay, which is what AdamW is where the decay is 0, and no warm-up. Departures: the rate falls along
the engine's cosine (theirs is constant), and a batch is drawn from all training images (theirs: 32 of each domain). For
CLIP the features are those after the projection, as in the code of MIRO.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Seen, Stage, class_cross_entropy, head_classifier, initial_head


class ERM(Method):
    summary: ClassVar[str] = "Image tower and a random head with cross-entropy, as in DomainBed"
    paper: ClassVar[str] = "arXiv:2007.01434"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0, "engine.warmup": 0.0}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of the features left out of each image
        head: Convention = "linear"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        features = F.dropout(seen.raw, self.config.dropout, training=self.training)  # (B, D)
        return {"cross_entropy": class_cross_entropy(self.head(features), seen.batch.labels)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
