"""What losses share: `Seen`, the features of a step; `Start`, the zero-shot model; `Term`, a regulariser.

Imported through `base`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, distributed, nn

from surefoot.backbones.base import Average, Backbone, Frozen, ImageTower, RawFeatures, parts_of, unit
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts


class Progress(NamedTuple):
    """Where a run stands: in its `stage` (from 0), at `step` of `steps` and in `epoch` of `epochs` (both from 0).

    `lr` is the learning rate of this step, for what moves weights outside the optimizer.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    stage: int = 0
    lr: float = 0.0

    @property
    def moment(self) -> int:
        """A number that no other step of the run has: what is drawn afresh in each step is drawn from it."""
        return self.stage << 32 | self.step

    @property
    def share(self) -> float:
        """The share of the stage's steps that are done, in [0, 1)."""
        return self.step / self.steps


class Options(BaseModel):
    """Base of the options of methods and terms: an unknown one is an error, none is NaN or infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Seen:
    """A step's batch and the student's features of it, each computed when first asked for and only once.

    `joined_*` are those of all processes, in rank order, for losses that compare the images of a batch. What the image
    tower's parts at the places `watched` give is kept from the same pass (`Term.watched`).
    """

    def __init__(self, backbone: Backbone, batch: Batch, progress: Progress, *, watched: Sequence[int] = ()) -> None:
        self.backbone, self.batch, self.progress, self._watched = backbone, batch, progress, watched
        self._texts: dict[tuple[str, ...], Tensor] = {}
        self._teachers: dict[Frozen[Any], Tensor] = {}
        self._parts_by: dict[Frozen[Any], Mapping[int, Tensor]] = {}

    @property
    def raw(self) -> Tensor:
        """Image features (B, D) before normalisation."""
        return self._image_pass[0]

    @property
    def parts(self) -> Mapping[int, Tensor]:
        """The outputs (B, ...) of the watched parts of the student's image tower, by place."""
        return self._image_pass[1]

    @cached_property
    def _image_pass(self) -> tuple[Tensor, Mapping[int, Tensor]]:
        with parts_of(self.backbone.image, self._watched) as parts:
            return self.backbone.image.raw(self.batch.images), parts

    @cached_property
    def images(self) -> Tensor:
        """Unit image features (B, D)."""
        return unit(self.raw)

    @cached_property
    def joined_images(self) -> Tensor:
        """Unit image features (N, D)."""
        return gather(self.images)

    def joined_texts(self, sentences: Sequence[str]) -> Tensor:
        """Unit text features (N, D) of B sentences."""
        key = tuple(sentences)
        if key not in self._texts:
            self._texts[key] = self.backbone.encode_text(sentences)
        return gather(self._texts[key])  # always, as other processes may not know their sentences yet

    def by(self, teacher: Frozen[Any]) -> Tensor:
        """The features (B, D) that a teacher gives; it runs once, however many losses ask."""
        if teacher not in self._teachers:
            with parts_of(teacher.module, self._watched) as self._parts_by[teacher]:
                self._teachers[teacher] = teacher(self.batch)
        return self._teachers[teacher]

    @torch.no_grad()
    def parts_by(self, teacher: Frozen[Any]) -> Mapping[int, Tensor]:
        """The outputs of the watched parts of a teacher's image tower; it runs even where it remembers its features."""
        if not self._parts_by.get(teacher):
            with parts_of(teacher.module, self._watched) as self._parts_by[teacher]:
                self._teachers[teacher] = teacher.module(self.batch.images)
        return self._parts_by[teacher]

    @torch.no_grad()
    def pairs_by(self, teacher: Average[Backbone], captions: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """A following teacher's unit features (N, D) of the images and of B captions, and its scale."""
        model = teacher.module
        return gather(model.image(self.batch.images)), gather(model.encode_text(captions)), model.scale


class Start:
    """The zero-shot model as it was before training, shared by all terms of a method; copied when first asked for.

    A term takes what it needs when it is made, so that what nobody needs is not copied. The text tower is copied only
    where it trains (`trains_text`): else the student's is still the zero-shot model's.
    """

    def __init__(self, backbone: Backbone, *, trains_text: bool = False) -> None:
        self._student, self._trains_text = backbone, trains_text
        self.scale = backbone.scale.detach().clone()  # ()

    @cached_property
    def image(self) -> Frozen[Any]:
        """The teacher: image features (B, D) before normalisation; remembers fixed crops."""
        return Frozen(self._student if self._trains_text else RawFeatures(self._student.image))

    @property
    def tower(self) -> ImageTower:
        """The copied image tower."""
        copied: Backbone | RawFeatures = self.image.module
        return copied.image if isinstance(copied, Backbone) else copied.tower

    @property
    def backbone(self) -> Backbone:
        """What embeds texts as the zero-shot model does; its image tower may be the student's."""
        return self.image.module if self._trains_text else self._student

    @torch.no_grad()
    def joined_texts(self, sentences: Sequence[str]) -> Tensor:
        """Unit text features (N, D), of the same batch as the student's: equal weights give equal bits."""
        return gather(self.backbone.encode_text(sentences))


class Term(nn.Module, ABC):
    """A regulariser: weighted loss terms that can stand beside any method's loss (`compose`).

    A method's file defines at most one. `smallest_batch` is 2 where the images of a batch are compared; a term's own
    parameters, if it has any, train at `lr` times the stage's rate. `scale` is the zero-shot model's. A term that
    `holds_weights` compares weights of the towers, and is of no use where these do not train. `watched` are the places
    in `ImageTower.parts` of what the term reads from `Seen.parts` and `Seen.parts_by`.
    """

    class Config(Options):
        pass

    smallest_batch: ClassVar[int] = 1
    lr: ClassVar[float] = 1.0
    holds_weights: ClassVar[bool] = False
    watched: tuple[int, ...] = ()
    scale: Tensor  # ()

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts, start: Start) -> None:
        super().__init__()
        self.config = config
        self.prompts = prompts
        self.register_buffer("scale", start.scale, persistent=False)

    @abstractmethod
    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Weighted loss terms, scalars."""

    def after_step(self, backbone: Backbone, progress: Progress) -> None:
        """Called after each optimizer step with the student."""


def gather(tensor: Tensor) -> Tensor:
    """The rows of all processes, in rank order, with gradient; `tensor` itself in a single process.

    Every process must then compute the same loss on the joined batch: the gradient that reaches the weights, averaged
    over processes as DDP does, is that of one process with the whole batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return tensor
    joined: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # each process holds the same loss, so the sum over processes of the gradient is its multiple
        start = distributed.get_rank() * ctx.rows
        return gradients[0][start : start + ctx.rows] * distributed.get_world_size()
