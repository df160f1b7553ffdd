"""A stand-in for DomainBed: PACS and VLCS in the folders that its script makes, with a few generated images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((220, 40, 40), (40, 200, 40), (40, 40, 220))
DATA_SETS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "PACS": (("art_painting", "cartoon", "photo", "sketch"), ("dog", "elephant", "guitar")),
    "VLCS": (("Caltech101", "LabelMe", "SUN09", "VOC2007"), ("bird", "car")),
    "office_home": (("Art", "Clipart", "Product", "Real World"), ("Alarm_Clock", "Backpack")),
    "terra_incognita": (("location_100", "location_38", "location_43", "location_46"), ("bobcat", "empty")),
    "domain_net": (("clipart", "infograph", "painting", "quickdraw", "real", "sketch"), ("airplane", "t-shirt")),
}


def fill(root: Path, folder: str, *, images: int = 5) -> None:
    """One data set under `root`: `images` pictures a class and domain, each class its colour, each domain its light."""
    domains, classes = DATA_SETS[folder]
    draw = np.random.default_rng(0)
    for number, domain in enumerate(domains):
        for colour, name in zip(COLOURS, classes, strict=False):
            place = root / folder / domain / name
            place.mkdir(parents=True)
            for i in range(images):
                pixels = draw.normal(0, 30, (18, 22, 3)) + (1 - 0.15 * number) * np.array(colour)
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"pic_{i:03}.jpg", quality=95)


def make(root: Path) -> dict[str, object]:
    """PACS and VLCS under `root`; the options of the task that leaves PACS' sketches out."""
    for folder in ("PACS", "VLCS"):
        fill(root, folder)
    return {"root": str(root), "dataset": "PACS", "target": "sketch"}
