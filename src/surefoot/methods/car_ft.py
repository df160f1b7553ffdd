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

from surefoot.backbones.base import Backbone, unit
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts, Template
from surefoot.losses import context_kl
from surefoot.methods.base import Method, Seen, Stage, Start, Term, class_cross_entropy, head_classifier, initial_head


class ContextTerm(Term):
    class Config(Term.Config):
        weight: NonNegativeFloat = 1.0  # of the context term; the paper's alpha
        context_source: Literal["contexts", "templates"] = "contexts"  # of the task
        contexts: tuple[Template, ...] = ()  # your own in place of the task's
        ctx_scale: NonNegativeFloat = 0.0  # 0: the backbone's own

    config: Config
    contexts: Tensor

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.teacher = start.image
        of_task = prompts.templates if config.context_source == "templates" else prompts.contexts
        contexts = replace(prompts, contexts=tuple(dict.fromkeys(config.contexts or of_task)))
        if len(contexts.contexts) < 2:
            raise ValueError(
                f"method.contexts: there is one context only, {contexts.contexts[0]!r}, and every image would have all "
                "of its probability there; give two or more"
            )
        self.register_buffer("contexts", backbone.zero_shot_weights(contexts.context_sentences()))  # (M, D)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        reference = unit(seen.by(self.teacher))  # (B, D)
        scale = self.config.ctx_scale or self.scale
        return {"context_kl": self.config.weight * context_kl(seen.images, reference, self.contexts, scale)}


class CARFT(Method):
    summary: ClassVar[str] = "Fine-tuning that keeps the image's distribution over contexts"
    paper: ClassVar[str] = "arXiv:2211.16175"
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(ContextTerm.Config, Method.Config):
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.term = ContextTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels), **self.term(seen)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
