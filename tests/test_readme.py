"""The README's commands and code run exactly as written, in a folder that holds what they name."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from surefoot import plugins
from surefoot.comparison import METHODS
from surefoot.run import load_task

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPLITS = {"train": ("line", slice(2, 8)), "test": ("line", slice(0, 2)), "night": ("colour", slice(0, 2))}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/: JPEGs of four things, made from IconShift's pictures, with the shift `night`."""
    folder = tmp_path_factory.mktemp("home")
    task = load_task()
    names = ("cat", "house", "bicycle", "tree")
    archive = zipfile.ZipFile(ROOT / "src/surefoot/assets/iconshift.zip")
    pictures = {"line": (task.train, task.tests["line"]), "colour": (task.tests["colour"],)}
    for split, (domain, taken) in SPLITS.items():
        for name in names:
            label = task.classes.index(name)
            paths = [part.paths[i] for part in pictures[domain] for i in range(len(part)) if part.labels[i] == label]
            (folder / "photos" / split / name).mkdir(parents=True)
            for number, path in enumerate(paths[taken]):
                picture = Image.open(BytesIO(archive.read(path))).convert("RGB").resize((200, 150))
                picture.save(folder / "photos" / split / name / f"{number}.jpg")
    return folder


def test_the_shell_commands_run_as_written(home: Path) -> None:
    (commands,) = blocks("sh")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in commands.splitlines():
        words = shlex.split(line)
        assert words[0] == "surefoot"
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout
    assert (home / "runs" / "photos" / "report.html").is_file()


def test_the_python_code_runs_as_written(home: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    accuracy, prediction = done.stdout.splitlines()
    assert 0 <= float(accuracy) <= 1
    assert "cat" in prediction


def test_every_make_target_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_method_stands_in_its_table() -> None:
    for name in plugins.names("methods"):
        assert f"| [{name}](docs/methods/{name}.md) |" in README


def test_every_file_that_it_links_to_exists() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_table_of_the_demo_has_the_methods_of_the_default_comparison() -> None:
    block = README.partition("<!-- demo:begin -->")[2].partition("<!-- demo:end -->")[0]
    assert tuple(re.findall(r"^\| (\w+) \| \d", block, re.MULTILINE)) == METHODS
    assert (ROOT / "docs" / "images" / "iconshift.svg").is_file()
