"""What is classified: a Task has class names, prompt templates and labelled Splits of images.

No image is read here and no torch is imported; `manifest` and the plug-ins in `tasks/` make Tasks, `batch` reads them.
"""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from surefoot.data.places import Place

if TYPE_CHECKING:
    from PIL.Image import Image

TRIAL = "trial"
"""A task's option of this name draws its splits, and is the run's seed unless it is set: each seed is a trial."""


class Source(Protocol):
    """Where image bytes come from. Worker processes get a pickled copy."""

    def read(self, path: str) -> bytes:
        """The bytes of one file; raises FileNotFoundError where there is none."""
        ...

    def describe(self) -> str:
        """For error messages: "folder /data/pets", "zip /data/pets.zip"."""
        ...


@runtime_checkable
class Stamped(Source, Protocol):
    """A source that can tell without reading whether files are as they were: what was read can be remembered."""

    @property
    def place(self) -> Path:
        """The folder or file that everything is in."""
        ...

    def stamps(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """(n, 2) for each of `paths`: a size in bytes and a time of change in ns; -1 where there is no such file."""
        ...


class Alter(Protocol):
    """What is done to each image of a split before anything else: a corruption, a border cut away.

    It must be picklable, as worker processes get a copy, and depend on nothing but the image and its position; `name`
    goes into the task's fingerprint.
    """

    @property
    def name(self) -> str: ...

    def __call__(self, image: "Image", index: int) -> "Image":
        """Another upright RGB image; `index` is the position in the split as it was made (`Split.positions`)."""
        ...


class Example(NamedTuple):
    """One labelled image of a Split."""

    path: str
    label: int
    group: int


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images that are used together: one part of one domain.

    `labels` and `groups` are int64 arrays (n,); a group is an index into `Task.group_names`, -1 where there is none.
    `class_mask` lists the classes that count in this split; empty means all of them. `merged` are sets of classes that
    are one here: its logit is the highest of theirs and stands under the first, which labels and mask name (ObjectNet).
    `positions` (n,) say where examples stood when the split was made, for `alter`; empty: where they stand.
    `blocks` (n,) number what is cheap to read together (a shard of an archive): training shuffles the blocks and mixes
    `window` of them at a time; empty: all examples are mixed.
    """

    name: str
    source: Source
    paths: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    domain: str = ""
    class_mask: tuple[int, ...] = ()
    merged: tuple[tuple[int, ...], ...] = ()
    alter: Alter | None = None
    positions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    blocks: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    window: int = 1

    def __post_init__(self) -> None:
        columns = {"labels": self.labels, "groups": self.groups}
        if len(self.blocks):
            columns["blocks"] = self.blocks
        if self.window < 1:
            raise ValueError(f"split {self.name!r}: window is {self.window}; mix one block or more")
        for what, column in columns.items():
            if column.shape != (len(self.paths),) or column.dtype != np.int64:
                raise ValueError(
                    f"split {self.name!r}: {what} has shape {column.shape} and type {column.dtype}; "
                    f"expected ({len(self.paths)},) int64, one for each path"
                )

    def __len__(self) -> int:
        return len(self.paths)

    def example(self, index: int) -> Example:
        return Example(self.paths[index], int(self.labels[index]), int(self.groups[index]))

    def evenly(self, most: int) -> "Split":
        """The same split with at most so many examples, evenly spaced."""
        if len(self) <= most:
            return self
        return self.subset(np.linspace(0, len(self) - 1, most).round().astype(np.int64))

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "Split":
        """The same split with only the examples at `indices`, in that order."""
        keep = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            paths=tuple(self.paths[i] for i in keep),
            labels=self.labels[keep],
            groups=self.groups[keep],
            positions=keep if len(self.positions) == 0 else self.positions[keep],
            blocks=self.blocks[keep] if len(self.blocks) else self.blocks,
        )

    def position(self, index: int) -> int:
        """Where the example at `index` stood when the split was made."""
        return int(self.positions[index]) if len(self.positions) else index


@dataclass(frozen=True, eq=False)
class Task:
    """A classification task: one home domain to train on, and test splits that show what held under a shift.

    `tests` keeps its order and contains the home test split, whose key is `home`; the others are the shifts, but for
    those named in `apart`, which are measured and count as none (a target's own validation images). `names` says what
    sentences call each class, one or more names a class; empty: the name in `classes`.
    """

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    contexts: tuple[str, ...]
    train: Split
    validation: Split
    tests: Mapping[str, Split]
    home: str
    group_names: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self)
        for name, split in self.splits().items():
            _check_split(self, name, split)

    @property
    def shifts(self) -> tuple[str, ...]:
        return tuple(name for name in self.tests if name != self.home and name not in self.apart)

    def splits(self) -> dict[str, Split]:
        """Train, validation and the tests by name."""
        return {"train": self.train, "validation": self.validation, **self.tests}

    def group_counts(self, split: Split) -> dict[str, int]:
        """How many examples of `split` each group has."""
        counts = np.bincount(split.groups[split.groups >= 0], minlength=len(self.group_names))
        return dict(zip(self.group_names, counts.tolist(), strict=True))

    def fingerprint(self) -> str:
        """SHA-256 over the class names and the paths, labels and groups of all splits; file contents are not read."""
        digest = hashlib.sha256()

        def add(data: bytes) -> None:  # the length goes first, so that no two sequences of parts read the same
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)

        add("\n".join(self.classes).encode())
        for name, split in self.splits().items():
            add(name.encode())
            add("\n".join(split.paths).encode())
            add(split.labels.astype("<i8").tobytes())
            add(split.groups.astype("<i8").tobytes())
            if split.alter is not None:
                add(split.alter.name.encode())
        return digest.hexdigest()


class TaskSource(ABC):
    """Base of the plug-ins in `tasks/`: one subclass a file, its options in the nested Config.

    `recommended` holds settings ("engine.lr": 1e-4) that apply to this task unless the user sets them.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    recommended: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def recommends(cls, config: Config) -> Mapping[str, Any]:  # noqa: ARG003  for those that look at their options
        """`recommended`, for these options."""
        return cls.recommended

    def __init__(self, config: Config) -> None:
        self.config = config

    def places(self) -> Sequence[Place]:
        """What it reads below `config.root`, for data sets that people must get first; none for others."""
        return ()

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        """The tasks that this one stands for where an option leaves it open: name -> options; none for others.

        A comparison runs over all of them, each in a folder of its name, and shows their mean. A variant may have
        variants of its own. Raises ValueError where there is nothing to run over.
        """
        return {}

    def folds(self) -> Mapping[str, Mapping[str, Any]]:
        """Tasks that leave one more domain out and test on it (`left_out`), by name: the options that make each.

        For leave-one-domain-out cross-validation; none for tasks that leave no domain out.
        """
        return {}

    @abstractmethod
    def load(self) -> Task:
        """Find the images and labels; reads no image."""


def _check_names(task: Task) -> None:
    where = f"task {task.name!r}"
    if len(task.classes) < 2:
        raise ValueError(f"{where}: found {len(task.classes)} class ({task.classes}); classification needs two or more")
    twice = [name for name, count in Counter(task.classes).items() if count > 1]
    if twice:
        raise ValueError(f"{where}: the class names {twice} stand more than once; give each class its own name")
    empty = [label for label, name in enumerate(task.classes) if not name.strip()]
    if empty:
        raise ValueError(f"{where}: the classes with labels {empty} have no name; name them")
    if not task.templates:
        raise ValueError(f"{where}: templates is empty; give at least one, such as 'a photo of a {{}}.'")
    for option, templates in (("templates", task.templates), ("contexts", task.contexts)):
        for template in templates:
            if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
                raise ValueError(f"{where}: {option} has {template!r}; each must hold '{{}}' exactly once")
    if task.home not in task.tests:
        raise ValueError(
            f"{where}: home is {task.home!r}, but the test splits are {list(task.tests)}; name one of them"
        )
    if not set(task.apart) <= set(task.tests) - {task.home}:
        raise ValueError(f"{where}: apart is {task.apart}; name test splits other than home {task.home!r}")
    taken = {"train", "validation"} & set(task.tests)
    if taken:
        raise ValueError(f"{where}: a test split is called {sorted(taken)[0]!r}; rename that domain")


def _check_split(task: Task, name: str, split: Split) -> None:
    where = f"task {task.name!r}, split {name!r}"
    if len(split) == 0:
        raise ValueError(f"{where}: no images; every split needs at least one ({split.source.describe()})")
    outside = sorted(set(split.labels[(split.labels < 0) | (split.labels >= len(task.classes))].tolist()))
    if outside:
        raise ValueError(f"{where}: labels {outside[:5]} lie outside 0..{len(task.classes) - 1} (the class list)")
    if split.groups.min() < -1 or split.groups.max() >= len(task.group_names):
        raise ValueError(
            f"{where}: groups run from {split.groups.min()} to {split.groups.max()}, "
            f"but there are {len(task.group_names)} group names (-1 means no group)"
        )
    if split.class_mask and not set(split.labels.tolist()) <= set(split.class_mask):
        raise ValueError(f"{where}: some labels are not in the split's own class mask")
    others = [label for classes in split.merged for label in classes[1:]]
    if len(set(others)) < len(others) or {classes[0] for classes in split.merged} & set(others):
        raise ValueError(f"{where}: a class stands in two of the merged sets")
    if set(others) & set(split.labels.tolist()) or set(others) & set(split.class_mask):
        raise ValueError(f"{where}: a merged class goes under the first of its set, also in labels and class mask")
