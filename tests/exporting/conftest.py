"""Classifiers on a very small CLIP, with heads of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import surefoot
from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Convention, Head
from surefoot.data.prompts import Prompts

CLASSES = ("cat", "dog", "red bird")
MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A folder with `classifier/`: its head made by text from `templates`, or drawn (`convention`)."""

    def make(*, templates: tuple[str, ...] = ("a {}",), convention: Convention | None = None) -> Path:
        backbone = load_backbone(str(clip_folder))
        prompts = Prompts(CLASSES, templates, ("a {}",))
        head = Head.zero_shot(backbone, prompts)
        if convention is not None:
            draw = torch.Generator().manual_seed(1)
            weight, bias = torch.randn(3, backbone.dim, generator=draw), torch.randn(3, generator=draw)
            scale = torch.tensor(7.0 if convention == "unit" else 1.0)
            weight = weight * (0.02 if convention == "linear" else 3.0)
            head = Head(weight, bias=bias * (convention != "unit"), scale=scale, convention=convention)
        classifier = Classifier(backbone, head, classes=CLASSES, templates=templates, temperature=1.7)
        folder = tmp_path_factory.mktemp("run")
        classifier.save_pretrained(folder / "classifier")
        return folder

    return make


@pytest.fixture(scope="session")
def finished(squares: Path, make_clip: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a very small CLIP on the squares."""
    start = tmp_path_factory.mktemp("start") / "small-clip"
    make_clip(start, context=48)
    folder = tmp_path_factory.mktemp("runs") / "seed-0"
    settings = {
        "task": str(squares),
        "backbone": str(start),
        "method": "flyp",
        "engine.lr": 1e-3,
        "engine.batch_size": 12,
        "engine.epochs": 1,
        "engine.precision": "32",
        "data.workers": 0,
        "task.templates": "[a {}]",
    }
    surefoot.train(folder, {**settings, "task.templates": ["a {}"]})
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four PNGs of exactly the size that the small CLIP reads."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.fromarray(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths
