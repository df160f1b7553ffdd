"""ObjectNet (Barbu et al., NeurIPS 2019): which of its folders are which ImageNet classes, and its border cut away.

Both come with the data set: the classes in the JSON files of its mappings/ folder, the border around every image.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.data.images import UnreadableImage

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDERS = "folder_to_objectnet_label.json"  # "alarm_clock" -> "Alarm clock"
OVERLAP = "objectnet_to_imagenet_1k.json"  # "Alarm clock" -> "analog clock; digital clock"
LINES = "pytorch_to_imagenet_2012_id.json"  # class index, as text -> line of LABELS, from 0
LABELS = "imagenet_to_label_2012_v2"  # a line for each ImageNet class
MAPPINGS = (FOLDERS, OVERLAP, LINES, LABELS)


@dataclass(frozen=True)
class CutBorder:
    """Cuts `pixels` off every side. ObjectNet's images have a red frame, which would give the data set away."""

    pixels: int = 2

    @property
    def name(self) -> str:
        return f"cut_border_{self.pixels}"

    def __call__(self, image: "Image", index: int) -> "Image":  # noqa: ARG002  the same for every image
        width, height = image.size
        if min(width, height) <= 2 * self.pixels:
            raise UnreadableImage(f"an image of {width} x {height} pixels is nothing but border ({self.pixels} pixels)")
        return image.crop((self.pixels, self.pixels, width - self.pixels, height - self.pixels))


def overlap(mappings: Path, *, classes: int) -> dict[str, tuple[int, ...]]:
    """ObjectNet folder -> the ImageNet classes that it stands for (0 to `classes` - 1), of those that have any.

    The files are read as their authors' code does: an ObjectNet label names ImageNet labels with "; " between, a label
    is a line of the label file, and the class index of a line comes from the third file. ValueError naming file and
    entry where they do not fit together, or where they count another number of classes.
    """
    folders, named, lines = (_read(mappings / name) for name in (FOLDERS, OVERLAP, LINES))
    if len(lines) != classes:
        raise ValueError(
            f"{mappings / LINES} counts {len(lines)} ImageNet classes, but the training folders are {classes}; keep "
            "all of them, or leave objectnet out of task.tests"
        )
    labels = _text(mappings / LABELS).splitlines()
    folder_of = {label: folder for folder, label in folders.items()}
    places: dict[str, list[int]] = {}  # two classes are called "crane", none of which ObjectNet has
    for index, line in lines.items():
        if not str(index).isdecimal() or not isinstance(line, int) or not 0 <= line < len(labels):
            raise ValueError(f"{mappings / LINES}: {index!r}: {line!r} is no line of {LABELS} ({len(labels)} lines)")
        places.setdefault(labels[line].strip(), []).append(int(index))
    found = {}
    for label, text in named.items():
        if label not in folder_of:
            raise ValueError(f"{mappings / OVERLAP}: {label!r} has no folder in {FOLDERS}")
        names = [name.strip() for name in str(text).split(";")]
        odd = [name for name in names if len(places.get(name, ())) != 1]
        if odd:
            raise ValueError(
                f"{mappings / OVERLAP}: {label!r} stands for {odd[0]!r}, which is not one line of {LABELS}"
            )
        found[folder_of[label]] = tuple(places[name][0] for name in names)
    return dict(sorted(found.items()))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}; expected a JSON object")
    return content


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); it comes with ObjectNet") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}") from error
