"""Predictions for image files: finds images in folders, classifies them, writes a table, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from surefoot.classifier import Classifier, Prediction
from surefoot.data.manifest import IMAGE_SUFFIXES
from surefoot.run_folder import classifier_folder


@dataclass(frozen=True)
class Predicted:
    """An image file and what it was taken for."""

    path: Path
    prediction: Prediction


def predict_paths(classifier: str | Path, paths: Sequence[str | Path], *, top_k: int = 1) -> list[Predicted]:
    """Classify image files and all images below folders, in sorted order.

    Raises ValueError where a path is missing, holds no image, or an image cannot be read.
    """
    images = [image for path in paths for image in image_files(Path(path))]
    model = Classifier.from_pretrained(classifier_folder(Path(classifier)))
    found = model.predict(images, top_k=top_k)
    return [Predicted(path, prediction) for path, prediction in zip(images, found, strict=True)]


def image_files(path: Path) -> list[Path]:
    """The file itself, or the images below a folder. ValueError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; give images or folders of images")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not found:
        raise ValueError(f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def written(found: Sequence[Predicted], form: str) -> str:
    """The predictions as "table", "csv" or "json", probabilities in [0, 1]."""
    if form == "json":
        entries = [
            {
                "image": str(item.path),
                "label": item.prediction.label,
                "probability": item.prediction.probability,
                "top": [{"label": label, "probability": p} for label, p in item.prediction.top],
            }
            for item in found
        ]
        return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    if form == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "rank", "label", "probability"])
        writer.writerows(_rows(found))
        return file.getvalue()
    width = max((len(str(item.path)) for item in found), default=0)
    return "".join(f"{path:<{width}}  {rank}  {p:6.1%}  {label}\n" for path, rank, label, p in _rows(found))


def _rows(found: Sequence[Predicted]) -> Iterator[tuple[str, int, str, float]]:
    for item in found:
        for rank, (label, probability) in enumerate(item.prediction.top, start=1):
            yield str(item.path), rank, label, probability
