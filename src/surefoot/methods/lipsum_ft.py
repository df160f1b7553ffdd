"""Lipsum-FT: keep the energies between images and random texts (Nam et al., ICLR 2024, arXiv:2404.00860).

    loss = CE(W f(x), y) + weight * mean over images of sum_k (scale * (f(x) - f0(x)) t_k')^2 / (2 K)

t_k: features of K texts of L random tokens between start and end of text, drawn afresh in each step, the same for the
whole batch and on every process. Scale and text tower stay those of the zero-shot model. As in the authors' code:
K = 80, L = 8, weight 1, a head of unit rows, no weight decay, warm-up over a tenth. `form=kl` compares softmax
distributions in place of energies. `texts=words` draws common words, for text towers that have never seen arbitrary
tokens. The authors' choice of a checkpoint by the test set at home is not followed.
"""

from typing import Any, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from surefoot.backbones.base import Backbone, unit
from surefoot.classifier import Classifier, Convention
from surefoot.data.pools import random_sentences
from surefoot.data.prompts import Prompts
from surefoot.losses import random_text_gap, random_text_kl
from surefoot.methods.base import Method, Seen, Stage, Start, Term, class_cross_entropy, head_classifier, initial_head

LOSSES = {"gap": random_text_gap, "kl": random_text_kl}


class RandomTextTerm(Term):
    class Config(Term.Config):
        weight: NonNegativeFloat = 1.0  # of the random-text term; the paper's lambda
        form: Literal["gap", "kl"] = "gap"
        texts: Literal["tokens", "words"] = "tokens"
        count: PositiveInt = 80  # texts a step; the paper's K
        length: PositiveInt = 8  # tokens or words a text; the paper's L

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.start, self.teacher = start, start.image
        if config.form == "kl" and config.count == 1:
            raise ValueError("method.count=1: a distribution over one text is always the same; give 2 or more")
        try:
            self.random_texts(0)
        except ValueError as error:
            raise ValueError(f"method.{error}") from error

    def random_texts(self, moment: int) -> Tensor:
        """Features (K, D) of the texts of one step."""
        count, length, seed = self.config.count, self.config.length, self.prompts.seed
        if self.config.texts == "tokens":
            return self.start.backbone.embed_random_texts(count, length=length, seed=seed, moment=moment)
        return self.start.backbone.embed_texts(random_sentences(count, length=length, seed=seed, moment=moment))

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        texts = self.random_texts(seen.progress.moment)  # (K, D)
        reference = unit(seen.by(self.teacher))  # (B, D)
        term = LOSSES[self.config.form](seen.images, reference, texts, self.scale)
        return {"random_texts": self.config.weight * term}


class LipsumFT(Method):
    summary: ClassVar[str] = "Fine-tuning that keeps the energies between images and random texts"
    paper: ClassVar[str] = "arXiv:2404.00860"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0, "engine.warmup": 0.1}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(RandomTextTerm.Config, Method.Config):
        head: Convention = "unit"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.term = RandomTextTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        term = self.term(seen)
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels), **term}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)
