"""R-Adapter: linear adapters on both frozen towers, merged into them at the end (Kim et al., ECCV 2024, 2408.05749).

    training:    h + s drop(A h)   on the output h of every residual branch; A (d, d) is 0 at first, s is 0.1
    at the end:  W <- (I + alpha s' A') W,  b <- (I + alpha s' A') b   in the branch's last linear map
    loss = mpm_nce of images and captions: pairs of a class are positives, negatives get epsilon and a margin

A', s': moving averages of A and s. The class weights are then made by the merged text tower. drop zeroes a share and
scales up the rest. In the authors' code it falls on token positions, equal for the whole batch (`drop_by=token`); in
their paper on whole adapters (`module`); `sample` is the usual stochastic depth. The learning rate is a multiple of
engine.lr, since adapters start from nothing. Adapters have full rank: the code's low-rank path does not merge.
"""

import copy
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from surefoot.backbones.base import Average, Backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.losses import mpm_nce
from surefoot.methods._adapters import Adapters, DropBy, Hook, branches
from surefoot.methods.base import Method, Progress, Seen, Stage, gather

Share = Annotated[float, Field(ge=0, le=1)]
PartialShare = Annotated[float, Field(ge=0, lt=1)]


class RAdapter(Method):
    summary: ClassVar[str] = "Linear adapters on both frozen towers, averaged and merged into them"
    paper: ClassVar[str] = "arXiv:2408.05749"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0, "engine.clip_norm": 1.0}
    smallest_batch = 2

    class Config(Method.Config):
        epsilon: PartialShare = 0.02  # of the target, spread over the negatives
        margin: NonNegativeFloat = 0.05  # added to the negatives' cosines
        drop: PartialShare = 0.2  # of the adapters' outputs
        drop_by: DropBy = "token"
        momentum: Share = 0.999  # of the average
        alpha: Share = 0.5  # 0 is zero-shot, 1 the averaged adapters in full
        lr_multiple: PositiveFloat = 50.0  # of engine.lr

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        widths = [branch.out_features for branch in branches(backbone)]
        self.adapters = Adapters(widths, drop=config.drop, drop_by=config.drop_by)
        self.average = Average(self.adapters)
        self.stages = (Stage(train=("adapters.",), lr=config.lr_multiple),)
        self.attach()

    @property
    def trains_text(self) -> bool:
        return True  # by its adapters, though none of its own weights

    def attach(self) -> None:
        """Let the adapters act on what the branches give."""
        found = enumerate(branches(self.backbone))
        self.hooks = [branch.register_forward_hook(Hook(self, number)) for number, branch in found]

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        config, texts = self.config, seen.joined_texts(self.prompts.captions(seen.batch))  # (N, D)
        pairs = (seen.joined_images, texts, seen.backbone.scale, gather(seen.batch.labels))
        return {"multi_positive": mpm_nce(*pairs, epsilon=config.epsilon, margin=config.margin)}

    def after_step(self, progress: Progress) -> None:
        self.average.follow(self.adapters, self.config.momentum)

    def classifier(self) -> Classifier:
        for hook in self.hooks:
            hook.remove()
        merged = copy.deepcopy(self.backbone)
        self.attach()
        for number, branch in enumerate(branches(merged)):
            self.average.module.merge(number, branch, alpha=self.config.alpha)
        return Classifier.zero_shot(merged, self.prompts)
