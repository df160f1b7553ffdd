"""Labelled images in tar shards: an index made in one pass over each, and a Source that reads single members.

A sample is what shares a key: the path up to the first dot of the file name. The index is kept outside the data, one
small file a shard, named by the shard's address, length and version, so that another shard gets another index.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surefoot.data.sources import MAX_FILE_BYTES
from surefoot.data.spool import Spool
from surefoot.data.storage import Stat, download, is_remote, opened, part, stat
from surefoot.data.tar import Member, members

FORMAT = 1  # of an index file
AT_ONCE = 8  # shards that are indexed at a time
MAX_LABEL_BYTES = 2**20  # a .cls or .json member
MAX_NAME = 500  # characters of a label
JOIN = "::"  # between a shard and its member, in the path of an image


@dataclass(frozen=True)
class Layout:
    """Where a sample has its image and its label: extensions, and the field of a .json."""

    images: tuple[str, ...] = ("jpg", "jpeg", "png", "webp")
    label: str = "cls"
    field: str = "label"


@dataclass(frozen=True)
class Shard:
    """A tar at `url`; `name` is what paths call it."""

    name: str
    url: str
    size: int
    version: str

    @property
    def key(self) -> str:
        """A file name of its own for each content."""
        told = json.dumps([self.url, self.size, self.version])
        return hashlib.sha256(told.encode()).hexdigest()[:32]


class ShardIndex(NamedTuple):
    """The images of a shard in its order: member names and labels (UTF-8 bytes), offset and size; all (n,)."""

    members: NDArray[np.bytes_]
    labels: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


class ShardSource:
    """Members of shards. A remote one is fetched whole into `spool`, or, where that keeps none, read by byte range."""

    def __init__(self, root: str, shards: Mapping[str, Shard], indexes: Mapping[str, ShardIndex], spool: Spool) -> None:
        self.root, self.shards, self.spool = root, dict(shards), spool
        self.places = {name: _by_name(index) for name, index in indexes.items()}

    def read(self, path: str) -> bytes:
        name, _, member = path.partition(JOIN)
        if name not in self.shards:
            raise FileNotFoundError(f"{path}: there is no shard {name!r} in {self.describe()}")
        shard, index = self.shards[name], self.places[name]
        row = int(np.searchsorted(index.members, member.encode()))
        if row == len(index.members) or index.members[row] != member.encode():
            raise FileNotFoundError(f"{path}: there is no such member in {shard.url}")
        offset, size = int(index.offsets[row]), int(index.sizes[row])
        if is_remote(shard.url) and self.spool.keep:
            data = self.spool.read(f"{shard.key}.tar", offset, size, partial(fetch, shard))
        else:
            data = part(shard.url, offset, size)
        if len(data) != size:
            raise OSError(f"{shard.url} is shorter than when its index was made; was it replaced meanwhile?")
        return data

    def describe(self) -> str:
        return f"{len(self.shards)} shards under {self.root}"


def find_shards(urls: Sequence[str]) -> list[Shard]:
    """Length and version of each shard; names are the part of the addresses that is not common to all."""
    names = _names(urls)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told: list[Stat] = list(pool.map(stat, urls))
    return [Shard(name, url, size, version) for name, url, (size, version) in zip(names, urls, told, strict=True)]


def read_indexes(shards: Sequence[Shard], layout: Layout, folder: Path, spool: Spool) -> dict[str, ShardIndex]:
    """The index of every shard by its name: from `folder`, or made now and left there. ValueError for bad shards."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda shard: _read_index(shard, layout, folder, spool), shards)
        return {shard.name: index for shard, index in zip(shards, found, strict=True)}


def fetch(shard: Shard, to: Path) -> None:
    """A whole remote shard."""
    download(shard.url, to)
    if to.stat().st_size != shard.size:
        raise ValueError(f"{shard.url}: {to.stat().st_size} bytes came, it should have {shard.size}; try again")


