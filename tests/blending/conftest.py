"""Finished runs to blend, trained once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from surefoot.classifier import HEAD
from surefoot.measuring import evaluate
from surefoot.run import Run, train


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def fine_tuned(runs: Path, quick: dict[str, Any]) -> Run:
    """A run that went so far that its blends differ."""
    return train(runs / "ft", {**quick, "method": "fine_tune", "engine.epochs": 6, "engine.lr": 0.01})


@pytest.fixture(scope="session")
def zero_shot(runs: Path, quick: dict[str, Any]) -> Run:
    return train(runs / "zs", {**quick, "method": "zero_shot"})


@pytest.fixture(scope="session")
def siblings(runs: Path, quick: dict[str, Any]) -> list[Run]:
    """Three runs that differ by their seed."""
    settings = {**quick, "method": "fine_tune", "engine.lr": 0.01}
    return [train(runs / "fine_tune" / f"seed-{seed}", {**settings, "seed": seed}) for seed in range(3)]


@pytest.fixture(scope="session")
def contrastive(runs: Path, quick: dict[str, Any]) -> list[Run]:
    """Two runs with both towers trained and a head made from text."""
    settings = {**quick, "method": "flyp", "engine.lr": 0.003}
    return [train(runs / "flyp" / f"seed-{seed}", {**settings, "seed": seed}) for seed in range(2)]


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture(scope="session")
def with_head(fine_tuned: Run, squares: Path) -> Callable[[Path, Change], Path]:
    """Copies of the fine-tuned run with another head, and the accuracy on validation that this one has."""

    def make(folder: Path, change: Change) -> Path:
        shutil.copytree(fine_tuned.folder, folder)
        path = folder / "classifier" / HEAD
        save_file(change(load_file(path)), path, metadata={"format": "pt"})
        results = json.loads((folder / "results.json").read_text())
        results["splits"]["validation"] = evaluate(folder, {"task": str(squares), "data.workers": 0})["validation"]
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return make
