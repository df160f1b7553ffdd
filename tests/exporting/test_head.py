import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from surefoot.backbones.base import unit
from surefoot.classifier import Classifier
from surefoot.exporting import Format, export


@pytest.mark.parametrize(("convention", "features"), [("scaled", "length 1"), ("unit", "length 1"), ("linear", "raw")])
def test_a_linear_layer_on_the_features_gives_the_calibrated_probabilities(
    make_run: Any, tmp_path: Path, convention: str, features: str
) -> None:
    run = make_run(convention=convention)
    export(run, Format.head, tmp_path / "head.safetensors")
    with safe_open(tmp_path / "head.safetensors", framework="pt") as file:
        about, weight, bias = file.metadata(), file.get_tensor("weight"), file.get_tensor("bias")
    assert json.loads(about["classes"]) == ["cat", "dog", "red bird"]
    assert about["features"] == features
    classifier = Classifier.from_pretrained(run / "classifier")
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = classifier.backbone.image.raw(images)
        x = raw if features == "raw" else unit(raw)
        assert torch.allclose((x @ weight.T + bias).softmax(-1), classifier.probabilities(images), atol=1e-6)


def test_a_file_of_another_ending_is_refused(make_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"head is one file; give a name that ends in \.safetensors"):
        export(make_run(), Format.head, tmp_path / "head.bin")
