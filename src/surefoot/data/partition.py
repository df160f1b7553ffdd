"""A Table becomes a Task: class names, the home domain, and what trains, validates and tests.

Fractions are stratified by class and drawn by a hash of (seed, path), so that an image's part does not depend on the
order of the files.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from surefoot.data.draws import path_draws
from surefoot.data.manifest import ClassList, PromptNames, Table
from surefoot.data.task import Split, Task

Mask = NDArray[np.bool_]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Partition(NamedTuple):
    """How a Table is parted: the home domain ("" = the one that has training rows), fractions and their seed."""

    home: str = ""
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0


def check_fractions(validation: float, test: float) -> None:
    """ValueError where these fractions of the training images leave nothing to train on."""
    if validation + test >= 1:
        raise ValueError(
            f"task.validation_fraction={validation} and task.test_fraction={test} leave nothing to train on; "
            "their sum must be below 1"
        )


def make_task(
    name: str,
    table: Table,
    partition: Partition,
    *,
    templates: Sequence[str],
    contexts: Sequence[str],
    prompt_names: PromptNames = "name",
) -> Task:
    """The Task of `table`; `templates` and `contexts` are used where its classes.yaml gives none.

    `prompt_names` says what sentences call a class. Raises ValueError where there is no home domain, a part is empty, a
    class has no training image, a label is unknown, or synonyms are wanted and there are none.
    """
    classes, labels = name_classes(table)
    domains = np.array(table.domain, dtype=object)
    home = _home_domain(table, partition.home)
    parts, notes = _part_home(table, labels, domains == home, partition)
    _check_training_classes(table, classes, labels[parts["train"]])
    group_names, groups = name_groups(table)
    rows = SplitMaker(table, labels, groups)
    home_test = home or "test"
    tests = {home_test: rows.split(home_test, parts["test"], home)}
    for shift in dict.fromkeys(table.domain):
        if shift != home:
            chosen, note = _shift_rows(table, domains == shift, shift)
            tests[shift] = rows.split(shift, chosen, shift)
            notes += note
    notes += _untrained_groups(group_names, groups, parts["train"])
    return Task(
        name=name,
        classes=classes,
        names=_names_in_sentences(table, prompt_names),
        templates=table.classes.templates or tuple(templates),
        contexts=table.classes.contexts or tuple(contexts),
        train=rows.split("train", parts["train"], home),
        validation=rows.split("validation", parts["validation"], home),
        tests=tests,
        home=home_test,
        group_names=group_names,
        notes=(*table.notes, *notes),
    )


class SplitMaker(NamedTuple):
    """Rows of a table with their labels and groups (n,), from which Splits are made."""

    table: Table
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]

    def split(self, name: str, chosen: Mask, domain: str) -> Split:
        """The Split of the rows where `chosen` (n,) is true."""
        at = np.flatnonzero(chosen).tolist()
        paths = tuple(self.table.path[i] for i in at)
        return Split(name, self.table.source, paths, self.labels[at], self.groups[at], domain)


def name_groups(table: Table) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names of the groups in alphabetical order, and each row's group as an index into them (n,), -1 for none."""
    names = tuple(sorted({group for group in table.group if group}))
    places = {group: place for place, group in enumerate(names)}
    return names, np.array([places.get(group, -1) for group in table.group], dtype=np.int64)


def name_classes(table: Table) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Display names, and each row's label as an index into them (n,)."""
    listed = table.classes
    if listed.complete:
        return listed.names, _labels_in_list(table, listed)
    found = sorted(set(table.label))
    if all(label.isdecimal() for label in found):
        found.sort(key=int)
    unused = set(range(len(listed.names))) - {listed.index[label] for label in found if label in listed.index}
    if unused:
        names = [listed.names[place] for place in sorted(unused)]
        raise ValueError(f"{table.origin}: classes.yaml names {names[:5]}, but no label is one; labels are {found[:5]}")
    shown = {label: listed.names[listed.index[label]] if label in listed.index else label for label in found}
    classes = tuple(dict.fromkeys(shown.values()))
    if len(classes) < len(shown):
        twice = next(name for name in classes if list(shown.values()).count(name) > 1)
        labels = [label for label, name in shown.items() if name == twice]
        raise ValueError(
            f"{table.origin}: the classes {' and '.join(labels)} are both called {twice!r}; give each its own name in "
            "classes.yaml"
        )
    places = {name: place for place, name in enumerate(classes)}
    return classes, np.array([places[shown[label]] for label in table.label], dtype=np.int64)


def _labels_in_list(table: Table, listed: ClassList) -> NDArray[np.int64]:
    numbers = {str(place): place for place in range(len(listed.names))}
    known = {**numbers, **listed.index}  # a class that is called "7" wins over the eighth class
    unknown = Counter(label for label in table.label if label not in known)
    if unknown:
        raise ValueError(
            f"{table.origin}: {unknown.total()} labels lie outside the list of {len(listed.names)} classes: "
            f"{sorted(unknown)[:5]}; add them to classes.yaml (as a class or a synonym) or correct them"
        )
    return np.array([known[label] for label in table.label], dtype=np.int64)


