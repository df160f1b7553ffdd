"""iWildCam and FMoW in the layout of WILDS, without its package: cameras never seen before, years and regions.

`task.dataset` says which. Validation is the data set's ID validation (`id_val`), home is its ID test (`id_test`), and
the shift `ood_test` its OOD test (`test`); its OOD validation (`val`) is not read, as it is drawn from shifted images
and only ID validation may choose. iWildCam is measured by `macro_f1`, FMoW by the worst region.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from surefoot.data.manifest import OnMissing, Table, with_files
from surefoot.data.partition import SplitMaker, name_classes, name_groups
from surefoot.data.places import Place, require
from surefoot.data.sheet import Sheet, class_list, read_sheet
from surefoot.data.sources import FolderSource
from surefoot.data.task import Split, Task, TaskSource

GET = "https://wilds.stanford.edu/datasets/"
CDLA = "Community Data License Agreement - Permissive - Version 1.0, as WILDS states"
FMOW = "FMoW Challenge Public License, as WILDS states"
OTHER = ("Other", "")  # no region: left out of the worst one, as WILDS does
FIRST_OOD_YEAR, FIRST_TEST_YEAR = 2013, 2016
PARTS: Mapping[str, tuple[str, str]] = {  # of the data set: split and domain here
    "train": ("train", "id"),
    "id_val": ("validation", "id"),
    "id_test": ("test", "id"),
    "ood_test": ("test", "ood"),
    "": ("", ""),  # not used
}
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "iwildcam": ("a photo of a {} taken by a camera trap.", "a {} at night in the forest.", "a photo of a {}."),
    "fmow": ("a satellite image of a {}.", "an aerial photo of a {}.", "a {} seen from above."),
}
CONTEXTS: Mapping[str, tuple[str, ...]] = {
    "iwildcam": ("a photo of a {} at night.", "a photo of a {} by day.", "a {} in the forest.", "a {} on grass."),
    "fmow": ("a satellite image of a {} in a city.", "a satellite image of a {} in a field.", "a {} seen from above."),
}


class Wilds(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder of one data set, such as iwildcam_v2.0
        dataset: Literal["iwildcam", "fmow"] = "iwildcam"
        categories: str = ""  # iWildCam: another file with the columns y and name; "" = categories.csv
        on_missing: OnMissing = "stop"  # skip: leave rows out whose image is not there
        templates: tuple[str, ...] = ()  # () = three of our own for each data set
        contexts: tuple[str, ...] = ()

    summary = "iWildCam or FMoW in the layout of WILDS: new cameras, or later years and five regions."
    paper = "arXiv:2012.07421"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Wilds.Config = config

    def places(self) -> Sequence[Place]:
        if self.config.dataset == "fmow":
            return (
                Place("rgb_metadata.csv", "one row an image: split, category, timestamp, country_code", GET, FMOW),
                Place("country_code_mapping.csv", "the region of each country (alpha-3, region)", GET, FMOW),
                Place("images/rgb_img_*.png", "one image a row, counted from 0", GET, FMOW),
            )
        lists = [Place("metadata.csv", "one row an image: split, filename, y", GET, CDLA)]
        if not self.config.categories:
            lists.append(Place("categories.csv", "the name of each class (y, name)", GET, CDLA))
        return (*lists, Place("train/*", "all images, those of other splits too", GET, CDLA))

    def load(self) -> Task:
        dataset = self.config.dataset
        if (Path(self.config.root).expanduser() / "rgb_metadata.csv").exists() and dataset != "fmow":
            raise ValueError(f"task.root={self.config.root} holds FMoW's rgb_metadata.csv; set task.dataset=fmow")
        root = require(self.config.root, self.places()).root
        source = FolderSource(root / ("images" if dataset == "fmow" else "train"))
        table = _fmow(root, source) if dataset == "fmow" else _iwildcam(root, source, self.config.categories)
        remedy = "unpack the archive again, or leave their rows out with task.on_missing=skip"
        used = table.rows([row for row, domain in enumerate(table.domain) if domain])
        table = with_files(used, source, remedy=remedy, on_missing=self.config.on_missing, unused=table.path)
        classes, labels = name_classes(table)
        group_names, groups = name_groups(table)
        rows = SplitMaker(table, labels, groups)
        part, domain = np.array(table.split, dtype=object), np.array(table.domain, dtype=object)

        def split_of(name: str) -> Split:
            split, place = PARTS[name]
            return rows.split(name, (part == split) & (domain == place), place)

        train = split_of("train")
        return Task(
            name=dataset,
            classes=classes,
            templates=self.config.templates or TEMPLATES[dataset],
            contexts=self.config.contexts or CONTEXTS[dataset],
            train=train,
            validation=split_of("id_val"),
            tests={"id_test": split_of("id_test"), "ood_test": split_of("ood_test")},
            home="id_test",
            group_names=group_names,
            names=table.classes.called("synonyms"),
            notes=(*table.notes, *_untrained(classes, train.labels.tolist())),
        )


def _iwildcam(root: Path, source: FolderSource, categories: str) -> Table:
    """Its splits stand in the metadata; a class is a number with a name in another file."""
    known = {"train": "train", "id_val": "id_val", "id_test": "id_test", "test": "ood_test", "val": ""}
    sheet = read_sheet(root / "metadata.csv")
    named = read_sheet(Path(categories).expanduser() if categories else root / "categories.csv")
    labels = sheet.filled("y")
    names = dict(zip(named.filled("y"), named.filled("name"), strict=True))
    count = 1 + max((int(y) for y in labels if y.isdecimal()), default=-1)
    numbers = [str(number) for number in range(count)]
    nameless = sorted({*labels, *numbers} - names.keys())
    if nameless:
        raise ValueError(
            f"{named.origin} has no name for {nameless[:5]} of the classes that y names in {sheet.origin}; is it whole?"
        )
    parts = sheet.words("split", known)
    return Table(
        source,
        sheet.origin,
        path=sheet.paths("filename"),
        label=[names[y] for y in labels],
        split=[PARTS[part][0] for part in parts],
        domain=[PARTS[part][1] for part in parts],
        group=[""] * len(sheet),
        classes=class_list([names[number] for number in numbers]),
    )


def _fmow(root: Path, source: FolderSource) -> Table:
    """Its splits follow from place and year; an image's name is its row, rows of sequestered images counted too."""
    sheet = read_sheet(root / "rgb_metadata.csv")
    label = sheet.filled("category")
    classes = sorted(set(label))
    parts = _fmow_parts(sheet)
    return Table(
        source,
        sheet.origin,
        path=[f"rgb_img_{row}.png" for row in range(len(sheet))],
        label=label,
        split=[PARTS[part][0] for part in parts],
        domain=[PARTS[part][1] for part in parts],
        group=_regions(sheet, root),
        classes=class_list(classes, called=[name.replace("_", " ") for name in classes]),
    )


