"""Tar shards in webdataset's layout, as small as they can be: a .jpg or .png and a .cls or .json for each key."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "eel")


def image(seed: int, label: int, kind: str = "PNG") -> bytes:
    """A small noisy picture whose colour tells its class; no two are equal."""
    draw = np.random.default_rng(seed)
    pixels = draw.normal(0, 30, (20, 24, 3)) + np.eye(3)[label % 3] * 180
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(start: int, count: int, kind: str = "cls") -> list[tuple[str, bytes]]:
    """`count` samples from key `start` on, labelled by number (cls), name (txt) or in a .json."""
    members = []
    for key in range(start, start + count):
        label = key % 3
        told = {"cls": str(label), "txt": CLASSES[label], "json": json.dumps({"label": label, "key": f"{key:06d}"})}
        members += [(f"{key:06d}.png", image(key, label)), (f"{key:06d}.{kind}", told[kind].encode())]
    return members


def make(root: Path) -> dict[str, object]:
    """Four training shards, one to validate, one to test, one shift; class names in a classes.yaml."""
    for shard in range(4):
        write_tar(root / "shards" / f"train-{shard:03d}.tar", samples(100 * shard, 9))
    write_tar(root / "shards" / "val.tar", samples(1000, 6))
    write_tar(root / "shards" / "test.tar", samples(2000, 6))
    write_tar(root / "shards" / "night" / "000.tar", samples(3000, 6, kind="json"))
    (root / "shards" / "classes.yaml").write_text("classes: [cat, dog, eel]\n", encoding="utf-8")
    return {
        "root": str(root / "shards"),
        "train": "train-{000..003}.tar",
        "validation": "val.tar",
        "test": "test.tar",
        "shifts": {"night": "night/*.tar"},
        "window": 2,
        "cache": str(root / "cache"),
    }
