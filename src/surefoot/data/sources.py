"""Where image bytes come from: a folder, or a zip that is read in place (nothing is ever extracted)."""

import os
import posixpath
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from surefoot.data.listing import check_names, files_below, folders_below

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
MAX_FILE_BYTES = 2**29  # one member of a zip, unpacked; more is taken for a zip bomb


def is_place(name: str) -> bool:
    """Whether a task's name is that of a folder, zip or table of the user's own."""
    return "/" in name or Path(name).suffix in (".csv", ".zip", ".parquet") or Path(name).is_dir()


@dataclass(frozen=True)
class FolderSource:
    """Files under `root`; an absolute path is read as it is."""

    root: Path

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def describe(self) -> str:
        return f"folder {self.root}"

    @property
    def place(self) -> Path:
        return self.root

    def stamps(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """(n, 2) size in bytes and time of the last change in ns; -1 where there is no such file."""
        return np.array([_stamp(os.path.join(self.root, path)) for path in paths], dtype=np.int64).reshape(-1, 2)

    def files(self) -> list[str]:
        """Relative paths of all files, sorted, without hidden ones; links to folders are followed."""
        found = files_below(self.root)
        check_names(found, self.root)
        return found

    def folders(self) -> list[str]:
        """Relative paths of all folders, sorted, without hidden ones."""
        return sorted(folder.path.rstrip("/") for folder in folders_below(self.root) if folder.path)

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that are not there; each folder is listed once, which is faster than asking a file."""
        listed: dict[str, frozenset[str]] = {}
        lost = []
        for path in paths:
            folder, name = posixpath.split(path)
            if folder not in listed:
                full = self.root / folder
                listed[folder] = frozenset(os.listdir(full)) if full.is_dir() else frozenset()
            if name not in listed[folder]:
                lost.append(path)
        return lost

    def beside(self, paths: Iterable[str]) -> list[str]:
        """Files in the folders of `paths` that are not among them, sorted, without hidden ones."""
        found: list[str] = []
        for folder, named in _by_folder(paths).items():
            full = self.root / folder
            if full.is_dir():
                with os.scandir(full) as there:
                    names = [entry.name for entry in there if entry.name[0] != "." and entry.is_file()]
                found += [posixpath.join(folder, name) for name in names if name not in named]
        return sorted(found)


class ZipSource:
    """Files of a zip. Each process opens the file for itself, since processes must not share a read position."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        try:
            infos = self._zip().infolist()
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{file} is not a whole zip file ({error}); was the download or copy cut short?"
            ) from error
        for info in infos:
            if info.filename.startswith("/") or ".." in PurePosixPath(info.filename).parts:
                raise ValueError(f"{file} holds {info.filename!r}, a path that leads out of the zip; it is not read")

    def __getstate__(self) -> Path:
        return self.file

    def __setstate__(self, state: Path) -> None:
        self.file, self._opened = state, None

    @property
    def place(self) -> Path:
        return self.file

    def stamps(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """(n, 2) size and time of the last change of the zip, as no file in it changes without it."""
        return np.tile(np.array(_stamp(str(self.file)), dtype=np.int64), (len(paths), 1))

    def read(self, path: str) -> bytes:
        opened = self._zip()
        try:
            if opened.getinfo(path).file_size > MAX_FILE_BYTES:
                raise OSError(f"{path} in {self.describe()} unpacks to more than {MAX_FILE_BYTES} bytes")
            return opened.read(path)
        except KeyError as error:
            raise FileNotFoundError(f"{path} is not in {self.describe()}") from error
        except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
            raise OSError(f"{path} in {self.describe()}: {error}") from error

    def describe(self) -> str:
        return f"zip {self.file}"

    def files(self) -> list[str]:
        """Paths of all files, sorted, without hidden ones and what macOS adds."""
        names = (PurePosixPath(info.filename) for info in self._zip().infolist() if not info.is_dir())
        return sorted(str(n) for n in names if not any(part.startswith((".", "__MACOSX")) for part in n.parts))

    def folders(self) -> list[str]:
        """Paths of all folders, sorted, without hidden ones and what macOS adds."""
        infos = self._zip().infolist()
        empty = {PurePosixPath(info.filename) for info in infos if info.is_dir()}
        names = {parent for path in self.files() for parent in PurePosixPath(path).parents} | empty
        names.discard(PurePosixPath("."))
        return sorted(str(n) for n in names if not any(part.startswith((".", "__MACOSX")) for part in n.parts))

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of `paths` that are not there."""
        there = set(self._zip().namelist())
        return [path for path in paths if path not in there]

    def beside(self, paths: Iterable[str]) -> list[str]:
        """Files in the folders of `paths` that are not among them, sorted, without hidden ones."""
        named = _by_folder(paths)
        parts = [(*posixpath.split(path), path) for path in self.files()]
        return [path for folder, name, path in parts if folder in named and name not in named[folder]]

    def _zip(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), zipfile.ZipFile(self.file))
        return self._opened[1]


def _by_folder(paths: Iterable[str]) -> dict[str, set[str]]:
    """The names in `paths` by the folder they lie in."""
    named: dict[str, set[str]] = {}
    for path in paths:
        folder, name = posixpath.split(path)
        named.setdefault(folder, set()).add(name)
    return named


def _stamp(path: str) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError:
        return (-1, -1)
    return (state.st_size, state.st_mtime_ns)


def instead(files: Sequence[str]) -> str:
    """What there is where images were expected: "but 3 other files: 2 .zip, 1 .txt; unpack a.zip, or ..."."""
    if not files:
        return "nor any other file"
    suffixes = Counter(PurePosixPath(path).suffix.lower() or "without suffix" for path in files)
    told = f"but {len(files)} other files: " + ", ".join(f"{n} {suffix}" for suffix, n in suffixes.most_common(5))
    archives = [path for path in files if path.lower().endswith(ARCHIVES)]
    if archives:
        told += f"; unpack {archives[0]}" + (", or give the zip itself" if archives[0].endswith(".zip") else "")
    return told