def _fmow_parts(sheet: Sheet) -> list[str]:
    """ID before 2013; the OOD test from 2016 on. What lies between, and training images from 2013 on, are not used."""
    known = {"train": "train", "val": "id_val", "test": "id_test", "seq": ""}
    parts: list[str] = []
    for part, stamp in zip(sheet.words("split", known), sheet.filled("timestamp"), strict=True):
        year = re.match(r"(\d{4})-\d\d", stamp)
        if not year:
            raise ValueError(
                f"{sheet.origin}: row {len(parts) + 1} has the timestamp {stamp!r}; expected 2015-08-12T09:23:34Z"
            )
        late = int(year[1]) >= FIRST_TEST_YEAR and part == "id_test"
        parts.append("ood_test" if late else part if int(year[1]) < FIRST_OOD_YEAR else "")
    return parts


def _regions(sheet: Sheet, root: Path) -> list[str]:
    """The region of each row's country, "" for other ones."""
    countries = read_sheet(root / "country_code_mapping.csv")
    region = dict(zip(countries.column("alpha-3"), countries.column("region"), strict=True))
    found = [region.get(code, "") for code in sheet.column("country_code")]
    return ["" if name in OTHER else name for name in found]


def _untrained(classes: Sequence[str], labels: Sequence[int]) -> list[str]:
    """A note where classes have no training image: a text model can name them all the same."""
    trained = set(labels)
    absent = [name for place, name in enumerate(classes) if place not in trained]
    told = f"{len(absent)} of {len(classes)} classes have no training image ({', '.join(absent[:5])})"
    return [told] if absent else []
