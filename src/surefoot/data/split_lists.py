"""Text files that say which image trains and which tests, as older data sets come with: they become a Table."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from surefoot.data.manifest import ClassList, Table
from surefoot.data.sources import FolderSource

ReadRow = Callable[[str], tuple[str, str]]
"""A line of a list -> (path of the image, class as the list writes it)."""


def read_lists(root: Path, lists: Mapping[str, str], row: ReadRow, *, below: str, shown: Callable[[str], str]) -> Table:
    """The Table of `lists` (split -> file below `root`), whose image paths begin at the folder `below` in `root`.

    `shown` makes a class's name of what the lists call it. Empty lines and those that begin with "#" are passed over.
    ValueError for a list that is missing, a line that is not understood, or an image that is listed twice;
    FileNotFoundError where listed images are not there.
    """
    source = FolderSource(root)
    paths: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    for split, name in lists.items():
        for number, line in enumerate(_lines(root / name), start=1):
            if not line or line.startswith("#"):
                continue
            path, label = row(line)
            if not path or not label or path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{root / name}, line {number}: {line!r} is not understood; get the file again")
            paths.append(f"{below}/{path}" if below else path)
            labels.append(label)
            splits.append(split)
    for first, times in Counter(paths).most_common(1):
        if times > 1:
            raise ValueError(f"{root}: {', '.join(lists.values())} name {first} {times} times; get the lists again")
    lost = source.missing(paths)
    if lost:
        raise FileNotFoundError(
            f"{len(lost)} of the {len(paths)} images listed in {', '.join(lists.values())} are not in "
            f"{source.describe()} (first: {lost[0]}); unpack the images there"
        )
    empty = [""] * len(paths)
    return Table(source, source.describe(), paths, labels, splits, empty, empty, named(labels, shown))


def named(labels: Sequence[str], shown: Callable[[str], str]) -> ClassList:
    """A name for each label that stands in `labels`, as a classes.yaml would give it."""
    found = sorted(set(labels))
    return ClassList(tuple(map(shown, found)), {label: place for place, label in enumerate(found)})


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); it comes with the data set") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}") from error
