"""What a data set must have on the disk: told before anything is read, and whole where something is missing.

Nothing is ever downloaded; a task says where its files come from and under which terms.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class Place:
    """A file or folder that a task reads below its root, and where people get it. `path` may be a pattern ("*.tar")."""

    path: str
    what: str  # "validation images of ImageNet-V2 (matched frequency), 1000 folders"
    get: str  # a page or address
    licence: str  # as its authors state it, or "not stated"
    needed: bool = True  # else the task does without it and notes so


@dataclass(frozen=True)
class PlaceState(Place):
    """A place, and whether it is there."""

    there: bool = False


@dataclass(frozen=True)
class Inventory:
    """Which places of a task are there under `root`."""

    root: Path
    there: tuple[Place, ...]
    missing: tuple[Place, ...]

    @property
    def lacking(self) -> tuple[Place, ...]:
        """What must be there and is not."""
        return tuple(place for place in self.missing if place.needed)

    def states(self) -> tuple[PlaceState, ...]:
        """All places, those that are there first."""
        every = ((place, True) for place in self.there), ((place, False) for place in self.missing)
        return tuple(PlaceState(**vars(place), there=there) for place, there in chain(*every))

    def text(self) -> str:
        """A line for each place; what is missing with where to get it and its licence."""
        return "\n".join([f"Under {self.root}:", *place_lines(self.states())])


def inventory(root: str | Path, places: Sequence[Place], *, option: str = "task.root") -> Inventory:
    """What of `places` is under `root`. ValueError, with what must be there, where it is not given or is no folder."""
    expected = "\n".join(["expected there:", *place_lines(Inventory(Path(root), (), tuple(places)).states())])
    if not str(root):
        raise ValueError(f"{option} is empty; say where the files are, such as --root /data/sets; {expected}")
    folder = Path(root).expanduser()
    if not folder.exists():
        raise ValueError(f"{option}={root}: there is no such folder; say where the files are; {expected}")
    if not folder.is_dir():
        raise ValueError(f"{option}={root} is a file; unpack it and give the folder; {expected}")
    there = [place for place in places if _is_there(folder, place.path)]
    return Inventory(folder, tuple(there), tuple(place for place in places if place not in there))


def require(root: str | Path, places: Sequence[Place], *, option: str = "task.root") -> Inventory:
    """`inventory`. ValueError with all that must be there and is not."""
    found = inventory(root, places, option=option)
    if found.lacking:
        raise ValueError(f"{option}={root} lacks {len(found.lacking)} of {len(places)} places.\n{found.text()}")
    return found


def _is_there(folder: Path, path: str) -> bool:
    if PATTERN & set(path):
        return any(True for _ in folder.glob(path))
    return (folder / path).exists()


def place_lines(states: Iterable[PlaceState]) -> Iterator[str]:
    """A line for each place; what is missing with where to get it and its licence."""
    for place in states:
        word = "there" if place.there else "MISSING" if place.needed else "optional"
        yield f"  {word:8} {place.path}: {place.what}"
        if not place.there:
            yield f"           get it from {place.get} (licence: {place.licence})"
