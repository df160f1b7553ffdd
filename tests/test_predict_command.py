"""`surefoot predict`, `export`, `card` and `push`: what they say and how they exit."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import surefoot
from surefoot.cli import app


def run(*words: str | Path, given: str = "") -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=given)


@pytest.fixture(scope="module")
def trained(quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    surefoot.train(folder, {**quick, "method": "fine_tune", "engine.epochs": 20})
    return folder


def test_paths_come_from_standard_input_too(trained: Path, squares: Path) -> None:
    images = sorted((squares / "test").rglob("*.png"))
    done = run("predict", trained, "-", "--format", "jsonl", given="\n".join(map(str, images)) + "\n")
    assert done.exit_code == 0, done.stderr
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [str(path) for path in images]
    assert done.stderr.startswith("15 images in ")
    assert " a second)" in done.stderr


def test_the_speed_is_that_of_the_images_and_not_of_opening_the_run(
    trained: Path, squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = surefoot.Classifier.from_pretrained

    def slowly(folder: Path) -> surefoot.Classifier:
        time.sleep(2)
        return opened(folder)

    monkeypatch.setattr(surefoot.Classifier, "from_pretrained", slowly)
    begun = time.perf_counter()
    done = run("predict", trained, squares / "test", "--format", "json")
    assert time.perf_counter() - begun > 2
    assert float(done.stderr.split(" images in ")[1].split()[0]) < time.perf_counter() - begun - 1.9


def test_abstaining_keeps_the_risk_on_validation_and_says_so(trained: Path, squares: Path) -> None:
    done = run("predict", trained, squares / "validation", "--abstain-risk", "0.1", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert "abstaining below 0." in done.stderr
    entries = json.loads(done.stdout)
    answered = [entry for entry in entries if not entry["abstained"]]
    wrong = [entry for entry in answered if entry["label"] != Path(entry["image"]).parent.name]
    assert answered
    assert len(wrong) <= 0.1 * len(answered)


def test_calibrated_confidences_are_in_the_file_of_predictions(trained: Path) -> None:
    import numpy as np

    arrays = np.load(trained / "predictions.npz")
    temperature = json.loads((trained / "results.json").read_text())["temperature"]
    for split in ("validation", "test", "dim"):
        plain, calibrated = arrays[f"{split}.confidence"], arrays[f"{split}.calibrated_confidence"]
        assert plain.shape == calibrated.shape
        assert ((calibrated < plain) == (temperature > 1)).mean() > 0.9


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "x", "y", "--format", "arrow"], "give a file with --output"),
        (["predict", "x", "y", "-o", "no/such/folder/x.csv"], "its folder is not there"),
        (["predict", "x", "y", "--format", "yaml"], "'jsonl'"),
        (["predict", "x", "y", "--abstain-risk", "2"], "abstain-risk"),
        (["export", "x"], "Missing option '--to'"),
        (["export", "x", "--to", "onx"], "'onnx'"),
        (["export", "x", "--to", "onnx", "-o", "x.pt"], "give a name that ends in .onnx"),
        (["push", "x"], "Missing argument"),
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], told: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert told in done.stderr


@pytest.mark.parametrize("verb", ["export", "card", "push"])
def test_what_is_missing_exits_with_1(verb: str, tmp_path: Path) -> None:
    more = {"export": ["--to", "head"], "card": [], "push": ["me/x"]}[verb]
    done = run(verb, tmp_path / "nothing", *more)
    assert done.exit_code == 1
    assert "nothing" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_export_says_where_it_went(trained: Path, tmp_path: Path) -> None:
    done = run("export", trained, "--to", "head")
    assert done.exit_code == 0
    assert done.stdout == f"Written to {trained.parent / 'run-head.safetensors'}\n"
    assert done.stderr.startswith("note: features: length 1")


def test_the_card_is_printed_or_written(trained: Path, tmp_path: Path) -> None:
    printed = run("card", trained, "--licence", "mit").stdout
    assert run("card", trained, "--license", "mit", "-o", tmp_path / "card.md").exit_code == 0
    assert (tmp_path / "card.md").read_text() == printed.removesuffix("\n")
    assert "license: mit" in printed
