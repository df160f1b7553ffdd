"""A metadata.csv with columns of its own: animals indoors and outdoors."""

import csv
from pathlib import Path

from PIL import Image

COUNTS = {  # (y, place): train, val, test
    (0, "indoors"): (5, 2, 2),
    (0, "outdoors"): (1, 2, 2),
    (1, "indoors"): (1, 2, 2),
    (1, "outdoors"): (5, 2, 2),
}


def make(root: Path) -> dict[str, object]:
    """Write it below `root`; the options of the task."""
    (root / "pictures").mkdir(parents=True)
    rows: list[list[object]] = []
    for (label, place), counts in COUNTS.items():
        for split, count in zip(("train", "val", "test"), counts, strict=True):
            for _ in range(count):
                name = f"pictures/{len(rows):03d}.png"
                Image.new("RGB", (20, 20), (200 * label, 8 * len(rows), 90)).save(root / name)
                rows.append([name, label, split, place])
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "y", "split", "place"], *rows])
    return {"root": str(root), "groups": ["y", "place"], "classes": ["cat", "dog"]}
