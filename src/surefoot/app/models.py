"""The models that the app shows side by side: finished runs of one kind and the zero-shot model they began with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from surefoot.app.features import split_features
from surefoot.blending.runs import Source
from surefoot.classifier import Classifier, read_card
from surefoot.config import RunConfig
from surefoot.data.batch import drop_unreadable
from surefoot.data.prompts import DEFAULT_TEMPLATES, Prompts
from surefoot.data.task import Task
from surefoot.evaluation.calibration import fit_temperature
from surefoot.run import load_run_backbone
from surefoot.run_folder import told_differences

ZERO_SHOT = "zero_shot"


@dataclass(frozen=True)
class Model:
    """A classifier under the name that it is shown by; `calibrated`: its temperature was fitted on validation."""

    name: str
    classifier: Classifier
    calibrated: bool


class DataGone(ValueError):  # noqa: N818  it is told, and the app goes on without
    """The data that the runs were trained on are not there, or not as they were."""


def open_runs(paths: Sequence[Path]) -> list[Source]:
    """Finished runs of one task, its classes and one backbone. Raises ValueError where they are not."""
    resolved = [path.resolve() for path in paths]
    twice = [str(path) for path in paths if resolved.count(path.resolve()) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given more than once; give each run once")
    sources = [Source.open(path) for path in paths]
    first = sources[0]
    for other in sources[1:]:
        differing = told_differences(_kin(first), _kin(other))
        if differing:
            raise ValueError(
                f"{first.folder.path} and {other.folder.path} cannot be shown side by side: {differing}; "
                "give runs of one task with the same classes, and of one backbone"
            )
    return sources


def load_data(source: Source) -> Task:
    """The task that a run was trained on. Raises DataGone with a plain sentence where its data are gone or changed."""
    config = source.config
    try:
        task = drop_unreadable(config.task.plugin(config.task.options).load(), config.data)
    except (ValueError, OSError) as error:
        raise DataGone(f"The data of task {config.task.name!r} cannot be read ({error}).") from error
    if task.fingerprint() != source.fingerprint:
        raise DataGone(f"The data of task {config.task.name!r} changed since {source.name} was trained.")
    return task


def fine_tuned(sources: Sequence[Source]) -> Iterator[Model]:
    """The runs' classifiers by name, in order, with the temperatures that the runs fitted on validation."""
    for source in sources:
        yield Model(source.name, Classifier.from_pretrained(source.folder.classifier), calibrated=True)


def zero_shot(source: Source, task: Task, device: torch.device) -> Model:
    """The model that a run began with, its temperature fitted on the task's validation split."""
    prompts = Prompts.from_task(task, seed=source.config.seed)
    classifier = Classifier.zero_shot(load_run_backbone(source.config), prompts).to(device).eval()
    classifier.temperature = _temperature(classifier, task, source.config)
    return Model(ZERO_SHOT, classifier, calibrated=True)


def zero_shot_without_data(source: Source) -> Model:
    """The model that a run began with, from the class names and templates that the run wrote down; not calibrated."""
    card = read_card(source.folder.classifier)
    templates = tuple(card.templates) or DEFAULT_TEMPLATES
    prompts = Prompts(tuple(card.classes), templates, templates)
    return Model(ZERO_SHOT, Classifier.zero_shot(load_run_backbone(source.config), prompts).eval(), calibrated=False)


@torch.no_grad()
def _temperature(classifier: Classifier, task: Task, config: RunConfig) -> float:
    """As evaluation fits it, over the logits (n, C) of validation."""
    split = task.validation
    logits = classifier.head(split_features(classifier.backbone, split, config.data))
    return fit_temperature(logits, torch.from_numpy(split.labels))


def _kin(source: Source) -> dict[str, Any]:
    return {
        "task": source.results["task"],
        "classes": source.results["classes"],
        "backbone": source.config.backbone.to_dict(),
        "data": source.fingerprint,
    }
