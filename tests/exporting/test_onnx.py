"""onnxruntime against Surefoot, on the embedded model and images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data import images as pictures
from surefoot.data.prompts import Prompts
from surefoot.evaluation.metrics import expected_calibration_error
from surefoot.exporting import Format, export
from surefoot.exporting.onnx import NEEDED
from surefoot.run import load_task

IMAGES = 60


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    """The embedded model on the embedded task, calibrated, and its run folder."""
    prompts = Prompts.from_task(load_task())
    one = Prompts(prompts.classes, prompts.templates[:1], prompts.contexts, names=prompts.names)
    found = Classifier.zero_shot(load_backbone("iconclip"), one)
    found.temperature = 1.4
    folder = tmp_path_factory.mktemp("run")
    found.save_pretrained(folder / "classifier")
    return Classifier.from_pretrained(folder / "classifier"), folder


@pytest.fixture(scope="module")
def session(classifier: tuple[Classifier, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("onnx") / "icons.onnx"
    (note,) = export(classifier[1], Format.onnx, path)
    assert note.startswith("opset 18")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_probabilities_and_calibration_error_are_those_of_the_classifier(
    classifier: tuple[Classifier, Path], session: Any
) -> None:
    split, spec = load_task().tests["line"], classifier[0].backbone.image_spec
    opened = [pictures.open_image(split.source.read(path)) for path in split.paths[:IMAGES]]
    views = [pictures.evaluation_view(image, spec) for image in opened]
    images = pictures.normalise(torch.stack([pictures.to_tensor(view) for view in views]), spec)
    with torch.no_grad():
        expected = classifier[0].probabilities(images).numpy()
    found = np.concatenate([session.run(None, {"images": part.numpy()})[0] for part in images.split(37)])
    assert np.abs(found - expected).max() < 1e-4
    labels = split.labels[:IMAGES]
    ours, theirs = (expected_calibration_error(p.max(-1), p.argmax(-1) == labels, bins=15) for p in (expected, found))
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert (found.argmax(-1) == labels).mean() > 0.5


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_batch_may_have_any_size(session: Any, count: int) -> None:
    images = np.random.default_rng(0).normal(size=(count, 3, 64, 64)).astype(np.float32)
    (found,) = session.run(["probabilities"], {"images": images})
    assert found.shape == (count, 150)
    assert found.sum(-1) == pytest.approx(np.ones(count), abs=1e-4)


def test_the_file_says_how_an_image_becomes_its_input(classifier: tuple[Classifier, Path], session: Any) -> None:
    about = json.loads(session.get_modelmeta().custom_metadata_map["surefoot"])
    assert about["classes"] == list(classifier[0].classes)
    assert (about["size"], about["resize"], about["interpolation"]) == (64, 64, "bicubic, antialiased")
    assert (about["mean"], about["std"]) == ([0.5] * 3, [0.5] * 3)
    assert about["temperature"] == 1.4
    assert about["backbone"] == "iconclip"


def test_siglip_is_exported_with_its_way_to_look_at_images(siglip_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(siglip_folder))
    made = Classifier.zero_shot(backbone, Prompts(("cat", "dog"), ("a {}",), ("a {}",)))
    made.save_pretrained(tmp_path / "classifier")
    export(tmp_path, Format.onnx, tmp_path / "siglip.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "siglip.onnx"), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["surefoot"])
    assert "the whole image pressed into size" in about["input"]
    assert (about["size"], about["interpolation"]) == (16, "bilinear, antialiased")
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = made.eval().probabilities(images).numpy()
    assert np.abs(session.run(None, {"images": images.numpy()})[0] - expected).max() < 1e-4


def test_what_it_needs_is_told_before_anything_is_written(
    classifier: tuple[Classifier, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surefoot.exporting.onnx.NEEDED", (*NEEDED, "no_such_package"))
    with pytest.raises(ValueError, match=r"to=onnx needs no_such_package; pip install 'surefoot\[onnx\]'"):
        export(classifier[1], Format.onnx, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
