"""A bounded number of large files fetched from afar, on the disk, shared by all processes that read them.

Each process with a memory of its own would fetch every file once more: with eight data workers, eight times.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from surefoot.cache_folder import cache_folder

PART = ".part"


def spool_folder(option: str, what: str) -> Path:
    """The folder `what` for files that can be made again: in `option`, or where that is "" in the user's cache.

    Shards must stand somewhere: where SUREFOOT_CACHE is "off", in the folder for temporary files.
    """
    usual = cache_folder() or Path(tempfile.gettempdir(), f"surefoot-{os.getuid()}")
    return (Path(option).expanduser() if option else usual) / what


@dataclass(frozen=True)
class Spool:
    """At most `keep` files in `folder`, beside those that are being fetched; what was not read for longest goes."""

    folder: Path
    keep: int

    def file(self, name: str, fetch: Callable[[Path], None]) -> Path:
        """The file `name`, which `fetch` writes to the path it is given where it is not there.

        One process fetches it, others wait. It may be gone when it is opened, which `opened` and `read` take care of.
        """
        path, part = self.folder / name, self.folder / (name + PART)
        while not path.exists():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with part.open("ab") as waiting:
                    fcntl.flock(waiting, fcntl.LOCK_EX)
                    if not _is_still(part, waiting.fileno()):
                        continue  # another process has fetched it meanwhile
                    fetch(part)
                    self._make_room()
                    part.replace(path)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise ValueError(
                    f"{path} cannot be written ({error.strerror or error}); free some space, set task.cache to a "
                    "folder with more, or lower task.keep"
                ) from error
        return path

    def opened(self, name: str, fetch: Callable[[Path], None]) -> BinaryIO:
        """The file `name`, open to be read; it can be read to its end also when it is removed meanwhile."""
        while True:
            path = self.file(name, fetch)
            try:
                file = path.open("rb")
            except FileNotFoundError:  # made room for another, just now
                continue
            os.utime(file.fileno())
            return file

    def read(self, name: str, offset: int, size: int, fetch: Callable[[Path], None]) -> bytes:
        """`size` bytes from `offset` of the file `name`."""
        with self.opened(name, fetch) as file:
            file.seek(offset)
            return file.read(size)

    def _make_room(self) -> None:
        held = [path for path in self.folder.iterdir() if path.suffix != PART]
        ages = {path: _age(path) for path in held}
        for path in sorted(held, key=ages.__getitem__)[: max(0, len(held) + 1 - self.keep)]:
            path.unlink(missing_ok=True)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
