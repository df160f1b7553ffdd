"""The forgetting meter: a fixed sample of images and texts, embedded once with the zero-shot model, then read again.

What is compared stands in `forgetting`; when to read and what follows from it, in `watching`. Nothing here draws from a
global random generator: a reading leaves training as it was, to the last bit.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional as F

from surefoot.backbones.base import Backbone, evaluating
from surefoot.data.batch import DataConfig, Pictures
from surefoot.data.draws import SPURIOUS, choices
from surefoot.data.images import ImageSpec, UnreadableImage, normalise
from surefoot.data.picks import EvaluationPicks
from surefoot.data.pools import read_pools
from surefoot.data.prompts import Prompts
from surefoot.data.task import Split, Task
from surefoot.data.workers import Crew
from surefoot.evaluation import forgetting
from surefoot.evaluation.forgetting import Features, Texts

LENGTH = 8  # tokens of a random text, as in Lipsum-FT
SENTENCES = 1000  # at most so many make the class weights of a task, or one a class: each reading may encode them anew
HELD_OUT = "held_out"  # the name of the run's own validation images among the accuracies


class ForgettingConfig(BaseModel):
    """Section `forgetting` of a run's config."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    every: NonNegativeFloat = 0.0  # so many epochs or steps lie between two readings; 0: no meter
    unit: Literal["epochs", "steps"] = "epochs"
    images: PositiveInt = 256  # of validation, and of each of the tasks
    tasks: tuple[str, ...] = ("iconshift", "icongroups")  # unrelated ones; the run's own is left out
    budget: NonNegativeFloat = 0.0  # points of accuracy that may be lost; 0: no early stop
    budget_on: Literal["tasks", "held_out"] = "tasks"
    random_texts: Annotated[int, Field(ge=1)] = 80  # as in Lipsum-FT
    captions: Annotated[int, Field(ge=2)] = 64  # spurious ones
    pools: Annotated[tuple[str, ...], Field(min_length=1)] = ("background",)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.images < 2:
            raise ValueError(f"forgetting.images={self.images}: features of one image have no spread; give 2 or more")
        if self.budget and not self.every:
            raise ValueError(f"forgetting.budget={self.budget} needs the meter; give forgetting.every, such as 1")
        if self.unit == "steps" and self.every != int(self.every):
            raise ValueError(f"forgetting.every={self.every}: give whole steps, or forgetting.unit=epochs")
        try:
            read_pools(self.pools)
        except ValueError as error:
            raise ValueError(f"forgetting.{error}") from error
        return self

    def steps_between(self, per_epoch: int) -> int:
        """Steps from reading to reading, of `per_epoch` an epoch; 0 where there is no meter."""
        if not self.every:
            return 0
        return max(1, round(self.every * (per_epoch if self.unit == "epochs" else 1)))


@dataclass(frozen=True)
class Sample:
    """Images that were read once, as they go through the evaluation transform: uint8 (N, 3, S, S), and their labels."""

    pixels: Tensor
    labels: Tensor
    spec: ImageSpec
    at_once: int

    @classmethod
    def read(cls, split: Split, spec: ImageSpec, data: DataConfig, *, count: int) -> Self:
        """At most `count` images of the split, evenly spaced. Raises UnreadableImage naming the first that is none."""
        split = split.evenly(count)
        pictures, found = Pictures(split, spec, data, 0, Crew(0)), []
        for picks in EvaluationPicks(np.arange(len(split)), data.eval_batch_size):
            images, _, bad = pictures[picks]
            if bad:
                raise UnreadableImage(f"forgetting: {bad[0].reason}; replace it or leave it out")
            found.append(images)
        return cls(torch.cat(found), torch.from_numpy(split.labels), spec, data.eval_batch_size)

    @torch.no_grad()
    def features(self, backbone: Backbone) -> Tensor:
        """Unit features (N, D) on the CPU, in eval mode."""
        device = backbone.log_scale.device
        with evaluating(backbone.image):
            parts = [
                backbone.image(normalise(part.to(device), self.spec)).float().cpu()
                for part in torch.split(self.pixels, self.at_once)
            ]
        return torch.cat(parts)


