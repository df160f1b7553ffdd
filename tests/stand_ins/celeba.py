"""A small CelebA: attributes and partition as CSV, or as the authors' text files, and images in img_align_celeba."""

import csv
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

COUNTS = {  # (Blond_Hair, Male): train, validation, test
    (-1, -1): (5, 2, 3),
    (-1, 1): (5, 2, 3),
    (1, -1): (4, 2, 2),
    (1, 1): (1, 1, 2),
}
ATTRIBUTES = ("Bald", "Blond_Hair", "Male", "Young")  # of the forty


def make(root: Path) -> dict[str, object]:
    """Write the form with CSV files below `root`; the options of the task."""
    attributes, partition = _write_images(root / "img_align_celeba")
    for name, header, rows in (
        ("list_attr_celeba.csv", ["image_id", *ATTRIBUTES], attributes),
        ("list_eval_partition.csv", ["image_id", "partition"], partition),
    ):
        with (root / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    return {"root": str(root)}


def make_text(root: Path) -> dict[str, object]:
    """Write the authors' folders Anno, Eval and Img with text files below `root`; the options of the task."""
    attributes, partition = _write_images(root / "Img" / "img_align_celeba")
    for folder in ("Anno", "Eval"):
        (root / folder).mkdir()
    lines = [str(len(attributes)), " ".join(ATTRIBUTES), *_aligned(attributes)]
    (root / "Anno" / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "Eval" / "list_eval_partition.txt").write_text("\n".join(_aligned(partition)) + "\n", encoding="utf-8")
    return {"root": str(root)}


def _write_images(folder: Path) -> tuple[list[list[object]], list[list[object]]]:
    folder.mkdir(parents=True)
    attributes: list[list[object]] = []
    partition: list[list[object]] = []
    for (blond, male), counts in COUNTS.items():
        for split, count in enumerate(counts):
            for _ in range(count):
                name = f"{len(attributes) + 1:06d}.jpg"
                shade = (100 + 100 * blond, 6 * len(attributes), 100 + 100 * male)
                Image.new("RGB", (18, 22), shade).save(folder / name, quality=95)
                attributes.append([name, -1, blond, male, 1])
                partition.append([name, split])
    return attributes, partition


def _aligned(rows: list[list[object]]) -> Iterator[str]:
    for name, *values in rows:
        yield " ".join([str(name), *(f"{value!s:>2}" for value in values)])
