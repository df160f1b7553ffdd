"""Rows of a Hugging Face data set: from Arrow files on this machine, or streamed piece by piece.

A piece is what `datasets` can read by itself: a row group of a Parquet file, or a file of another format. One pass over
the columns without images counts the rows of each piece; it saves the stream's `state_dict`, so that it goes on where
it was interrupted. A piece with images is then read forward, once, into a spool on the disk.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from surefoot.data.spool import Spool
from surefoot.data.storage import Unreachable, whole
from surefoot.data.task import Source
from surefoot.pretrained import hub_reason

ROWS = 256  # of a stream at a time
SAVE_EVERY = 30.0  # seconds between two saves of an unfinished pass
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Place:
    """Which data set: a hub id or folder, one of its subsets, a revision."""

    root: str
    subset: str = ""
    revision: str = "main"

    @property
    def is_local(self) -> bool:
        return Path(self.root).expanduser().is_dir()

    @contextmanager
    def explained(self) -> Iterator[ModuleType]:
        """The library `datasets`; an error of its own inside becomes a ValueError that says what is wrong."""
        try:
            import datasets
        except ImportError as error:
            raise ValueError("hf_dataset needs the library datasets; pip install 'surefoot[hf]'") from error
        try:
            yield datasets
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            of = f", task.subset={self.subset}" if self.subset else ""
            reason = _cause(error) if self.is_local else hub_reason(self.revision, error, what="data set")
            raise ValueError(f"task.root={self.root}{of} cannot be opened: {reason}") from error

    def arguments(self) -> dict[str, Any]:
        """For functions of `datasets` that open one."""
        root = str(Path(self.root).expanduser()) if self.is_local else self.root
        return {"path": root, "name": self.subset or None} | ({} if self.is_local else {"revision": self.revision})


class Rows(Protocol):
    """A data set that is open. `features` are those of `datasets`, by column."""

    @property
    def splits(self) -> Sequence[str]: ...
    @property
    def features(self) -> Mapping[str, Any]: ...

    def columns(self, split: str, names: Sequence[str]) -> Columns:
        """Values of the rows of a split, a list for each column."""
        ...

    def source(self, image: str) -> Source:
        """Reads "<split>/<row>" as the bytes of the image file."""
        ...


class ArrowRows:
    """Every split in Arrow files, any row at once."""

    def __init__(self, place: Place) -> None:
        self.place = place
        with place.explained() as datasets:
            self.sets: dict[str, Any] = _open(datasets, place)
            self.splits = list(self.sets)
            self.features = dict(self.sets[self.splits[0]].features)

    def columns(self, split: str, names: Sequence[str]) -> Columns:
        for name in names:
            if getattr(self.sets[split].features.get(name), "names", []) != getattr(self.features[name], "names", []):
                raise ValueError(
                    f"{self.place.root}: the splits {self.splits[0]} and {split} number the classes of the "
                    f"column {name!r} in different ways; cast it to one ClassLabel in all splits"
                )
        with self.place.explained():
            table = self.sets[split].select_columns(list(names)).with_format("arrow")[:]
            return {name: table[name].to_pylist() for name in names}

    def source(self, image: str) -> "ArrowSource":
        with self.place.explained() as datasets:
            undecoded = datasets.Image(decode=False)
            sets = {s: rows.select_columns([image]).cast_column(image, undecoded) for s, rows in self.sets.items()}
        return ArrowSource(self.place.root, image, sets)


@dataclass(frozen=True)
class ArrowSource:
    """Images of rows in Arrow files."""

    root: str
    image: str
    sets: Mapping[str, Any]

    def read(self, path: str) -> bytes:
        split, _, row = path.rpartition("/")
        if split not in self.sets or not 0 <= int(row) < len(self.sets[split]):
            raise FileNotFoundError(f"{path}: there is no such row in {self.describe()}")
        return _content(self.sets[split][int(row)][self.image], path)

    def describe(self) -> str:
        return f"data set {self.root}"


@dataclass
class _Pass:
    """What a pass over a split has found: rows of each piece, values, and the stream's state inside piece `piece`."""

    counts: list[int] = field(default_factory=list)
    columns: Columns = field(default_factory=dict)
    piece: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    done: bool = False


class StreamRows:
    """Splits as streams; `folder` holds what passes have found."""

    def __init__(self, place: Place, folder: Path, spool: Spool) -> None:
        self.place, self.folder, self.spool = place, folder, spool
        self.starts: dict[str, NDArray[np.int64]] = {}
        self.keys: dict[str, str] = {}
        with place.explained() as datasets:
            from datasets.packaged_modules.parquet.parquet import Parquet

            builder = datasets.load_dataset_builder(**place.arguments())
            self.in_parquet = isinstance(builder, Parquet)
            self.streams = {split: rows.reshard() for split, rows in builder.as_streaming_dataset().items()}
            self.splits = list(self.streams)
            self.features = dict(self.streams[self.splits[0]].features or {})
            files = builder.config.data_files or {}
            self.content = {split: [list(some), some.origin_metadata] for split, some in files.items()}

    def columns(self, split: str, names: Sequence[str]) -> Columns:
        told = json.dumps([self.place.root, self.place.subset, split, self.content.get(split, []), list(names)])
        self.keys[split] = hashlib.sha256(told.encode()).hexdigest()[:32]
        file = self.folder / f"{self.keys[split]}.json"
        found = _read_pass(file)
        if not found.done:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.place.explained():
                _go_on(found, self._without_images(split, names), file)
        self.starts[split] = np.concatenate([[0], np.cumsum(found.counts, dtype=np.int64)])
        return found.columns

    def source(self, image: str) -> "StreamSource":
        with self.place.explained() as datasets:
            undecoded = datasets.Image(decode=False)
            streams = {
                s: rows.select_columns([image]).cast_column(image, undecoded) for s, rows in self.streams.items()
            }
        return StreamSource(self.place.root, image, streams, self.starts, self.keys, self.spool)

    def _without_images(self, split: str, names: Sequence[str]) -> Any:
        """The stream of a few columns; of a Parquet file no others are read."""
        if not self.in_parquet:
            return self.streams[split].select_columns(list(names))
        import datasets

        builder = datasets.load_dataset_builder(**self.place.arguments(), columns=list(names))
        return builder.as_streaming_dataset(split).reshard()


