"""Every command and every piece of Python of docs/models.md, run in a folder of its own."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from typer.testing import CliRunner

from surefoot.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
QUICK = ["engine.epochs=1", "engine.batch_size=12", "engine.lr=1e-3", "engine.precision=32", "data.workers=0"]


def run(line: str) -> Result:
    """A line of the page; what stands before a `|` is the standard input."""
    before, _, command = line.rpartition("|")
    given = subprocess.run(shlex.split(before), capture_output=True, check=True).stdout if before else b""
    verb, *words = shlex.split(command)
    assert verb == "surefoot"
    done = CliRunner().invoke(app, [*words, *(QUICK if words[0] == "train" else [])], input=given)
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.stderr}\n{done.exception}"
    return done


@pytest.fixture(scope="module")
def place(squares: Path, make_clip: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's commands were run, in their order."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(squares, folder / "photos")
    make_clip(folder / "my-clip", context=48)
    (folder / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, line in enumerate(COMMANDS):
            (folder / f"said-{number}").write_text(run(line).stdout, encoding="utf-8")
    return folder


def said(place: Path, part: str) -> str:
    """What the one command that ends in, or has, `part` printed."""
    (number,) = [i for i, line in enumerate(COMMANDS) if line.endswith(part)] or [
        i for i, line in enumerate(COMMANDS) if part in line
    ]
    return (place / f"said-{number}").read_text(encoding="utf-8")


def test_the_page_has_commands_of_every_kind() -> None:
    verbs = {line.rpartition("surefoot ")[2].split()[0] for line in COMMANDS}
    assert verbs == {"train", "export", "card", "predict"}
    assert len(re.findall(r"surefoot \w+", TEXT.replace("import surefoot", ""))) >= len(COMMANDS)


def test_the_commands_of_the_page_work_and_leave_what_it_says(place: Path) -> None:
    assert {path.name for path in (place / "out").iterdir()} == {
        "zero-shot", "classification", "openclip", "photos.onnx", "head.safetensors", "card.md", "photos.csv",
        "photos.arrow",
    }  # fmt: skip
    assert "license: mit" in (place / "out" / "card.md").read_text()


def test_the_predictions_of_every_form_agree(place: Path) -> None:
    lines = [json.loads(line) for line in said(place, "--format jsonl").splitlines()]
    assert len(lines) == 15
    table = pa.ipc.open_file(place / "out" / "photos.arrow").read_all()
    assert sorted(table["image"].to_pylist()) == sorted(line["image"] for line in lines)
    by_image = dict(zip(table["image"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert all(by_image[line["image"]] == line["label"] for line in lines)
    assert len(said(place, "surefoot predict runs/photos photos/test").splitlines()) == 15
    abstained = json.loads(said(place, "--abstain-risk"))
    assert all(entry["abstained"] == (entry["label"] == "") for entry in abstained)


def test_the_python_of_the_page_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(place)
    for block in blocks:
        exec(compile(block, "docs/models.md", "exec"), {})
    assert "(5, 3)" in capsys.readouterr().out


def test_the_command_that_sends_a_model_works(place: Path, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = re.findall(r"^ {4}(surefoot push .*)$", TEXT, re.MULTILINE)
    monkeypatch.chdir(place)
    assert "/me/colours/commit/abc" in run(line).stdout
    assert "README.md" in hub.files
