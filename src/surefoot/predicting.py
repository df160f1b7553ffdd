"""Predictions for image files: finds images, classifies them, may abstain, writes a table, CSV, JSON or Arrow."""

import csv
import glob
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from surefoot.classifier import Classifier, Prediction
from surefoot.data.manifest import IMAGE_SUFFIXES
from surefoot.evaluation.abstention import Abstention, abstention_for
from surefoot.run_folder import RunFolder, classifier_folder

NOTHING = ""  # the label of an image that the classifier says nothing about
CONFIDENCE = "validation.calibrated_confidence"  # in predictions.npz


@dataclass(frozen=True)
class Predicted:
    """An image file and what it was taken for; `abstained` where that was not certain enough to be said."""

    path: Path
    prediction: Prediction
    abstained: bool = False

    @property
    def label(self) -> str:
        return NOTHING if self.abstained else self.prediction.label


def predict_images(
    model: Classifier, images: Sequence[Path], *, top_k: int = 1, batch_size: int = 64, threshold: float = 0.0
) -> list[Predicted]:
    """Classify image files (`image_files`) in order, so many at a time.

    Where the calibrated probability is below `threshold` (see `abstention`), the classifier abstains. Raises ValueError
    where an image cannot be read.
    """
    found = model.predict(images, top_k=top_k, batch_size=batch_size)
    return [Predicted(path, made, made.probability < threshold) for path, made in zip(images, found, strict=True)]


def abstention(run: str | Path, risk: float) -> Abstention:
    """The threshold at which a run's answers on its validation images were wrong in at most a share `risk` of cases.

    Raises ValueError where the run is unfinished or older than this, or the folder that of a classifier alone.
    """
    folder = Path(run)
    inside = classifier_folder(folder)
    if inside == folder and not (folder / "predictions.npz").is_file():
        folder = folder.parent
    if not (folder / "predictions.npz").is_file():
        raise ValueError(
            f"abstain_risk={risk}: {run} has no predictions.npz with the validation images; give the folder of a run"
        )
    arrays = RunFolder(folder).predictions()
    if CONFIDENCE not in arrays:
        raise ValueError(
            f"abstain_risk={risk}: {folder / 'predictions.npz'} was written by an older Surefoot, without calibrated "
            "confidences; train or blend again"
        )
    right = arrays["validation.label"] == arrays["validation.prediction"]
    return abstention_for(arrays[CONFIDENCE], right, risk)


def image_files(path: Path) -> list[Path]:
    """The file itself, the images below a folder, or the files that a pattern such as `a/**/*.png` matches, sorted.

    ValueError where there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        if glob.has_magic(str(path)) and not matches:
            raise ValueError(f"{path} matches no file; give images, folders of images, or another pattern")
        if not matches:
            raise ValueError(f"{path} does not exist; give images or folders of images")
        files = [match for match in matches if match.is_file()]
        if not files:
            raise ValueError(f"{path} matches folders only; to go into them, end the pattern with /*")
        return files
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not found:
        raise ValueError(f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def listed(lines: Iterable[str]) -> list[Path]:
    """Paths that stand one a line, as `find` prints them; empty lines do not count. ValueError where there is none."""
    found = [Path(line.rstrip("\r\n")) for line in lines if line.strip()]
    if not found:
        raise ValueError("'-': standard input names no image; give one path a line")
    return found


def written(found: Sequence[Predicted], form: str) -> str:
    """The predictions as "table", "csv", "json" or "jsonl" (one object a line), probabilities in [0, 1].

    An image that the classifier abstains from has the label "" and, in a table, a dash.
    """
    if form == "json":
        return json.dumps([_entry(item) for item in found], indent=1, ensure_ascii=False) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(_entry(item), ensure_ascii=False) + "\n" for item in found)
    if form == "csv":
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "rank", "label", "probability"])
        writer.writerows(_rows(found))
        return file.getvalue()
    width = max((len(str(item.path)) for item in found), default=0)
    return "".join(f"{path:<{width}}  {rank}  {p:6.1%}  {label or '-'}\n" for path, rank, label, p in _rows(found))


def write_arrow(found: Sequence[Predicted], path: Path) -> None:
    """An Arrow file (IPC, also called Feather 2): image, label, probability, abstained, top (label, probability).

    ValueError where pyarrow is missing.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise ValueError("format=arrow needs pyarrow; pip install 'surefoot[parquet]'") from None
    one = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    kinds = {"image": pa.string(), "label": pa.string(), "probability": pa.float32(), "abstained": pa.bool_()}
    schema = pa.schema([*kinds.items(), ("top", pa.list_(one))])
    table = pa.Table.from_pylist([_entry(item) for item in found], schema=schema)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_table(table)


def _entry(item: Predicted) -> dict[str, object]:
    return {
        "image": str(item.path),
        "label": item.label,
        "probability": item.prediction.probability,
        "abstained": item.abstained,
        "top": [{"label": label, "probability": p} for label, p in item.prediction.top],
    }


def _rows(found: Sequence[Predicted]) -> Iterator[tuple[str, int, str, float]]:
    """A row for each of the top classes; one alone, with no label, where the classifier abstains."""
    for item in found:
        shown = [(NOTHING, item.prediction.probability)] if item.abstained else item.prediction.top
        for rank, (label, probability) in enumerate(shown, start=1):
            yield str(item.path), rank, label, probability
