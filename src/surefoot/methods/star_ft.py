"""StarFT: align with the zero-shot model on spurious captions (Kim et al., IJCAI 2025, arXiv:2505.13232).

    loss = contrastive + weight_e * mean_i KL(softmax(exp(s0) f0_i S0') || softmax(exp(s0) f_i S')),
    weight_e = weight * (1 - (e + 1) / E) in epoch e of E

S: features of the batch's spurious captions ("a photo of a dog on a sandy beach"), each the image's caption in a phrase
drawn from a pool; those of the image's own class are left out (`variant=kl`: are not). Index 0 is the zero-shot model;
its scale stands on both sides. As in the authors' code, captions have one template and both towers train. The pools are
our own. `base=ce` puts cross-entropy of a head in place of the contrastive loss; we predict with that head, the
authors' code by mistake with text.
"""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from surefoot.backbones.base import Backbone, Frozen, unit
from surefoot.classifier import Classifier
from surefoot.data.batch import Batch
from surefoot.data.pools import read_pools
from surefoot.data.prompts import Prompts
from surefoot.losses import contrastive_loss, spurious_alignment, spurious_kl
from surefoot.methods.base import Method, Progress, Stage, class_cross_entropy, gather, head_classifier, initial_head


class StarFT(Method):
    summary: ClassVar[str] = "Both towers, kept as the zero-shot model is on spurious captions"
    paper: ClassVar[str] = "arXiv:2505.13232"
    smallest_batch: ClassVar[int] = 2

    class Config(Method.Config):
        base: Literal["flyp", "ce"] = "flyp"
        variant: Literal["star", "kl"] = "star"  # star leaves out captions of the image's own class
        weight: NonNegativeFloat = 0.5  # of the spurious term in the beginning; the paper's lambda
        decay: Literal["epoch", "step", "none"] = "epoch"
        pools: Annotated[tuple[str, ...], Field(min_length=1)] = ("background",)
        template: str = "a photo of a {}."

    config: Config
    start_scale: Tensor

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.base = replace(prompts, templates=(config.template,))
        caption = config.template.removesuffix(".")
        try:
            self.pool = tuple(phrase.replace("{}", caption) for phrase in read_pools(config.pools))
        except ValueError as error:
            raise ValueError(f"method.{error}") from error
        self.teacher = Frozen(backbone)
        self.register_buffer("start_scale", backbone.scale.detach().clone())
        self.stages = (Stage(train=("backbone.",)),)
        if config.base == "ce":
            self.head = initial_head(backbone, prompts, convention="scaled")
            self.stages = (Stage(train=("backbone.image.", "backbone.text.", "head.")),)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        raw = self.backbone.image.raw(batch.images)  # (B, D)
        images, start_images = gather(unit(raw)), gather(self.teacher(batch))  # (N, D), as are the next three
        captions = self.base.spurious_captions(self.pool, batch)
        texts = gather(self.backbone.encode_text(captions))
        with torch.no_grad():  # of the same batch, not from a table: equal weights give equal bits
            start_texts = gather(self.teacher.module.encode_text(captions))
        features = (images, texts, start_images, start_texts, self.start_scale)
        if self.config.variant == "star":
            term = spurious_alignment(*features, gather(batch.labels))
        else:
            term = spurious_kl(*features)
        return {**self.base_loss(batch, raw, images), "spurious": self.config.weight * self.remaining(progress) * term}

    def base_loss(self, batch: Batch, raw: Tensor, images: Tensor) -> dict[str, Tensor]:
        if self.config.base == "ce":
            return {"cross_entropy": class_cross_entropy(self.head(raw), batch.labels)}
        texts = gather(self.backbone.encode_text(self.base.captions(batch)))  # (N, D)
        return {"contrastive": contrastive_loss(images, texts, self.backbone.scale)}

    def remaining(self, progress: Progress) -> float:
        """The share of the weight that is left."""
        shares = {"epoch": 1 - (progress.epoch + 1) / progress.epochs, "step": 1 - progress.share, "none": 1.0}
        return shares[self.config.decay]

    def classifier(self) -> Classifier:
        if self.config.base == "ce":
            return head_classifier(self.backbone, self.head, self.prompts)
        return Classifier.zero_shot(self.backbone, self.prompts)
