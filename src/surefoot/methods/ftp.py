"""FTP: keep each tensor near its start, within a radius that training itself teaches (Tian et al., NeurIPS 2023).

After the optimizer's step t, for each tensor of the image tower, with the change c_t = theta - theta0 in rows and
n = sum |c_t| of each row:

    radius <- Adam(radius, sum over rows <gradient, c_(t-1)> / n_(t-1)),  within [1e-8, max n]
    theta <- theta0 + min(radius / n, 1) c_t

arXiv:2310.19182. The gradient of the loss costs nothing more: it is that of the step. Where it says "smaller" it is
multiplied by `annealing` (the authors' k). At t = 1 the radius is 1e-8, which takes back the first step. The head takes
plain steps. As in the authors' code, a vector (bias, norm) is one row, and not one for each number as in TPGM; Adam's
t counts that first step. They project inside Adam and SGD; here it follows AdamW, which is the same.
"""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from surefoot.backbones.base import Average, Backbone, Frozen
from surefoot.classifier import Classifier, Convention
from surefoot.data.prompts import Prompts
from surefoot.methods._projection import FLOOR, adam_step, bounded, lengths, shorten
from surefoot.methods.base import Method, Progress, Seen, Stage, class_cross_entropy, head_classifier, initial_head


class FTP(Method):
    summary: ClassVar[str] = "Fine-tune, each tensor within a radius of its start that training itself teaches"
    paper: ClassVar[str] = "arXiv:2310.19182"
    recommended: ClassVar[dict[str, Any]] = {"engine.weight_decay": 0.0}
    stages = (Stage(train=("backbone.image.", "head.")),)

    class Config(Method.Config):
        annealing: Annotated[float, Field(ge=0, le=1)] = 1.0  # 1 holds the weights most, 0 never shrinks a radius
        radius_lr: PositiveFloat = 1e-2
        head: Convention = "scaled"

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__(config, backbone, prompts)
        self.head = initial_head(backbone, prompts, convention=config.head)
        self.start = Frozen(backbone.image)
        self.proposed = Average(backbone.image)  # the weights before they were projected; saved, and unknown to DDP
        self.learned = nn.Buffer(torch.zeros(len(list(backbone.image.parameters())), 3))  # see ftp_step

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return {"cross_entropy": class_cross_entropy(self.head(seen.raw), seen.batch.labels)}

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:
        towers = (self.backbone.image, self.start.module, self.proposed.module)
        step, annealing, lr = progress.step + 1, self.config.annealing, self.config.radius_lr
        parts = zip(*(tower.parameters() for tower in towers), self.learned, strict=True)
        for weight, start, proposed, learned in parts:
            if weight.grad is not None:
                change, previous = weight - start, proposed - start
                kept, after = ftp_step(change, previous, weight.grad, learned, step, annealing=annealing, lr=lr)
                proposed.copy_(weight)
                weight.copy_(start + kept)
                learned.copy_(after)

    def classifier(self) -> Classifier:
        return head_classifier(self.backbone, self.head, self.prompts)


def ftp_step(
    change: Tensor, previous: Tensor, gradient: Tensor, learned: Tensor, step: int, *, annealing: float, lr: float
) -> tuple[Tensor, Tensor]:
    """What is kept of a tensor's change in step `step` (from 1), and `learned` (3) afterwards.

    `previous` is the change before the last projection, `gradient` the raw one of this step, `learned` the radius and
    its two Adam moments.
    """
    rows, before, slope = (t.flatten(1) if t.dim() > 1 else t.reshape(1, -1) for t in (change, previous, gradient))
    length, (radius, first, second) = lengths(rows), learned
    if step == 1:
        radius = torch.full_like(radius, FLOOR)
    else:
        pull = ((slope * before).sum(1, keepdim=True) / lengths(before)).sum()  # (), of the loss on the radius
        pull = torch.where(pull > 0, annealing * pull, pull)
        radius, first, second = adam_step(radius, pull, first, second, step=step, lr=lr)
        radius = bounded(radius, length.max())
    return shorten(rows, length, radius).view_as(change), torch.stack([radius, first, second])
