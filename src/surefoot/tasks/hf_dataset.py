"""Any image data set of the Hugging Face hub, or one on this machine in the formats of its library `datasets`.

`root` is a hub id ("ethz/food101"), a folder that `save_to_disk` wrote, or a folder of Parquet files or images that
`load_dataset` understands. A data set of the hub is downloaded by that library into its own cache, with its progress
bars; under HF_HUB_OFFLINE nothing is. Images are read as the files they are, row by row, and decoded like all others.

With `stream=true` nothing is downloaded beforehand: one pass reads the labels, then pieces of the data set are fetched
as training comes to them, and at most `keep` are held on the disk. What is read when does not depend on that.
"""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from surefoot.data.manifest import SPLIT_NAMES, ClassList, PromptNames, Table, read_classes
from surefoot.data.partition import Partition, check_fractions, make_task
from surefoot.data.spool import Spool, spool_folder
from surefoot.data.task import Split, Task, TaskSource
from surefoot.tasks._hub import ArrowRows, Place, Rows, StreamRows, StreamSource

TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "an image of a {}.", "a close-up photo of a {}.")
CONTEXTS = (
    "a photo of a {}.",
    "a drawing of a {}.",
    "a sketch of a {}.",
    "a painting of a {}.",
    "a blurry photo of a {}.",
)
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Role(NamedTuple):
    """What a split of the data set is for: "train", "validation" or "test"; of which domain; and who said so."""

    part: str
    domain: str
    option: str  # "" where it was found by its name