def _names_in_sentences(table: Table, by: PromptNames) -> tuple[tuple[str, ...], ...]:
    listed = table.classes
    if by != "name" and not (listed.complete and listed.synonyms):
        raise ValueError(
            f"task.prompt_names={by}: {table.origin} names no synonyms; list all classes with their synonyms in "
            "classes.yaml, or leave the option out"
        )
    return listed.called(by) if listed.complete else ()


def _home_domain(table: Table, wanted: str) -> str:
    domains = list(dict.fromkeys(table.domain))
    if wanted:
        if wanted not in domains:
            raise ValueError(f"task.home={wanted!r} is no domain of {table.origin}; it has {domains}")
        return wanted
    training = list(dict.fromkeys(d for d, s in zip(table.domain, table.split, strict=True) if s == "train"))
    if len(domains) == 1:
        return domains[0]
    if len(training) == 1:
        return training[0]
    why = f"training rows in {training}" if training else "no training rows that would tell"
    raise ValueError(f"{table.origin} has the domains {domains} and {why}; set task.home to the one to train on")


def _part_home(
    table: Table, labels: NDArray[np.int64], at_home: Mask, partition: Partition
) -> tuple[dict[str, Mask], list[str]]:
    """Masks of the home domain's train, validation and test rows; what is missing is dealt out of the training rows."""
    splits = np.array(table.split, dtype=object)
    given = {part: at_home & (splits == part) for part in ("train", "validation", "test")}
    untold = at_home & (splits == "")
    if untold.any():
        if (at_home & ~untold).any():
            first = table.path[int(np.flatnonzero(untold)[0])]
            raise ValueError(
                f"{table.origin}: {untold.sum()} of {at_home.sum()} home rows have no split (first: {first}); "
                "give all of them one, or none"
            )
        given["train"] = untold
    elif not given["train"].any():
        raise ValueError(f"{table.origin}: no row of the home domain has the split train; there is nothing to train on")
    wanted: tuple[tuple[Literal["validation", "test"], float], ...] = (
        ("test", partition.test_fraction),
        ("validation", partition.validation_fraction),
    )
    fractions = {part: fraction for part, fraction in wanted if not given[part].any()}
    if not fractions:
        return given, []
    pool = np.flatnonzero(given["train"])
    paths = [table.path[i] for i in pool.tolist()]
    dealt = stratified(labels[pool], paths, tuple(fractions.values()), seed=partition.seed)
    notes = []
    for place, (part, fraction) in enumerate(fractions.items()):
        given[part][pool[dealt == place]] = True
        given["train"][pool[dealt == place]] = False
        notes.append(
            f"no {part} split was given: {given[part].sum()} of {len(pool)} training images were taken for it, "
            f"by class (task.{part}_fraction={fraction}, task.split_seed={partition.seed})"
        )
    return given, notes


def stratified(
    labels: NDArray[np.int64], paths: Sequence[str], fractions: Sequence[float], *, seed: int
) -> NDArray[np.int64]:
    """`deal` in the order of a hash of (seed, path)."""
    return deal(labels, path_draws(seed, paths), fractions)


def deal(
    labels: NDArray[np.int64], keys: Sequence[float] | NDArray[np.float64], fractions: Sequence[float]
) -> NDArray[np.int64]:
    """Deal examples into parts class by class: (n,) the part of each, -1 for those that stay.

    In the order of `keys`, part i gets its rounded fraction of a class, at least one, as long as one example stays.
    """
    parts = np.full(len(labels), -1, dtype=np.int64)
    order = np.lexsort((np.asarray(keys), labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        taken = 0
        for part, fraction in enumerate(fractions):
            share = min(max(1, round(fraction * len(members))), len(members) - 1 - taken)
            parts[members[taken : taken + share]] = part
            taken += share
    return parts


def _shift_rows(table: Table, inside: Mask, name: str) -> tuple[Mask, list[str]]:
    """The rows of another domain that test: those marked test, or all where none is."""
    tests = inside & (np.array(table.split, dtype=object) == "test")
    if not tests.any():
        return inside, []
    left = int(inside.sum() - tests.sum())
    return tests, [f"{name}: {left} images that are not in its test split are not used"] if left else []


def _untrained_groups(names: tuple[str, ...], groups: NDArray[np.int64], trained: Mask) -> list[str]:
    """A note where groups have images but none to train on: a misspelt value, or a re-weighted mean without them."""
    absent = np.setdiff1d(groups[groups >= 0], groups[trained]).tolist()
    told = ", ".join(f"{names[group]} ({(groups == group).sum()} elsewhere)" for group in absent[:10])
    return [f"groups without a training image: {len(absent)} ({told})"] if absent else []


def _check_training_classes(table: Table, classes: tuple[str, ...], labels: NDArray[np.int64]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise ValueError(
            f"{table.origin}: {len(empty)} of {len(classes)} classes have no training image in the home domain: "
            f"{empty[:10]}; add some, or remove the class"
        )
