"""What reading each file of splits tells: the hash of its bytes, whether it decodes, how it looks.

Each file is read once, by several processes, and remembered by `cache` where its source can tell that it is as it was.
What follows from it is told by `scan` and `check`.
"""

import hashlib
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from surefoot.data.cache import Cache, FileRow, settled
from surefoot.data.images import PILLOW_LIMIT, TooManyPixels, UnreadableImage, open_image
from surefoot.data.look_alikes import NO_LOOK, SIDE, look
from surefoot.data.task import Source, Split, Stamped
from surefoot.data.workers import Crew, outlasting

CHUNK = 64  # images a worker process reads for one answer
WORTH = 8  # chunks for each worker process; with fewer, starting it takes longer than reading them
SAVED = 10_000  # files read between two savings
UNREAD = 0  # the hash where a file gave no bytes


class Known(NamedTuple):
    """One file as it was read; 64-bit numbers with a sign."""

    digest: int  # BLAKE2b of its bytes: that any two of a million differing files share it has a chance below 1e-7
    width: int
    height: int
    look: int
    reason: str  # why it cannot be decoded, with its path; "" where it can
    lasting: bool  # whether it will be the same again while the file is


@dataclass(frozen=True)
class Contents:
    """The n files of a split as they were read."""

    digests: NDArray[np.uint64]  # (n,), `UNREAD` where a file gave no bytes
    looks: NDArray[np.uint64]  # (n,), `look_alikes.NO_LOOK` where there is none
    reasons: Mapping[int, str]  # position -> why it cannot be decoded; the file is named


def read_contents(splits: Sequence[Split], *, max_pixels: int = PILLOW_LIMIT, workers: int = 0) -> list[Contents]:
    """The contents of each split; a file that stands in several is read once. Nothing is altered (`Split.alter`)."""
    together: defaultdict[object, list[int]] = defaultdict(list)
    for place, split in enumerate(splits):
        together[split.source.place if isinstance(split.source, Stamped) else id(split.source)].append(place)
    found: dict[int, Contents] = {}
    for places in together.values():
        numbers: dict[str, int] = {}
        for place in places:
            for path in splits[place].paths:
                numbers.setdefault(path, len(numbers))
        reading = _Reading(splits[places[0]].source, list(numbers), max_pixels)
        facts, reasons = _all_known(reading, numbers, workers)
        for place in places:
            at = np.fromiter((numbers[path] for path in splits[place].paths), np.int64, len(splits[place]))
            bad = np.flatnonzero(np.isin(at, np.fromiter(reasons, np.int64, len(reasons)))).tolist() if reasons else ()
            found[place] = Contents(facts[at, 0], facts[at, 1], {i: reasons[int(at[i])] for i in bad})
    return [found[place] for place in range(len(splits))]


def _all_known(
    reading: "_Reading", numbers: Mapping[str, int], workers: int
) -> tuple[NDArray[np.uint64], dict[int, str]]:
    """(n, 2) hashes and looks, and the reasons of what cannot be decoded: remembered or read."""
    facts = np.zeros((len(numbers), 2), dtype=np.int64)
    reasons: dict[int, str] = {}
    if not isinstance(reading.source, Stamped):
        for start, part in reading.run(np.arange(len(numbers)), workers):
            _enter(facts, reasons, range(start, start + len(part)), part)
        return facts.view(np.uint64), reasons
    seen = time.time_ns()
    stamps = reading.source.stamps(reading.paths)  # before reading: what changes meanwhile is read again next time
    cache = Cache(reading.source.place)
    todo = _remember(facts, reasons, cache, numbers, stamps, reading.max_pixels)
    waiting: list[FileRow] = []
    for start, part in reading.run(todo, workers):
        at = todo[start : start + len(part)].tolist()
        _enter(facts, reasons, at, part)
        for i, known in zip(at, part, strict=True):
            size, mtime = stamps[i].tolist()
            if known.lasting and size >= 0 and settled(mtime, seen):
                waiting.append(FileRow(os.fsencode(reading.paths[i]), size, mtime, *known[:5]))
        if len(waiting) >= SAVED:
            cache.keep_files(waiting)
            waiting = []
    if waiting:
        cache.keep_files(waiting)
    return facts.view(np.uint64), reasons


def _remember(
    facts: NDArray[np.int64],
    reasons: dict[int, str],
    cache: Cache,
    numbers: Mapping[str, int],
    stamps: NDArray[np.int64],
    max_pixels: int,
) -> NDArray[np.int64]:
    """Enter what the cache knows of files that are as they were; the positions of the others."""
    unknown = np.ones(len(numbers), dtype=bool)
    sizes, mtimes = stamps[:, 0].tolist(), stamps[:, 1].tolist()
    try:
        for row in cache.files():
            i = numbers.get(os.fsdecode(row.path), -1)
            if i >= 0 and row.size == sizes[i] and row.mtime == mtimes[i] and row.width * row.height <= max_pixels:
                facts[i] = row.digest, row.look
                unknown[i] = False
                if row.reason:
                    reasons[i] = row.reason
    except (TypeError, ValueError, OverflowError):  # a damaged file that SQLite took for sound
        cache.drop()
        facts[:], unknown[:] = 0, True
        reasons.clear()
    return np.flatnonzero(unknown)


def _enter(facts: NDArray[np.int64], reasons: dict[int, str], at: Sequence[int], part: Sequence[Known]) -> None:
    for i, known in zip(at, part, strict=True):
        facts[i] = known.digest, known.look
        if known.reason:
            reasons[i] = known.reason


class _Reading(Dataset[list[Known]]):
    """The files at some positions of `paths`, a chunk at a time."""

    def __init__(self, source: Source, paths: Sequence[str], max_pixels: int) -> None:
        self.source, self.paths, self.max_pixels = source, paths, max_pixels
        self.todo, self.crew = np.empty(0, np.int64), Crew(0)

    def run(self, todo: NDArray[np.int64], workers: int) -> Iterator[tuple[int, list[Known]]]:
        """Where each chunk begins in `todo`, and what its files told."""
        self.todo = todo
        workers = min(workers, len(self) // WORTH)

        def start(done: int, crew: Crew) -> DataLoader[list[Known]]:
            self.crew = crew
            return DataLoader(
                self,
                batch_size=None,
                sampler=range(done, len(self)),
                num_workers=workers,
                collate_fn=list,
                generator=torch.Generator(),
                worker_init_fn=crew.enter,
            )

        for chunk, part in enumerate(outlasting(start, workers, told=self.paths.__getitem__)):
            yield chunk * CHUNK, part

    def __len__(self) -> int:
        return math.ceil(len(self.todo) / CHUNK)

    def __getitem__(self, chunk: int) -> list[Known]:
        at = self.todo[chunk * CHUNK : (chunk + 1) * CHUNK].tolist()
        read = []
        for i in at:
            self.crew.takes(i)
            read.append(_read(self.source, self.paths[i], self.max_pixels))
        self.crew.takes(-1)
        return read


def _read(source: Source, path: str, max_pixels: int) -> Known:
    try:
        data = source.read(path)
    except OSError as error:
        return Known(UNREAD, 0, 0, NO_LOOK, f"{path}: {error.strerror or error}", False)
    digest = _signed(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big"))
    try:
        opened = open_image(data, name=path, max_pixels=max_pixels)
        small = opened.shrunk(min(8, min(opened.size) / SIDE))[0]
    except UnreadableImage as error:
        return Known(digest, 0, 0, NO_LOOK, str(error), not isinstance(error, TooManyPixels))
    return Known(digest, *opened.size, _signed(look(small)), "", True)


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number
