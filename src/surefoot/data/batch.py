"""Splits become batches: deterministic order and crops, any number of ranks, a start at any step.

Decoding belongs to `images`, what is drawn to `draws`: neither depends on workers, ranks or what was read before.
"""

from collections import Counter
from collections.abc import Callable, Generator, Hashable
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Literal, NamedTuple, Never, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surefoot.data.draws import crop_draws
from surefoot.data.images import (
    PILLOW_LIMIT,
    WHITE,
    Crop,
    ImageSpec,
    Opened,
    UnreadableImage,
    evaluation_view,
    normalise,
    to_tensor,
    training_view,
)
from surefoot.data.picks import Balance, EvaluationPicks, Picks, TrainingPicks, balanced
from surefoot.data.scan import BadImage, broken_images, files_of, open_example, unreadable
from surefoot.data.task import Split, Task
from surefoot.data.workers import Crew, outlasting, spare_cores

TRIES = 10  # to fit a random crop into an image
KEPT = 4096  # small images that a process keeps decoded: at most 256 MB, 64 MB at 64 x 64 pixels


class Batch(NamedTuple):
    """A batch of B images, normalised."""

    images: Tensor  # (B, 3, H, W) float32
    labels: Tensor  # (B,) int64
    groups: Tensor  # (B,) int64; -1 where there is none
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the split; hides tuple.index
    view: Tensor  # (B,) int64, which random crop of the image; -1 for the evaluation transform
    host: tuple[NDArray[np.int64], ...] = ()  # labels, index and view, of a batch that `placed` put on a device

    def placed(self, place: "Callable[[Batch], Batch]") -> "Batch":
        """The batch where `place` puts its tensors; what is looked up by its labels need not be fetched from there."""
        host = self.host or tuple(part.numpy() for part in (self.labels, self.index, self.view))
        return place(self._replace(host=()))._replace(host=host)

    def on_host(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Labels, index and view (B,); waits for the device of a batch that was not `placed`."""
        labels, index, view = self.host or tuple(part.cpu().numpy() for part in (self.labels, self.index, self.view))
        return labels, index, view


Batches = Generator[Batch, None, None]
"""To be closed where it is not read to its end, as an error may keep it, and its worker processes, alive."""


Channel = Annotated[int, Field(ge=0, le=255)]


class DataConfig(BaseModel):
    """How images are read and augmented: section `data` of a run's configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    workers: NonNegativeInt = Field(default_factory=spare_cores)  # never changes what is read; 0 = in this process
    views: NonNegativeInt = 0  # fixed crops of an image; 0 = a new crop each epoch
    balance: Balance = "none"  # equal shares of every training batch for each group or class
    on_bad_image: Literal["stop", "skip"] = "stop"
    crop_scale: tuple[float, float] = (0.9, 1.0)  # share of the area
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    flip: bool = False
    background: tuple[Channel, Channel, Channel] = WHITE  # behind transparent images
    max_pixels: Annotated[int, Field(ge=1, le=2 * PILLOW_LIMIT)] = PILLOW_LIMIT
    eval_batch_size: PositiveInt = 256

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"data.crop_scale={self.crop_scale}: give two shares of the area, 0 < low <= high <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"data.crop_ratio={self.crop_ratio}: give two ratios width / height, 0 < low <= high")
        return self


def training_batches(
    split: Split,
    spec: ImageSpec,
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    augment: bool = True,
) -> Batches:
    """Endless full batches from step `start_step` on; each rank gets its share of `batch_size` images.

    The examples form one endless stream: a permutation for each epoch, one after the other; a split with blocks is read
    a window of them at a time. Global step k takes positions k * batch_size to (k + 1) * batch_size, and rank r the
    r-th part of them, so that the ranks' batches joined are the batch of one process. Under `config.balance` each group
    (or class) has such a stream of its own, and they take turns. A crop depends on (seed, index, view) only, and the
    view is the epoch of its stream (modulo `config.views` where that is set). `augment=False` gives the evaluation
    transform in training order.
    Raises UnreadableImage with all unreadable files of the split, ValueError where there are no groups to balance.
    """
    _check_share(split, rank, world_size)
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(f"batch_size={batch_size} must be positive and divide by the {world_size} processes")
    if min(start_step, seed) < 0:
        raise ValueError(f"start_step={start_step} and seed={seed} must not be negative")
    members, views = balanced(split, config.balance), config.views if augment else -1
    picks = TrainingPicks(members, batch_size, seed, start_step, rank, world_size, views, split.blocks, split.window)
    return _batches(split, spec, config, picks, seed)


def evaluation_batches(
    split: Split, spec: ImageSpec, config: DataConfig, *, rank: int = 0, world_size: int = 1
) -> Batches:
    """Each image once, in order, through the evaluation transform; rank r gets images r, r + world_size, ...

    The last batch may be smaller. Raises UnreadableImage with all unreadable files of the split.
    """
    _check_share(split, rank, world_size)
    picks = EvaluationPicks(np.arange(rank, len(split), world_size), config.eval_batch_size)
    return _batches(split, spec, config, picks, 0)


Read = tuple[Tensor, Picks, list[BadImage]]


class Pictures(Dataset[Read]):
    """A batch of images at a time, as uint8 (B, 3, S, S); what could not be read is told beside it."""

    def __init__(self, split: Split, spec: ImageSpec, config: DataConfig, seed: int, crew: Crew) -> None:
        self.split, self.spec, self.config, self.seed, self.crew = split, spec, config, seed, crew
        self.kept: dict[int, Opened] = {}  # small images, decoded

    def __getitem__(self, picks: Picks) -> Read:
        images = torch.empty(len(picks.index), 3, self.spec.size, self.spec.size, dtype=torch.uint8)
        draws = crop_draws(self.seed, picks.index, picks.view, count=1 + 4 * TRIES)
        bad = []
        for row, index, view, drawn in zip(images, picks.index.tolist(), picks.view.tolist(), draws, strict=True):
            self.crew.takes(index)
            try:
                row.copy_(self._picture(index, view, drawn))
            except UnreadableImage as error:
                bad.append(BadImage(index, str(error)))
        self.crew.takes(-1)
        return images, picks, bad

    def _picture(self, index: int, view: int, draws: NDArray[np.float64]) -> Tensor:
        config = self.config
        opened = self.kept.get(index) or self._open(index)
        if view < 0:
            return to_tensor(evaluation_view(opened, self.spec, background=config.background))
        crop = Crop(config.crop_scale, config.crop_ratio, config.flip, draws)
        return to_tensor(training_view(opened, self.spec, crop, background=config.background))

    def _open(self, index: int) -> Opened:
        opened = open_example(self.split, index, max_pixels=self.config.max_pixels)
        if opened.is_small:
            opened.keep_pixels(background=self.config.background)
            if len(self.kept) < KEPT:
                self.kept[index] = opened
        return opened


def readable(split: Split, config: DataConfig) -> tuple[Split, list[BadImage]]:
    """The split without the images that cannot be decoded, and what was left out.

    Reads every file: a JPEG at an eighth of its size, which needs all of its data but about a third of the time.
    """
    bad = unreadable(split, max_pixels=config.max_pixels, workers=config.workers)
    return _without(split, bad), bad


def _without(split: Split, bad: list[BadImage]) -> Split:
    left_out = {image.index for image in bad}
    return split.subset([i for i in range(len(split)) if i not in left_out]) if bad else split


def drop_unreadable(task: Task, config: DataConfig) -> Task:
    """Under `data.on_bad_image=skip`, the task without unreadable images, noting how many of which class; else as is.

    To be called once, before training: positions, order and crops are then those of a split that never held them.
    """
    if config.on_bad_image == "stop":
        return task
    kept, notes, known = {}, [], dict[Hashable, list[BadImage]]()
    for name, split in task.splits().items():
        files = files_of(split)
        if files in known:
            kept[name] = _without(split, known[files])
            continue
        kept[name], bad = readable(split, config)
        known[files] = bad
        if bad:
            counts = Counter(task.classes[split.labels[image.index]] for image in bad)
            listed = ", ".join(f"{label} {count}" for label, count in counts.most_common())
            notes.append(f"{name}: skipped {len(bad)} of {len(split)} images that cannot be read ({listed})")
    lost = sorted({task.classes[i] for i in set(task.train.labels) - set(kept["train"].labels)})
    if lost:
        raise UnreadableImage(f"no training image of the classes {', '.join(lost)} can be read; replace some of them")
    tests = {name: kept[name] for name in task.tests}
    return replace(task, train=kept["train"], validation=kept["validation"], tests=tests, notes=(*task.notes, *notes))


def _batches(
    split: Split, spec: ImageSpec, config: DataConfig, picks: TrainingPicks | EvaluationPicks, seed: int
) -> Batches:
    labels, groups = torch.from_numpy(split.labels), torch.from_numpy(split.groups)

    def start(done: int, crew: Crew) -> DataLoader[Read]:
        return DataLoader(
            Pictures(split, spec, config, seed, crew),
            batch_size=None,  # the sampler gives whole batches
            sampler=picks.after(done),
            num_workers=config.workers,
            collate_fn=_as_is,  # type: ignore[arg-type]  # no list here: batch_size is None
            generator=torch.Generator(),  # else it would draw from the global one, and a resumed run would differ
            worker_init_fn=crew.enter,
        )

    with closing(outlasting(start, config.workers, told=lambda index: split.paths[index])) as stream:
        for images, (index, view), bad in stream:
            if bad:
                _stop(split, config)
            at = torch.from_numpy(index)
            yield Batch(normalise(images, spec), labels[at], groups[at], at, torch.from_numpy(view))


def _stop(split: Split, config: DataConfig) -> Never:
    raise UnreadableImage(broken_images([split], max_pixels=config.max_pixels, workers=config.workers))


def _as_is(item: Read) -> Read:
    return item


def _check_share(split: Split, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank={rank} must lie in 0..{world_size - 1}, the range of world_size={world_size}")
    if len(split) == 0:
        raise ValueError(f"split {split.name!r} ({split.source.describe()}) is empty; it needs at least one image")
