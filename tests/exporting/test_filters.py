"""Every export reads images as the model was trained to: the filter of the resizing is its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.exporting import Format, export

RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


@pytest.fixture(scope="module", params=["bilinear", "bicubic"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def run(kind: str, make_clip: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier of a CLIP whose images were resized so."""
    folder = tmp_path_factory.mktemp(kind)
    make_clip(folder / "clip")
    path = folder / "clip" / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"]["resample"] = RESAMPLE[kind]
    path.write_text(json.dumps(content))
    backbone = load_backbone(str(folder / "clip"))
    assert backbone.image_spec.filter == kind
    Classifier.zero_shot(backbone, Prompts(("cat", "dog"), ("a {}",), ("a {}",))).save_pretrained(folder / "classifier")
    return folder


def test_the_run_itself_keeps_it(run: Path, kind: str) -> None:
    assert Classifier.from_pretrained(run / "classifier").backbone.image_spec.filter == kind


@pytest.mark.parametrize("form", [Format.transformers, Format.image_classification])
def test_an_image_processor_of_transformers_has_it(run: Path, kind: str, form: Format, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    export(run, form, tmp_path / "out")
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").resample == RESAMPLE[kind]


def test_the_image_settings_of_open_clip_have_it(run: Path, kind: str, tmp_path: Path) -> None:
    export(run, Format.openclip, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())
    assert content["preprocess_cfg"]["interpolation"] == kind


def test_the_metadata_of_onnx_have_it(run: Path, kind: str, tmp_path: Path) -> None:
    import onnx

    export(run, Format.onnx, tmp_path / "out.onnx")
    (about,) = [json.loads(p.value) for p in onnx.load(tmp_path / "out.onnx").metadata_props if p.key == "surefoot"]
    assert about["interpolation"] == f"{kind}, antialiased"


def test_the_metadata_of_a_head_have_it(run: Path, kind: str, tmp_path: Path) -> None:
    export(run, Format.head, tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["images"])
    assert (about["interpolation"], about["size"]) == (f"{kind}, antialiased", 32)
