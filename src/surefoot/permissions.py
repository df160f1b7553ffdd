"""Files and folders written whole or not at all, readable by those who may read new ones.

safetensors itself writes for the owner alone.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def as_new(*files: Path) -> None:
    """Give files the permissions that the system gives new ones."""
    mask = os.umask(0)
    os.umask(mask)
    for file in files:
        file.chmod(0o666 & ~mask)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file beside `path`, flush it to the disk, then put it in the place of `path` in one move.

    Raises OSError as it comes (full or read-only disk); what stood at `path` then still stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        as_new(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` when all went well. ValueError where something stands there."""
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"output={path} exists and is not empty; give a new or an empty folder")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        as_new(*(file for file in partial.rglob("*") if file.is_file()))
        if path.exists():
            path.rmdir()
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
