"""A small Waterbirds: the folder that the authors' archive unpacks to, with few images of each group and split."""

import csv
from pathlib import Path

from PIL import Image

SPECIES = {0: "001.Black_footed_Albatross", 1: "002.Laysan_Albatross"}
COUNTS = {  # (y, place): train, validation, test
    (0, 0): (6, 2, 3),
    (0, 1): (1, 2, 3),
    (1, 0): (1, 2, 2),
    (1, 1): (4, 2, 2),
}


def make(root: Path) -> dict[str, object]:
    """Write it below `root`; the options of the task."""
    folder = root / "waterbird_complete95_forest2water2"
    rows: list[list[object]] = []
    for (bird, place), counts in COUNTS.items():
        for split, count in enumerate(counts):
            for _ in range(count):
                number = len(rows) + 1
                file = folder / SPECIES[bird] / f"{SPECIES[bird][4:]}_{number:04d}_{700000 + number}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (24, 20), (200 * bird, 6 * number, 200 * place)).save(file, quality=95)
                name = str(file.relative_to(folder))
                rows.append([number, name, bird, split, place, f"/o/ocean/{number:08d}.jpg"])
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["img_id", "img_filename", "y", "split", "place", "place_filename"], *rows])
    return {"root": str(root)}
