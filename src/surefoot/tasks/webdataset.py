"""Tar shards as webdataset and img2dataset write them: on the disk, on a web server, or in a store such as S3.

In a shard, files that share a key (the path up to the first dot of the file name) are a sample: an image (jpg, jpeg,
png, webp) and its label, which is the text of a .cls, or the field `label` of a .json; a class name or a number.

    train-000000.tar      0001.jpg 0001.cls 0002.jpg 0002.cls ...

One pass over each shard makes a small index, which is kept in the user's cache. Single images are then read in any
order, so that a run goes on at the exact sample after any interruption, on any number of processes and data workers. In
training, `window` shards are mixed at a time; remote ones are fetched whole, and at most `keep` of them are held on the
disk. The library webdataset is not needed.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, NonNegativeInt, field_validator, model_validator

from surefoot.data.manifest import ClassList, PromptNames, Table, read_classes
from surefoot.data.partition import Partition, check_fractions, make_task
from surefoot.data.shards import JOIN, Layout, Shard, ShardIndex, ShardSource, find_shards, read_indexes
from surefoot.data.spool import Spool, spool_folder
from surefoot.data.storage import expanded, is_remote
from surefoot.data.task import Split, Task, TaskSource

TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "an image of a {}.", "a close-up photo of a {}.")
CONTEXTS = (
    "a photo of a {}.",
    "a drawing of a {}.",
    "a sketch of a {}.",
    "a painting of a {}.",
    "a blurry photo of a {}.",
)
Fraction = Annotated[float, Field(gt=0, lt=1)]
Patterns = tuple[str, ...]
SORTED = 0.5  # of the classes that a shard would hold by chance; with fewer it is told


class WebDataset(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # folder or URL that the patterns below start at
        train: Patterns = ("train*.tar",)  # one or more; "{000..010}" and "*" are understood
        validation: Patterns = ()  # none: images of train are taken for it
        test: Patterns = ()
        shifts: dict[str, Patterns] = Field(default_factory=dict)  # name of a shift -> its shards
        image: Patterns = ("jpg", "jpeg", "png", "webp")  # extensions of images
        label: str = "cls"  # extension of the label; else it is looked for in a .json
        label_field: str = "label"
        classes: str = ""  # a classes.yaml; "" = the one in a local root
        window: NonNegativeInt = 8  # shards that training mixes; 0 = all
        keep: NonNegativeInt = 16  # remote shards held on the disk; 0 = members are read by byte range
        cache: str = ""  # folder for indexes and shards; "" = the user's cache
        validation_fraction: Fraction = 0.1
        test_fraction: Fraction = 0.2
        split_seed: NonNegativeInt = 0
        prompt_names: PromptNames = "name"

        @field_validator("train", "validation", "test", "image", mode="before")
        @classmethod
        def _one_is_a_list(cls, value: Any) -> Any:
            return (value,) if isinstance(value, str) and value else value or ()

        @field_validator("image", "label")
        @classmethod
        def _extension(cls, value: Any) -> Any:
            """In lower case and without a dot in front, as shards are compared with."""
            return value.lower().lstrip(".") if isinstance(value, str) else tuple(v.lower().lstrip(".") for v in value)

        @field_validator("shifts", mode="before")
        @classmethod
        def _one_each_is_a_list(cls, value: Any) -> Any:
            if not isinstance(value, Mapping):
                return value
            return {name: (some,) if isinstance(some, str) else some for name, some in value.items()}

        @model_validator(mode="after")
        def _fits(self) -> Self:
            check_fractions(self.validation_fraction, self.test_fraction)
            return self

    summary = "Tar shards in webdataset's format, on the disk or behind a URL, resumed at the exact sample."

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: WebDataset.Config = config

    def load(self) -> Task:
        config = self.config
        _check_root(config.root)
        urls = self._urls()
        if any(map(is_remote, urls)):
            _check_keep(config.keep, min(len(urls), 2 * config.window or len(urls)), config.window)
        shards = find_shards(list(urls))
        places = {shard.name: urls[shard.url] for shard in shards}  # -> (split, domain)
        spool = Spool(spool_folder(config.cache, "shards"), config.keep)
        layout = Layout(config.image, config.label, config.label_field)
        indexes = read_indexes(shards, layout, spool_folder(config.cache, "indexes"), spool)
        source = ShardSource(config.root, shards={s.name: s for s in shards}, indexes=indexes, spool=spool)
        table = _table(source, shards, indexes, places, _class_list(config))
        partition = Partition("", config.validation_fraction, config.test_fraction, config.split_seed)
        name = PurePosixPath(config.root.rstrip("/")).name or "webdataset"
        task = make_task(
            name, table, partition, templates=TEMPLATES, contexts=CONTEXTS, prompt_names=config.prompt_names
        )
        if not config.window:
            return task
        numbers = {shard.name: number for number, shard in enumerate(shards)}
        train, validation = (_in_blocks(split, numbers, config.window) for split in (task.train, task.validation))
        return replace(
            task, train=train, validation=validation, notes=(*task.notes, *_sorted_note(train, config.window))
        )

    def _urls(self) -> dict[str, tuple[str, str]]:
        """Each shard's address -> the split and the domain of its images, in the order in which they are named."""
        config = self.config
        asked = [("train", "", config.train), ("validation", "", config.validation), ("test", "", config.test)]
        asked += [("test", name, patterns) for name, patterns in config.shifts.items()]
        if not config.train:
            raise ValueError("task.train is empty; name the training shards, such as train-{000..099}.tar")
        found: dict[str, tuple[str, str]] = {}
        for split, domain, patterns in asked:
            option = f"task.shifts[{domain}]" if domain else f"task.{split}"
            for url in expanded(patterns, config.root, option=option):
                if url in found:
                    raise ValueError(
                        f"{option} names {url}, which {found[url][1] or found[url][0]} has too; a shard may serve one"
                    )
                found[url] = (split, domain)
        return found


