"""`surefoot check` in Python: places before the task, what keeps it from loading, a tokenizer, the page."""

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from surefoot.checking import check

PLACED = """
from pathlib import Path
from surefoot.data.manifest import read_table
from surefoot.data.partition import Partition, make_task
from surefoot.data.places import Place
from surefoot.data.task import TaskSource

class Placed(TaskSource):
    class Config(TaskSource.Config):
        root: str = ""
    summary = "needs places"
    def places(self):
        return [
            Place("squares/train", "training images", "https://example.org/get", "for research only"),
            Place("names.txt", "class names", "https://example.org/names", "not stated", needed=False),
        ]
    def load(self):
        table = read_table(str(Path(self.config.root) / "squares"))
        return make_task("placed", table, Partition(), templates=("a {}",), contexts=())
"""


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A task plug-in that needs places on the disk."""
    package = tmp_path / "placed_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "placed.py").write_text(PLACED, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "placed_package.placed"
    for name in [name for name in sys.modules if name.split(".")[0] == "placed_package"]:
        del sys.modules[name]


def only_error(found: Any) -> str:
    (finding,) = found.report.findings
    assert (finding.level, finding.where, found.report.verdict, found.report.splits) == ("error", "task", "errors", {})
    return str(finding.message)


def test_missing_places_are_told_before_the_task_is_loaded(placed: str, tmp_path: Path) -> None:
    found = check({"task": placed, "task.root": str(tmp_path)})
    assert only_error(found).startswith(f"1 of 2 places are missing under {tmp_path}; nothing is downloaded")
    text = found.report.text()
    assert "MISSING  squares/train: training images" in text
    assert "get it from https://example.org/get (licence: for research only)" in text
    assert "optional names.txt" in text


def test_without_a_root_all_that_is_needed_is_told(placed: str) -> None:
    message = only_error(check({"task": placed}))
    assert "task.root is empty" in message
    assert "MISSING  squares/train: training images" in message


def test_what_is_there_is_told_beside_what_the_images_show(placed: str, tmp_path: Path, squares: Path) -> None:
    (tmp_path / "squares").symlink_to(squares)
    report = check({"task": placed, "task.root": str(tmp_path)}).report
    assert [(state.path, state.there) for state in report.places] == [("squares/train", True), ("names.txt", False)]
    assert "there    squares/train" in report.text()
    assert report.splits["train"].images == 36
    assert json.loads(report.to_json())["places"][1]["get"] == "https://example.org/names"


def test_what_keeps_a_folder_from_being_a_task_is_a_finding(tmp_path: Path, squares: Path) -> None:
    assert "no such file or folder" in only_error(check({"task": str(tmp_path / "nowhere")}))
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for file in squares.rglob("*.png"):
            archive.write(file, file.relative_to(squares))
    assert not [f for f in check({"task": str(whole)}).report.findings if f.level == "error"]
    half = tmp_path / "half.zip"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert "is not a whole zip file" in only_error(check({"task": str(half)}))
    (tmp_path / "packed").mkdir()
    half.rename(tmp_path / "packed" / "half.zip")
    assert "unpack half.zip, or give the zip itself" in only_error(check({"task": str(tmp_path / "packed")}))
    (tmp_path / "empty").mkdir()
    assert "nor any other file; expected one of" in only_error(check({"task": str(tmp_path / "empty")}))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "1.png").write_bytes((squares / "test" / "red" / "0.png").read_bytes())
    assert "images lie [0] folders deep (1.png); expected one of" in only_error(
        check({"task": str(tmp_path / "loose")})
    )


def test_class_names_that_the_tokenizer_of_a_named_backbone_cuts_are_told(tmp_path: Path, clip_folder: Path) -> None:
    for name in ("cat", "extraordinarilylongname"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (9, 9), (25 * i, len(name), 0)).save(tmp_path / "pets" / name / f"{i}.png")
    settings = {"task": str(tmp_path / "pets"), "task.templates": ["{}", "a {}"]}
    assert "tokenizer" not in check(settings).report.text()
    report = check({**settings, "backbone": str(clip_folder)}).report
    finding = next(f for f in report.findings if "tokenizer" in f.message)
    assert finding.message.endswith("cuts at 16 tokens: 1")
    assert finding.examples == ("extraordinarilylongname (26 tokens)",)  # 23 letters, "a", and two marks
    assert report.verdict == "warnings"


def test_the_page_shows_pairs_as_pictures(tmp_path: Path, squares: Path) -> None:
    root = tmp_path / "squares"
    for file in squares.rglob("*.png"):
        (root / file.relative_to(squares)).parent.mkdir(parents=True, exist_ok=True)
        (root / file.relative_to(squares)).write_bytes(file.read_bytes())
    (root / "test" / "red" / "copy.png").write_bytes((root / "train" / "red" / "1.png").read_bytes())
    found = check({"task": str(root)})
    found.write_page(tmp_path / "pages" / "check.html")
    page = (tmp_path / "pages" / "check.html").read_text(encoding="utf-8")
    assert "1 of 16 images also stand in train, byte for byte" in page
    assert len(re.findall("data:image/png;base64,", page)) >= 2
