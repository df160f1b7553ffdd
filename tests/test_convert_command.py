from pathlib import Path

import pytest
import torch
from transformers import CLIPModel
from typer.testing import CliRunner

from surefoot.classifier import Classifier
from surefoot.cli import app


@pytest.fixture
def old(clip_folder: Path, tmp_path: Path) -> Path:
    """The small CLIP as a state dict of transformers, with a head of WiSE-FT's kind."""
    state = CLIPModel.from_pretrained(clip_folder).state_dict()
    torch.save({**state, "classification_head.weight": torch.ones(2, 24)}, tmp_path / "old.pt")
    return tmp_path / "old.pt"


def test_it_writes_a_folder_and_says_what_it_left_out(old: Path, clip_folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["convert", str(old), "--like", str(clip_folder), "-o", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert "its head of 2 classes was left out" in done.output
    assert f"Written to {tmp_path / 'new'}" in done.output
    CLIPModel.from_pretrained(tmp_path / "new")


def test_with_names_it_writes_a_classifier(old: Path, clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    words = ["--like", str(clip_folder), "-o", str(tmp_path / "new"), "--classes", str(tmp_path / "names.txt")]
    done = CliRunner().invoke(app, ["convert", str(old), *words])
    assert done.exit_code == 0, done.output
    assert Classifier.from_pretrained(tmp_path / "new").classes == ("cat", "dog")


def test_what_fails_is_a_message_and_an_exit_code(clip_folder: Path, tmp_path: Path) -> None:
    torch.save(CLIPModel.from_pretrained(clip_folder), tmp_path / "whole.pt")
    words = ["convert", str(tmp_path / "whole.pt"), "--like", str(clip_folder), "-o", str(tmp_path / "new")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "surefoot: " in done.output
    assert "--allow-pickle" in done.output
    assert not (tmp_path / "new").exists()
    done = CliRunner().invoke(app, [*words, "--allow-pickle"])
    assert done.exit_code == 0, done.output
    assert "any code in it runs" in done.output
    CLIPModel.from_pretrained(tmp_path / "new")


def test_names_that_cannot_be_read_are_wrong_usage(old: Path, clip_folder: Path, tmp_path: Path) -> None:
    words = ["--like", str(clip_folder), "-o", str(tmp_path / "new"), "--classes", str(tmp_path / "missing.txt")]
    done = CliRunner().invoke(app, ["convert", str(old), *words])
    assert done.exit_code == 2
    assert "missing.txt" in done.output
