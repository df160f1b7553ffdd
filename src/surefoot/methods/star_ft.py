"""StarFT: align with the zero-shot model on spurious captions (Kim et al., IJCAI 2025, arXiv:2505.13232).

    loss = contrastive + weight_e * mean_i KL(softmax(exp(s0) f0_i S0') || softmax(exp(s0) f_i S')),
    weight_e = weight * (1 - (e + 1) / E) in epoch e of E

S: features of the spurious captions ("a photo of a dog on a sandy beach"): each image's caption in a phrase drawn from
a pool of our own; those of its own class are left out (`variant=kl`: are not). Index 0 is the zero-shot model, whose
scale stands on both sides. Captions have one template. `base=ce` predicts with its head; the authors' code with text.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, unit
from surefoot.classifier import Classifier
from surefoot.data.pools import read_pools
from surefoot.data.prompts import Prompts, Template
from surefoot.losses import spurious_alignment, spurious_kl
from surefoot.methods.base import (
    Method,
    Progress,
    Seen,
    Stage,
    Start,
    Term,
    class_cross_entropy,
    contrast,
    gather,
    head_classifier,
    initial_head,
)


class SpuriousTerm(Term):
    smallest_batch = 2

    class Config(Term.Config):
        variant: Literal["star", "kl"] = "star"  # star leaves out captions of the image's own class
        weight: NonNegativeFloat = 0.5  # of the spurious term in the beginning; the paper's lambda
        decay: Literal["epoch", "step", "none"] = "epoch"
        pools: Annotated[tuple[str, ...], Field(min_length=1)] = ("background",)
        template: Template = "a photo of a {}."

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.start, self.teacher = start, start.image
        try:
            phrases = read_pools(config.pools)
        except ValueError as error:
            raise ValueError(f"method.{error}") from error
        self.pool = tuple(phrase.replace("{}", config.template.removesuffix(".")) for phrase in phrases)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        captions = self.prompts.spurious_captions(self.pool, seen.batch)
        start_images = gather(unit(seen.by(self.teacher)))  # (N, D)
        start_texts = self.start.joined_texts(captions)  # of the same batch, not from a table: equal to the last bit
        features = (seen.joined_images, seen.joined_texts(captions), start_images, start_texts, self.scale)
        star, labels = self.config.variant == "star", gather(seen.batch.labels)
        term = spurious_alignment(*features, labels) if star else spurious_kl(*features)
        return {"spurious": self.config.weight * self.remaining(seen.progress) * term}

    def remaining(self, progress: Progress) -> float:
        """The share of the weight that is left."""
        left = {"epoch": 1 - (progress.epoch + 1) / progress.epochs, "step": 1 - progress.share, "none": 1.0}
        return left[self.config.decay]


class StarFT(Method):
    summary: ClassVar[str] = "Both towers, kept as the zero-shot model is on spurious captions"
    paper: ClassVar[str] = "arXiv:2505.13232"
    smallest_batch = 2

    class Config(SpuriousTerm.Config, Method.Config):
        base: Literal["flyp", "ce"] = "flyp"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.captions = replace(prompts, templates=(config.template,))
        self.stages = (Stage(train=("backbone.",)),)
        if config.base == "ce":
            self.head = initial_head(backbone, prompts, convention="scaled")
            self.stages = (Stage(train=("backbone.image.", "backbone.text.", "head.")),)
        self.term = SpuriousTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        if self.config.base == "ce":
            return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels), **self.term(seen)}
        return {**contrast(seen, self.captions), **self.term(seen)}

    def classifier(self) -> Classifier:
        if self.config.base == "ce":
            return head_classifier(self.backbone, self.head, self.prompts)
        return Classifier.zero_shot(self.backbone, self.prompts)
