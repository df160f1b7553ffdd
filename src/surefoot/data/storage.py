"""Files in a folder or behind a URL: which there are, how long they are, some of their bytes, or all.

What fsspec knows can be read (HTTP, S3 and others); it is imported only where a URL is given. Each process opens
connections of its own, as they do not survive a fork.
"""

import glob
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

PAUSES = (0.5, 2.0, 8.0)  # seconds before a request is tried again
READ_AHEAD = 2**22
MOST = 1_000_000  # files that one pattern may stand for
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
T = TypeVar("T")


class Unreachable(ValueError):  # noqa: N818
    """A file behind a URL that cannot be read now; nothing is said about its content."""


class Stat(NamedTuple):
    """The length of a file in bytes, and what changes with its content: a time or a server's tag."""

    size: int
    version: str


def is_remote(path: str) -> bool:
    """Whether `path` is a URL, also a chained one of fsspec ("simplecache::s3://...")."""
    return "://" in path and not path.startswith("file://")


def expanded(patterns: Sequence[str], root: str, *, option: str) -> list[str]:
    """The files that `patterns` name: `{000..010}` and `{a,b}` are written out, then `*`, `?` and `[]` looked for.

    A relative pattern starts at `root`. ValueError where one names nothing or a file stands there twice.
    """
    found = []
    root = root.removeprefix("file://").rstrip("/")
    for pattern in patterns:
        for written in _written_out(pattern.removeprefix("file://"), option):
            looked_for = _is_glob(written)
            if not (is_remote(written) or os.path.isabs(written) or written.startswith("~")):
                base = root if is_remote(root) else str(Path(root).expanduser())
                # the root's own brackets stand for themselves
                written = f"{glob.escape(base) if looked_for and not is_remote(base) else base}/{written}"
            full = written if is_remote(written) else str(Path(written).expanduser())
            found += _globbed(full, option) if looked_for else [full]
    twice = sorted({path for path in found if found.count(path) > 1}) if len(set(found)) < len(found) else []
    if twice:
        raise ValueError(f"{option}={list(patterns)} names {twice[0]} twice; name each file once")
    return found


def stat(path: str) -> Stat:
    """Length and version of a file. FileNotFoundError where there is none, Unreachable where nobody answers."""
    if not is_remote(path):
        try:
            told = os.stat(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: there is no such file") from error
        return Stat(told.st_size, str(told.st_mtime_ns))
    system, inside = _system(path)
    info = _tried(lambda: system.info(inside), path)
    if not info.get("size"):
        raise ValueError(f"{path}: the server does not tell how long it is; copy it to a place that does")
    versions = [
        info[key] for key in ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime") if key in info
    ]
    return Stat(int(info["size"]), str(versions[0]) if versions else "")


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The file to read and seek in; behind a URL, some megabytes are fetched at a time."""
    if not is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    system, inside = _system(path)
    with _tried(lambda: system.open(inside, "rb", block_size=READ_AHEAD, cache_type="readahead"), path) as file:
        yield _Trying(file, path)  # type: ignore[misc]


def part(path: str, offset: int, size: int) -> bytes:
    """`size` bytes from `offset`."""
    if not is_remote(path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    system, inside = _system(path)
    data: bytes = _tried(lambda: _range(system, inside, offset, size), path)
    return data


def whole(path: str) -> bytes:
    """All of a file."""
    if not is_remote(path):
        return Path(path).read_bytes()
    system, inside = _system(path)
    data: bytes = _tried(lambda: system.cat_file(inside), path)
    return data


def download(path: str, to: Path) -> None:
    """All of a file behind a URL; Unreachable also where it is gone."""
    system, inside = _system(path)
    try:
        _tried(lambda: system.get_file(inside, str(to)), path)
    except FileNotFoundError as error:
        raise Unreachable(str(error)) from error


class _Trying:
    def __init__(self, file: Any, path: str) -> None:
        self.file, self.path, self.place = file, path, 0

    def seek(self, place: int) -> int:
        self.place = place
        return place

    def read(self, count: int) -> bytes:
        def once() -> bytes:
            self.file.seek(self.place)
            data: bytes = self.file.read(count)
            return data

        data = _tried(once, self.path)
        self.place += len(data)
        return data


def _range(system: Any, inside: str, offset: int, size: int) -> bytes:
    if size == 0:
        return b""
    data: bytes = system.cat_file(inside, start=offset, end=offset + size)
    if len(data) != size:
        raise PermissionError(
            f"asked for {size} bytes, got {len(data)}; where the server gives no byte ranges, set task.keep to fetch "
            "whole shards"
        )
    return data


def _tried(act: Callable[[], T], path: str) -> T:
    """`act`, again after a pause where it fails for a reason that may pass."""
    for pause in PAUSES:
        try:
            return _explained(act, path)
        except Unreachable as error:
            if isinstance(error.__cause__, PermissionError):
                raise
            time.sleep(pause)
    return _explained(act, path)


def _explained(act: Callable[[], T], path: str) -> T:
    try:
        return act()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file") from error
    except Exception as error:  # what a file system of fsspec raises is its own affair
        raise Unreachable(f"{path} cannot be read ({type(error).__name__}: {error})") from error


def _system(path: str) -> tuple[Any, str]:
    """The file system of a URL, from fsspec's own cache for this process, and what it calls the file."""
    try:
        import fsspec.core
    except ImportError as error:
        raise ValueError(f"{path}: reading a URL needs fsspec; pip install 'surefoot[shards]'") from error
    try:
        system, inside = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:  # no such protocol, or its package is not installed
        raise ValueError(f"{path}: {error}") from error
    return system, inside


def _written_out(pattern: str, option: str) -> list[str]:
    parts = BRACES.split(pattern)
    if any(brace in text for text in parts[::2] for brace in "{}"):
        raise ValueError(f"{option}={pattern!r}: braces do not match; write {{000..010}} or {{a,b}}")
    choices = [[text] if place % 2 == 0 else _choices(text, pattern, option) for place, text in enumerate(parts)]
    count = 1
    for some in choices:
        count *= len(some)
    if count > MOST:
        raise ValueError(f"{option}={pattern!r} stands for {count} files; at most {MOST} are read")
    return ["".join(row) for row in itertools.product(*choices)]


def _choices(text: str, pattern: str, option: str) -> list[str]:
    ends = RANGE.fullmatch(text)
    if ends is None:
        if "," not in text:
            raise ValueError(f"{option}={pattern!r}: {{{text}}} is no range and no list; write {{000..010}} or {{a,b}}")
        return text.split(",")
    first, last = int(ends[1]), int(ends[2])
    if not 0 <= last - first < MOST:
        raise ValueError(f"{option}={pattern!r}: {{{text}}} must run upwards, over at most {MOST} files")
    return [str(number).zfill(len(ends[1])) for number in range(first, last + 1)]


def _is_glob(pattern: str) -> bool:
    return "*" in pattern if is_remote(pattern) else glob.has_magic(pattern)  # a "?" of a URL begins its query


def _globbed(pattern: str, option: str) -> list[str]:
    if not is_remote(pattern):
        found = sorted(glob.glob(pattern))
    else:
        system, inside = _system(pattern)
        found = sorted(system.unstrip_protocol(path) for path in _tried(lambda: system.glob(inside), pattern))
    if not found:
        hint = "; most web servers list no folders: name the files, as in shard-{000..010}.tar" * is_remote(pattern)
        raise FileNotFoundError(f"{option}={pattern!r}: no file has such a name{hint}")
    return found
