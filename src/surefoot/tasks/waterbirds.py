"""Waterbirds: birds of land and water on backgrounds of land and water, which in training mostly agree.

From the folder that its authors publish: metadata.csv (img_filename, y, place, split 0/1/2) and the images beside it.
Groups are class and background, counted as y * 2 + place; the validation split of the data set is ours, the test split
is home. `reweighted_accuracy` is the average of the literature (Sagawa et al., 2020), `worst_group_accuracy` its other
number.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from surefoot.data.manifest import OnMissing, Table, with_files
from surefoot.data.partition import Partition, make_task
from surefoot.data.places import Place, require
from surefoot.data.sheet import NUMBERED_SPLITS, class_list, need_all_splits, read_sheet
from surefoot.data.sources import FolderSource
from surefoot.data.task import Task, TaskSource

FOLDER = "waterbird_complete95_forest2water2"  # what the authors' archive unpacks to
BIRDS: Mapping[str, str] = {"0": "landbird", "1": "waterbird"}
BACKGROUNDS: Mapping[str, str] = {"0": "land", "1": "water"}
TRAINING: Mapping[str, int] = {
    "landbird on land": 3498,
    "landbird on water": 184,
    "waterbird on land": 56,
    "waterbird on water": 1057,
}
"""Training images of each group as published."""

GET = "https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz (github.com/kohpangwei/group_DRO)"
LICENCE = "non-commercial research and education, as WILDS states"


class Waterbirds(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder with metadata.csv, or the one that holds waterbird_complete95_forest2water2
        on_missing: OnMissing = "stop"  # skip: leave rows out whose image is not there
        templates: tuple[str, ...] = ("This is a picture of a {}.",)  # StarFT's
        contexts: tuple[str, ...] = (
            "a photo of a {} on land.",
            "a photo of a {} in a forest.",
            "a photo of a {} on water.",
            "a photo of a {} by the sea.",
            "a photo of a {}.",
        )

    summary = "Land and water birds on land and water: class and background agree in training, not in the test."
    paper = "arXiv:1911.08731"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: Waterbirds.Config = config

    def places(self) -> Sequence[Place]:
        inside = self._inside()
        return (
            Place(f"{inside}metadata.csv", "one row an image: class, background, split", GET, LICENCE),
            Place(f"{inside}*/*.jpg", "11,788 images in 200 folders, one a species", GET, LICENCE),
        )

    def load(self) -> Task:
        folder = require(self.config.root, self.places()).root / self._inside()
        sheet = read_sheet(folder / "metadata.csv")
        birds, backgrounds = sheet.words("y", BIRDS), sheet.words("place", BACKGROUNDS)
        source = FolderSource(folder)
        table = Table(
            source=source,
            origin=sheet.origin,
            path=sheet.filled("img_filename"),
            label=birds,
            split=sheet.words("split", NUMBERED_SPLITS),
            domain=[""] * len(sheet),
            group=[f"{bird} on {background}" for bird, background in zip(birds, backgrounds, strict=True)],
            classes=class_list(tuple(BIRDS.values())),
        )
        remedy = "unpack the archive again, or leave their rows out with task.on_missing=skip"
        table = need_all_splits(with_files(table, source, remedy=remedy, on_missing=self.config.on_missing))
        told = replace(table, notes=(*table.notes, *_other_build(table)))
        return make_task(
            "waterbirds", told, Partition(), templates=self.config.templates, contexts=self.config.contexts
        )

    def _inside(self) -> str:
        """The part of the root that holds metadata.csv: "" or the archive's own folder."""
        root = Path(self.config.root).expanduser()
        return f"{FOLDER}/" if (root / FOLDER).is_dir() and not (root / "metadata.csv").exists() else ""


def _other_build(table: Table) -> list[str]:
    """A note where the training groups are not those of the published build, on which re-weighted averages depend."""
    found = Counter(group for group, split in zip(table.group, table.split, strict=True) if split == "train")
    if found == Counter(TRAINING):
        return []
    return [
        f"training groups are {[found[group] for group in TRAINING]}, not {list(TRAINING.values())} as published "
        f"({', '.join(TRAINING)}): another build, whose numbers do not compare with the literature's"
    ]
