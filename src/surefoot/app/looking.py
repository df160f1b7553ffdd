"""An image in, everything that the app shows of it out: no interface, no network.

`lens` makes a Lens of runs; how it is shown stands in `server` and `page/`.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from surefoot.app.features import split_features
from surefoot.app.models import (
    ZERO_SHOT,
    DataGone,
    Model,
    fine_tuned,
    load_data,
    open_runs,
    zero_shot,
    zero_shot_without_data,
)
from surefoot.backbones.base import evaluating, unit
from surefoot.data.batch import DataConfig
from surefoot.data.images import UnreadableImage, evaluation_view, normalise, open_image, to_tensor
from surefoot.data.prompts import Prompts
from surefoot.data.scan import thumbnail
from surefoot.data.task import Split, Task
from surefoot.measuring import context_classifier

TOP = 5  # classes and contexts of each model
NEAREST = 6  # training examples
MOST = 20_000  # training images that are searched


@dataclass(frozen=True)
class Contexts:
    """Names of M contexts with what the zero-shot text tower makes of them (M, D), at its scale ()."""

    names: tuple[str, ...] = ()
    weight: Tensor = field(default_factory=lambda: torch.empty(0))
    scale: Tensor = field(default_factory=lambda: torch.ones(()))


@dataclass(frozen=True)
class Neighbour:
    """A training example: class, file, cosine similarity to the image, a small picture as a data URI."""

    label: str
    path: str
    similarity: float
    picture: str


@dataclass(frozen=True)
class Neighbours:
    """Unit features (n, D) of training images, by the image tower of one of the models."""

    train: Split
    classes: Sequence[str]
    by: str
    features: Tensor

    def nearest(self, features: Tensor) -> list[Neighbour]:
        """The training examples most like an image of raw features (1, D); files that are gone are left out."""
        train = self.train
        similarity = (unit(features) @ self.features.T)[0]  # (n)
        best = similarity.topk(min(NEAREST, len(train)))
        found = []
        for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True):
            with suppress(UnreadableImage):
                picture = thumbnail(train, index)
                label = self.classes[train.labels[index]]
                found.append(Neighbour(label, train.paths[index], value, picture))
        return found


@dataclass(frozen=True)
class Opinion:
    """What one model makes of an image: probabilities of the answer's classes and contexts."""

    name: str
    temperature: float
    calibrated: bool
    label: str
    probabilities: tuple[float, ...]
    contexts: tuple[float, ...]


@dataclass(frozen=True)
class Answer:
    """All that is shown of an image: rows (classes, contexts) and models, the most probable rows first."""

    width: int
    height: int
    classes: tuple[str, ...]
    contexts: tuple[str, ...]
    models: tuple[Opinion, ...]
    nearest: tuple[Neighbour, ...]
    nearest_by: str


@dataclass(frozen=True)
class Lens:
    """Models of one kind, what images are compared with, and `notes` on what is not shown and why."""

    task: str
    models: tuple[Model, ...]
    contexts: Contexts
    neighbours: tuple[Neighbours, ...]  # one, or none
    data: DataConfig
    notes: tuple[str, ...] = ()

    @torch.no_grad()
    def look(self, content: bytes, *, name: str = "image") -> Answer:
        """What an image file shows. Raises UnreadableImage: no image, a broken one, or one of too many pixels."""
        opened = open_image(content, name=name, max_pixels=self.data.max_pixels)
        first = self.models[0].classifier
        spec = first.backbone.image_spec
        pixels = to_tensor(evaluation_view(opened, spec, background=self.data.background))
        images = normalise(pixels[None].to(first.head.weight.device), spec)  # (1, 3, S, S)
        features = {model.name: _raw(model, images) for model in self.models}
        heads = {model.name: model.classifier for model in self.models}
        probabilities = torch.cat(
            [F.softmax(heads[name].head(raw) / heads[name].temperature, dim=-1) for name, raw in features.items()]
        )  # (models, C)
        contexts = torch.cat(
            [F.softmax(self.contexts.scale * unit(raw) @ self.contexts.weight.T, dim=-1) for raw in features.values()]
            if self.contexts.names
            else [torch.empty(1, 0) for _ in features]
        )  # (models, M)
        rows, of_context = _leading(probabilities), _leading(contexts)
        opinions = tuple(
            Opinion(
                model.name,
                model.classifier.temperature,
                model.calibrated,
                first.classes[int(probabilities[place].argmax())],
                tuple(probabilities[place, rows].tolist()),
                tuple(contexts[place, of_context].tolist()),
            )
            for place, model in enumerate(self.models)
        )
        return Answer(
            *opened.size,
            tuple(first.classes[row] for row in rows),
            tuple(self.contexts.names[row] for row in of_context),
            opinions,
            tuple(near for found in self.neighbours for near in found.nearest(features[found.by])),
            "".join(found.by for found in self.neighbours),
        )


