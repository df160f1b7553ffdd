"""The doctor: what is wrong, or merely odd, with a task's data. Reads every file of every split; changes nothing."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from surefoot.data.batch import DataConfig
from surefoot.data.scan import fingerprints, matches, unreadable
from surefoot.data.task import Split, Task

EXAMPLES = 5  # file names given for each finding
FEW = 5  # training images of a class or group
FEW_MEASURED = 20  # images of a group; an accuracy of 80 % on so many is known to about 18 points
IMBALANCE = 20.0  # largest class over smallest
UNNATURAL = re.compile(r"_|^\W*\d+\W*$|^n\d{8}$|^(class|label|category)[ _-]?\d+$|[a-z][A-Z]|^\d+[._-]", re.ASCII)


@dataclass(frozen=True)
class Finding:
    """One thing to tell the user: an error stops training, a warning makes numbers doubtful."""

    level: Literal["warning", "error"]
    where: str  # a split's name, "classes" or "task"
    message: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitCounts:
    """How many images a split has, in all, by class and by group."""

    domain: str
    images: int
    classes: Mapping[str, int]
    groups: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """What `check_task` found."""

    task: str
    fingerprint: str
    verdict: Literal["ok", "warnings", "errors"]
    domains: Mapping[str, int]
    splits: Mapping[str, SplitCounts]
    findings: tuple[Finding, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def text(self) -> str:
        """For the terminal: a line for each split, then the findings."""
        width = max(len(name) for name in self.splits)
        lines = [f"Task {self.task}: {self.verdict}"]
        for name, split in self.splits.items():
            counts = split.classes.values()
            held = sum(count > 0 for count in counts)
            line = f"  {name:{width}}  {split.images:7} images, {held} classes of {min(counts)} to {max(counts)}"
            groups = "".join(f", {group} {count}" for group, count in split.groups.items())
            lines.append(line + groups)
        for finding in self.findings:
            lines.append(f"{finding.level}: {finding.where}: {finding.message}")
            lines += [f"    {example}" for example in finding.examples]
        return "\n".join(lines)


def check_task(task: Task, *, config: DataConfig) -> Report:
    """Count, decode and compare all images of `task`."""
    splits = task.splits()
    findings = [Finding("warning", "task", note) for note in task.notes]
    findings += _class_names(task)
    for name, split in splits.items():
        findings += _unreadable(name, split, config)
    findings += _balance(task)
    findings += _small_groups(task)
    findings += _same_content(task)
    levels = {finding.level for finding in findings}
    domains: Counter[str] = Counter()
    for split in splits.values():
        domains[split.domain] += len(split)
    return Report(
        task=task.name,
        fingerprint=task.fingerprint(),
        verdict="errors" if "error" in levels else "warnings" if levels else "ok",
        domains=dict(domains),
        splits={name: _counts(task, split) for name, split in splits.items()},
        findings=tuple(findings),
    )


def _counts(task: Task, split: Split) -> SplitCounts:
    by_class = np.bincount(split.labels, minlength=len(task.classes)).tolist()
    return SplitCounts(
        domain=split.domain,
        images=len(split),
        classes=dict(zip(task.classes, by_class, strict=True)),
        groups=task.group_counts(split),
    )


def _class_names(task: Task) -> list[Finding]:
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


def _unreadable(name: str, split: Split, config: DataConfig) -> list[Finding]:
    bad = unreadable(split, max_pixels=config.max_pixels, workers=config.workers)
    if not bad:
        return []
    level: Literal["warning", "error"] = "error" if config.on_bad_image == "stop" else "warning"
    message = f"{len(bad)} of {len(split)} images cannot be read"
    return [Finding(level, name, message, tuple(image.reason for image in bad))]


def _balance(task: Task) -> list[Finding]:
    findings = []
    counts = np.bincount(task.train.labels, minlength=len(task.classes))
    few = [f"{task.classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < FEW)]
    if few:
        message = f"classes with fewer than {FEW} training images: {len(few)}"
        findings.append(Finding("warning", "train", message, tuple(few[:EXAMPLES])))
    if counts.max() > IMBALANCE * max(1, counts.min()):
        large, small = (task.classes[int(i)] for i in (counts.argmax(), counts.argmin()))
        message = f"classes are unequal: {large} has {counts.max()} training images, {small} has {counts.min()}"
        findings.append(Finding("warning", "train", message))
    for name, split in task.splits().items():
        absent = sorted(set(range(len(task.classes))) - set(split.class_mask or split.labels.tolist()))
        if absent and not split.class_mask:
            message = f"classes without an image here: {len(absent)}"
            findings.append(Finding("warning", name, message, tuple(task.classes[i] for i in absent[:EXAMPLES])))
    return findings


def _small_groups(task: Task) -> list[Finding]:
    """Of the splits that have groups at all."""
    findings = []
    for name, split in task.splits().items():
        least, images = (FEW, "training images") if name == "train" else (FEW_MEASURED, "images")
        counts = task.group_counts(split)
        small = [f"{group} ({count})" for group, count in counts.items() if count < least]
        if small and any(counts.values()):
            message = f"groups with fewer than {least} {images}: {len(small)}"
            findings.append(Finding("warning", name, message, tuple(small[:EXAMPLES])))
    return findings


def _same_content(task: Task) -> list[Finding]:
    findings = []
    splits = task.splits()
    prints = {name: fingerprints(split) for name, split in splits.items()}
    names = list(splits)
    for first, second in ((a, b) for a in ("train", "validation") for b in names[names.index(a) + 1 :]):
        pairs = matches(prints[first], prints[second])
        if pairs:
            examples = [f"{splits[first].paths[i]} = {splits[second].paths[j]}" for i, j in pairs[:EXAMPLES]]
            message = f"{len(pairs)} of {len(splits[second])} images also stand in {first}, byte for byte"
            findings.append(Finding("warning", second, message, tuple(examples)))
    labels = task.train.labels
    torn = [places for places in prints["train"].values() if len(set(labels[places].tolist())) > 1]
    if torn:
        examples = [" = ".join(task.train.paths[i] for i in places) for places in torn[:EXAMPLES]]
        message = f"images that stand in train under more than one class, byte for byte: {len(torn)}"
        findings.append(Finding("warning", "train", message, tuple(examples)))
    return findings
