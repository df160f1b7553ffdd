"""What a run does before it trains; resuming, comparing and blending have their own files."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from surefoot.data.images import UnreadableImage
from surefoot.run import load_task, train


def test_a_broken_test_image_is_told_before_training_and_its_removal_is_accepted(
    quick: dict[str, Any], squares: Path, tmp_path: Path
) -> None:
    shutil.copytree(squares, tmp_path / "squares")
    settings = {**quick, "task": str(tmp_path / "squares")}
    for broken in ("train/red/0.png", "dim/blue/1.png"):
        (tmp_path / "squares" / broken).write_bytes(b"")
    with pytest.raises(UnreadableImage, match=r"train/red/0\.png(.|\n)*dim/blue/1\.png"):
        train(tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()
    for broken in ("train/red/0.png", "dim/blue/1.png"):
        (tmp_path / "squares" / broken).unlink()
    assert train(tmp_path / "run", settings).results["splits"]["dim"]["count"] == 14


def test_what_could_not_be_built_leaves_no_folder_that_refuses_the_next_try(
    quick: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model of type 'bert'"):
        train(tmp_path / "run", {**quick, "backbone": str(tmp_path / "model")})
    assert train(tmp_path / "run", {**quick, "method": "zero_shot"}).results["method"] == "zero_shot"


def test_a_folder_of_images_is_a_task_by_its_path(squares: Path) -> None:
    assert load_task(str(squares)).fingerprint() == load_task("folder", options={"root": str(squares)}).fingerprint()
