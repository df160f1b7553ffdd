import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import surefoot
from surefoot.cli import app
from surefoot.forgetting import forgetting

FEW = {"forgetting.images": 9, "forgetting.tasks": ["icongroups"], "data.workers": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, squares: Path) -> Path:
    settings = {"task": str(squares), "backbone": "tiny", "method": "flyp", "engine.steps": 4, "engine.batch_size": 12}
    meter = {"engine.precision": "32", "forgetting.every": 1, **FEW}
    return surefoot.train(tmp_path_factory.mktemp("forgetting") / "run", {**settings, **meter}).folder


def without_cost(reading: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reading.items() if name not in ("seconds", "smallest_singular_values")}


def test_a_finished_run_reads_as_it_did_at_the_end_of_its_training(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())["forgetting"]
    found = forgetting(run, FEW)
    assert without_cost(found["model"]) == without_cost(results["end"])
    assert without_cost(found["start"]) == without_cost(results["start"])
    values = found["model"]["smallest_singular_values"]
    assert values == sorted(values)
    assert values[0] == pytest.approx(found["model"]["smallest_singular_value"], abs=1e-12)


def test_a_pair_can_be_given_the_other_way_round(run: Path, squares: Path) -> None:
    one = forgetting(run, FEW)["model"]["feature_distortion"]
    found = forgetting("tiny", FEW, against=run, images=str(squares))
    assert found["model"]["feature_distortion"] == pytest.approx(one)


def test_any_folder_of_images_will_do_and_needs_no_label(run: Path, squares: Path, tmp_path: Path) -> None:
    for number, file in enumerate(sorted((squares / "dim").rglob("*.png"))):
        shutil.copy(file, tmp_path / f"{number}.png")
    found = forgetting(run, FEW, images=tmp_path)
    assert set(found["model"]["accuracy"]) == {"icongroups"}
    assert found["model"]["feature_distortion"] > 0


def test_the_command_prints_and_writes(run: Path, tmp_path: Path) -> None:
    words = ["forgetting", str(run), "forgetting.images=9", "--tasks", "icongroups", "-o", str(tmp_path / "f.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "linear_cka" in done.stdout
    assert "accuracy icongroups, %" in done.stdout
    assert json.loads((tmp_path / "f.json").read_text())["start"]["linear_cka"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["tiny"], "does not say what it started from; give --against", 1),
        (["tiny", "method=flyp"], "say which models and images with MODEL, --against and --images", 2),
        (["tiny", "--against", "iconclip"], "of two kinds", 1),
        (["tiny", "forgetting.imges=3"], "did you mean forgetting.images", 2),
        (["tiny", "-o", "no/such/folder/f.json"], "its folder is not there", 2),
    ],
)
def test_wrong_words_are_errors(words: list[str], says: str, code: int) -> None:
    done = CliRunner().invoke(app, ["forgetting", *words])
    assert done.exit_code == code
    assert says in done.stderr


def test_a_folder_without_images_is_an_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no image"):
        forgetting(run, FEW, images=tmp_path)
