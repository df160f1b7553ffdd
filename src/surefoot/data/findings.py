"""What names, labels and groups of a task tell of it, without looking at an image: one function a kind of finding."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from surefoot.data.task import Split, Task
from surefoot.evaluation.metrics import wilson_interval

EXAMPLES = 5  # given for each finding
FEW = 5  # training images of a class or group
FEW_MEASURED = 20  # images of a class or group; an accuracy of 80 % on so many has an interval of 34 points
ASSUMED = 0.8  # accuracy for which widths of intervals are told
IMBALANCE = 20.0  # largest class over smallest
UNNATURAL = re.compile(r"_|^\W*\d+\W*$|^n\d{8}$|^(class|label|category)[ _-]?\d+$|[a-z][A-Z]|^\d+[._-]", re.ASCII)

Level = Literal["note", "warning", "error"]


@dataclass(frozen=True)
class Pair:
    """Two images that are or look the same."""

    split: str
    path: str
    other_split: str
    other_path: str


@dataclass(frozen=True)
class Finding:
    """One thing to tell: an error stops training, a warning makes numbers doubtful, a note changes no verdict."""

    level: Level
    where: str  # a split's name, "classes" or "task"
    message: str
    examples: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()  # what the examples show, where they are pairs of images


def width_in_points(count: int) -> float:
    """How wide the 95 % interval of an accuracy of 80 % on `count` images is, in points."""
    low, high = wilson_interval(ASSUMED, count)
    return round(100 * (high - low), 1)


def name_findings(task: Task) -> list[Finding]:
    """Class names that a text model cannot tell apart or read."""
    findings = []
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in task.classes:
        alike[re.sub(r"[\W_]+", " ", name.casefold()).strip()].append(name)
    same = [" = ".join(names) for names in alike.values() if len(names) > 1]
    if same:
        findings.append(Finding("warning", "classes", "class names that read the same to a model", tuple(same)))
    odd = [name for name in task.classes if UNNATURAL.search(name)]
    if odd:
        message = f"class names that a text model reads badly: {len(odd)}; give plain words in classes.yaml"
        findings.append(Finding("warning", "classes", message, tuple(odd[:EXAMPLES])))
    return findings


def long_name_findings(lengths: Mapping[str, int], *, context: int, backbone: str) -> list[Finding]:
    """Class names whose longest sentence has more tokens than the text tower reads; `lengths` by class name."""
    long = {name: tokens for name, tokens in lengths.items() if tokens > context}
    if not long:
        return []
    message = f"class names whose sentences the tokenizer of {backbone} cuts at {context} tokens: {len(long)}"
    longest = sorted(long, key=lambda name: -long[name])[:EXAMPLES]
    return [Finding("warning", "classes", message, tuple(f"{name} ({long[name]} tokens)" for name in longest))]


def balance_findings(task: Task, splits: Mapping[str, Split]) -> list[Finding]:
    """Classes with few images or none, and unequal ones; `splits` are those to look at, with the training split."""
    findings = []
    counts = np.bincount(task.train.labels, minlength=len(task.classes))
    few = [f"{task.classes[i]} ({counts[i]})" for i in np.flatnonzero((counts > 0) & (counts < FEW))]
    if few:
        message = f"classes with fewer than {FEW} training images: {len(few)}"
        findings.append(Finding("warning", "train", message, tuple(few[:EXAMPLES])))
    if counts.max() > IMBALANCE * max(1, counts.min()):
        large, small = (task.classes[int(i)] for i in (counts.argmax(), counts.argmin()))
        message = f"classes are unequal: {large} has {counts.max()} training images, {small} has {counts.min()}"
        findings.append(Finding("warning", "train", message))
    for name, split in splits.items():
        held = np.bincount(split.labels, minlength=len(task.classes)) > 0
        absent = np.flatnonzero(~held).tolist()
        if absent and not split.class_mask:
            message = f"classes without an image here: {len(absent)}"
            findings.append(Finding("warning", name, message, tuple(task.classes[i] for i in absent[:EXAMPLES])))
        untrained = np.flatnonzero(held & (counts == 0)).tolist()
        if untrained:
            message = f"classes that stand here but have no training image: {len(untrained)}"
            findings.append(Finding("warning", name, message, tuple(task.classes[i] for i in untrained[:EXAMPLES])))
    return findings


def size_findings(task: Task, splits: Mapping[str, Split]) -> list[Finding]:
    """Groups and classes too small to be learned or measured, with the width of the interval to expect."""
    findings, vague = [], []
    for name, split in splits.items():
        counts = sorted(task.group_counts(split).items(), key=lambda item: item[1])
        if name == "train":
            small = [f"{group} ({count})" for group, count in counts if count < FEW]
            message = f"groups with fewer than {FEW} training images: {len(small)}"
        else:
            small = [f"{group} {_width(count)}" for group, count in counts if count < FEW_MEASURED]
            message = f"groups too small to measure, with fewer than {FEW_MEASURED} images: {len(small)}"
        if small and any(count for _, count in counts):
            findings.append(Finding("warning", name, message, tuple(small[:EXAMPLES])))
        by_class = np.bincount(split.labels)
        few = int(((by_class > 0) & (by_class < FEW_MEASURED)).sum())
        if name in task.tests and few:
            least = np.where(by_class, by_class, len(split) + 1).argmin()
            vague.append(f"{name}: {few} classes, such as {task.classes[least]} {_width(int(by_class[least]))}")
    if vague:
        message = f"classes with fewer than {FEW_MEASURED} images in a test, so that their own accuracies are vague"
        findings.append(Finding("note", "classes", message, tuple(vague)))
    return findings


def _width(count: int) -> str:
    return f"({count}; 95 % interval {width_in_points(count):.0f} points wide)"
