"""ImageNet (Russakovsky et al., arXiv:1409.0575) and five test sets of its classes from elsewhere.

Trained on train/, home is val/ (its 50,000 images are the usual test set); validation is a seeded, stratified part of
train/, never of val/. A class is a WordNet id, its index the place among the sorted ids of the training folders.

    imagenet_v2      Recht et al. 2019, matched frequency. Its folders are the class indices 0 to 999: numbers, not text
    imagenet_r       Hendrycks et al. 2021, renditions; only its 200 classes count
    imagenet_a       Hendrycks et al. 2021, natural adversarial examples; only its 200 classes count
    imagenet_sketch  Wang et al. 2019; all 1,000 classes count
    objectnet        Barbu et al. 2019; a 2-pixel border is cut away, 113 of its classes count, and the logit of each is
                     the highest of the ImageNet classes that it stands for
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from surefoot.data.class_folders import Folders, class_folders, flatten
from surefoot.data.class_names import class_names, templates
from surefoot.data.manifest import IMAGE_SUFFIXES
from surefoot.data.objectnet import MAPPINGS, CutBorder, overlap
from surefoot.data.partition import stratified
from surefoot.data.places import Place, require
from surefoot.data.prompts import DEFAULT_TEMPLATES
from surefoot.data.sources import FolderSource
from surefoot.data.task import Split, Task, TaskSource

TestSet = Literal["imagenet_v2", "imagenet_r", "imagenet_a", "imagenet_sketch", "objectnet"]
ALL: tuple[TestSet, ...] = ("imagenet_v2", "imagenet_r", "imagenet_a", "imagenet_sketch", "objectnet")
CLASSES = 1000
HOME = "imagenet"
HOME_FOLDERS = ("imagenet", "ImageNet", "imagenet-1k", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", ".")
COUNTS = {  # images, classes
    "train": (1_281_167, 1000),
    HOME: (50_000, 1000),
    "imagenet_v2": (10_000, 1000),
    "imagenet_r": (30_000, 200),
    "imagenet_a": (7_500, 200),
    "imagenet_sketch": (50_889, 1000),
    "objectnet": (18_574, 113),  # of the classes that count
}
INCOMPLETE = "; known trap: published numbers were computed on a copy with some 23,700 of its 50,000 files"


class Known(NamedTuple):
    """A test set: the folder names it goes by, what it is, where it comes from, and its licence."""

    folders: tuple[str, ...]
    what: str
    get: str
    licence: str


TERMS = "ImageNet's terms of access: non-commercial research and education"
SETS: Mapping[TestSet, Known] = {
    "imagenet_v2": Known(
        ("imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency", "imagenetv2", "imagenet-v2"),
        "ImageNet-V2, matched frequency: the folders 0 to 999",
        "https://github.com/modestyachts/ImageNetV2",
        "not stated for the images",
    ),
    "imagenet_r": Known(
        ("imagenet-r", "imagenet_r", "ImageNet-R"),
        "ImageNet-R: 200 folders called by WordNet ids",
        "https://github.com/hendrycks/imagenet-r",
        "not stated for the images",
    ),
    "imagenet_a": Known(
        ("imagenet-a", "imagenet_a", "ImageNet-A"),
        "ImageNet-A: 200 folders called by WordNet ids",
        "https://github.com/hendrycks/natural-adv-examples",
        "not stated for the images",
    ),
    "imagenet_sketch": Known(
        ("sketch", "imagenet-sketch", "imagenet_sketch", "ImageNet-Sketch"),
        "ImageNet-Sketch: 1,000 folders called by WordNet ids",
        "https://github.com/HaohanWang/ImageNet-Sketch",
        "not stated for the images",
    ),
    "objectnet": Known(
        ("objectnet-1.0", "objectnet", "ObjectNet"),
        "ObjectNet: images/ with a folder a class",
        "https://objectnet.dev",
        "the LICENSE in its archive: not for tuning a model, among others",
    ),
}


class ImageNet(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""  # the folder that holds imagenet/, imagenet-r/, ...
        tests: tuple[TestSet, ...] = ALL  # the test sets to use beside val/; those that are not there are noted
        class_names: str = ""  # a file of names; "" = those of an installed open_clip
        templates: str = ""  # "" = our own; open_clip = the 80 of CLIP's authors from there; or a file
        validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.01  # of the training images, class by class
        split_seed: Annotated[int, Field(ge=0)] = 0
        check_counts: bool = True  # note where a set has not as many images as it should

    summary = "ImageNet with V2, R, A, Sketch and ObjectNet, from your own copies."
    paper = "arXiv:1409.0575"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.config: ImageNet.Config = config

    def places(self) -> Sequence[Place]:
        root = Path(self.config.root).expanduser()
        home = next((name for name in HOME_FOLDERS if (root / name / "train").is_dir()), HOME_FOLDERS[0])
        get = "https://www.image-net.org/download.php"
        found = [
            Place(_join(home, "train"), "ImageNet's training images, 1,000 folders called by WordNet ids", get, TERMS),
            Place(_join(home, "val"), "ImageNet's validation images, sorted into the same folders", get, TERMS),
        ]
        for name in self.config.tests:
            known, folder = SETS[name], self._folder(root, name)
            inside = ["images", *(f"mappings/{file}" for file in MAPPINGS)] if name == "objectnet" else ["."]
            found += [Place(_join(folder, part), known.what, known.get, known.licence, needed=False) for part in inside]
        return found

    def load(self) -> Task:
        config = self.config
        there = require(config.root, self.places())
        root, source = there.root, FolderSource(there.root)
        train, val = (place.path for place in there.there[:2])  # which are needed, so both are there
        folders = {path: class_folders(root / path) for path in (train, val)}
        ids = _ids(folders, root)
        labels = {folder: label for label, folder in enumerate(ids)}
        names = class_names(config.class_names, ids)
        sentences = templates(config.templates, DEFAULT_TEMPLATES)
        notes = [f"class names: {names.origin}", f"templates: {sentences.origin}"]
        paths, trained = flatten(folders[train], labels, base=train)
        held = stratified(trained, paths, (config.validation_fraction,), seed=config.split_seed) == 0  # (n,)
        notes.append(
            f"validation: {held.sum()} of {len(paths)} training images were taken for it, by class "
            f"(task.validation_fraction={config.validation_fraction}, task.split_seed={config.split_seed})"
        )
        parts = {
            part: _split(part, source, [paths[i] for i in np.flatnonzero(chosen)], trained[chosen], domain=HOME)
            for part, chosen in (("train", ~held), ("validation", held))
        }
        tests = {HOME: _split(HOME, source, *flatten(folders[val], labels, base=val))}
        counts = {"train": (len(paths), len(ids)), HOME: (len(tests[HOME]), len(ids))}
        left_out = []
        for name in config.tests:
            place = self._folder(root, name)
            if any(missing.path.startswith(place) for missing in there.missing):
                left_out.append(f"{name} ({', '.join(m.path for m in there.missing if m.path.startswith(place))})")
                continue
            tests[name], classes, told = self._test(name, source, place, labels)
            counts[name] = (len(tests[name]), classes)
            notes += told
        if left_out:
            notes.append(f"not under task.root and left out: {'; '.join(left_out)}")
        return Task(
            name=HOME,
            classes=names.shown,
            names=tuple((name,) for name in names.called) if names.called != names.shown else (),
            templates=sentences.sentences,
            contexts=(),
            train=parts["train"],
            validation=parts["validation"],
            tests=tests,
            home=HOME,
            notes=(*notes, *(count_notes(counts) if config.check_counts else ())),
        )

    def _folder(self, root: Path, name: TestSet) -> str:
        """The first of its names that is there, or else the first."""
        folders = SETS[name].folders
        return next((folder for folder in folders if (root / folder).is_dir()), folders[0])

    def _test(
        self, name: TestSet, source: FolderSource, place: str, labels: Mapping[str, int]
    ) -> tuple[Split, int, list[str]]:
        """A test set, how many classes it has, and what to note of it."""
        if name == "objectnet":
            split = _objectnet(source, place, labels)
            return split, len(set(split.labels.tolist())), []
        folders = class_folders(source.root / place)
        found, unknown = _labels_of(name, folders, labels, source.root / place)
        split = _split(
            name,
            source,
            *flatten(folders, found, base=place),
            class_mask=tuple(sorted(found.values())) if name in ("imagenet_r", "imagenet_a") else (),
        )
        note = f"{name}: {len(unknown)} folders that are no training classes are not used ({', '.join(unknown[:5])})"
        return split, len(found), [note] if unknown else []


def count_notes(found: Mapping[str, tuple[int, int]]) -> list[str]:
    """What to note where sets do not have as many (images, classes) as they should."""
    classes = found["train"][1]
    if classes != CLASSES:
        return [f"train has {classes} classes, ImageNet {CLASSES}: a part of it, so the counts are not checked"]
    return [
        f"{name}: {images} images of {classes} classes; the whole set has {COUNTS[name][0]} of {COUNTS[name][1]}, so "
        f"this copy is incomplete or another one{INCOMPLETE if name == 'objectnet' else ''}"
        for name, (images, classes) in found.items()
        if (images, classes) != COUNTS[name]
    ]


def _ids(folders: Mapping[str, Folders], root: Path) -> list[str]:
    """The sorted WordNet ids of the training folders. ValueError where they are none, not val's too, or empty."""
    train, val = folders
    for path, listed in folders.items():
        odd = [name for name in listed if not _is_id(name)]
        if odd or not listed:
            raise ValueError(
                f"{root / path}: expected a folder for each class, called by its WordNet id such as n01440764, found "
                f"{odd[:5] or 'no folder'}; sort the images into such folders"
            )
    differing = sorted(set(folders[train]) ^ set(folders[val]))
    if differing:
        sides = [f"{name} only in {train if name in folders[train] else val}" for name in differing[:5]]
        raise ValueError(
            f"{root}: {len(differing)} class folders stand in one of {train} and {val} ({', '.join(sides)})"
        )
    empty = [f"{path}/{name}" for path, listed in folders.items() for name, files in listed.items() if not files]
    if empty:
        raise ValueError(
            f"{root}: no image ({', '.join(IMAGE_SUFFIXES)}) lies in {len(empty)} class folders "
            f"({', '.join(empty[:5])}); unpack them again"
        )
    return sorted(folders[train])


