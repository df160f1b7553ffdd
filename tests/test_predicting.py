import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Prediction
from surefoot.data.prompts import Prompts
from surefoot.predicting import Predicted, abstention, image_files, listed, predict_images, write_arrow, written
from surefoot.run_folder import classifier_folder

CLASSES = ("red", "green", "blue, or nearly")
FOUND = [
    Predicted(Path("a.png"), Prediction("red", 0.75, (("red", 0.75), ("green", 0.2)))),
    Predicted(Path("folder/b.jpg"), Prediction(CLASSES[2], 0.5, ((CLASSES[2], 0.5), ("red", 0.4)))),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with no more than its classifier."""
    folder = tmp_path_factory.mktemp("run")
    prompts = Prompts(CLASSES, ("a {}",), ("a bright {}",))
    classifier = Classifier.zero_shot(load_backbone("tiny"), prompts)
    classifier.temperature = 4.0
    classifier.save_pretrained(folder / "classifier")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name in ("b.PNG", "a.jpg", "deeper/c.webp"):
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(root / name)
    (root / "notes.txt").write_text("no image")
    return root


def predict_paths(run: Path, paths: list[Path], **options: Any) -> list[Predicted]:
    images = [image for path in paths for image in image_files(path)]
    return predict_images(Classifier.from_pretrained(classifier_folder(run)), images, **options)


def test_all_images_below_a_folder_are_found_in_sorted_order(photos: Path) -> None:
    assert [path.relative_to(photos).as_posix() for path in image_files(photos)] == ["a.jpg", "b.PNG", "deeper/c.webp"]


def test_a_file_stands_for_itself_whatever_its_name(photos: Path) -> None:
    assert image_files(photos / "notes.txt") == [photos / "notes.txt"]


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.png does not exist; give images or folders of images"):
        image_files(tmp_path / "nothing.png")


def test_a_folder_without_images_is_named_with_the_known_endings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no image \(.*\.jpg.*\.png"):
        image_files(tmp_path)


def test_images_and_folders_are_classified_in_the_order_given(run: Path, photos: Path) -> None:
    found = predict_paths(run, [photos / "deeper" / "c.webp", photos], top_k=2)
    assert [item.path.name for item in found] == ["c.webp", "a.jpg", "b.PNG", "c.webp"]
    assert found[0].prediction == found[3].prediction
    assert all(len(item.prediction.top) == 2 for item in found)


def test_probabilities_are_those_of_the_saved_classifier_with_its_temperature(run: Path, photos: Path) -> None:
    classifier = Classifier.from_pretrained(run / "classifier")
    assert classifier.temperature == 4.0
    expected = classifier.predict([photos / "a.jpg"], top_k=3)
    (found,) = predict_paths(run, [photos / "a.jpg"], top_k=3)
    assert found.prediction == expected[0]
    assert sum(probability for _, probability in found.prediction.top) == pytest.approx(1)


def test_a_run_and_its_classifier_folder_are_both_a_classifier(run: Path, photos: Path) -> None:
    assert predict_paths(run, [photos]) == predict_paths(run / "classifier", [photos])


def test_a_folder_without_a_classifier_is_named(photos: Path) -> None:
    with pytest.raises(ValueError, match="is no saved classifier"):
        predict_paths(photos, [photos])


def test_all_files_that_are_no_images_are_named_at_once(run: Path, photos: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)2 of 3 images cannot be read.*notes\.txt.*notes\.txt"):
        predict_paths(run, [photos / "notes.txt", photos / "a.jpg", photos / "notes.txt"])


def test_the_table_has_a_line_for_each_class_shown() -> None:
    lines = written(FOUND, "table").splitlines()
    assert lines[0] == "a.png         1   75.0%  red"
    assert lines[3] == "folder/b.jpg  2   40.0%  red"
    assert len(lines) == 4


def test_csv_quotes_names_with_commas() -> None:
    rows = list(csv.DictReader(io.StringIO(written(FOUND, "csv"))))
    assert rows[2] == {"image": "folder/b.jpg", "rank": "1", "label": CLASSES[2], "probability": "0.5"}
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]


def test_json_has_an_entry_for_each_image() -> None:
    first, second = json.loads(written(FOUND, "json"))
    assert first == {
        "image": "a.png",
        "label": "red",
        "probability": 0.75,
        "abstained": False,
        "top": [{"label": "red", "probability": 0.75}, {"label": "green", "probability": 0.2}],
    }
    assert second["label"] == CLASSES[2]


@pytest.mark.parametrize(
    ("form", "text"), [("table", ""), ("csv", "image,rank,label,probability\n"), ("json", "[]\n"), ("jsonl", "")]
)
def test_of_no_images_nothing_is_written(form: str, text: str) -> None:
    assert written([], form) == text


def test_json_lines_have_the_entries_of_json_an_object_a_line() -> None:
    lines = written(FOUND, "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(written(FOUND, "json"))


def test_arrow_has_a_row_for_each_image(tmp_path: Path) -> None:
    import pyarrow as pa

    write_arrow([FOUND[0], replace(FOUND[1], abstained=True)], tmp_path / "found.arrow")
    rows = pa.ipc.open_file(tmp_path / "found.arrow").read_all().to_pylist()
    assert [(row["image"], row["label"], row["abstained"]) for row in rows] == [
        ("a.png", "red", False),
        (str(FOUND[1].path), "", True),
    ]
    assert rows[0]["top"][1] == {"label": "green", "probability": pytest.approx(0.2)}
    write_arrow([], tmp_path / "none.arrow")
    assert pa.ipc.open_file(tmp_path / "none.arrow").read_all().num_rows == 0


def test_an_image_that_nothing_is_said_of_has_no_label() -> None:
    silent = [replace(FOUND[0], abstained=True), FOUND[1]]
    assert written(silent, "table").splitlines()[0] == "a.png         1   75.0%  -"
    assert list(csv.reader(io.StringIO(written(silent, "csv"))))[1:3] == [
        ["a.png", "1", "", "0.75"],
        ["folder/b.jpg", "1", CLASSES[2], "0.5"],
    ]
    first = json.loads(written(silent, "json"))[0]
    assert (first["label"], first["abstained"], first["top"][0]["label"]) == ("", True, "red")


def test_below_the_threshold_the_classifier_abstains(run: Path, photos: Path) -> None:
    certain = predict_paths(run, [photos])
    middle = sorted(item.prediction.probability for item in certain)[1]
    found = predict_paths(run, [photos], threshold=middle)
    assert [item.abstained for item in found] == [item.prediction.probability < middle for item in certain]
    assert sum(item.abstained for item in found) == 1
    assert [item.prediction for item in found] == [item.prediction for item in certain]


def test_the_batch_size_changes_nothing(run: Path, photos: Path) -> None:
    for one, other in zip(predict_paths(run, [photos]), predict_paths(run, [photos], batch_size=1), strict=True):
        assert one.prediction.label == other.prediction.label
        assert one.prediction.probability == pytest.approx(other.prediction.probability, abs=1e-6)


def test_a_pattern_stands_for_the_files_that_it_matches(photos: Path) -> None:
    assert image_files(photos / "**" / "*.webp") == [photos / "deeper" / "c.webp"]
    assert [path.name for path in image_files(photos / "[ab].*")] == ["a.jpg", "b.PNG"]
    with pytest.raises(ValueError, match=r"\*\.bmp matches no file"):
        image_files(photos / "*.bmp")
    with pytest.raises(ValueError, match=r"deep\* matches folders only; .* end the pattern with /\*"):
        image_files(photos / "deep*")


def test_a_file_whose_name_looks_like_a_pattern_stands_for_itself(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(b"")
    assert image_files(tmp_path / "a[1].png") == [tmp_path / "a[1].png"]


def test_a_list_has_a_path_a_line() -> None:
    assert listed(["a b.png\n", "\n", "c.png\r\n"]) == [Path("a b.png"), Path("c.png")]
    with pytest.raises(ValueError, match="standard input names no image"):
        listed(["\n"])


def write_predictions(folder: Path, **arrays: list[float]) -> None:
    np.savez(folder / "predictions.npz", **{f"validation.{name}": np.array(values) for name, values in arrays.items()})


def test_the_threshold_comes_from_the_validation_images_of_the_run(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "classifier", tmp_path / "classifier")
    with pytest.raises(ValueError, match=r"abstain_risk=0\.1: .* has no predictions\.npz"):
        abstention(tmp_path, 0.1)
    write_predictions(tmp_path, label=[0, 1, 2], prediction=[0, 1, 0])
    with pytest.raises(ValueError, match="written by an older Surefoot"):
        abstention(tmp_path, 0.1)
    write_predictions(tmp_path, label=[0, 1, 2], prediction=[0, 1, 0], calibrated_confidence=[0.9, 0.7, 0.6])
    assert abstention(tmp_path, 0.1) == (0.7, pytest.approx(2 / 3), 0.0)
    assert abstention(tmp_path / "classifier", 0.1) == abstention(tmp_path, 0.1)