@dataclass(frozen=True)
class Sight:
    """A zero-shot task of the meter: images with labels, and the sentences of each class."""

    sample: Sample
    sentences: Sequence[Sequence[str]]
    start: Tensor  # (C, D), the class weights of the zero-shot model

    @classmethod
    def of(cls, sample: Sample, prompts: Prompts, start: Backbone) -> Self:
        most = max(1, SENTENCES // len(prompts.classes))
        sentences = [_thinned(group, most) for group in prompts.class_sentences()]
        return cls(sample, sentences, text_rows(start, sentences))

    def accuracy(self, images: Tensor, backbone: Backbone, *, same_text: bool) -> float:
        """Of features (N, D) of its images, by the class weights of the text tower as it is now."""
        classes = self.start if same_text else text_rows(backbone, self.sentences)
        return forgetting.accuracy_by_text(images, classes, self.sample.labels)


@dataclass(frozen=True)
class Reading:
    """What the meter says of a model: how far it moved, the shape of its features, accuracies by text, and the cost."""

    movement: Mapping[str, float]
    shape: Mapping[str, float]
    accuracy: Mapping[str, float]
    singular_values: Sequence[float]  # the smallest of the covariance of the sample's features, rising
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As in metrics.jsonl and results.json, which keep the smallest singular value alone."""
        return {**self.movement, **self.shape, "accuracy": dict(self.accuracy), "seconds": self.seconds}


class Meter:
    """Compares models with the zero-shot model that it was made from.

    `task` gives the images (of validation) and the sentences, `others` are tasks that the training has nothing to do
    with. Texts that depend on chance are drawn with `seed`.
    """

    def __init__(
        self,
        start: Backbone,
        task: Task,
        *,
        others: Mapping[str, Task],
        config: ForgettingConfig,
        data: DataConfig,
        seed: int = 0,
        with_labels: bool = True,
    ) -> None:
        prompts, spec = Prompts.from_task(task, seed=seed), start.image_spec
        self.sample = Sample.read(task.validation, spec, data, count=config.images)
        if len(self.sample.labels) < 2:
            raise ValueError("forgetting: one image has no spread; give two images or more")
        self.sights = {HELD_OUT: Sight.of(self.sample, prompts, start)} if with_labels else {}
        for name, other in others.items():
            sample = Sample.read(other.validation, spec, data, count=config.images)
            self.sights[name] = Sight.of(sample, Prompts.from_task(other), start)
        self.captions = spurious_captions(prompts, config)
        self.texts = Texts(
            text_rows(start, prompts.context_sentences()),
            start.embed_random_texts(config.random_texts, length=_length(start), seed=seed, moment=0).float().cpu(),
            float(start.scale.detach()),
        )
        began = time.perf_counter()
        self.start_features = self._features(start)
        self.start = self._reading(self.start_features, start, began)

    def read(self, backbone: Backbone) -> Reading:
        """A reading of the model as it stands now; its mode and the state of the random generators stay."""
        began = time.perf_counter()
        return self._reading(self._features(backbone), backbone, began)

    def _reading(self, now: Features, backbone: Backbone, began: float) -> Reading:
        same_text = torch.equal(now.captions, self.start_features.captions)  # to the last bit: the tower is as it was
        accuracy = {}
        for name, sight in self.sights.items():
            images = now.images if name == HELD_OUT else sight.sample.features(backbone)
            accuracy[name] = sight.accuracy(images, backbone, same_text=same_text)
        moved = forgetting.movement(now, self.start_features, self.texts)
        values = forgetting.smallest_singular_values(now.images)
        return Reading(moved, forgetting.shape(now.images), accuracy, values, time.perf_counter() - began)

    def _features(self, backbone: Backbone) -> Features:
        return Features(self.sample.features(backbone), backbone.embed_texts(self.captions).float().cpu())


def text_rows(backbone: Backbone, sentences: Sequence[Sequence[str]]) -> Tensor:
    """One unit row (D) a list of sentences, on the CPU: as `Backbone.zero_shot_weights`, and remembered nowhere."""
    features = backbone.embed_texts([sentence for group in sentences for sentence in group])
    parts = torch.split(features.float().cpu(), [len(group) for group in sentences])
    return torch.stack([F.normalize(part.mean(0), dim=0) for part in parts])


def spurious_captions(prompts: Prompts, config: ForgettingConfig) -> list[str]:
    """`config.captions` sentences: classes by turns, each in a template and a phrase that are drawn by a hash."""
    places = np.arange(config.captions)
    pool = read_pools(config.pools)
    drawn = choices(prompts.seed, places, np.zeros_like(places), count=len(pool), use=SPURIOUS)
    names = [prompts.called[place % len(prompts.called)][0] for place in places.tolist()]
    inner = [prompts.templates[place % len(prompts.templates)].removesuffix(".") for place in places.tolist()]
    return [
        pool[phrase].replace("{}", template).replace("{}", name)
        for phrase, template, name in zip(drawn.tolist(), inner, names, strict=True)
    ]


def _thinned(sentences: Sequence[str], most: int) -> list[str]:
    """At most so many of the sentences, evenly spaced."""
    places = np.unique(np.linspace(0, len(sentences) - 1, min(most, len(sentences))).round().astype(np.int64))
    return [sentences[place] for place in places.tolist()]


def _length(backbone: Backbone) -> int:
    return min(LENGTH, backbone.tokenizer.context - len(backbone.tokenizer.encode([""])[0]))
