"""Measures a finished classifier on a task: with the head it was trained with, by text alone, or by context."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier, Head
from surefoot.config import RunConfig, Settings, choose, flatten, resolve
from surefoot.data.images import UnreadableImage
from surefoot.data.prompts import Prompts
from surefoot.data.task import Split, Task
from surefoot.evaluation.evaluate import Evaluation, split_logits
from surefoot.evaluation.metrics import Group, group_accuracy
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
    _check_classes(found, parts.task)
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


def evaluate_by_context(
    classifier: str | Path | Classifier, settings: Settings = NO_SETTINGS
) -> dict[str, dict[str, Group]]:
    """Accuracy and count by the context that each test image seems to show, for each test split of the task.

    An image's context is an estimate: the task's context whose sentences, averaged over the classes, are nearest to the
    image for the zero-shot model that the classifier was fine-tuned from. Contexts that no image seems to show are left
    out. Raises ValueError where the classes are not the task's, or the classifier does not say what it started from.
    """
    config = resolve(settings)
    found = _opened(classifier)
    parts = Parts.build(config)
    _check_classes(found, parts.task)
    _stop_at_broken_images(parts)
    about = found.provenance.get("config", {}).get("backbone")
    if about is None:
        raise ValueError("the classifier does not say which backbone it was fine-tuned from; give the folder of a run")
    start: Any = choose("backbone", about)
    of_context = context_classifier(start.plugin(start.options).load(), Prompts.from_task(parts.task))
    splits = {}
    for name, split in parts.task.tests.items():
        everything = replace(split, class_mask=(), merged=())  # which count classes, not contexts
        right = _predicted(found, split, parts) == split.labels
        context = _predicted(of_context, everything, parts)
        splits[name] = group_accuracy(right, context, names=of_context.classes)
    return splits


def way_to_measure(*, by_text: bool, by_context: bool) -> Callable[[Path, Settings], Mapping[str, Any]]:
    """The function that an option of the command stands for. ValueError for both of them."""
    if by_text and by_context:
        raise ValueError("--by-text and --by-context are two ways to measure; give one")
    return evaluate_by_context if by_context else evaluate_by_text if by_text else evaluate


def refuse_training(settings: Settings) -> None:
    """ValueError for settings of training, which a finished classifier does not have any more."""
    for name, _ in flatten(settings):
        section, _, option = name.partition(".")
        if section in ("method", "backbone") or (section == "engine" and option not in MACHINE):
            raise ValueError(f"{name}: it is a setting of training; the classifier is what it is. Leave it out")


def _measured(parts: Parts, config: RunConfig, classifier: Classifier) -> Evaluation:
    _stop_at_broken_images(parts)
    return evaluate_with(parts, config, classifier)


def _stop_at_broken_images(parts: Parts) -> None:
    if parts.broken_images:
        raise UnreadableImage(parts.broken_images)


def _check_classes(found: Classifier, task: Task) -> None:
    if found.classes != task.classes:
        odd = sorted(set(found.classes) ^ set(task.classes))
        raise ValueError(
            f"the classifier has {len(found.classes)} classes, task {task.name!r} has {len(task.classes)}; they must "
            f"be the same in the same order (differing: {', '.join(odd[:5]) or 'the order'}). To classify by the "
            "task's class names through the classifier's own text tower, give --by-text (in Python, call "
            "surefoot.evaluate_by_text)"
        )


def context_classifier(backbone: Backbone, prompts: Prompts) -> Classifier:
    """Tells the contexts as if they were classes. ValueError where there is one only."""
    contexts = tuple(dict.fromkeys(prompts.contexts))
    if len(contexts) < 2:
        raise ValueError(f"the task has one context only, {contexts[0]!r}, so that there is nothing to tell apart")
    weight = backbone.zero_shot_weights(replace(prompts, contexts=contexts).context_sentences())  # (M, D)
    head = Head(weight, bias=torch.zeros(len(weight)), scale=torch.ones(()), convention="scaled")
    return Classifier(backbone, head, classes=contexts)


def _predicted(classifier: Classifier, split: Split, parts: Parts) -> NDArray[np.int64]:
    parts.fabric.to_device(classifier)
    return split_logits(classifier, split, parts.data, parts.fabric).argmax(-1).numpy()


def _opened(classifier: str | Path | Classifier) -> Classifier:
    if isinstance(classifier, Classifier):
        return classifier
    return Classifier.from_pretrained(classifier_folder(Path(classifier)))
