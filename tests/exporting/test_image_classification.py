from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from surefoot.classifier import Classifier, Head
from surefoot.exporting import Format, export
from surefoot.exporting.image_classification import as_image_classifier

every_head = pytest.mark.parametrize("convention", [None, "scaled", "unit", "linear"])


@every_head
def test_the_pipeline_gives_the_probabilities_of_any_head(
    make_run: Any, pictures: list[Path], tmp_path: Path, convention: Any
) -> None:
    from transformers import AutoModelForImageClassification, CLIPForImageClassification, pipeline

    run = make_run(convention=convention)
    notes = export(run, Format.image_classification, tmp_path / "out")
    assert "differ from the classifier's by at most" in notes[0]
    assert type(AutoModelForImageClassification.from_pretrained(tmp_path / "out")) is CLIPForImageClassification
    classify: Any = pipeline("image-classification", model=str(tmp_path / "out"))
    classifier = Classifier.from_pretrained(run / "classifier")
    for picture, prediction in zip(pictures, classifier.predict(pictures, top_k=3), strict=True):
        found = {entry["label"]: entry["score"] for entry in classify(str(picture), top_k=3)}
        assert found == pytest.approx(dict(prediction.top), abs=1e-4)


def test_the_wider_network_computes_the_states_of_the_tower(clip_folder: Path) -> None:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(clip_folder).eval()
    wide = as_image_classifier(model, Head.random(24, 3, seed=0), temperature=1.0)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.vision_model(pixel_values=images, output_hidden_states=True).hidden_states
        found = wide.vision_model(pixel_values=images, output_hidden_states=True).hidden_states
    for before, after in zip(expected, found[: len(expected)], strict=True):
        assert torch.allclose(after[..., :48], before, rtol=1e-5, atol=5e-4)
        mean = before.mean(-1, keepdim=True).expand(-1, -1, 24)
        assert torch.allclose(after[:, 1:, 48:], mean[:, 1:], rtol=1e-4, atol=5e-4)  # the patches carry no mark
        assert torch.allclose(after[:, 0, 52:], mean[:, 0, 4:], rtol=1e-4, atol=5e-4)
        assert torch.allclose((after[:, 0, 48] - after[:, 0, 49]) / 2, torch.tensor(3e-3), atol=5e-4)


@pytest.mark.parametrize("factor", [0.1, 1.0, 30.0])
def test_it_holds_for_small_and_for_large_states(clip_folder: Path, factor: float) -> None:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.no_grad():
        for layer in model.vision_model.encoder.layers:
            layer.mlp.fc2.weight *= factor
    head = Head(torch.randn(3, 24), bias=torch.zeros(3), scale=torch.tensor(20.0), convention="unit")
    wide = as_image_classifier(model, head, temperature=0.5)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = head(model.get_image_features(pixel_values=images).pooler_output) / 0.5
        found = wide(pixel_values=images).logits
    assert torch.allclose(found.softmax(-1), expected.softmax(-1), atol=1e-4)


def test_heads_without_room_for_the_mark_are_refused(make_clip: Callable[..., Any], tmp_path: Path) -> None:
    model = make_clip(tmp_path / "clip")
    model.config.projection_dim = 80
    with pytest.raises(ValueError, match=r"48 channels in heads of 24 and 80 features.*Use --to onnx"):
        as_image_classifier(model, Head.random(80, 3, seed=0), temperature=1.0)


def test_probabilities_that_differ_are_not_written(make_run: Any, tmp_path: Path) -> None:
    from surefoot.exporting.source import Source

    source = Source.open(make_run())
    with pytest.raises(ValueError, match=r"differ from the classifier's by up to .* nothing was written"):
        source.check("image-classification", lambda images: torch.full((len(images), 3), 1 / 3))