def lens(runs: Sequence[Path], *, nearest_by: str = ZERO_SHOT, tell: Callable[[str], None] = lambda _: None) -> Lens:
    """The Lens of finished runs of one kind; `tell` hears what takes long.

    `nearest_by` is the model whose image tower finds training examples: "zero_shot" or the name of a run. The first run
    of method zero_shot is the zero-shot model; where none is given, it is opened beside the runs. Raises ValueError
    where the runs do not belong together, or nearest_by is none of them.
    """
    sources = open_runs(runs)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = [source for source in sources if source.results["method"] == ZERO_SHOT][:1]
    others = [source for source in sources if source not in given]
    names = [ZERO_SHOT, *(source.name for source in others)]
    if nearest_by not in names:
        raise ValueError(f"nearest_by={nearest_by}: there is no such model; choose one of {', '.join(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"the runs are called {', '.join(names[1:])}: rename folders, so that each has its own name")
    tell(f"opening {len(names)} models")
    base = [replace(model, name=ZERO_SHOT) for model in fine_tuned(given)]
    tuned = list(fine_tuned(others))
    source = sources[0]
    try:
        task = load_data(source)
        tell(f"reading {len(task.validation)} validation images")
        base = base or [zero_shot(source, task, device)]
    except (DataGone, UnreadableImage) as error:
        models = _placed(base or [zero_shot_without_data(source)], tuned, device)
        return Lens(source.results["task"], models, Contexts(), (), source.config.data, _without_data(error, models[0]))
    models = _placed(base, tuned, device)
    contexts, notes = _contexts(models[0], task)
    chosen = next(model for model in models if model.name == nearest_by)
    train = task.train.evenly(MOST)
    tell(f"looking at {len(train)} training images by the image tower of {nearest_by}")
    if len(train) < len(task.train):
        notes += (f"Nearest examples are searched among {len(train)} of {len(task.train)} training images.",)
    try:
        features = unit(split_features(chosen.classifier.backbone, train, source.config.data))
        neighbours: tuple[Neighbours, ...] = (Neighbours(train, task.classes, nearest_by, features),)
    except UnreadableImage as error:
        neighbours, notes = (), (*notes, f"Nearest training examples are not shown: {error}")
    return Lens(task.name, models, contexts, neighbours, source.config.data, notes)


def _placed(base: Sequence[Model], tuned: Sequence[Model], device: torch.device) -> tuple[Model, ...]:
    models = (*base, *tuned)
    for model in models:
        model.classifier.to(device)
    return models


def _raw(model: Model, images: Tensor) -> Tensor:
    """Features (1, D) before normalisation."""
    with evaluating(model.classifier):
        raw: Tensor = model.classifier.backbone.image.raw(images)
    return raw


def _leading(probabilities: Tensor) -> list[int]:
    """Columns of (models, N) among the `TOP` of any model, the highest first."""
    if probabilities.shape[1] == 0:
        return []
    best = set(probabilities.topk(min(TOP, probabilities.shape[1]), dim=-1).indices.flatten().tolist())
    highest = probabilities.amax(0)
    return sorted(best, key=lambda column: (-float(highest[column]), column))


def _contexts(model: Model, task: Task) -> tuple[Contexts, tuple[str, ...]]:
    backbone = model.classifier.backbone
    try:
        found = context_classifier(backbone, Prompts.from_task(task))
    except ValueError as error:
        return Contexts(), (f"Contexts are not shown: {error}.",)
    return Contexts(found.classes, found.head.weight.detach(), backbone.scale.detach().float()), ()


def _without_data(error: Exception, model: Model) -> tuple[str, ...]:
    notes = (str(error), "So nearest training examples and contexts are not shown.")
    if model.calibrated:
        return notes
    return (
        *notes,
        "The zero-shot model is made of the class names and templates that the run wrote down; it is not calibrated.",
    )
