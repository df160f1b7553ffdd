"""CelebA: blond hair or not, where in training hardly any blond person is a man.

From the attributes and the partition as CSV (image_id, Blond_Hair, Male; image_id, partition), as the authors' text
files of the same names, or from one metadata.csv (file name, y or Blond_Hair, a or Male, split). Values are 1 and -1 or
0. Groups are hair and sex; the validation split of the data set is ours, the test split is home.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from surefoot.data.columns import decode
from surefoot.data.manifest import OnMissing, Table, with_files
from surefoot.data.partition import Partition, make_task
from surefoot.data.places import Place, require
from surefoot.data.sheet import NUMBERED_SPLITS, Sheet, class_list, need_all_splits, read_sheet
from surefoot.data.sources import FolderSource
from surefoot.data.task import Task, TaskSource

HAIR: Mapping[str, str] = {"-1": "not blond", "0": "not blond", "1": "blond"}
SEX: Mapping[str, str] = {"-1": "women", "0": "women", "1": "men"}
IN_SENTENCES = ("person whose hair is not blond", "person with blond hair")
METADATA = ("metadata.csv", "metadata_celeba.csv")
ATTRIBUTES = ("list_attr_celeba.csv", "list_attr_celeba.txt", "Anno/list_attr_celeba.txt", "data/list_attr_celeba.csv")
PARTITION = (
    "list_eval_partition.csv",
    "list_eval_partition.txt",
    "Eval/list_eval_partition.txt",
    "data/list_eval_partition.csv",
)
IMAGES = (
    "img_align_celeba/img_align_celeba",  # as some archives wrap it
    "img_align_celeba",
    "Img/img_align_celeba",
    "data/img_align_celeba",
)
GET = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
LICENCE = "non-commercial research only, as its authors state"


class CelebA(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder with the lists and img_align_celeba
        on_missing: OnMissing = "stop"  # skip: leave rows out whose image is not there
        templates: tuple[str, ...] = ("a photo of a {}.",)
        contexts: tuple[str, ...] = (
            "a photo of a {}.",
            "a portrait of a {}.",
            "a photo of a {} outdoors.",
            "a photo of a {} on a stage.",
        )

    summary = "Blond hair or not; in training hardly any blond person is a man."
    paper = "arXiv:1411.7766"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: CelebA.Config = config

    def places(self) -> Sequence[Place]:
        one = self._there(METADATA)
        lists = (
            Place(self._there(ATTRIBUTES) or ATTRIBUTES[0], "40 attributes of each image", GET, LICENCE),
            Place(self._there(PARTITION) or PARTITION[0], "the split of each image", GET, LICENCE),
        )
        images = Place(self._there(IMAGES) or "img_align_celeba", "202,599 aligned images", GET, LICENCE)
        return (Place(one, "one row an image: hair, sex, split", GET, LICENCE), images) if one else (*lists, images)

    def load(self) -> Task:
        root = require(self.config.root, self.places()).root
        if one := self._there(METADATA):
            rows = _from_metadata(read_sheet(root / one))
        else:
            rows = _from_lists(_read(root / self._there(ATTRIBUTES)), _read(root / self._there(PARTITION)))
        hair, sex = rows.words("target", HAIR), rows.words("attribute", SEX)
        source = FolderSource(root / self._there(IMAGES))
        table = Table(
            source=source,
            origin=rows.origin,
            path=rows.filled("file"),
            label=hair,
            split=rows.words("split", NUMBERED_SPLITS),
            domain=[""] * len(rows),
            group=[f"{colour} {people}" for colour, people in zip(hair, sex, strict=True)],
            classes=class_list(("not blond", "blond"), called=IN_SENTENCES),
        )
        remedy = "unpack the images again, or leave their rows out with task.on_missing=skip"
        table = need_all_splits(with_files(table, source, remedy=remedy, on_missing=self.config.on_missing))
        return make_task(
            "celeba",
            table,
            Partition(),
            templates=self.config.templates,
            contexts=self.config.contexts,
            prompt_names="synonyms",
        )

    def _there(self, names: Sequence[str]) -> str:
        """The first of the names that is under the root, or ""."""
        root = Path(self.config.root).expanduser()
        return next((name for name in names if (root / name).exists()), "")


def _from_metadata(sheet: Sheet) -> Sheet:
    """The columns that `load` asks for, from one metadata file in the forms that are in use."""
    wanted = {
        "file": ("filename", "img_filename", "image_id"),
        "target": ("Blond_Hair", "y"),
        "attribute": ("Male", "a", "place"),
        "split": ("split", "partition"),
    }
    return Sheet(sheet.origin, {name: sheet.column(sheet.first_of(forms)) for name, forms in wanted.items()})


def _from_lists(attributes: Sheet, partition: Sheet) -> Sheet:
    """The same from attributes and partition, joined by the image's name. ValueError where one of them lacks images."""
    images = attributes.filled("image_id")
    split = dict(zip(partition.filled("image_id"), partition.column("partition"), strict=True))
    for here, there, sheet in ((set(images), split.keys(), partition), (split.keys(), set(images), attributes)):
        if lost := sorted(here - there):
            raise ValueError(
                f"{sheet.origin} lacks {len(lost)} of {len(here)} images (first: {lost[0]}); take both lists from the "
                "same release"
            )
    columns = {"target": attributes.column("Blond_Hair"), "attribute": attributes.column("Male")}
    return Sheet(attributes.origin, {"file": images, **columns, "split": [split[image] for image in images]})


def _read(file: Path) -> Sheet:
    """A list as CSV, or as the authors' text: values between blanks, and over the attributes their count and names."""
    if file.suffix == ".csv":
        return read_sheet(file, wanted=("image_id", "Blond_Hair", "Male", "partition"))
    rows = [line.split() for line in decode(file.read_bytes(), str(file)).splitlines() if line.strip()]
    header = ["image_id", "partition"]
    if rows and len(rows[0]) == 1:
        header, rows = ["image_id", *rows[1]], rows[2:]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(
                f"{file}: row {number} has {len(row)} values for {len(header)} columns; is the file whole?"
            )
    return Sheet(str(file), {name: [row[at] for row in rows] for at, name in enumerate(header)})
