"""CaRot: contrastive fine-tuning that is calibrated and robust (Oh et al., NeurIPS 2024, arXiv:2311.01723).

    loss = contrastive + 0.2 ||Wv' Wv - I|| + 0.05 ||Wv Wt'|| + 1.5 (CE(Z~, Z) + CE(Z~', Z'))

Z = exp(s) F G' are the batch's image-text similarities, Z~ those of the teacher: a moving average of both towers and
the scale, updated every 500 of 25,030 steps (step 0 included) with a momentum that climbs from 0.05 to 0.9 in the first
fifth. Wv, Wt: the projections. As in the authors' code, norms are not squared, the two directions of the distillation
are summed, and the second norm, which the paper does not have, is there. Their code leaves the distillation out at step
0, where its gradient is zero anyhow. `variant=v1` is the first preprint's method, without the projection terms.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator
from torch import Tensor

from surefoot.backbones.base import Average, Backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.losses import cross_projection_norm, orthogonality, self_distillation, similarity
from surefoot.methods.base import Method, Progress, Seen, Stage, Start, Term, contrast
from surefoot.weights import carot_momentum

Share = Annotated[float, Field(ge=0, le=1)]


class CaRotTerm(Term):
    smallest_batch = 2
    holds_weights = True

    class Config(Term.Config):
        variant: Literal["final", "v1"] = "final"
        distillation: NonNegativeFloat = 1.5  # weights of the terms
        orthogonality: NonNegativeFloat = 0.2
        cross_projection: NonNegativeFloat = 0.05
        momentum_start: Share = 0.05
        momentum_end: Share = 0.9
        ramp_share: Share = 0.2  # of the steps, until the last momentum is reached
        update_share: Annotated[float, Field(gt=0, le=1)] = 500 / 25_030  # of the steps, from update to update
        update_steps: NonNegativeInt = 0  # steps from update to update; 0: by update_share

        @model_validator(mode="after")
        def _no_weight_is_ignored(self) -> Self:
            if self.variant == "v1" and (self.orthogonality, self.cross_projection) not in ((0.2, 0.05), (0, 0)):
                raise ValueError(
                    f"method.variant=v1 has no projection terms, but method.orthogonality={self.orthogonality} and "
                    f"method.cross_projection={self.cross_projection} are set; leave them out or choose variant=final"
                )
            return self

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.average = Average(backbone)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        config, backbone, captions = self.config, seen.backbone, self.prompts.captions(seen.batch)
        logits = similarity(seen.joined_images, seen.joined_texts(captions), backbone.scale)  # (N, N)
        soft = similarity(*seen.pairs_by(self.average, captions))  # (N, N)
        terms = {"distillation": config.distillation * self_distillation(logits, soft)}
        if config.variant == "final":
            visual, textual = backbone.image.output_weight, backbone.text.output_weight
            terms["orthogonality"] = config.orthogonality * orthogonality(visual)
            terms["cross_projection"] = config.cross_projection * cross_projection_norm(visual, textual)
        return terms

    def after_step(self, backbone: Backbone, progress: Progress) -> None:
        config, step, steps = self.config, progress.step, progress.steps
        if step % (config.update_steps or max(1, round(config.update_share * steps))) == 0:
            ends = {"start": config.momentum_start, "end": config.momentum_end}
            momentum = carot_momentum(step, total_steps=steps, ramp_share=config.ramp_share, **ends)
            self.average.follow(backbone, momentum)


class CaRot(Method):
    summary: ClassVar[str] = "Both towers, with an orthogonal projection and distillation from a moving average"
    paper: ClassVar[str] = "arXiv:2311.01723"
    smallest_batch = 2
    stages = (Stage(train=("backbone.",)),)

    class Config(CaRotTerm.Config, Method.Config):
        pass

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.term = CaRotTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {**contrast(seen, self.prompts), **self.term(seen)}

    def after_step(self, progress: Progress) -> None:
        self.term.after_step(self.backbone, progress)

    def classifier(self) -> Classifier:
        return Classifier.zero_shot(self.backbone, self.prompts)
