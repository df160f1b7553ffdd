"""What was learned from reading a folder or zip, kept between runs: one SQLite file for each, never inside the data.

It stands in the folder that SUREFOOT_CACHE names, else in ~/.cache/surefoot (`cache_folder`); "off" keeps nothing. The
cache is a comfort: where it cannot be read or written, files are read again; a damaged one is made anew. What stands in
it is taken only while size and modification time of a file, or the modification time of a folder, are the same.
"""

import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import PIL

from surefoot.cache_folder import cache_folder

FORMAT = f"data-1-pillow-{PIL.__version__}"  # another Pillow may decode other files
SETTLED = 2 * 10**9  # ns; a file changed later than this before now may change again under the same time
WAIT = 30.0  # seconds for another process that writes
TABLES = """
    CREATE TABLE IF NOT EXISTS files (
        path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, digest INTEGER, width INTEGER, height INTEGER,
        look INTEGER, reason TEXT) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS folders (
        path BLOB PRIMARY KEY, mtime INTEGER, subfolders BLOB, names BLOB);
"""
Answer = TypeVar("Answer")


class FileRow(NamedTuple):
    """A file as it was read: 64-bit numbers with a sign, `reason` why it cannot be decoded or ""."""

    path: bytes
    size: int
    mtime: int  # ns
    digest: int
    width: int
    height: int
    look: int
    reason: str


class FolderRow(NamedTuple):
    """A folder as it was listed; names are joined by "/", which none can hold."""

    path: bytes
    mtime: int  # ns
    subfolders: bytes
    names: bytes


def settled(mtime: int, seen: int) -> bool:
    """Whether what had this modification time when it was `seen` (ns) will have a new one if it changes."""
    return mtime < seen - SETTLED


class Cache:
    """What is known of the files and folders under `place`, a folder or zip."""

    def __init__(self, place: Path) -> None:
        full = os.path.abspath(place)
        name = re.sub(r"[^\w.-]", "_", os.path.basename(full))[:40]
        digest = hashlib.blake2b(os.fsencode(full), digest_size=10).hexdigest()
        self.file = (cache_folder() or Path(os.devnull)) / FORMAT / f"{name}-{digest}.sqlite"

    def files(self) -> Iterable[FileRow]:
        """All files that are known, one at a time."""
        return self._rows("files", FileRow)

    def folders(self) -> Iterable[FolderRow]:
        """All folders that are known."""
        return self._rows("folders", FolderRow)

    def keep_files(self, rows: Iterable[FileRow]) -> None:
        self._keep("files", rows, len(FileRow._fields))

    def keep_folders(self, rows: Iterable[FolderRow]) -> None:
        """These instead of all that were known."""
        self._keep("folders", rows, len(FolderRow._fields), anew=True)

    def drop(self) -> None:
        """Forget everything."""
        for end in ("", "-journal"):
            Path(f"{self.file}{end}").unlink(missing_ok=True)

    def _rows(self, table: str, row: Callable[..., Answer]) -> Iterator[Answer]:
        if not self.file.exists():
            return
        try:
            with closing(self._open()) as connection:
                for values in connection.execute(f"SELECT * FROM {table}"):
                    yield row(*values)
        except sqlite3.Error as error:
            self._drop_if_damaged(error)

    def _keep(self, table: str, rows: Iterable[tuple[object, ...]], columns: int, *, anew: bool = False) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                if anew:
                    connection.execute(f"DELETE FROM {table}")
                marks = ", ".join("?" * columns)
                connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
                connection.execute("COMMIT")
        except OSError:
            return  # a disk that is full or read-only
        except sqlite3.Error as error:
            self._drop_if_damaged(error)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(str(self.file), timeout=WAIT, isolation_level=None)
        try:
            connection.executescript(TABLES)
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop_if_damaged(self, error: sqlite3.Error) -> None:
        if isinstance(error, sqlite3.OperationalError):
            return  # locked for long, read-only, no room: it may be sound
        self.drop()
