"""A data set as `save_to_disk` of the library `datasets` writes it: images as bytes, labels with class names."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "eel")


def image(seed: int, label: int) -> bytes:
    """A small noisy PNG whose colour tells its class; no two are equal."""
    draw = np.random.default_rng(seed)
    pixels = draw.normal(0, 30, (20, 24, 3)) + np.eye(3)[label % 3] * 180
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def rows(start: int, count: int, **columns: Any) -> Any:
    """`count` rows, row i of class i % 3; `columns` are functions of i."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    keys = range(start, start + count)
    found: dict[str, list[Any]] = {
        "image": [{"bytes": image(key, key % 3), "path": None} for key in keys],
        "label": [key % 3 for key in keys],
    }
    for name, value in columns.items():
        features[name] = datasets.Value("string")
        found[name] = [value(key) for key in keys]
    return datasets.Dataset.from_dict(found, features=features)


def splits() -> dict[str, Any]:
    return {"train": rows(0, 24), "validation": rows(100, 6), "test": rows(200, 6), "sketch": rows(300, 6)}


def make(root: Path) -> dict[str, object]:
    """Splits train, validation and test, and the shift sketch."""
    import datasets

    datasets.disable_progress_bars()
    datasets.DatasetDict(splits()).save_to_disk(str(root / "saved"))
    return {"root": str(root / "saved"), "shifts": ["sketch"]}