def _labels_of(name: str, folders: Folders, labels: Mapping[str, int], where: Path) -> tuple[dict[str, int], list[str]]:
    """Folder -> label in the order of the labels, and folders that are no training classes."""
    if name == "imagenet_v2" and folders and all(folder.isdecimal() for folder in folders):
        found = {folder: int(folder) for folder in sorted(folders, key=int)}
        if max(found.values()) >= len(labels):
            raise ValueError(
                f"{where}: its folders are class indices up to {max(found.values())}, but there are {len(labels)} "
                f"training classes; keep all {CLASSES}, or leave {name} out of task.tests"
            )
        return found, []
    found = {folder: label for folder, label in labels.items() if folder in folders}
    if not found:
        raise ValueError(
            f"{where}: no folder is called like a training class (such as {next(iter(labels))}); found "
            f"{list(folders)[:5]}. Move the class folders up to here, or leave {name} out of task.tests"
        )
    return found, [folder for folder in folders if folder not in labels]


def _objectnet(source: FolderSource, place: str, labels: Mapping[str, int]) -> Split:
    """Its images of the classes that are ImageNet's too, each under the first of the ImageNet classes it stands for."""
    root = source.root / place
    classes = overlap(root / "mappings", classes=len(labels))
    listed = class_folders(root / "images")
    if not set(classes) & set(listed):
        raise ValueError(f"{root / 'images'}: expected folders such as {min(classes)}, found {list(listed)[:5]}")
    found = {folder: members[0] for folder, members in classes.items() if folder in listed}
    return _split(
        "objectnet",
        source,
        *flatten(listed, found, base=f"{place}/images"),
        class_mask=tuple(sorted(members[0] for members in classes.values())),
        merged=tuple(members for members in classes.values() if len(members) > 1),
        alter=CutBorder(),
    )


def _split(
    name: str,
    source: FolderSource,
    paths: list[str],
    labels: NDArray[np.int64],
    *,
    domain: str = "",
    class_mask: tuple[int, ...] = (),
    merged: tuple[tuple[int, ...], ...] = (),
    alter: CutBorder | None = None,
) -> Split:
    groups = np.full(len(paths), -1, np.int64)
    return Split(name, source, tuple(paths), labels, groups, domain or name, class_mask, merged, alter)


def _is_id(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()


def _join(*parts: str) -> str:
    return Path(*parts).as_posix()