class HfDataset(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # hub id or folder
        subset: str = ""  # the configuration, where there are several
        revision: str = "main"  # branch, tag or commit of the hub
        train: str = "train"  # names of splits
        validation: str = ""  # "" = validation, valid, val or dev where there is one, else taken from train
        test: str = ""  # "" = test or testing where there is one, else taken from train
        shifts: tuple[str, ...] = ()
        image: str = ""  # columns; "" = the only one with images
        label: str = ""  # "" = the only one with classes, or "label"
        group: str = ""
        domain: str = ""
        home: str = ""  # the domain to train on
        classes: str = ""  # a classes.yaml
        stream: bool = False
        window: PositiveInt = 32  # pieces that training mixes, of a stream
        keep: PositiveInt = 64  # pieces held on the disk, of a stream
        cache: str = ""  # folder for labels and pieces of streams; "" = the user's cache
        validation_fraction: Fraction = 0.1
        test_fraction: Fraction = 0.2
        split_seed: NonNegativeInt = 0
        prompt_names: PromptNames = "name"

        @model_validator(mode="after")
        def _fits(self) -> Self:
            if self.keep < 2 * self.window:
                raise ValueError(
                    f"task.keep={self.keep} holds fewer pieces than two windows of task.window={self.window}, so that "
                    "each would be fetched again and again; raise it or lower the window"
                )
            check_fractions(self.validation_fraction, self.test_fraction)
            return self

    summary = "An image data set of the Hugging Face hub, or in the formats of its library; also streamed."

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: HfDataset.Config = config

    def load(self) -> Task:
        config = self.config
        rows = self._open()
        image, label = _image_column(rows, config.image), _label_column(rows, config.label)
        more = {"task.group": config.group, "task.domain": config.domain}
        wanted = [label, *(_check_column(rows, column, option) for option, column in more.items() if column)]
        table, notes = self._table(rows, image, wanted)
        partition = Partition(config.home, config.validation_fraction, config.test_fraction, config.split_seed)
        name = Path(config.root).name
        task = make_task(
            name, table, partition, templates=TEMPLATES, contexts=CONTEXTS, prompt_names=config.prompt_names
        )
        task = replace(task, notes=(*notes, *task.notes))
        if isinstance(table.source, StreamSource):
            train, validation = (_in_blocks(s, table.source, config.window) for s in (task.train, task.validation))
            task = replace(task, train=train, validation=validation)
        return task

    def _open(self) -> Rows:
        config = self.config
        if not config.root:
            raise ValueError("task.root is empty; give a hub id, such as ethz/food101, or a folder")
        place = Place(config.root, config.subset, config.revision)
        if not place.is_local and config.root[0] in "/~.":
            raise ValueError(f"task.root={config.root}: there is no such folder; give one, or a hub id")
        if not config.stream:
            return ArrowRows(place)
        spool = Spool(spool_folder(config.cache, "pieces"), config.keep)
        return StreamRows(place, spool_folder(config.cache, "labels"), spool)

    def _roles(self, splits: list[str]) -> dict[str, Role]:
        config = self.config
        found: dict[str, Role] = {}

        def take(name: str, part: str, domain: str, option: str) -> None:
            if name not in splits:
                near = difflib.get_close_matches(name, splits, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise ValueError(f"{option}={name!r} is no split of {config.root}{hint} It has {', '.join(splits)}")
            if name in found:
                raise ValueError(f"{option}={name!r} already serves as {found[name].part}; a split may serve one")
            found[name] = Role(part, domain, option)

        take(config.train, "train", "", "task.train")
        for part, name in (("validation", config.validation), ("test", config.test)):
            if name:
                take(name, part, "", f"task.{part}")
        for shift in config.shifts:
            take(shift, "test", shift, "task.shifts")
        for part, name in (("validation", config.validation), ("test", config.test)):
            free = [split for split in splits if SPLIT_NAMES.get(split.lower()) == part and split not in found]
            if free and not name:
                found[free[0]] = Role(part, "", "")
        return found

    def _table(self, rows: Rows, image: str, wanted: list[str]) -> tuple[Table, list[str]]:
        config, notes = self.config, list[str]()
        label = wanted[0]
        path, labels, split, domain, group = list[str](), list[str](), list[str](), list[str](), list[str]()
        for name, role in self._roles(list(rows.splits)).items():
            columns = rows.columns(name, wanted)
            told = _texts(columns[label], rows.features[label])
            bare = told.count("")
            if bare == len(told) > 0 and not role.option:
                notes.append(f"the split {name} has no labels and is not used")
                continue
            if bare:
                raise ValueError(
                    f"{role.option or 'split'} {name!r} of {config.root}: {bare} of {len(told)} rows have no label in "
                    f"the column {label!r} (first: row {told.index('')}); use another split or column"
                )
            labels += told
            path += [f"{name}/{row}" for row in range(len(told))]
            split += [role.part] * len(told)
            group += _texts(columns[config.group], rows.features[config.group]) if config.group else [""] * len(told)
            own = _texts(columns[config.domain], rows.features[config.domain]) if config.domain else [""] * len(told)
            domain += [role.domain] * len(told) if role.domain else own
        source = rows.source(image)
        classes = self._classes(rows.features[label])
        return Table(source, source.describe(), path, labels, split, domain, group, classes), notes

    def _classes(self, feature: Any) -> ClassList:
        if self.config.classes:
            path = Path(self.config.classes).expanduser()
            if not path.is_file():
                raise FileNotFoundError(f"task.classes={self.config.classes!r}: there is no such file")
            return read_classes(path.read_bytes(), str(path))
        if type(feature).__name__ != "ClassLabel":
            return ClassList()
        names = tuple(feature.names)
        return ClassList(names, {name: place for place, name in enumerate(names)}, complete=True)


def _image_column(rows: Rows, wanted: str) -> str:
    if wanted:
        return _check_column(rows, wanted, "task.image")
    found = [name for name, feature in rows.features.items() if type(feature).__name__ == "Image"]
    if len(found) != 1:
        raise ValueError(
            f"the data set has {len(found)} columns of images {found}; set task.image to one of {_all(rows)}"
        )
    return found[0]


def _label_column(rows: Rows, wanted: str) -> str:
    if wanted:
        return _check_column(rows, wanted, "task.label")
    found = [name for name, feature in rows.features.items() if type(feature).__name__ == "ClassLabel"]
    if len(found) != 1:
        found = ["label"] if "label" in rows.features else found
    if len(found) != 1:
        raise ValueError(
            f"the data set has {len(found)} columns of classes {found}; set task.label to one of {_all(rows)}"
        )
    return found[0]


def _check_column(rows: Rows, name: str, option: str) -> str:
    if name not in rows.features:
        near = difflib.get_close_matches(name, list(rows.features), n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"{option}={name!r} is no column{hint} There are {_all(rows)}")
    return name


def _all(rows: Rows) -> str:
    return ", ".join(rows.features)


def _texts(values: list[Any], feature: Any) -> list[str]:
    """Class names, or values as text; "" where there is none (also -1 of a ClassLabel)."""
    if type(feature).__name__ == "ClassLabel":
        names = dict(enumerate(feature.names)) | {-1: "", None: ""}
        odd = next((value for value in values if value not in names), None)
        if odd is not None:
            raise ValueError(f"a label is {odd}, but there are {len(feature.names)} classes; the data set is damaged")
        return [names[value] for value in values]
    wrong = next((value for value in values if isinstance(value, list | dict | float)), None)
    if wrong is not None:
        raise ValueError(f"a label, group or domain is {wrong!r}; expected a name or a whole number, one an image")
    return ["" if value is None else str(value).strip() for value in values]


def _in_blocks(split: Split, source: StreamSource, window: int) -> Split:
    names, rows = (np.array(part) for part in zip(*(path.rsplit("/", 1) for path in split.paths), strict=True))
    blocks, first = np.empty(len(split), np.int64), 0
    for name in np.unique(names).tolist():
        blocks[names == name] = first + source.pieces(name, rows[names == name].astype(np.int64))
        first += len(source.starts[name])
    return replace(split, blocks=blocks, window=window)
