"""The doctor: what is wrong, or merely odd, with a task's data. Reads every file of every split; changes nothing.

What names and counts tell is in `findings`; here are the files: unreadable, the same, or alike. The command, which also
asks what is on the disk and a backbone's tokenizer, is in `checking`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surefoot.data.batch import DataConfig
from surefoot.data.contents import UNREAD, Contents, read_contents
from surefoot.data.findings import (
    EXAMPLES,
    Finding,
    Level,
    Pair,
    balance_findings,
    name_findings,
    size_findings,
    width_in_points,
)
from surefoot.data.look_alikes import NO_LOOK, look_alikes
from surefoot.data.places import PlaceState, place_lines
from surefoot.data.scan import matches
from surefoot.data.task import Split, Stamped, Task

LOOK_ALIKE = 4  # bits of 64 that may differ: what re-encoding and scaling change; unlike photographs differ in about 32
LINES = 20  # of a finding's examples, in the terminal

Verdict = Literal["ok", "warnings", "errors"]


@dataclass(frozen=True)
class SplitCounts:
    """How many images a split has, in all, by class and by group.

    Intervals are widths in points: of the 95 % interval of an accuracy of 80 % on so many images.
    """

    domain: str
    images: int
    interval: float
    classes: Mapping[str, int]
    groups: Mapping[str, int]
    group_intervals: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """What was found. Where the task cannot be loaded, an error says so and there are no splits."""

    task: str
    fingerprint: str
    verdict: Verdict
    domains: Mapping[str, int]
    splits: Mapping[str, SplitCounts]
    findings: tuple[Finding, ...]
    places: tuple[PlaceState, ...] = ()
    format: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def text(self) -> str:
        """For the terminal: a line for each split, then the findings."""
        lines = [f"Task {self.task}: {self.verdict}", *place_lines(self.places)]
        width = max((len(name) for name in self.splits), default=0)
        for name, split in self.splits.items():
            counts = [count for count in split.classes.values() if count]
            line = f"  {name:{width}}  {split.images:7} images, {len(counts)} classes of {min(counts)} to {max(counts)}"
            groups = "".join(f", {group} {count}" for group, count in split.groups.items())
            lines.append(line + groups + ("" if name == "train" else f"; interval {split.interval:.1f}"))
        if self.splits:
            lines.append("  interval: points that the 95 % interval of an accuracy of 80 % spans on so many images")
        for finding in self.findings:
            lines.append(f"{finding.level}: {finding.where}: {finding.message}")
            lines += [f"    {example}" for example in finding.examples[:LINES]]
            if len(finding.examples) > LINES:
                lines.append(f"    and {len(finding.examples) - LINES} more (--json has all)")
        return "\n".join(lines)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """What the worst of them says."""
    levels = {finding.level for finding in findings} - {"note"}
    return "errors" if "error" in levels else "warnings" if levels else "ok"


def check_task(task: Task, *, config: DataConfig, look_alike: int = LOOK_ALIKE) -> Report:
    """Count, decode and compare all images of `task`; images look alike where at most so many of 64 bits differ.

    Splits with the same files as an earlier one (corruptions of it, say) are counted but not examined again.
    """
    splits = _distinct(task)
    read = dict(
        zip(
            splits,
            read_contents(list(splits.values()), max_pixels=config.max_pixels, workers=config.workers),
            strict=True,
        )
    )
    findings = [Finding("warning", "task", note) for note in task.notes]
    findings += name_findings(task)
    findings += _unreadable(splits, read, config)
    findings += balance_findings(task, splits)
    findings += size_findings(task, splits)
    findings += _same_content(splits, read)
    findings += _two_classes(task, read["train"])
    findings += _alike(splits, read, look_alike)
    findings.sort(key=lambda finding: finding.level == "note")  # at the end
    domains: Counter[str] = Counter()
    for split in task.splits().values():
        domains[split.domain] += len(split)
    return Report(
        task=task.name,
        fingerprint=task.fingerprint(),
        verdict=verdict_of(findings),
        domains=dict(domains),
        splits={name: _counts(task, split) for name, split in task.splits().items()},
        findings=tuple(findings),
    )


def _distinct(task: Task) -> dict[str, Split]:
    """The splits by name, without those that hold the same files under the same labels as one before."""
    found: dict[object, str] = {}
    for name, split in task.splits().items():
        source = split.source.place if isinstance(split.source, Stamped) else id(split.source)
        found.setdefault((source, tuple(split.paths), split.labels.tobytes(), split.groups.tobytes()), name)
    return {name: task.splits()[name] for name in found.values()}


def _counts(task: Task, split: Split) -> SplitCounts:
    by_class = np.bincount(split.labels, minlength=len(task.classes)).tolist()
    groups = task.group_counts(split)
    return SplitCounts(
        domain=split.domain,
        images=len(split),
        interval=width_in_points(len(split)),
        classes=dict(zip(task.classes, by_class, strict=True)),
        groups=groups,
        group_intervals={group: width_in_points(count) for group, count in groups.items()},
    )


def _unreadable(splits: Mapping[str, Split], read: Mapping[str, Contents], config: DataConfig) -> Iterator[Finding]:
    level: Level = "error" if config.on_bad_image == "stop" else "warning"
    for name, contents in read.items():
        if contents.reasons:
            message = f"{len(contents.reasons)} of {len(splits[name])} images cannot be read"
            yield Finding(level, name, message, tuple(reason for _, reason in sorted(contents.reasons.items())))


def _same_content(splits: Mapping[str, Split], read: Mapping[str, Contents]) -> Iterator[Finding]:
    for first, second in _to_compare(splits):
        pairs = matches(read[first].digests, read[second].digests)
        if len(pairs):
            shown = _pairs(splits, first, second, pairs[:EXAMPLES])
            message = f"{len(pairs)} of {len(splits[second])} images also stand in {first}, byte for byte"
            yield Finding("warning", second, message, tuple(f"{p.path} = {p.other_path}" for p in shown), shown)


def _two_classes(task: Task, train: Contents) -> Iterator[Finding]:
    order = np.lexsort((task.train.labels, train.digests))
    digests, labels = train.digests[order], task.train.labels[order]
    starts = np.flatnonzero(np.diff(digests, prepend=~digests[:1]))
    torn = starts[(labels[starts] < np.maximum.reduceat(labels, starts)) & (digests[starts] != UNREAD)]
    if len(torn):
        ends = np.append(starts, len(order))[np.searchsorted(starts, torn) + 1]
        places = [sorted(order[a:b].tolist()) for a, b in zip(torn, ends, strict=True)]
        examples = [" = ".join(task.train.paths[i] for i in copies) for copies in sorted(places)[:EXAMPLES]]
        message = f"images that stand in train under more than one class, byte for byte: {len(torn)}"
        yield Finding("warning", "train", message, tuple(examples))


def _alike(splits: Mapping[str, Split], read: Mapping[str, Contents], bits: int) -> Iterator[Finding]:
    for first, second in _to_compare(splits):
        looks = read[second].looks.copy()
        looks[matches(read[first].digests, read[second].digests)[:, 1]] = NO_LOOK  # told already
        found = look_alikes(read[first].looks, looks, bits=bits)
        if len(found.other):
            nearest = np.argsort(found.bits, kind="stable")[:EXAMPLES]
            shown = _pairs(splits, first, second, np.stack([found.known, found.other], axis=1)[nearest])
            differ = found.bits[nearest].tolist()
            examples = [f"{p.path} ~ {p.other_path} ({n} of 64 bits)" for p, n in zip(shown, differ, strict=True)]
            message = f"{len(found.other)} of {len(splits[second])} images look like one in {first}; see for yourself"
            yield Finding("warning", second, message, tuple(examples), shown)


def _to_compare(splits: Mapping[str, Split]) -> Iterator[tuple[str, str]]:
    """What is learned or chosen from, with everything after it."""
    return (pair for pair in combinations(splits, 2) if pair[0] in ("train", "validation"))


def _pairs(splits: Mapping[str, Split], first: str, second: str, places: NDArray[np.int64]) -> tuple[Pair, ...]:
    return tuple(Pair(first, splits[first].paths[i], second, splits[second].paths[j]) for i, j in places.tolist())
