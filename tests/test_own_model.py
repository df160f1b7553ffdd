"""A user's own JPEGs with a CLIP checkpoint in transformers' format, there and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import surefoot

THINGS = {"red square": (220, 40, 40), "green square": (40, 200, 40), "blue square": (40, 40, 220)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of classes with JPEGs of several sizes, one of them upright only by its EXIF note."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for name, colour in THINGS.items():
        (root / name).mkdir()
        for i in range(20):
            size = (60 + 7 * i, 90 - 2 * i)
            pixels = np.clip(draw.normal(0, 30, (*size, 3)) + np.array(colour), 0, 255).astype(np.uint8)
            exif = Image.Exif()
            exif[0x0112] = 6 if i == 0 else 1
            Image.fromarray(pixels).save(root / name / f"{i}.jpg", quality=90, exif=exif)
    return root


@pytest.fixture(scope="module")
def trained(photos: Path, make_clip: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    make_clip(checkpoint, context=48)
    folder = tmp_path_factory.mktemp("own") / "run"
    settings: dict[str, Any] = {
        "task": str(photos),
        "backbone": str(checkpoint),
        "method": "flyp",
        "engine.lr": 1e-3,
        "engine.batch_size": 12,
        "engine.epochs": 3,
        "data.workers": 0,
    }
    surefoot.train(folder, settings)
    return folder


def test_the_parts_of_one_folder_are_disjoint_and_stratified(photos: Path) -> None:
    task = surefoot.load_task("folder", options={"root": str(photos)})
    paths = [path for split in task.splits().values() for path in split.paths]
    assert len(paths) == len(set(paths)) == 60
    assert {name: len(split) for name, split in task.splits().items()} == {"train": 42, "validation": 6, "test": 12}
    for split in task.splits().values():
        assert len(set(np.bincount(split.labels).tolist())) == 1


def test_transformers_opens_the_result_and_computes_the_same_features(trained: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(trained / "classifier").eval()
    CLIPProcessor.from_pretrained(trained / "classifier")
    classifier = surefoot.Classifier.from_pretrained(trained / "classifier")
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = model.get_image_features(pixel_values=images).pooler_output
        ours = classifier.backbone.image.raw(images)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_head_of_a_text_made_classifier_is_what_transformers_gets_from_the_same_prompts(trained: Path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(trained / "classifier").eval()
    processor = CLIPProcessor.from_pretrained(trained / "classifier")
    classifier = surefoot.Classifier.from_pretrained(trained / "classifier")
    rows = []
    with torch.no_grad():
        for name in classifier.classes:
            sentences = [template.replace("{}", name) for template in classifier.templates]
            tokens = processor(text=sentences, return_tensors="pt", padding="max_length", truncation=True)
            features = model.get_text_features(**tokens).pooler_output
            rows.append(torch.nn.functional.normalize(features, dim=-1).mean(0))
        weight = torch.nn.functional.normalize(torch.stack(rows), dim=-1) * model.logit_scale.exp()
    assert torch.allclose(classifier.head.weight, weight, rtol=1e-4, atol=1e-4)


def test_predictions_are_calibrated_probabilities_of_the_named_classes(trained: Path, photos: Path) -> None:
    classifier = surefoot.Classifier.from_pretrained(trained / "classifier")
    predictions = classifier.predict(sorted((photos / "red square").glob("*.jpg")), top_k=3)
    assert len(predictions) == 20
    for prediction in predictions:
        assert {label for label, _ in prediction.top} == set(THINGS)
        assert sum(probability for _, probability in prediction.top) == pytest.approx(1, abs=1e-5)


def test_a_finished_model_can_be_the_start_of_another(trained: Path, photos: Path, tmp_path: Path) -> None:
    settings = {"task": str(photos), "backbone": str(trained / "classifier"), "method": "zero_shot"}
    again = surefoot.train(tmp_path / "again", settings)
    before = surefoot.evaluate(trained, {"task": str(photos)})
    assert again.results["splits"]["test"]["accuracy"] == before["test"]["accuracy"]
