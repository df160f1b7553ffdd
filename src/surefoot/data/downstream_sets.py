"""What there is to know of ten small data sets: classes, metric, templates, and how their authors pack them.

Nothing is read here. Templates are ours; the metric is the one that CLIP's authors report for the set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from surefoot.data.split_lists import ReadRow


def words(label: str) -> str:
    """ "wild_cat" -> "wild cat"."""
    return label.replace("_", " ")


def _scene(label: str) -> str:
    """ "c/church/indoor" -> "indoor church"."""
    return " ".join(reversed(words(label).split("/")[1:]))


def _texture(line: str) -> tuple[str, str]:
    """ "banded/banded_0002.jpg" -> its path, banded."""
    return f"images/{line}", line.partition("/")[0]


def _dish(line: str) -> tuple[str, str]:
    """ "apple_pie/1005649" -> its path, apple_pie."""
    return f"images/{line}.jpg", line.partition("/")[0]


def _pet(line: str) -> tuple[str, str]:
    """ "Abyssinian_100 1 1 1" -> its path, Abyssinian."""
    name = line.split(" ")[0]
    return f"images/{name}.jpg", name.rpartition("_")[0]


def _aircraft(line: str) -> tuple[str, str]:
    """ "1025794 707-320" -> its path, 707-320."""
    number, _, variant = line.partition(" ")
    return f"data/images/{number}.jpg", variant


def _place(line: str) -> tuple[str, str]:
    """ "/a/abbey/sun_1.jpg" -> its path, a/abbey."""
    path = line.removeprefix("/")
    return path, path.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set. `lists` say split -> list of images in its authors' layout, for those whose lists are plain text."""

    kind: str
    classes: int
    metric: str  # as results.json calls it
    get: str
    licence: str
    templates: tuple[str, ...]
    folders: tuple[str, ...] = ()  # what its folder may be called, beside its own name
    lists: Mapping[str, str] = field(default_factory=dict)
    row: ReadRow = _texture
    images: tuple[str, ...] = ()  # folders that the listed paths may begin below, tried in turn
    shown: Callable[[str], str] = words
    packed: tuple[str, ...] = ()  # files or folders that show its authors' layout; without `lists` it is not read


OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
TINY = ("a photo of a {}.", "a small picture of a {}.", "a blurry photo of a {}.", "a photo of the {}.")

SETS: Mapping[str, Known] = {
    "caltech101": Known(
        kind="objects",
        classes=101,
        metric="class_mean_accuracy",
        get="https://data.caltech.edu/records/mzrjq-6wc02",
        licence="CC BY 4.0",
        templates=("a photo of a {}.", "a drawing of a {}.", "a picture of the {}.", "a {} on a plain background."),
        folders=("caltech-101",),
    ),
    "cifar10": Known(
        kind="objects in 32 pixels",
        classes=10,
        metric="accuracy",
        get="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="not stated",
        templates=TINY,
        folders=("cifar-10",),
        packed=("cifar-10-batches-py", "cifar-10-batches-bin", "data_batch_1", "data_batch_1.bin"),
    ),
    "cifar100": Known(
        kind="objects in 32 pixels",
        classes=100,
        metric="accuracy",
        get="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="not stated",
        templates=TINY,
        folders=("cifar-100",),
        packed=("cifar-100-python", "cifar-100-binary"),
    ),
    "dtd": Known(
        kind="textures",
        classes=47,
        metric="accuracy",
        get=f"{OXFORD}/dtd/",
        licence="not stated",
        templates=("a photo of a {} texture.", "a {} pattern.", "something {} seen closely.", "a {} surface."),
        lists={"train": "labels/train1.txt", "validation": "labels/val1.txt", "test": "labels/test1.txt"},
        row=_texture,
        packed=("images", "labels"),
    ),
    "fgvc_aircraft": Known(
        kind="variants of aircraft",
        classes=100,
        metric="class_mean_accuracy",
        get=f"{OXFORD}/fgvc-aircraft/",
        licence="non-commercial research only",
        templates=("a photo of a {}, a type of aircraft.", "a {} on a runway.", "a {} in the air.", "the plane {}."),
        folders=("fgvc-aircraft-2013b", "fgvc-aircraft"),
        lists={
            "train": "data/images_variant_train.txt",
            "validation": "data/images_variant_val.txt",
            "test": "data/images_variant_test.txt",
        },
        row=_aircraft,
        packed=("data",),
        shown=str,
    ),
    "flowers102": Known(
        kind="flowers",
        classes=102,
        metric="class_mean_accuracy",
        get=f"{OXFORD}/flowers/102/",
        licence="not stated",
        templates=("a photo of a {}, a type of flower.", "a {} in bloom.", "a {} in a garden.", "the flower {}."),
        folders=("flowers-102", "oxford_flowers"),
        packed=("imagelabels.mat", "setid.mat"),
    ),
    "food101": Known(
        kind="dishes",
        classes=101,
        metric="accuracy",
        get="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        licence="not stated",
        templates=("a photo of {}, a type of food.", "{} on a plate.", "a close photo of {}.", "{} in a restaurant."),
        folders=("food-101",),
        lists={"train": "meta/train.txt", "test": "meta/test.txt"},
        row=_dish,
        packed=("images", "meta"),
    ),
    "oxford_pets": Known(
        kind="breeds of cats and dogs",
        classes=37,
        metric="class_mean_accuracy",
        get=f"{OXFORD}/pets/",
        licence="CC BY-SA 4.0",
        templates=("a photo of a {}, a type of pet.", "a picture of my {}.", "a {} at home.", "a close photo of a {}."),
        folders=("oxford-iiit-pet", "oxford-pets", "pets"),
        lists={"train": "annotations/trainval.txt", "test": "annotations/test.txt"},
        row=_pet,
        packed=("images", "annotations"),
    ),
    "stanford_cars": Known(
        kind="models of cars",
        classes=196,
        metric="accuracy",
        get="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        licence="not stated",
        templates=("a photo of a {}, a type of car.", "a parked {}.", "a {} from the side.", "a picture of my {}."),
        folders=("stanford-cars", "cars"),
        packed=("devkit", "cars_annos.mat", "cars_train_annos.mat"),
    ),
    "sun397": Known(
        kind="scenes",
        classes=397,
        metric="accuracy",
        get="https://vision.princeton.edu/projects/2010/SUN/",
        licence="not stated",
        templates=("a photo of a {}.", "a photo of the {}, a place.", "a wide view of a {}.", "a scene: {}."),
        folders=("SUN397",),
        lists={"train": "Training_01.txt", "test": "Testing_01.txt"},
        row=_place,
        packed=("SUN397", "a", "Training_01.txt", "Testing_01.txt"),
        images=("SUN397",),
        shown=_scene,
    ),
}
