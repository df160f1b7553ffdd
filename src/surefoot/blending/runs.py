"""Finished runs to blend: opened without their weights, and refused where they do not belong together."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from surefoot.blending.options import BY_RECORDS, FROM_ZERO_SHOT, OF_ONE_RUN, BlendOptions
from surefoot.classifier import read_card
from surefoot.config import RunConfig, resolve
from surefoot.data.task import Task
from surefoot.run_folder import RunFolder, told_differences


@dataclass(frozen=True)
class Source:
    """A finished run: what was asked for and what came out."""

    folder: RunFolder
    config: RunConfig
    results: Mapping[str, Any]
    fingerprint: str  # of its data
    convention: str  # of its head

    @classmethod
    def open(cls, path: Path) -> Self:
        """ValueError where the run is unfinished or cannot be read."""
        folder = RunFolder(path)
        results, record = folder.results(), folder.record()
        card = read_card(folder.classifier)
        return cls(folder, resolve(record["config"]), results, record["data"]["fingerprint"], card.convention)

    @property
    def name(self) -> str:
        """The last two folders of its path, such as "fine_tune/seed-0"."""
        return "/".join(self.folder.path.resolve().parts[-2:])

    def validation_accuracy(self) -> float:
        """ValueError where the run was not measured on validation."""
        found = self.results["splits"].get("validation", {}).get("accuracy")
        if found is None:
            raise ValueError(
                f"{self.folder.path} has no accuracy on validation, which kind=greedy chooses by; train it again, or "
                "take kind=uniform"
            )
        return float(found)

    def digest(self) -> str:
        """What its predictions.npz hashes to: another result of the same run has another one."""
        with (self.folder.path / "predictions.npz").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def open_runs(paths: Sequence[Path], options: BlendOptions) -> list[Source]:
    """The runs that a blend is made of. Raises ValueError where the options ask for others, or they do not fit."""
    check_count(len(paths), options)
    resolved = [path.resolve() for path in paths]
    twice = [str(path) for path in paths if resolved.count(path.resolve()) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is given more than once; give each run once")
    sources = [Source.open(path) for path in paths]
    for source in sources[1:]:
        _refuse_a_stranger(sources[0], source)
    if options.kind in BY_RECORDS:
        for source in sources:
            source.validation_accuracy()
    if sources[0].convention == "linear" and (options.kind in FROM_ZERO_SHOT or options.head == "text"):
        raise ValueError(
            f"{sources[0].folder.path} has a linear head (method.head=linear), which has no zero-shot weights to "
            f"average with (kind={options.kind}, head={options.head}); train it again with method.head=scaled, then "
            "blend that run"
        )
    return sources


def check_count(count: int, options: BlendOptions) -> None:
    """ValueError where a blend of this kind is not made of so many runs."""
    if options.kind in OF_ONE_RUN and count != 1:
        raise ValueError(
            f"kind={options.kind} blends one run with the zero-shot model, but {count} are given; give one, or choose "
            "kind=uniform, greedy or stock"
        )
    if options.kind not in OF_ONE_RUN and count < 2:
        raise ValueError(
            f"kind={options.kind} averages several runs, but {count} is given; give two or more, or choose "
            f"kind={' or '.join(OF_ONE_RUN)}"
        )


def refuse_other_data(sources: Sequence[Source], task: Task, options: BlendOptions) -> None:
    """ValueError where a kind goes by what runs recorded and the task has other data than they had."""
    if options.kind in BY_RECORDS and task.fingerprint() != sources[0].fingerprint:
        raise ValueError(
            f"kind={options.kind} compares with the accuracies that the runs recorded on validation, but the data "
            f"changed since {sources[0].folder.path} was trained; give the old data back, train the runs again, or "
            "take kind=uniform"
        )


def _refuse_a_stranger(first: Source, other: Source) -> None:
    differing = told_differences(_kin(first), _kin(other))
    if differing:
        raise ValueError(
            f"{first.folder.path} and {other.folder.path} cannot be averaged: {differing}; give runs of one "
            "task, backbone and head (method.head)"
        )


def _kin(source: Source) -> dict[str, Any]:
    """What runs must share for their weights to be averaged and measured together."""
    return {
        "task": source.results["task"],
        "classes": source.results["classes"],
        "backbone": source.config.backbone.to_dict(),
        "head": source.convention,
        "data": source.fingerprint,
    }
