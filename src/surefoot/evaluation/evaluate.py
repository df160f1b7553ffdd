"""Measures a Classifier on every split of a Task: each example once, on any number of processes.

Numbers come from `metrics`, the temperature from `calibration`; what method trained the classifier is not known here.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from surefoot.backbones.base import evaluating
from surefoot.classifier import Classifier
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.task import Split, Task
from surefoot.evaluation import metrics
from surefoot.evaluation.calibration import fit_temperature
from surefoot.evaluation.miscalibration import miscalibration, paper_compat


class Processes(Protocol):
    """What is needed of the handle on devices and processes (Fabric has it)."""

    @property
    def global_rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...


@dataclass(frozen=True)
class Evaluation:
    """`splits` as in results.json; `predictions` as in predictions.npz; the temperature fitted on validation."""

    splits: dict[str, dict[str, Any]]
    predictions: dict[str, NDArray[Any]]
    temperature: float


def evaluate_classifier(
    classifier: Classifier, task: Task, data: DataConfig, processes: Processes, *, bins: int = 15, top_k: int = 3
) -> Evaluation:
    """Logits in float32 of every example of validation and the tests, measured; `top_k` predictions kept of each."""
    measured = {"validation": task.validation, **task.tests}
    logits = {name: split_logits(classifier, split, data, processes) for name, split in measured.items()}
    temperature = fit_temperature(logits["validation"], torch.from_numpy(task.validation.labels))
    splits, predictions = {}, {}
    for name, split in measured.items():
        splits[name] = measure(logits[name], split, task, temperature=temperature, bins=bins)
        for what, values in predicted(logits[name], split, temperature=temperature, top_k=top_k).items():
            predictions[f"{name}.{what}"] = values
    return Evaluation(splits, predictions, temperature)


@torch.no_grad()
def split_logits(classifier: Classifier, split: Split, data: DataConfig, processes: Processes) -> Tensor:
    """Logits (n, C) of a split in its order, float32, on the CPU; -inf for classes outside its mask, or merged away."""
    rank, world = processes.global_rank, processes.world_size
    share = -(-len(split) // world)  # examples a process, the last ones filled up
    mine = torch.zeros(share, len(classifier.classes), device=processes.device)
    done = 0
    spec = classifier.backbone.image_spec
    stream = evaluation_batches(split, spec, data, rank=rank, world_size=world)
    with evaluating(classifier), closing(stream):
        for batch in stream:
            found = classifier(batch.images.to(processes.device))
            mine[done : done + len(found)] = found
            done += len(found)
    parts = [torch.empty_like(mine) for _ in range(world)]  # of rank r: examples r, r + world, ...
    if world > 1:
        distributed.all_gather(parts, mine)
    else:
        parts = [mine]
    logits = torch.stack(parts, dim=1).reshape(world * share, -1)[: len(split)].cpu()
    logits = merged(logits, split)
    if split.class_mask:
        hidden = torch.ones(logits.shape[1], dtype=torch.bool)
        hidden[list(split.class_mask)] = False
        logits = logits.masked_fill(hidden, -torch.inf)
    return logits


def merged(logits: Tensor, split: Split) -> Tensor:
    """Logits (n, C) with the highest of each of `split.merged` under its first class and -inf under the others."""
    if not split.merged:
        return logits
    found = logits.clone()
    for classes in split.merged:
        found[:, classes[0]] = logits[:, list(classes)].amax(-1)
        found[:, list(classes[1:])] = -torch.inf
    return found


def measure(logits: Tensor, split: Split, task: Task, *, temperature: float, bins: int) -> dict[str, Any]:
    """One split's entry in results.json."""
    labels = split.labels
    log_probabilities = logits.double().log_softmax(-1).numpy()  # (n, C)
    probabilities = np.exp(log_probabilities)
    prediction = logits.argmax(-1).numpy()
    correct = prediction == labels
    confidence = probabilities.max(-1)
    calibrated = (logits.double() / temperature).softmax(-1).amax(-1).numpy()
    groups = metrics.group_accuracy(correct, split.groups, names=task.group_names)
    return {
        "accuracy": metrics.accuracy(correct),
        "ece": metrics.expected_calibration_error(confidence, correct, bins=bins),
        "ece_calibrated": metrics.expected_calibration_error(calibrated, correct, bins=bins),
        "nll": metrics.negative_log_likelihood(log_probabilities, labels),
        "brier": metrics.brier(probabilities, labels),
        **miscalibration(probabilities, labels, correct, bins=bins),
        "paper_compat": paper_compat(confidence, correct),
        "macro_f1": metrics.macro_f1(prediction, labels, classes=len(task.classes)),
        "class_mean_accuracy": metrics.class_mean_accuracy(correct, labels, classes=len(task.classes)),
        "count": len(split),
        **_by_class(correct, labels, task.classes),
        "groups": groups,
        "group_intervals": {
            name: list(metrics.wilson_interval(group["accuracy"], group["count"])) for name, group in groups.items()
        },
        "group_gap": metrics.group_gap(groups),
        "worst_group_accuracy": metrics.worst_group(groups),
        "reweighted_accuracy": metrics.reweighted_accuracy(groups, task.group_counts(task.train)),
        "reliability": metrics.reliability(confidence, correct, bins=bins),
    }


def predicted(logits: Tensor, split: Split, *, temperature: float, top_k: int) -> dict[str, NDArray[Any]]:
    """One split's arrays in predictions.npz: label, prediction, both confidences (n), the top k of each (n, k)."""
    ranked = logits.sort(dim=-1, descending=True, stable=True).indices  # of equal logits the first class, as argmax
    classes = ranked[:, : min(top_k, logits.shape[1])]
    confidence = logits.softmax(-1).gather(1, classes)
    return {
        "label": split.labels.astype(np.int32),
        "prediction": classes[:, 0].numpy().astype(np.int32),
        "confidence": confidence[:, 0].numpy(),
        "calibrated_confidence": (logits / temperature).softmax(-1).amax(-1).numpy(),
        "top": classes.numpy().astype(np.int32),
        "top_confidence": confidence.numpy(),
    }


def _by_class(correct: NDArray[np.bool_], labels: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Any]:
    accuracy, count = metrics.class_accuracy(correct, labels, classes=len(classes))
    return {
        "class_accuracy": dict(zip(classes, accuracy, strict=True)),
        "class_count": dict(zip(classes, count, strict=True)),
    }
