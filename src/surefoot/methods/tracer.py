"""TRACER: contrastive fine-tuning with a teacher that averages the whole trajectory (ICML 2026, arXiv:2605.29380).

    loss = contrastive + 0.05 ||Wv Wt'|| + 0.9 (CRD + 2000 FD + ICL + XKD)

The teacher is the mean of the weights of all steps so far, the zero-shot ones included, under a Beta(0.5, 0.5) kernel
over the run: the first and the last steps weigh most, so that it never forgets the start as an EMA does. CRD: the
teacher's in-batch similarities (KL, both directions); FD: squared distance of features; ICL: contrast across student
and teacher; XKD: the KL again across both. As in the authors' code nothing is distilled at step 0, and the student
predicts. `orthogonality` is 0 on ImageNet and 0.05 on iWildCam there. Of the paper we read tables only.
"""

from functools import lru_cache
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from surefoot import losses
from surefoot.backbones.base import Average, Backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.methods.base import Method, Progress, Seen, Stage, Start, Term, contrast
from surefoot.weights import trajectory_momenta

momenta = lru_cache(maxsize=8)(trajectory_momenta)


class TracerTerm(Term):
    smallest_batch = 2
    holds_weights = True

    class Config(Term.Config):
        distillation: NonNegativeFloat = 0.9  # of the next four together
        relational: NonNegativeFloat = 1.0  # CRD
        features: NonNegativeFloat = 2000.0  # FD
        interactive: NonNegativeFloat = 1.0  # ICL
        cross: NonNegativeFloat = 1.0  # XKD
        cross_projection: NonNegativeFloat = 0.05
        orthogonality: NonNegativeFloat = 0.0
        beta: PositiveFloat = 0.5  # of the kernel; 1 weighs all steps alike

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__(config, backbone, prompts, start)
        self.average = Average(backbone)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        config, backbone, captions = self.config, seen.backbone, self.prompts.captions(seen.batch)
        ours = (seen.joined_images, seen.joined_texts(captions), backbone.scale)  # (N, D), (N, D), ()
        theirs = seen.pairs_by(self.average, captions)
        logits, soft = losses.similarity(*ours), losses.similarity(*theirs)  # (N, N)
        pairs, scale, its_scale = (*ours[:2], *theirs[:2]), ours[2], theirs[2]
        share = config.distillation if seen.progress.step > 0 else 0.0
        visual, textual = backbone.image.output_weight, backbone.text.output_weight
        return {
            "relational": share * config.relational * losses.relational_distillation(logits, soft),
            "features": share * config.features * losses.feature_distance(*pairs),
            "interactive": share * config.interactive * losses.cross_contrastive(*pairs, scale),
            "cross": share * config.cross * losses.cross_distillation(*pairs, scale, its_scale),
            "cross_projection": config.cross_projection * losses.cross_projection_norm(visual, textual),
            "orthogonality": config.orthogonality * losses.orthogonality(visual),
        }

    def after_step(self, backbone: Backbone, progress: Progress) -> None:
        """Step k, counted from 0, makes the weights that are entry k + 1 of the trajectory."""
        self.average.follow(backbone, momenta(progress.steps, beta=self.config.beta)[progress.step + 1])


class Tracer(Method):
    summary: ClassVar[str] = "Both towers, distilled from an average of the whole trajectory"
    paper: ClassVar[str] = "arXiv:2605.29380"
    smallest_batch = 2
    stages = (Stage(train=("backbone.",)),)

    class Config(TracerTerm.Config, Method.Config):
        pass

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.term = TracerTerm(config, backbone, prompts, self.zero_shot)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {**contrast(seen, self.prompts), **self.term(seen)}

    def after_step(self, progress: Progress) -> None:
        self.term.after_step(self.backbone, progress)

    def classifier(self) -> Classifier:
        return Classifier.zero_shot(self.backbone, self.prompts)
