"""CAR-FT: context-aware robust fine-tuning (Mao et al., IJCV 2024, arXiv:2211.16175).

    loss = CE(W f(x) + b, y) + weight * KL(p0(context | x) || p(context | x)),  p = softmax(scale * contexts f(x)')

Fine-tuning erodes what CLIP knows of an image's context ("a sketch of", "a photo of"). This keeps the image's
distribution over contexts near the zero-shot model's. A context's weights are the normalised mean, over all classes, of
its sentences' unit features, made once by the zero-shot text tower. The authors published no code, and neither their
scale nor their weight could be checked: the defaults are CLIP's own scale on both sides and a weight of 1.
"""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, Frozen, unit
from surefoot.classifier import Classifier, Convention
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.losses import context_kl
from surefoot.methods.base import Method, Progress, Stage, class_cross_entropy, head_classifier, initial_head


class CARFT(Method):
    summary: ClassVar[str] = "Fine-tuning that keeps the image's distribution over contexts"
    paper: ClassVar[str] = "arXiv:2211.16175"
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        weight: NonNegativeFloat = 1.0  # of the context term; the paper's alpha
        context_source: Literal["contexts", "templates"] = "contexts"  # of the task
        contexts: tuple[str, ...] = ()  # your own in place of the task's
        ctx_scale: NonNegativeFloat = 0.0  # 0: the backbone's own
        head: Convention = "scaled"

    config: Config
    contexts: Tensor

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.teacher = Frozen(backbone.image)
        of_task = prompts.templates if config.context_source == "templates" else prompts.contexts
        contexts = replace(prompts, contexts=tuple(dict.fromkeys(config.contexts or of_task)))
        if len(contexts.contexts) < 2:
            raise ValueError(
                f"method.contexts: there is one context only, {contexts.contexts[0]!r}, and every image would have all "
                "of its probability there; give two or more"
            )
        self.register_buffer("contexts", backbone.zero_shot_weights(contexts.context_sentences()))  # (M, D)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        raw = self.backbone.image.raw(batch.images)  # (B, D)
        scale = self.config.ctx_scale or self.backbone.scale
        return {
            "cross_entropy": class_cross_entropy(self.head(raw), batch.labels),
            "context_kl": self.config.weight * context_kl(unit(raw), self.teacher(batch), self.contexts, scale),
        }

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
