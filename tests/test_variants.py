"""A comparison over DomainBed's data sets, targets and trials on a stand-in: folders, means, resumption, grids."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import surefoot
from surefoot.cli import app
from surefoot.config import resolve
from surefoot.run import Run
from surefoot.variants import grow

METHODS = ("zero_shot", "linear_probe")
TARGETS = ("art_painting", "cartoon", "photo", "sketch")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PACS and VLCS; to be read only."""
    spec = importlib.util.spec_from_file_location("stand_in", Path(__file__).with_name("stand_ins") / "domainbed.py")
    assert spec is not None
    assert spec.loader is not None
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    folder = tmp_path_factory.mktemp("domainbed")
    stand_in.make(folder)
    return folder


@pytest.fixture(scope="module")
def bed(root: Path) -> dict[str, Any]:
    return {
        "task": "domainbed",
        "data.root": str(root),
        "backbone": "tiny",
        "engine.batch_size": 12,
        "engine.steps": 2,
        "engine.precision": "32",
        "data.workers": 0,
    }


@pytest.fixture(scope="module")
def compared(bed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("compared")
    return folder, surefoot.compare(folder, bed, methods=METHODS, seeds=(0, 1))


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_every_target_of_every_data_set_has_a_comparison_of_its_own(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, top = compared
    assert read(folder / "comparison.json") == top
    assert top["variants"] == top["shifts"] == ["PACS", "VLCS"]
    assert read(folder / "PACS" / "comparison.json")["variants"] == list(TARGETS)
    for target in TARGETS:
        leaf = read(folder / "PACS" / target / "comparison.json")
        assert leaf["task"] == f"domainbed PACS: {target}"
        assert (leaf["home"], leaf["shifts"]) == ("sources", ["test_in"])
        assert [(row["method"], row["seed"]) for row in leaf["rows"]] == [(m, s) for s in (0, 1) for m in METHODS]
    for place in (folder, folder / "VLCS", folder / "PACS" / "photo"):
        assert "linear_probe" in (place / "report.html").read_text(encoding="utf-8")


def test_the_mean_is_over_targets_and_then_over_data_sets(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, top = compared
    by_set = {}
    for name in ("PACS", "VLCS"):
        middle = read(folder / name / "comparison.json")
        for place, row in enumerate(middle["rows"]):
            leaves = [read(folder / name / target / "comparison.json")["rows"][place] for target in middle["variants"]]
            accuracies = [leaf["splits"]["test_in"]["accuracy"] for leaf in leaves]
            assert row["shift_accuracy"] == pytest.approx(sum(accuracies) / 4)
            assert row["id_accuracy"] == pytest.approx(sum(leaf["id_accuracy"] for leaf in leaves) / 4)
            by_set[name, place] = row["shift_accuracy"]
    for place, row in enumerate(top["rows"]):
        assert row["shift_accuracy"] == pytest.approx((by_set["PACS", place] + by_set["VLCS", place]) / 2)
        assert row["runs"] == 8


def test_what_is_not_there_is_told_beside_the_mean(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, top = compared
    assert [note.split(":")[1].split(" ")[1] for note in top["notes"]] == [
        "office_home", "terra_incognita", "domain_net",
    ]  # fmt: skip
    assert "in no mean: domain_net" in (folder / "report.md").read_text(encoding="utf-8").replace("\\", "")


def test_the_seeds_are_the_trials(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = compared
    records = [read(folder / "PACS" / "photo" / "linear_probe" / f"seed-{seed}" / "run.json") for seed in (0, 1)]
    assert [record["config"]["task"]["trial"] for record in records] == [0, 1]
    assert records[0]["data"]["fingerprint"] != records[1]["data"]["fingerprint"]
    assert records[0]["config"]["data"]["balance"] == "group"


def test_what_is_finished_is_not_redone(compared: tuple[Path, dict[str, Any]], bed: dict[str, Any]) -> None:
    folder, before = compared
    files = [path for path in folder.rglob("seed-*/**/*") if path.is_file()]
    stamps = {path: path.stat().st_mtime_ns for path in files}
    seen: list[Run] = []
    assert surefoot.compare(folder, bed, methods=METHODS, seeds=(0, 1), on_run=seen.append) == before
    assert len(seen) == 32
    assert {path: path.stat().st_mtime_ns for path in files} == stamps


def test_the_report_can_be_written_again_and_refuses_a_missing_variant(
    compared: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = compared
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert CliRunner().invoke(app, ["report", str(copy)]).exit_code == 0
    shutil.rmtree(copy / "PACS" / "photo")
    refused = CliRunner().invoke(app, ["report", str(copy)])
    assert refused.exit_code == 1
    assert "the mean would lack variant photo" in refused.output


def test_one_target_or_one_data_set_is_compared_where_it_is_named(bed: dict[str, Any], tmp_path: Path) -> None:
    named = {**bed, "task.dataset": "VLCS", "task.target": "SUN09"}
    found = surefoot.compare(tmp_path / "one", named, methods=("zero_shot",))
    assert (found["shifts"], [row["run"] for row in found["rows"]]) == (["test_in"], ["zero_shot/seed-0"])
    assert "variants" not in found
    branch = grow({**bed, "task.dataset": "VLCS"})
    assert list(branch.variants) == ["Caltech101", "LabelMe", "SUN09", "VOC2007"]
    assert list(branch.variants["SUN09"].folds()) == ["Caltech101", "LabelMe", "VOC2007"]
    assert grow({"task": "iconshift"}).variants == {}


@pytest.mark.parametrize(
    ("rule", "chosen_on", "looked_at"),
    [("training_domain", "validation", 2), ("oracle", "target_out", 2), ("leave_one_out", "left-out sources", 8)],
)
def test_a_grid_shows_the_run_that_the_named_rule_chose(
    bed: dict[str, Any], tmp_path: Path, rule: Any, chosen_on: str, looked_at: int
) -> None:
    settings = {**bed, "task.dataset": "PACS", "task.target": "sketch"}
    grid = {"engine.lr": ["1e-12", "1e-2"]}
    found = surefoot.compare(tmp_path, settings, methods=("linear_probe",), grid=grid, rule=rule)
    (row,) = found["rows"]
    assert (row["rule"], row["selected_on"], len(row["tried"])) == (rule, chosen_on, looked_at)
    assert row["run"] == f"engine.lr={row['setting']['engine.lr']}/linear_probe/seed-0"
    split = {"training_domain": "validation", "oracle": "target_out"}.get(rule, "left_out")
    scores = {}
    for lr in grid["engine.lr"]:
        runs = [name for name in row["tried"] if f"engine.lr={lr}/" in name]
        if rule == "leave_one_out":
            runs = [name for name in runs if name.startswith("folds/")]
        accuracies = [read(tmp_path / name / "results.json")["splits"][split]["accuracy"] for name in runs]
        scores[lr] = sum(accuracies) / len(accuracies)
    assert scores[row["setting"]["engine.lr"]] == max(scores.values())
    text = (tmp_path / "report.md").read_text(encoding="utf-8").replace("\\", "")
    assert f"was chosen by {rule}" in text
    assert "Not part of this comparison" not in text
    assert ("flatter it" in text) == (rule == "oracle")


def test_a_grid_runs_once_what_it_does_not_change(bed: dict[str, Any], tmp_path: Path) -> None:
    settings = {**bed, "task.dataset": "VLCS", "task.target": "SUN09"}
    grid = {"linear_probe.engine.lr": ["1e-3", "1e-2"]}
    found = surefoot.compare(tmp_path, settings, methods=METHODS, grid=grid)
    tried = {row["method"]: (row["rule"], len(row["tried"])) for row in found["rows"]}
    assert tried == {"zero_shot": ("", 0), "linear_probe": ("training_domain", 2)}


def test_the_command_line_goes_from_a_root_to_the_table(bed: dict[str, Any], root: Path, tmp_path: Path) -> None:
    words = ["compare", "--task", "domainbed", "--data.root", str(root), "--backbone", "tiny", "task.dataset=VLCS"]
    words += ["--methods", "zero_shot", "data.workers=0", "engine.precision=32", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "SUN09: zero_shot (seed 0):" in done.output
    assert "means over 4 variants of the task" in done.output
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--grid", "engine.lr"], "--grid engine.lr: give each setting once with its values"),
        (["--grid", "engine.lrr=1,2"], "did you mean engine.lr"),
        (["--grid", "task.target=a,b"], "a grid is over settings of training"),
        (["--rule", "best"], "training_domain"),
    ],
)
def test_a_wrong_grid_is_wrong_usage(words: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["compare", "--methods", "zero_shot", *words])
    assert done.exit_code == 2
    assert told in done.output


def test_data_root_is_another_name_of_task_root(root: Path) -> None:
    assert resolve({"task": "domainbed", "data.root": str(root)}).task.to_dict()["root"] == str(root)
    assert resolve({"task": "domainbed", "data": {"root": "x"}, "task.root": "x"}).task.to_dict()["root"] == "x"
    with pytest.raises(ValueError, match=r"data.root=x and task.root=y are two names of one option"):
        resolve({"task": "domainbed", "data.root": "x", "task.root": "y"})


def test_nothing_trains_where_a_variant_is_not_whole(bed: dict[str, Any], root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "root"
    shutil.copytree(root, broken)
    shutil.rmtree(broken / "VLCS" / "SUN09")
    with pytest.raises(ValueError, match=r"lacks 1 of 4 places(.|\n)*VLCS/SUN09"):
        surefoot.compare(tmp_path / "out", {**bed, "data.root": str(broken)}, methods=METHODS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", ["leave_one_out", "oracle"])
def test_a_rule_that_the_task_does_not_allow_is_refused_before_anything_trains(rule: Any, tmp_path: Path) -> None:
    settings = {"task": "iconshift", "backbone": "tiny", "data.workers": 0}
    with pytest.raises(ValueError, match=f"--rule={rule}"):
        surefoot.compare(tmp_path, settings, methods=["fine_tune"], grid={"engine.lr": [1e-4, 1e-3]}, rule=rule)
    assert not any(tmp_path.rglob("run.json"))
