"""A small iWildCam and a small FMoW in the layout of WILDS."""

import csv
from pathlib import Path

from PIL import Image

ANIMALS = {0: "empty", 1: "tayassu pecari", 2: "panthera onca"}
ROWS = {"train": 6, "id_val": 3, "id_test": 3, "val": 2, "test": 4}  # of iWildCam, split: rows
PLACES = ("USA", "FRA", "KEN", "ATA", "XXX")  # ATA has no region, XXX stands in no list
LAND = ("airport", "crop_field", "zoo")
STAMPS = {  # of FMoW, (split, year): rows
    ("train", 2010): 6,
    ("train", 2014): 1,
    ("val", 2011): 3,
    ("val", 2014): 2,
    ("test", 2012): 5,
    ("seq", 2012): 2,
    ("test", 2015): 1,
    ("test", 2016): 5,
    ("test", 2017): 1,
}


def make(root: Path) -> dict[str, object]:
    """Write iWildCam below `root`; the options of the task."""
    rows: list[list[object]] = []
    for camera, (split, count) in enumerate(ROWS.items()):
        for at in range(count):
            name = f"{len(rows):08x}-21bc-11ea-a13a-137349068a90.jpg"
            _picture(root / "train" / name, len(rows))
            rows.append([len(rows), split, camera, at % 3, f"2013-05-0{at + 1} 12:00:00.000", name])
    header = ["", "split", "location_remapped", "y", "datetime", "filename"]
    _table(root / "metadata.csv", [header, *rows])
    names = [[100 + number, number, name] for number, name in ANIMALS.items()]
    _table(root / "categories.csv", [["category_id", "y", "name"], *names, [300, 99999, "ursus arctos"]])
    return {"root": str(root), "dataset": "iwildcam"}


def make_fmow(root: Path) -> dict[str, object]:
    """Write FMoW below `root`; the options of the task."""
    rows: list[list[object]] = []
    for (split, year), count in STAMPS.items():
        for at in range(count):
            if split != "seq":
                _picture(root / "images" / f"rgb_img_{len(rows)}.png", len(rows))
            country = PLACES[at % len(PLACES)]
            rows.append([split, LAND[at % 3], f"{year}-0{at + 1}-12T09:23:34Z", country])
    _table(root / "rgb_metadata.csv", [["split", "category", "timestamp", "country_code"], *rows])
    regions = [["United States of America", "USA", "Americas"], ["France", "FRA", "Europe"], ["Kenya", "KEN", "Africa"]]
    _table(root / "country_code_mapping.csv", [["name", "alpha-3", "region"], *regions, ["Antarctica", "ATA", ""]])
    return {"root": str(root), "dataset": "fmow"}


def _picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (8 * number, 80, 200 - 6 * number)).save(file)


def _table(file: Path, rows: list[list[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows(rows)
