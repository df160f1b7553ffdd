"""The files and folders under a folder. A large tree is listed once; later only folders that changed are."""

import os
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from surefoot.data.cache import Cache, FolderRow, settled

LARGE = 10_000  # files; listing fewer takes less than looking into a cache


class Folder(NamedTuple):
    """A folder: its path ends in "/" ("" is the root). Hidden files and folders are left out."""

    path: str
    subfolders: tuple[str, ...]
    names: bytes  # of the files, joined by "/"

    def file_names(self) -> list[str]:
        """Names of the files in it, sorted."""
        return os.fsdecode(self.names).split("/") if self.names else []

    def files(self) -> Iterator[str]:
        """Paths of the files in it, relative to the root."""
        return (self.path + name for name in self.file_names())


def files_below(root: Path) -> list[str]:
    """Relative paths of all files, sorted, without hidden ones; links to folders are followed."""
    return sorted(chain.from_iterable(folder.files() for folder in folders_below(root)))


def check_names(paths: Sequence[str], root: Path) -> None:
    """ValueError where a name is not UTF-8, as in an archive from elsewhere: it could not be written into results."""
    try:
        "/".join(paths).encode()
    except UnicodeEncodeError as error:
        odd = next(path for path in paths if error.object[error.start : error.end] in path)
        raise ValueError(
            f"{root} holds {os.fsencode(odd)!r}, a name that is not UTF-8; rename it "
            "(`convmv -f latin1 -t utf8 -r --notest FOLDER` does it for a whole folder)"
        ) from error


def folders_below(root: Path) -> list[Folder]:
    """`root` and every folder in it, each before what it holds; one that cannot be listed, or holds itself, is not."""
    cache = Cache(root)
    known = {row.path: row for row in cache.folders()}
    found: list[Folder] = []
    rows: list[FolderRow] = []
    seen = time.time_ns()
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        path, above = waiting.pop()
        place = os.path.join(root, path)
        try:
            state = os.stat(place)  # first, so that what changes while it is listed is listed again
            row = known.get(os.fsencode(path))
            if row is None or row.mtime != state.st_mtime_ns:
                row = _listed(place, path, state.st_mtime_ns)
        except OSError:
            continue
        identity = (state.st_dev, state.st_ino)
        if identity in above:
            continue  # a link back up
        subfolders = tuple(os.fsdecode(row.subfolders).split("/")) if row.subfolders else ()
        found.append(Folder(path, subfolders, row.names))
        rows.append(row)
        waiting += [(f"{path}{name}/", above | {identity}) for name in reversed(subfolders)]
    large = sum(row.names.count(b"/") + bool(row.names) for row in rows) > LARGE
    if large and any(known.get(row.path) is not row for row in rows):
        cache.keep_folders(row for row in rows if settled(row.mtime, seen))
    return found


def _listed(place: str, path: str, mtime: int) -> FolderRow:
    with os.scandir(place) as entries:
        shown = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    names = {inside: "/".join(sorted(name for name, is_dir in shown if is_dir == inside)) for inside in (False, True)}
    return FolderRow(os.fsencode(path), mtime, os.fsencode(names[True]), os.fsencode(names[False]))