def make_index(file: BinaryIO, shard: Shard, layout: Layout) -> ShardIndex:
    """One pass over the headers of a shard. Raises ValueError naming the shard and the member that is wrong."""
    images: dict[str, Member] = {}
    labels: dict[str, dict[str, str]] = {layout.label: {}, "json": {}}
    for member in members(file, length=shard.size, name=shard.url):
        key, extension = _split_key(member.name)
        if extension in layout.images:
            if key in images:
                raise ValueError(
                    f"{shard.url}: the key {key!r} stands for two images ({images[key].name}, {member.name}); give "
                    "each sample a key of its own, or name one extension in task.image"
                )
            if member.size > MAX_FILE_BYTES:
                raise ValueError(f"{shard.url}: {member.name} has {member.size} bytes, more than {MAX_FILE_BYTES}")
            images[key] = member
        elif extension in labels:
            if key in labels[extension]:
                raise ValueError(f"{shard.url}: {member.name} stands there twice; give each sample a key of its own")
            labels[extension][key] = _label(file, member, layout, shard.url)
    known = {key: label for key, label in (labels["json"] | labels[layout.label]).items() if label}
    _check_pairs(images, known, layout, shard.url)
    return ShardIndex(
        np.array([member.name.encode() for member in images.values()], np.bytes_),
        np.array([known[key].encode() for key in images], np.bytes_),
        np.array([member.offset for member in images.values()], np.int64),
        np.array([member.size for member in images.values()], np.int64),
    )


def _split_key(name: str) -> tuple[str, str]:
    """Key and extension, parted at the first dot of the file name, as webdataset does; hidden files have none."""
    folder, slash, file = name.rpartition("/")
    if file.startswith("."):
        return "", ""
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def _label(file: BinaryIO, member: Member, layout: Layout, url: str) -> str:
    """What a label's member says; "" for a .json without the field."""
    where = f"{url}, {member.name}"
    if member.size > MAX_LABEL_BYTES:
        raise ValueError(f"{where} has {member.size} bytes; a label or its .json may have {MAX_LABEL_BYTES}")
    file.seek(member.offset)
    try:
        text = file.read(member.size).decode("utf-8-sig").strip()
        if member.name.lower().endswith("json"):
            content = json.loads(text)
            text = ""
            if isinstance(content, dict) and layout.field in content:
                value = content[layout.field]
                if isinstance(value, bool) or not isinstance(value, str | int):
                    raise ValueError(f"{layout.field} is {value!r}; expected a class name or number")
                text = str(value).strip()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: no label can be read ({error})") from error
    if len(text) > MAX_NAME or "\n" in text or "\0" in text:
        raise ValueError(f"{where}: {text[:50]!r}... is no class name or number")
    return text


def _check_pairs(images: Mapping[str, Member], labels: Mapping[str, str], layout: Layout, url: str) -> None:
    if not images:
        raise ValueError(f"{url} holds no images ({', '.join(layout.images)}); other extensions go into task.image")
    bare = [member.name for key, member in images.items() if key not in labels]
    if bare:
        raise ValueError(
            f"{url}: {len(bare)} of {len(images)} images have no label (first: {bare[0]}); expected a .{layout.label} "
            f"of the same key, or a .json with the field {layout.field!r} (task.label, task.label_field)"
        )
    lost = [key for key in labels if key not in images]
    if lost:
        raise ValueError(
            f"{url}: {len(lost)} labels have no image ({', '.join(layout.images)}) of their key (first: {lost[0]})"
        )


def _read_index(shard: Shard, layout: Layout, folder: Path, spool: Spool) -> ShardIndex:
    asked = hashlib.sha256(json.dumps([FORMAT, layout.images, layout.label, layout.field]).encode()).hexdigest()[:8]
    path = folder / f"{shard.key}-{asked}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return ShardIndex(*(stored[name] for name in ShardIndex._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none yet, or half of one
    held = is_remote(shard.url) and spool.keep > 0
    with spool.opened(f"{shard.key}.tar", partial(fetch, shard)) if held else opened(shard.url) as tar:
        index = make_index(tar, shard, layout)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("wb") as out:
        np.savez(out, **index._asdict())
    unfinished.replace(path)
    return index


def _by_name(index: ShardIndex) -> ShardIndex:
    order = np.argsort(index.members, kind="stable")
    return ShardIndex(index.members[order], index.labels[order], index.offsets[order], index.sizes[order])


def _names(urls: Sequence[str]) -> list[str]:
    """What follows the part common to all, without queries; with a hash where only queries tell them apart."""
    plain = [re.sub(r"\?.*", "", url) if is_remote(url) else url for url in urls]
    parts = [PurePosixPath(url).parts for url in plain]
    common = 0
    while all(common < len(row) - 1 and row[common] == parts[0][common] for row in parts):
        common += 1
    names = ["/".join(row[common:]) for row in parts]
    if len(set(names)) == len(names):
        return names
    return [f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}" for name, url in zip(names, urls, strict=True)]
