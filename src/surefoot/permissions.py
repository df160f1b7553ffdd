"""Files written whole or not at all, readable by those who may read new ones: safetensors writes for the owner."""

import os
from collections.abc import Callable
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
