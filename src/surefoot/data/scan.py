"""Single images of a split, and what is told of whole splits before training: broken images, images in two splits."""

import base64
import io
from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surefoot.data.contents import UNREAD, read_contents
from surefoot.data.images import PILLOW_LIMIT, Opened, UnreadableImage, open_image
from surefoot.data.task import Split, Task

THUMBNAIL = 96  # pixels


class BadImage(NamedTuple):
    """An image that cannot be decoded: its position in the split; the reason names the file."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    reason: str


def open_example(split: Split, index: int, *, max_pixels: int = PILLOW_LIMIT) -> Opened:
    """The image at `index`, its header read, or as `split.alter` makes it; a missing file is an UnreadableImage too."""
    path = split.paths[index]
    try:
        data = split.source.read(path)
    except OSError as error:
        raise UnreadableImage(f"{path}: {error.strerror or error}") from error
    opened = open_image(data, name=path, max_pixels=max_pixels)
    if split.alter is None:
        return opened
    return Opened(split.alter(opened.pixels(), split.position(index)), name=path, max_pixels=max_pixels)


def thumbnail(split: Split, index: int) -> str:
    """A small PNG of one image as a data URI, for pages."""
    image = open_example(split, index).pixels()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def unreadable(split: Split, *, max_pixels: int = PILLOW_LIMIT, workers: int = 0) -> list[BadImage]:
    """Every image of the split that cannot be decoded, in order; reads and decodes all that are not remembered."""
    (contents,) = read_contents([split], max_pixels=max_pixels, workers=workers)
    return [BadImage(index, reason) for index, reason in sorted(contents.reasons.items())]


def files_of(split: Split) -> Hashable:
    """Equal for splits that have the same files in the same order, whatever `alter` makes of them."""
    return id(split.source), tuple(split.paths)


def first_of_each(splits: Iterable[Split]) -> list[Split]:
    """The splits but for those whose files an earlier one has (`files_of`)."""
    found: dict[Hashable, Split] = {}
    for split in splits:
        found.setdefault(files_of(split), split)
    return list(found.values())


def broken_images(splits: Iterable[Split], *, max_pixels: int = PILLOW_LIMIT, workers: int = 0) -> str:
    """What to tell of all images of `splits` that cannot be decoded; "" where there is none."""
    told = ""
    for split in first_of_each(splits):
        bad = unreadable(split, max_pixels=max_pixels, workers=workers)
        if bad:
            where = f"split {split.name!r} ({split.source.describe()})"
            told += f"{len(bad)} of {len(split)} images of {where} cannot be read:\n"
            told += "".join(f"  {image.reason}\n" for image in bad)
    return told and f"{told}Replace or remove them, or set data.on_bad_image=skip to leave them out."


def matches(known: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(pairs, 2) positions in known and in other of equal content, from two splits' `Contents.digests`.

    One pair for each such file of other, with the first of known; files that gave no bytes are in none.
    """
    values, first = np.unique(known, return_index=True)
    places = np.minimum(np.searchsorted(values, other), max(0, len(values) - 1))
    same = np.flatnonzero((values[places] == other) & (other != UNREAD)) if len(values) else np.empty(0, np.int64)
    return np.stack([first[places[same]], same], axis=1)


def duplicates(split_a: Split, split_b: Split) -> list[tuple[int, int]]:
    """Pairs (position in a, position in b) of files with the same content, one for each such file of b."""
    a, b = read_contents([split_a, split_b])
    return [(first, second) for first, second in matches(a.digests, b.digests).tolist()]


def leakage_notes(task: Task, *, max_pixels: int = PILLOW_LIMIT, workers: int = 0) -> tuple[str, ...]:
    """A warning for each split that shares files with the training split. Reads all files that are not remembered."""
    splits = task.splits()
    read = dict(zip(splits, read_contents(list(splits.values()), max_pixels=max_pixels, workers=workers), strict=True))
    notes = []
    own = first_of_each(splits.values())[1:]
    for name, split in splits.items():
        pairs = [] if split not in own else matches(read["train"].digests, read[name].digests).tolist()
        if pairs:
            first, second = pairs[0]
            notes.append(
                f"{len(pairs)} of {len(split)} images of {name} also stand in train, byte for byte "
                f"({split.paths[second]} = {task.train.paths[first]}); its accuracy will look too good"
            )
    return tuple(notes)
