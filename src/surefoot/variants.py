"""The variants that a task stands for, as a tree: DomainBed's data sets, and of each the domains left out.

What runs on them is the comparison's affair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surefoot.config import Settings, flatten, resolve
from surefoot.data.places import inventory
from surefoot.data.task import TaskSource


@dataclass(frozen=True)
class Branch:
    """A task, the variants that it stands for (none for most), and what of it is not there."""

    settings: Mapping[str, Any]
    source: TaskSource
    variants: Mapping[str, "Branch"] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def leaves(self) -> list["Branch"]:
        """The tasks on which runs are made: the variants of variants, or the task itself."""
        return [leaf for variant in self.variants.values() for leaf in variant.leaves()] if self.variants else [self]

    def folds(self) -> dict[str, dict[str, Any]]:
        """The settings of the tasks that leave one more domain out, by that domain."""
        return {name: with_task(self.settings, options) for name, options in self.source.folds().items()}


def grow(settings: Settings) -> Branch:
    """All variants down to the last. ValueError where the files of one are not there."""
    flat = dict(flatten(settings))
    of_task = {name: value for name, value in flat.items() if name.split(".")[0] == "task" or name == "data.root"}
    task: Any = resolve(of_task).task
    source: TaskSource = task.plugin(task.options)
    variants = {name: grow(with_task(flat, options)) for name, options in source.variants().items()}
    if not variants:
        return Branch(flat, source)
    missing = inventory(task.options.root, source.places()).missing if source.places() else ()
    notes = tuple(f"Not there, so in no mean: {place.path} ({place.what})." for place in missing)
    return Branch(flat, source, variants, notes)


def with_task(settings: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with these options of the task."""
    return {**settings, **{f"task.{option}": value for option, value in options.items()}}
