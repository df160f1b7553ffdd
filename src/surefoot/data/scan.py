"""Reading whole splits before training: which images cannot be decoded, which stand in two splits."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from surefoot.data.images import PILLOW_LIMIT, Opened, UnreadableImage, open_image
from surefoot.data.task import Split, Task

CHUNK = 64  # images a worker process reads for one answer
WORTH = 8  # chunks for each worker process; with fewer, starting it takes longer than reading them


class BadImage(NamedTuple):
    """An image that cannot be decoded: its position in the split; the reason names the file."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    reason: str


def open_example(split: Split, index: int, *, max_pixels: int = PILLOW_LIMIT) -> Opened:
    """The image at `index`, its header read, or as `split.alter` makes it; a missing file is an UnreadableImage too."""
    path = split.paths[index]
    try:
        data = split.source.read(path)
    except OSError as error:
        raise UnreadableImage(f"{path}: {error.strerror or error}") from error
    opened = open_image(data, name=path, max_pixels=max_pixels)
    if split.alter is None:
        return opened
    return Opened(split.alter(opened.pixels(), split.position(index)), name=path, max_pixels=max_pixels)


def unreadable(split: Split, *, max_pixels: int = PILLOW_LIMIT, workers: int = 0) -> list[BadImage]:
    """Every image of the split that cannot be decoded, in order; reads and decodes all of them, as their files are."""
    return [bad for found in _scan(_Decoding(split, max_pixels), workers) for bad in found]


def files_of(split: Split) -> Hashable:
    """Equal for splits that have the same files in the same order, whatever `alter` makes of them."""
    return id(split.source), tuple(split.paths)


def first_of_each(splits: Iterable[Split]) -> list[Split]:
    """The splits but for those whose files an earlier one has (`files_of`)."""
    found: dict[Hashable, Split] = {}
    for split in splits:
        found.setdefault(files_of(split), split)
    return list(found.values())


def broken_images(splits: Iterable[Split], *, max_pixels: int = PILLOW_LIMIT, workers: int = 0) -> str:
    """What to tell of all images of `splits` that cannot be decoded; "" where there is none."""
    told = ""
    for split in first_of_each(splits):
        bad = unreadable(split, max_pixels=max_pixels, workers=workers)
        if bad:
            where = f"split {split.name!r} ({split.source.describe()})"
            told += f"{len(bad)} of {len(split)} images of {where} cannot be read:\n"
            told += "".join(f"  {image.reason}\n" for image in bad)
    return told and f"{told}Replace or remove them, or set data.on_bad_image=skip to leave them out."


def fingerprints(split: Split) -> dict[bytes, list[int]]:
    """Content hash -> positions of the files with that content; files that cannot be read are left out."""
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, path in enumerate(split.paths):
        try:
            found[hashlib.blake2b(split.source.read(path), digest_size=16).digest()].append(index)
        except OSError:
            continue
    return dict(found)


def matches(known: dict[bytes, list[int]], other: dict[bytes, list[int]]) -> list[tuple[int, int]]:
    """Pairs (first position in known, position in other) of equal content, from two splits' fingerprints."""
    pairs = [(known[key][0], index) for key, places in other.items() if key in known for index in places]
    return sorted(pairs, key=lambda pair: pair[1])


def duplicates(split_a: Split, split_b: Split) -> list[tuple[int, int]]:
    """Pairs (position in a, position in b) of files with the same content, one for each such file of b."""
    return matches(fingerprints(split_a), fingerprints(split_b))


def leakage_notes(task: Task) -> tuple[str, ...]:
    """A warning for each split that shares files with the training split. Reads all files once."""
    known, notes = fingerprints(task.train), []
    own = first_of_each(task.splits().values())[1:]
    for name, split in task.splits().items():
        pairs = matches(known, fingerprints(split)) if split in own else []
        if pairs:
            first, second = pairs[0]
            notes.append(
                f"{len(pairs)} of {len(split)} images of {name} also stand in train, byte for byte "
                f"({split.paths[second]} = {task.train.paths[first]}); its accuracy will look too good"
            )
    return tuple(notes)


class _Decoding(Dataset[list[BadImage]]):
    def __init__(self, split: Split, max_pixels: int) -> None:
        self.split, self.max_pixels = replace(split, alter=None), max_pixels  # which costs more than reading

    def __len__(self) -> int:
        return math.ceil(len(self.split) / CHUNK)

    def __getitem__(self, chunk: int) -> list[BadImage]:
        bad = []
        for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self.split))):
            try:
                open_example(self.split, index, max_pixels=self.max_pixels).shrunk(8)
            except UnreadableImage as error:
                bad.append(BadImage(index, str(error)))
        return bad


def _scan(dataset: _Decoding, workers: int) -> Iterator[list[BadImage]]:
    workers = min(workers, len(dataset) // WORTH)
    yield from DataLoader(dataset, batch_size=None, num_workers=workers, collate_fn=list, generator=torch.Generator())
