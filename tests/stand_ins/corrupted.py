"""A small folder of images for the task that corrupts others: train, validation, test and the shift `dim`."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30)}
COUNTS = {"train": 4, "validation": 2, "test": 6, "dim": 2}


def make(root: Path) -> dict[str, object]:
    """Write the images and return the task's options."""
    draw = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.normal(0, 30, (40, 36, 3)) + np.array(colour) * (0.4 if split == "dim" else 1)
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return {"root": str(root)}
