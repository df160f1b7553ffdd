"""How fast `surefoot check` is, and how fast a large folder opens. Prints JSON.

Two tasks, both made in a temporary folder and removed afterwards:
  check    small JPEGs on the disk (a few different pictures, each file with a comment of its own, so that all bytes
           differ), examined twice by a process of its own: first nothing is known, then everything is remembered
  listing  folders without a file in them whose listing is in the cache, as it stands there after a first look

    python benchmarks/check.py --files 100000 --listed 1300000
"""

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from surefoot.checking import check
from surefoot.data.cache import Cache, FolderRow
from surefoot.run import load_task

SIDE, PICTURES, CLASSES = 64, 50, 100
SETTLE = 2.2  # seconds after which a file is remembered


def pictures() -> list[bytes]:
    """JPEGs of soft random pictures."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(PICTURES):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def write_files(root: Path, count: int) -> None:
    """`count` files in train, validation and test."""
    made = pictures()
    folders = [root / split / f"kind {i}" for split in ("train", "validation", "test") for i in range(CLASSES)]
    for folder in folders:
        folder.mkdir(parents=True)
    for i in range(count):
        data, comment = made[i % PICTURES], str(i).encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folders[i % len(folders)] / f"{i}.jpg").write_bytes(data[:2] + segment + data[2:])
    time.sleep(SETTLE)


def write_listing(root: Path, count: int) -> None:
    """A thousand class folders, empty, and a cache that lists `count` files in them, a few in validation and test."""
    kinds, rows = 1000, []
    (root / "train").mkdir(parents=True)
    for split, share in (("train", count - 100 * kinds), ("validation", 50 * kinds), ("test", 50 * kinds)):
        for i in range(kinds):
            folder = root / split / f"kind {i}"
            folder.mkdir(parents=True)
            names = "/".join(f"ILSVRC_{i:08}_{k:08}.JPEG" for k in range(share // kinds))
            rows.append((f"{split}/kind {i}/", b"", names.encode()))
    for path in ("", "train/", "validation/", "test/"):
        subfolders = sorted(entry.name for entry in (root / path).iterdir())
        rows.append((path, "/".join(subfolders).encode(), b""))
    time.sleep(SETTLE)
    Cache(root).keep_folders([FolderRow(p.encode(), os.stat(root / p).st_mtime_ns, s, n) for p, s, n in rows])


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = act()
    return time.perf_counter() - start, found


def megabytes() -> dict[str, int]:
    return {
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "memory_of_largest_worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


def inside(part: str, root: str) -> dict[str, Any]:
    """What the process of its own measures, importing the library aside; CPU seconds are the main process's."""
    before = time.process_time()
    if part == "open":
        seconds, task = timed(lambda: load_task("folder", options={"root": root}))
        files = sum(map(len, task.splits().values()))
    else:
        seconds, found = timed(lambda: check({"task": root}))
        files = sum(split.images for split in found.report.splits.values())
    spent = {"seconds": round(seconds, 2), "cpu_seconds": round(time.process_time() - before, 2)}
    return {"files": files, **spent, "files_per_second": round(files / seconds), **megabytes()}


def alone(part: str, root: Path) -> dict[str, Any]:
    """`inside` in a fresh process."""
    whole, done = timed(
        lambda: subprocess.run([sys.executable, __file__, "--inside", part, str(root)], capture_output=True, check=True)
    )
    return {**json.loads(done.stdout), "seconds_with_start": round(whole, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--listed", type=int, default=1_300_000)
    parser.add_argument("--inside", nargs=2, default=(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(inside(*options.inside)))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["SUREFOOT_CACHE"] = str(place / "cache")
        write_files(place / "photos", options.files)
        first, second = alone("check", place / "photos"), alone("check", place / "photos")
        write_listing(place / "large", options.listed)
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "bytes_a_file": round(sum(map(len, pictures())) / PICTURES),
            "check_first": first,
            "check_again": second,
            "open_listed": alone("open", place / "large"),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
