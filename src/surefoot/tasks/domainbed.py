"""DomainBed: PACS, VLCS, OfficeHome, TerraIncognita and DomainNet, one domain left out (arXiv:2007.01434).

    <root>/PACS/<domain>/<class>/*    also VLCS/, office_home/, terra_incognita/ and domain_net/

Each domain is parted 80 to 20. The 80 % of all sources but the target train, their 20 % are the validation split; the
target's 80 % (`test_in`) are the shift. Its 20 % (`target_out`) are measured for the oracle rule and count in no mean.
DomainBed has no other test at home, so `sources` are the validation images again: what they chose flatters them there.
A group is a source domain, and training batches take equal shares of each.

The parting is by a hash of (trial, path), the first int(0.2 n) of a domain: DomainBed's sizes, not its draw. Like there
it is not stratified by class. A class is known by its folder's name, where DomainBed counts the folders of each domain.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from surefoot.data.draws import path_draws
from surefoot.data.manifest import IMAGE_SUFFIXES
from surefoot.data.places import Place, inventory, require
from surefoot.data.sources import FolderSource
from surefoot.data.task import Split, Task, TaskSource

HOME, SHIFT, ORACLE, LEFT_OUT = "sources", "test_in", "target_out", "left_out"
HELD_OUT = 0.2
PER_SOURCE = 32  # images of each source domain in a batch


class DataSet(NamedTuple):
    """One of the five: its folder as DomainBed's script leaves it, its domains' folders, its number of classes."""

    folder: str
    domains: tuple[str, ...]
    classes: int
    get: str


SETS = {
    "PACS": DataSet(
        "PACS",
        ("art_painting", "cartoon", "photo", "sketch"),
        7,
        "http://www.eecs.qmul.ac.uk/~dl307/project_iccv2017",
    ),
    "VLCS": DataSet(
        "VLCS",
        ("Caltech101", "LabelMe", "SUN09", "VOC2007"),
        5,
        "http://www.eecs.qmul.ac.uk/~dl307/project_iccv2017",
    ),
    "OfficeHome": DataSet(
        "office_home",
        ("Art", "Clipart", "Product", "Real World"),
        65,
        "http://hemanthdv.org/OfficeHome-Dataset/",
    ),
    "TerraIncognita": DataSet(
        "terra_incognita",
        ("location_100", "location_38", "location_43", "location_46"),
        10,
        "http://lila.science/datasets/caltech-camera-traps",
    ),
    "DomainNet": DataSet(
        "domain_net",
        ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
        345,
        "http://ai.bu.edu/M3SDA/",
    ),
}
GET = "{}; DomainBed's domainbed/scripts/download.py fetches it and makes these folders"
PHOTOS = ("a bright photo of a {}.", "a corrupted photo of a {}.", "a dark photo of a {}.", "a good photo of a {}.")


class DomainBed(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder that holds the data sets' folders
        dataset: Literal["", "PACS", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet"] = ""  # "": all that are there
        target: str = ""  # the domain left out, by its folder; "": each in turn
        also_left_out: str = ""  # a second domain that trains nothing, for leave-one-domain-out cross-validation
        trial: int = Field(default=0, ge=0)  # draws the splits; the run's seed unless it is set
        templates: tuple[str, ...] = ("a photo of a {}.",)
        contexts: Literal["auto", "domains", "photos"] = "auto"  # "auto": domains, of VLCS and TerraIncognita photos

        @model_validator(mode="after")
        def _domains_exist(self) -> Self:
            if self.target and not self.dataset:
                raise ValueError(f"task.target={self.target}: say of which data set; give task.dataset too")
            if self.also_left_out and not self.target:
                raise ValueError(
                    f"task.also_left_out={self.also_left_out}: give task.target too, the domain to test on"
                )
            for option, domain in (("target", self.target), ("also_left_out", self.also_left_out)):
                known = SETS[self.dataset].domains if self.dataset else ()
                if domain and domain not in known:
                    near = difflib.get_close_matches(domain, known, n=1)
                    hint = f"; did you mean {near[0]}?" if near else "."
                    raise ValueError(
                        f"task.{option}={domain}: {self.dataset} has no such domain{hint} Known: {', '.join(known)}"
                    )
            if self.target and self.target == self.also_left_out:
                raise ValueError(f"task.also_left_out={self.target} is the target already; name another domain")
            return self

    summary = "PACS, VLCS, OfficeHome, TerraIncognita and DomainNet: train on all domains but one, test on that."
    paper = "arXiv:2007.01434"

    @classmethod
    def recommends(cls, config: TaskSource.Config) -> Mapping[str, Any]:
        """Its transforms and batches, as far as we have them: 32 images of each source."""
        assert isinstance(config, DomainBed.Config)
        sources = len(SETS[config.dataset or "PACS"].domains) - 1 - bool(config.also_left_out)
        as_theirs = {"data.balance": "group", "data.crop_scale": (0.7, 1.0), "data.flip": True}
        return {**as_theirs, "engine.batch_size": PER_SOURCE * sources}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: DomainBed.Config = config

    def places(self) -> Sequence[Place]:
        if not self.config.dataset:
            return [
                Place(known.folder, f"{name}, {len(known.domains)} domains", GET.format(known.get), "not stated", False)
                for name, known in SETS.items()
            ]
        known = SETS[self.config.dataset]
        return [
            Place(f"{known.folder}/{domain}", f"{domain} of {self.config.dataset}", GET.format(known.get), "not stated")
            for domain in known.domains
        ]

    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        config = self.config
        if not config.dataset:
            found = inventory(config.root, self.places())
            there = [place.path for place in found.there]
            if not there:
                raise ValueError(f"task.root={config.root} holds none of the data sets.\n{found.text()}")
            return {name: {"dataset": name} for name, known in SETS.items() if known.folder in there}
        if not config.target:
            require(config.root, self.places())
            return {domain.replace(" ", "_"): {"target": domain} for domain in SETS[config.dataset].domains}
        return {}

    def folds(self) -> Mapping[str, Mapping[str, Any]]:
        domains = SETS[self.config.dataset].domains if self.config.target else ()
        return {domain: {"also_left_out": domain} for domain in domains if domain != self.config.target}

    def load(self) -> Task:
        config = self.config
        if not config.target:
            option = "target" if config.dataset else "dataset"
            choices = SETS[config.dataset].domains if config.dataset else tuple(SETS)
            raise ValueError(
                f"task.{option} is empty; give one of {', '.join(choices)} (a comparison goes through all by itself)"
            )
        root = require(config.root, self.places()).root
        known = SETS[config.dataset]
        files, notes = _images(root, known)
        classes = sorted({path.split("/")[2] for paths in files.values() for path in paths})
        notes += _class_notes(config.dataset, known, files, classes, target=config.target)
        parted = {domain: _part(paths, config.trial) for domain, paths in files.items()}
        left_out = (config.target, config.also_left_out)
        sources = tuple(domain for domain in known.domains if domain not in left_out)
        number = {name: place for place, name in enumerate(classes)}

        def split(name: str, part: int, domains: Sequence[str], domain: str) -> Split:
            paths = [path for each in domains for path in parted[each][part]]
            labels = [number[path.split("/")[2]] for path in paths]
            groups = [sources.index(each) if each in sources else -1 for each in domains for _ in parted[each][part]]
            return Split(name, FolderSource(root), tuple(paths), _whole(labels), _whole(groups), domain)

        tests = {
            HOME: split(HOME, 1, sources, HOME),
            SHIFT: split(SHIFT, 0, [config.target], config.target),
            ORACLE: split(ORACLE, 1, [config.target], config.target),
        }
        if config.also_left_out:
            tests[LEFT_OUT] = split(LEFT_OUT, 0, [config.also_left_out], config.also_left_out)
        return Task(
            name=f"domainbed {config.dataset}: {config.target}",
            classes=tuple(name.replace("_", " ").strip() for name in classes),
            templates=config.templates,
            contexts=_contexts(config, known),
            train=split("train", 0, sources, HOME),
            validation=split("validation", 1, sources, HOME),
            tests=tests,
            home=HOME,
            group_names=sources,
            notes=(f"{HOME} are the validation images again: DomainBed has no other test at home.", *notes),
            apart=tuple(name for name in tests if name not in (HOME, SHIFT)),
        )


def _images(root: Path, known: DataSet) -> tuple[dict[str, list[str]], list[str]]:
    """The images of each domain by their paths below the root, sorted; and what else lies there."""
    files: dict[str, list[str]] = {domain: [] for domain in known.domains}
    others: set[str] = set()
    for path in FolderSource(root / known.folder).files():
        parts = path.split("/")
        if not path.lower().endswith(IMAGE_SUFFIXES):
            continue
        if parts[0] not in files:
            others.add(parts[0])
        elif len(parts) != 3:
            raise ValueError(
                f"task.root={root}: found {known.folder}/{path}, expected {known.folder}/<domain>/<class>/<image>; "
                "move the images to where DomainBed's script puts them"
            )
        else:
            files[parts[0]].append(f"{known.folder}/{path}")
    few = {domain: len(paths) for domain, paths in files.items() if int(HELD_OUT * len(paths)) < 1}
    if few:
        raise ValueError(
            f"task.root={root}: too few images to part 80 to 20 in {known.folder}: "
            + ", ".join(f"{domain} has {count}" for domain, count in few.items())
            + "; was the download cut short?"
        )
    return files, [f"{known.folder}: {', '.join(sorted(others))} is no domain of it and is not read."] if others else []


def _class_notes(
    name: str, known: DataSet, files: Mapping[str, list[str]], classes: Sequence[str], *, target: str
) -> list[str]:
    """What is odd about the classes. ValueError where one stands in the target alone."""
    there = {domain: {path.split("/")[2] for path in paths} for domain, paths in files.items()}
    only = there[target] - set().union(*(found for domain, found in there.items() if domain != target))
    if only:
        raise ValueError(
            f"task.target={target}: {name} has the classes {', '.join(sorted(only))} in the target alone, so nothing "
            "can be learnt of them; was the download of another domain cut short?"
        )
    notes = []
    if len(classes) != known.classes:
        notes.append(f"{name} has {len(classes)} classes here, DomainBed's has {known.classes}: compare with no table.")
    for domain, found in there.items():
        if lacking := sorted(set(classes) - found):
            notes.append(f"{domain} has no image of {len(lacking)} classes ({', '.join(lacking[:5])}).")
    return notes


def _part(paths: Sequence[str], trial: int) -> tuple[list[str], list[str]]:
    """The 80 % and the 20 % of a domain, each in the order of the paths, which hold the domain's name."""
    drawn = np.argsort(path_draws(trial, paths), kind="stable")
    held_out = {paths[i] for i in drawn[: int(HELD_OUT * len(paths))].tolist()}
    return [path for path in paths if path not in held_out], [path for path in paths if path in held_out]


def _contexts(config: DomainBed.Config, known: DataSet) -> tuple[str, ...]:
    """Those of an unofficial script for CAR-FT, whose own are not published; the target's name is among the domains."""
    photos = config.dataset in ("VLCS", "TerraIncognita") if config.contexts == "auto" else config.contexts == "photos"
    if photos:
        return PHOTOS
    words = [domain.replace("_", " ").lower() for domain in known.domains]
    return tuple(f"{'an' if word[0] in 'aeio' else 'a'} {word} of a {{}}." for word in words)


def _whole(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
