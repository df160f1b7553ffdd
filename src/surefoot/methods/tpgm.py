"""TPGM: fine-tune, then pull each tensor back to a radius that held-out images teach (Tian et al., CVPR 2023).

    theta <- theta0 + min(radius / |theta - theta0|, 1) (theta - theta0)      for each tensor of the image tower

Training is FT's. In a lesson Adam moves the radii (one a tensor, first half of the smallest length) to lower the
projected model's cross-entropy on validation. arXiv:2303.10720. Default: the authors' way with CLIP on ImageNet, one
lesson after the last step, |.| the L2 norm; `every_share=0 iterations=1 norm=mars`: theirs on DomainNet, |.| the L1
norm of a row. Radii and moments persist; after the first lesson every step is projected. The head is not.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from surefoot.backbones.base import Backbone, Frozen, RawFeatures, evaluating
from surefoot.classifier import Classifier, Convention
from surefoot.data.batch import Batch
from surefoot.data.held_out import HeldOut
from surefoot.data.prompts import Prompts
from surefoot.methods._projection import Change, adam_step, bounded, change_of, project_all
from surefoot.methods.base import Method, Progress, Seen, Stage, class_cross_entropy, head_classifier, initial_head

PART = 64  # held-out images at a time: each process sees whole batches, where training gives it a share of them


class TPGM(Method):
    summary: ClassVar[str] = "Fine-tune, each tensor within a radius of its start that validation images teach"
    paper: ClassVar[str] = "arXiv:2303.10720"
    recommended: ClassVar[dict[str, Any]] = {"engine.clip_norm": 1.0}
    selected_on = "validation"
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        norm: Literal["l2", "mars"] = "l2"
        iterations: PositiveInt = 200  # batches of a lesson
        every_share: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the steps, from lesson to lesson; 0: every step
        radius_lr: PositiveFloat = 1e-2
        projects: Literal["tower", "tower_and_head"] = "tower"
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        if config.head == "linear" and config.projects == "tower_and_head":
            raise ValueError("method.head=linear has no pre-trained start to stay near; set method.projects=tower")
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.start = Frozen(self.model())
        self.learned = nn.Buffer(torch.zeros(3, len(self.changes())))  # (3, tensors): radii and their Adam moments

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels)}

    def consult(self, held_out: HeldOut, progress: Progress) -> None:
        if len(held_out) == 0:
            raise ValueError("method=tpgm learns from validation images, but there are none; give the task some")
        done, period = progress.step + 1, max(1, round(self.config.every_share * progress.steps))
        if done % period == 0 or done == progress.steps:
            self.learn(held_out, taken=(done - 1) // period * self.config.iterations)
        if done >= period:
            self.model().load_state_dict(project_all(self.changes(), self.learned[0]), strict=False)  # in place

    def learn(self, held_out: HeldOut, *, taken: int) -> None:
        """A lesson for the radii, after `taken` batches in earlier ones."""
        model, changes, (radii, first, second) = self.model(), self.changes(), self.learned
        longest = torch.stack([length.max() for _, _, length in changes.values()])
        if taken == 0:
            radii = torch.stack([length.min() / 2 for _, _, length in changes.values()])
        with evaluating(model):
            for step, batch in enumerate(held_out.shuffled(self.config.iterations, start=taken), start=taken + 1):
                radii = bounded(radii, longest)
                slope = loss_slope(model, changes, radii, batch)
                radii, first, second = adam_step(radii, slope, first, second, step=step, lr=self.config.radius_lr)
        self.learned.copy_(torch.stack([bounded(radii, longest), first, second]))

    def model(self) -> nn.Module:
        """Images to logits; the names of its weights begin with 0 (tower) or 1 (head)."""
        return nn.Sequential(RawFeatures(self.backbone.image), self.head)

    def changes(self) -> dict[str, Change]:
        """What is projected, by name."""
        prefix = "" if self.config.projects == "tower_and_head" else "0."
        starts, ours = (dict(model.named_parameters()) for model in (self.start.module, self.model()))
        return {key: change_of(ours[key], starts[key], self.config.norm) for key in ours if key.startswith(prefix)}

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def loss_slope(model: nn.Module, changes: dict[str, Change], radii: Tensor, batch: Batch) -> Tensor:
    """The gradient (K) of the projected model's cross-entropy with respect to the radii (K)."""
    slope = torch.zeros_like(radii)
    for images, labels in zip(torch.split(batch.images, PART), torch.split(batch.labels, PART), strict=True):
        given = radii.clone().requires_grad_()
        loss = class_cross_entropy(functional_call(model, project_all(changes, given), (images,)), labels)
        slope += torch.autograd.grad(loss, given)[0] * (len(labels) / len(batch.labels))
    return slope