@dataclass(frozen=True)
class StreamSource:
    """Images of a stream's rows, from pieces that are fetched whole into a spool."""

    root: str
    image: str
    streams: Mapping[str, Any]
    starts: Mapping[str, NDArray[np.int64]]  # of each piece; the last is the number of rows
    keys: Mapping[str, str]
    spool: Spool

    def read(self, path: str) -> bytes:
        split, _, row = path.rpartition("/")
        if split not in self.starts or not 0 <= int(row) < self.starts[split][-1]:
            raise FileNotFoundError(f"{path}: there is no such row in {self.describe()}")
        piece = int(self.pieces(split, np.array(int(row))))
        place = int(row) - int(self.starts[split][piece])
        key = hashlib.sha256(f"{self.keys[split]} {self.image}".encode()).hexdigest()[:32]
        name, fetch = f"{key}-{piece}.rows", partial(self._fetch, split, piece)
        begin, end = np.frombuffer(self.spool.read(name, 8 * place, 16, fetch), "<i8").tolist()
        data = self.spool.read(name, begin, end - begin, fetch)
        if not data:
            raise FileNotFoundError(f"{path}: the row has no image")
        return data

    def pieces(self, split: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The piece of each row, counted from 0 in its split."""
        return np.asarray(np.searchsorted(self.starts[split], rows, side="right") - 1, np.int64)

    def describe(self) -> str:
        return f"data set {self.root} (streamed)"

    def _fetch(self, split: str, piece: int, to: Path) -> None:
        """Write a piece: where each image begins and the last one ends (int64), then the images."""
        stream = self.streams[split]
        try:
            cells = [cell for rows in _batches(stream.shard(stream.num_shards, piece)) for cell in rows[self.image]]
            images = [b"" if cell is None else _content(cell, f"{split}/{piece}") for cell in cells]
        except Exception as error:  # what `datasets` and the file systems below it raise is their own affair
            what = f"a piece of the split {split!r} cannot be read"
            raise Unreachable(f"{self.describe()}: {what} ({type(error).__name__}: {_cause(error)})") from error
        expected = int(self.starts[split][piece + 1] - self.starts[split][piece])
        if len(images) != expected:
            raise ValueError(
                f"{self.describe()}, split {split!r}: a piece has {len(images)} rows, it had {expected} when they were "
                "counted; was the data set changed?"
            )
        ends = 8 * (len(images) + 1) + np.cumsum([0, *map(len, images)], dtype="<i8")
        with to.open("wb") as file:
            file.write(ends.astype("<i8").tobytes())
            file.writelines(images)


def _open(datasets: ModuleType, place: Place) -> dict[str, Any]:
    folder = Path(place.root).expanduser()
    if place.is_local and any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        stored = datasets.load_from_disk(str(folder))
        return dict(stored) if isinstance(stored, datasets.DatasetDict) else {"train": stored}
    return dict(datasets.load_dataset(**place.arguments()))


def _go_on(found: _Pass, stream: Any, file: Path) -> None:
    """Read a stream to its end, piece by piece, from where `found` stands, which is saved now and then."""
    saved, count = time.monotonic(), stream.num_shards
    while found.piece < count:
        part = stream.shard(count, found.piece)
        if found.state:
            part.load_state_dict(found.state)
        else:
            found.counts.append(0)
        for rows in _batches(part):
            for name, values in rows.items():
                found.columns.setdefault(name, []).extend(values)
                added = len(values)
            found.counts[-1] += added
            found.state = part.state_dict()
            if time.monotonic() - saved >= SAVE_EVERY:
                _write_pass(found, file)
                saved = time.monotonic()
        found.piece, found.state = found.piece + 1, {}
    found.done = True
    _write_pass(found, file)


def _batches(stream: Any) -> Iterator[dict[str, list[Any]]]:
    """Rows, some at a time. (`iter(stream)` would give a data worker only its share of them.)"""
    yield from stream.iter(batch_size=ROWS)


def _read_pass(file: Path) -> _Pass:
    try:
        return _Pass(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or half of one
        return _Pass()


def _write_pass(found: _Pass, file: Path) -> None:
    unfinished = file.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps(vars(found), default=str), encoding="utf-8")
    unfinished.replace(file)


def _content(cell: Any, path: str) -> bytes:
    """The file of an image that was not decoded: its bytes, or what its path names."""
    if not isinstance(cell, dict) or (cell.get("bytes") is None and not cell.get("path")):
        raise FileNotFoundError(f"{path}: the row has no image")
    data: bytes = cell["bytes"] if cell.get("bytes") is not None else whole(cell["path"])
    return data


def _cause(error: BaseException) -> str:
    """What an error and the one behind it say."""
    behind = error.__cause__
    return f"{error}" if behind is None or str(behind) in str(error) else f"{error} ({behind})"