def _check_root(root: str) -> None:
    if not root:
        raise ValueError("task.root is empty; give the folder or URL of the shards, such as --root /data/shards")
    if not is_remote(root) and not Path(root.removeprefix("file://")).expanduser().is_dir():
        raise ValueError(f"task.root={root}: there is no such folder; say where the shards are")


def _check_keep(keep: int, needed: int, window: int) -> None:
    if 0 < keep < needed:
        raise ValueError(
            f"task.keep={keep}: training with task.window={window} reads from up to {needed} remote shards at a time, "
            "so each would be fetched again and again; raise it, lower the window, or set task.keep=0 to read by range"
        )


def _class_list(config: WebDataset.Config) -> ClassList:
    path = Path(config.classes or Path(config.root.removeprefix("file://")) / "classes.yaml").expanduser()
    if not config.classes and (is_remote(config.root) or not path.exists()):
        return ClassList()
    if not path.is_file():
        raise FileNotFoundError(
            f"task.classes={config.classes!r}: there is no such file; give a classes.yaml on this machine"
        )
    return read_classes(path.read_bytes(), str(path))


def _table(
    source: ShardSource,
    shards: list[Shard],
    indexes: Mapping[str, ShardIndex],
    places: Mapping[str, tuple[str, str]],
    classes: ClassList,
) -> Table:
    path, label, split, domain = list[str](), list[str](), list[str](), list[str]()
    seen: dict[bytes, str] = {}  # the same label is one string
    for shard in shards:
        index = indexes[shard.name]
        path += [f"{shard.name}{JOIN}{member.decode()}" for member in index.members.tolist()]
        label += [seen.setdefault(text, text.decode()) for text in index.labels.tolist()]
        split += [places[shard.name][0]] * len(index.members)
        domain += [places[shard.name][1]] * len(index.members)
    return Table(source, source.describe(), path, label, split, domain, [""] * len(path), classes)


def _in_blocks(split: Split, numbers: Mapping[str, int], window: int) -> Split:
    blocks = np.array([numbers[path.partition(JOIN)[0]] for path in split.paths], np.int64)
    return replace(split, blocks=blocks, window=window)


def _sorted_note(train: Split, window: int) -> list[str]:
    """A warning where shards hold far fewer classes than images dealt by chance would."""
    shards = np.unique(train.blocks)
    if len(shards) <= window:
        return []
    shares = np.bincount(train.labels) / len(train)
    held = len(np.unique(train.blocks * len(shares) + train.labels))
    by_chance = sum(float((1 - (1 - shares) ** size).sum()) for size in np.bincount(train.blocks)[shards].tolist())
    if held >= SORTED * by_chance:
        return []
    return [
        f"train: a shard holds {held / len(shards):.0f} classes on average, by chance it would be "
        f"{by_chance / len(shards):.0f}; the shards look sorted by class, and {window} are mixed at a time "
        "(task.window): shuffle the images before they are written to shards, or set task.window=0 and task.keep=0"
    ]
