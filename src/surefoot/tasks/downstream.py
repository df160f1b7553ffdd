"""Ten small data sets that CLIP models are fine-tuned on, each with its own templates: food, cars, pets, textures, ...

`task.dataset` chooses one. It lies in <root>/<dataset> as folders for splits and classes, like your own images (see
`folder`), or as its authors pack it, where their labels are folders or plain text: caltech101, dtd, fgvc_aircraft,
food101, oxford_pets, sun397. The labels of flowers102 and stanford_cars are MATLAB files and those of cifar10 and
cifar100 pickles, which are not read: sort these into folders, or list their files in a manifest.csv.
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from surefoot.data.downstream_sets import SETS, Known, words
from surefoot.data.manifest import Table, read_table
from surefoot.data.partition import Partition, check_fractions, make_task
from surefoot.data.places import Place, require
from surefoot.data.prompts import Template
from surefoot.data.split_lists import named, read_lists
from surefoot.data.task import Task, TaskSource

INSIDE = "101_ObjectCategories"  # what the archive of caltech101 unpacks to
NO_CLASS = "BACKGROUND_Google"  # its pictures of anything
KNOWN = f"Known: {', '.join(SETS)}"
Fraction = Annotated[float, Field(gt=0, lt=1)]


def _a_known_one(name: str) -> str:
    if name and name not in SETS:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), SETS, n=1)
        raise ValueError(f"there is no such data set{f'; did you mean {near[0]}?' if near else '.'} {KNOWN}")
    return name


class Downstream(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder that holds a folder for each data set
        dataset: Annotated[str, AfterValidator(_a_known_one)] = ""
        templates: tuple[Template, ...] = ()  # () = the data set's own
        validation_fraction: Fraction = 0.1  # used where there is no such split
        test_fraction: Fraction = 0.2
        split_seed: Annotated[int, Field(ge=0)] = 0

        @model_validator(mode="after")
        def _something_is_left(self) -> Self:
            check_fractions(self.validation_fraction, self.test_fraction)
            return self

    summary = "Ten small data sets with templates of their own: food, pets, cars, aircraft, flowers, textures, ..."
    paper = "arXiv:2211.16175"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Downstream.Config = config

    def places(self) -> Sequence[Place]:
        if not self.config.dataset:
            return ()
        known = SETS[self.config.dataset]
        what = f"{known.kind}, {known.classes} classes; tables report {known.metric}"
        return (Place(self._folder(), what, known.get, known.licence),)

    def load(self) -> Task:
        config = self.config
        if not config.dataset:
            raise ValueError(f"task.dataset is empty; say which data set is to be used. {KNOWN}")
        known = SETS[config.dataset]
        table, notes = _read(require(config.root, self.places()).root / self._folder(), known)
        task = make_task(
            config.dataset,
            table,
            Partition("", config.validation_fraction, config.test_fraction, config.split_seed),
            templates=config.templates or known.templates,
            contexts=(),
        )
        if len(task.classes) != known.classes:
            notes.append(f"{config.dataset} has {known.classes} classes, this copy has {len(task.classes)}")
        return replace(task, notes=(*task.notes, *notes))

    def _folder(self) -> str:
        """The first of the data set's names that is there, or else its own."""
        root, names = Path(self.config.root).expanduser(), (self.config.dataset, *SETS[self.config.dataset].folders)
        return next((name for name in names if (root / name).is_dir()), names[0])


def _read(folder: Path, known: Known) -> tuple[Table, list[str]]:
    """The rows of a data set as its authors pack it, or as folders, and what to note."""
    sorted_already = (folder / "train").is_dir() or (folder / "manifest.csv").is_file()
    packed = [] if sorted_already else [name for name in known.packed if (folder / name).exists()]
    if packed and known.lists:
        below = next((name for name in known.images if (folder / name).is_dir()), "")
        return read_lists(folder, known.lists, known.row, below=below, shown=known.shown), []
    if packed:
        raise ValueError(
            f"{folder} is as its authors pack it ({packed[0]}), with labels in a format that is not read: MATLAB, "
            "pickle or raw bytes. Save the images as files in train/<class>/ and test/<class>/, or write a "
            "manifest.csv with the columns path, label and split"
        )
    table = read_table(str(folder / INSIDE if (folder / INSIDE).is_dir() else folder))
    left_out = NO_CLASS in table.label
    table = _without(table, NO_CLASS) if left_out else table
    if not table.classes.names:
        table = replace(table, classes=named(table.label, words))
    return table, [f"the images of {NO_CLASS}, which is no class, are left out"] if left_out else []


def _without(table: Table, label: str) -> Table:
    keep = [place for place, other in enumerate(table.label) if other != label]
    path, labels, split, domain, group = (
        [column[place] for place in keep]
        for column in (table.path, table.label, table.split, table.domain, table.group)
    )
    return replace(table, path=path, label=labels, split=split, domain=domain, group=group)
