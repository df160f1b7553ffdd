"""Training, evaluating and opening again with a model of open_clip, on a small task."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("open_clip", reason="make test-openclip")

import surefoot

METHODS = [  # those that use different parts of a backbone
    ("fine_tune", "clip"),
    ("flyp", "clip"),
    ("fine_tune", "siglip"),
    ("flyp", "coca"),
    ("lp_ft", "resnet"),
    ("miro", "clip"),
    ("miro", "siglip"),
    ("r_adapter", "clip"),
    ("tracer", "siglip"),
    ("wise_ft", "eos"),
]


@pytest.mark.parametrize(("method", "kind"), METHODS)
def test_a_run_trains_and_its_classifier_opens_again(
    method: str, kind: str, quick: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    settings = {**quick, "backbone": str(folders[kind]), "method": method, "engine.lr": 1e-3}
    run = surefoot.train(tmp_path / "run", settings)
    assert set(run.results["splits"]) >= {"test", "dim"}
    classifier = surefoot.Classifier.from_pretrained(tmp_path / "run" / "classifier")
    started = surefoot.load_backbone(str(folders[kind])).state_dict()
    moved = {name for name, value in classifier.backbone.state_dict().items() if not torch.equal(value, started[name])}
    assert any(name.startswith("image.") for name in moved)
    assert any(name.startswith("text.") for name in moved) == (method in ("flyp", "tracer", "r_adapter"))
    assert not any("running" in name for name in moved)
    (prediction,) = classifier.predict([next((Path(quick["task"]) / "test" / "red").iterdir())])
    assert prediction.label in ("red", "green", "blue")


def test_it_learns(quick: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    settings = {**quick, "backbone": str(folders["clip"]), "engine.epochs": 20, "engine.lr": 1e-3}
    run = surefoot.train(tmp_path / "run", settings)
    assert run.results["splits"]["test"]["accuracy"] > 0.8


def test_a_frozen_tower_stays(quick: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    settings = {**quick, "backbone": str(folders["clip"]), "method": "linear_probe"}
    surefoot.train(tmp_path / "run", settings)
    classifier = surefoot.Classifier.from_pretrained(tmp_path / "run" / "classifier")
    started = surefoot.load_backbone(str(folders["clip"])).state_dict()
    assert all(torch.equal(value, started[name]) for name, value in classifier.backbone.state_dict().items())


def test_a_blend_reads_the_saved_weights(quick: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    settings = {**quick, "backbone": str(folders["clip"]), "engine.lr": 1e-3}
    surefoot.train(tmp_path / "run", settings)
    surefoot.blend(tmp_path / "run", tmp_path / "blend", alphas=[0.5])
    name = "image.visual.proj"
    half, end = (
        surefoot.Classifier.from_pretrained(tmp_path / which / "classifier").backbone.state_dict()[name]
        for which in ("blend", "run")
    )
    start = surefoot.load_backbone(str(folders["clip"])).state_dict()[name]
    assert torch.allclose(half, (start + end) / 2, atol=1e-6)
