"""Measures a finished classifier on a task: with the head it was trained with, or by text alone."""

from pathlib import Path
from typing import Any

from surefoot.classifier import Classifier
from surefoot.config import RunConfig, Settings, flatten, resolve
from surefoot.data.images import UnreadableImage
from surefoot.data.prompts import Prompts
from surefoot.evaluation.evaluate import Evaluation
from surefoot.run import NO_SETTINGS, Parts, evaluate_with
from surefoot.run_folder import classifier_folder

MACHINE = ("accelerator", "devices", "nodes", "precision")  # what of section engine measuring uses


def evaluate(classifier: str | Path | Classifier, settings: Settings = NO_SETTINGS) -> dict[str, Any]:
    """The measures of a classifier (or its folder, or a run's folder) on each split of the task in `settings`.

    Raises ValueError where the classifier's classes are not the task's.
    """
    config = resolve(settings)
    found = _opened(classifier)
    parts = Parts.build(config)
    if found.classes != parts.task.classes:
        odd = sorted(set(found.classes) ^ set(parts.task.classes))
        raise ValueError(
            f"the classifier has {len(found.classes)} classes, task {parts.task.name!r} has "
            f"{len(parts.task.classes)}; they must be the same in the same order "
            f"(differing: {', '.join(odd[:5]) or 'the order'}). To classify by the task's class names through the "
            "classifier's own text tower, give --by-text (in Python, call surefoot.evaluate_by_text)"
        )
    return _measured(parts, config, found).splits


def evaluate_by_text(classifier: str | Path | Classifier, settings: Settings = NO_SETTINGS) -> dict[str, Any]:
    """The measures of a classifier's two towers, without its head, on each split of the task in `settings`.

    The class weights are made anew: by the classifier's text tower, at its present scale, from the task's class names
    and templates. So a model that was fine-tuned on other classes is tested as a zero-shot model. Where training left
    the text tower alone, it is that of the zero-shot model.
    """
    config = resolve(settings)
    backbone = _opened(classifier).backbone
    parts = Parts.build(config)
    by_text = Classifier.zero_shot(backbone, Prompts.from_task(parts.task, seed=config.seed))
    return _measured(parts, config, by_text).splits


def refuse_training(settings: Settings) -> None:
    """ValueError for settings of training, which a finished classifier does not have any more."""
    for name, _ in flatten(settings):
        section, _, option = name.partition(".")
        if section in ("method", "backbone") or (section == "engine" and option not in MACHINE):
            raise ValueError(f"{name}: it is a setting of training; the classifier is what it is. Leave it out")


def _measured(parts: Parts, config: RunConfig, classifier: Classifier) -> Evaluation:
    if parts.broken_images:
        raise UnreadableImage(parts.broken_images)
    return evaluate_with(parts, config, classifier)


def _opened(classifier: str | Path | Classifier) -> Classifier:
    if isinstance(classifier, Classifier):
        return classifier
    return Classifier.from_pretrained(classifier_folder(Path(classifier)))
