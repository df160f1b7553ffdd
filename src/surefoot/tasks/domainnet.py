"""DomainNet: 345 classes in six styles; trained on one, tested on the others.

Folders <domain>/<class>/*, and beside them the published lists <domain>_train.txt and <domain>_test.txt ("path label" a
line). A domain with lists is read by them: its training images train at home and are left out elsewhere. At home
without lists, a test split is dealt; validation is always dealt from the training images, never from the test.
Lipsum-FT (Nam et al., 2024) trains on Real and leaves Quickdraw out.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from surefoot.data.columns import decode
from surefoot.data.manifest import IMAGE_SUFFIXES, OnMissing, Table, with_files
from surefoot.data.partition import Fraction, Partition, check_fractions, make_task
from surefoot.data.places import Place, require
from surefoot.data.sheet import class_list
from surefoot.data.sources import FolderSource
from surefoot.data.task import Task, TaskSource

DOMAINS = ("real", "painting", "clipart", "infograph", "sketch", "quickdraw")
CLASSES = 345
GET = "https://ai.bu.edu/M3SDA/"
LICENCE = "academic research, under its authors' notice of fair use"


class DomainNet(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder with a folder a domain
        home: str = "real"  # the domain to train on
        shifts: tuple[str, ...] = ("painting", "clipart", "infograph", "sketch")
        names: Literal["underscores", "spaces"] = "underscores"  # "alarm_clock", as published, or "alarm clock"
        on_missing: OnMissing = "stop"  # skip: leave rows of the lists out whose image is not there
        validation_fraction: Fraction = 0.1
        test_fraction: Fraction = 0.2  # used where the home domain has no lists
        split_seed: Annotated[int, Field(ge=0)] = 0
        templates: tuple[str, ...] = ("a photo of a {}.", "a picture of a {}.", "an image of a {}.")
        contexts: tuple[str, ...] = (
            "a photo of a {}.",
            "a painting of a {}.",
            "a clip art of a {}.",
            "an infographic about a {}.",
            "a sketch of a {}.",
        )

        @model_validator(mode="after")
        def _known_domains(self) -> Self:
            check_fractions(self.validation_fraction, self.test_fraction)
            for option, domain in (("home", self.home), *(("shifts", shift) for shift in self.shifts)):
                if domain not in DOMAINS:
                    near = difflib.get_close_matches(domain, DOMAINS, n=1)
                    hint = f"; did you mean {near[0]}?" if near else "."
                    raise ValueError(f"task.{option}: {domain!r} is no domain{hint} Known: {', '.join(DOMAINS)}")
            return self

    summary = "345 classes in six styles of picture; trained on one domain, tested on the others."
    paper = "arXiv:1812.01754"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: DomainNet.Config = config

    @property
    def domains(self) -> tuple[str, ...]:
        """Home, then the shifts, each once."""
        return tuple(dict.fromkeys((self.config.home, *self.config.shifts)))

    def places(self) -> Sequence[Place]:
        folders = [Place(name, f"images of the domain {name}, a folder a class", GET, LICENCE) for name in self.domains]
        lists = [
            Place(
                f"{name}_t*.txt", f"{name}_train.txt and {name}_test.txt, lists of images", GET, LICENCE, needed=False
            )
            for name in self.domains
        ]
        return (*folders, *lists)

    def load(self) -> Task:
        config = self.config
        root = require(config.root, self.places()).root
        rows = [row for domain in self.domains for row in _rows(root, domain)]
        path, split, domain = (list(column) for column in zip(*rows, strict=True))
        label = [name.split("/")[1] for name in path]
        classes = sorted(set(label), key=_order)
        spoken = [name.replace("_", " ") for name in classes] if config.names == "spaces" else classes
        source = FolderSource(root)
        few = [f"{len(classes)} of {CLASSES} classes are there"] if len(classes) != CLASSES else []
        table = Table(
            source, f"folder {root}", path, label, split, domain, [""] * len(path),
            class_list(classes, called=spoken), tuple(few),
        )  # fmt: skip
        remedy = "unpack the archives again, or leave their rows out with task.on_missing=skip"
        return make_task(
            "domainnet",
            with_files(table, source, remedy=remedy, on_missing=config.on_missing),
            Partition(config.home, config.validation_fraction, config.test_fraction, config.split_seed),
            templates=config.templates,
            contexts=config.contexts,
            prompt_names="synonyms",
        )


def _order(name: str) -> str:
    """The published labels count the classes by their letters: cello, cell_phone; tent, The_Eiffel_Tower, tiger."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _rows(root: Path, domain: str) -> list[tuple[str, str, str]]:
    """(path, split, domain) of each image, by the lists where they are there and else by the folders."""
    lists = {part: root / f"{domain}_{part}.txt" for part in ("train", "test")}
    there = [part for part, file in lists.items() if file.exists()]
    if len(there) == 1:
        raise ValueError(f"{root} has {lists[there[0]].name} alone; get the other list too, or remove this one")
    if there:
        return [(path, part, domain) for part, file in lists.items() for path in _listed(file, domain)]
    files = FolderSource(root / domain).files()
    paths = [f"{domain}/{name}" for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
    stray = next((path for path in paths if path.count("/") != 2), "")
    if stray or not paths:
        found = f"found {stray}" if stray else "found no image"
        raise ValueError(f"folder {root / domain}: expected {domain}/<class>/*.jpg, {found}")
    return [(path, "", domain) for path in paths]


def _listed(file: Path, domain: str) -> list[str]:
    """The paths of a list. Raises ValueError for a line that is no "path label", or another label of a class."""
    paths: list[str] = []
    label_of: dict[str, str] = {}
    class_of: dict[str, str] = {}
    for number, line in enumerate(decode(file.read_bytes(), str(file)).splitlines(), start=1):
        path, _, label = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if path.count("/") != 2 or not path.startswith(f"{domain}/") or not label.isdecimal():
            raise ValueError(f"{file}: line {number} is {line!r}; expected {domain}/<class>/<image> and a label")
        name = path.split("/")[1]
        if label_of.setdefault(name, label) != label or class_of.setdefault(label, name) != name:
            raise ValueError(f"{file}: line {number} gives {name} the label {label}, which another line does not")
        paths.append(path)
    if not paths:
        raise ValueError(f"{file} is empty; get it again")
    return paths
