"""A comparison: its files, what a second call redoes, and whose settings are whose."""

import json
from pathlib import Path
from typing import Any

import pytest

import surefoot
from surefoot.comparison import config_of
from surefoot.run import Run

METHODS = ("zero_shot", "fine_tune", "wise_ft")


@pytest.fixture(scope="module")
def compared(quick: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("comparison")
    return folder, surefoot.compare(folder, quick, methods=METHODS, seeds=(0, 1))


def test_the_comparison_file_holds_a_row_for_each_method_and_seed(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, returned = compared
    content = json.loads((folder / "comparison.json").read_text())
    assert content == returned
    assert {"task", "backbone", "rows"} <= content.keys()
    assert [(row["method"], row["seed"]) for row in content["rows"]] == [(m, s) for s in (0, 1) for m in METHODS]
    for row in content["rows"]:
        assert {"id_ece", "shift_ece", "seconds", "selected_on", "worst_group_accuracy"} <= row.keys()
        home, shift = row["splits"]["test"], row["splits"]["dim"]
        assert row["id_accuracy"] == home["accuracy"]
        assert row["shift_accuracy"] == row["worst_shift_accuracy"] == shift["accuracy"]
        assert row["worst_group_accuracy"] is None
        assert {"accuracy", "ece", "nll", "brier", "count"} <= home.keys()
        assert (home["count"], shift["count"]) == (15, 15)


def test_the_curve_runs_from_zero_shot_to_fine_tuning(compared: tuple[Path, dict[str, Any]]) -> None:
    _, content = compared
    rows = {(row["method"], row["seed"]): row for row in content["rows"]}
    for curve in content["curves"]:
        ends = {point["alpha"]: point for point in curve["points"]}
        assert ends[0.0]["id_accuracy"] == rows["zero_shot", curve["seed"]]["id_accuracy"]
        assert ends[1.0]["shift_accuracy"] == rows["fine_tune", curve["seed"]]["shift_accuracy"]
        assert ends[0.5]["shift_accuracy"] == rows["wise_ft", curve["seed"]]["shift_accuracy"]


def test_the_page_and_the_tables_are_written(compared: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = compared
    assert "wise_ft" in (folder / "report.html").read_text(encoding="utf-8")
    assert "wise_ft" in (folder / "report.md").read_text(encoding="utf-8")
    assert "wise_ft" in (folder / "report.csv").read_text(encoding="utf-8")
    for example in json.loads((folder / "examples.json").read_text()):
        assert example["image"].startswith("data:image/png;base64,")
        sure = example["zero_shot" if example["change"] == "lost" else "fine_tuned"]["top"][0][0]
        assert sure == example["label"]


def test_a_second_call_trains_and_evaluates_nothing(
    compared: tuple[Path, dict[str, Any]], quick: dict[str, Any]
) -> None:
    folder, before = compared
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder]
    stamps = {path: path.stat().st_mtime_ns for path in files}
    seen: list[Run] = []
    assert surefoot.compare(folder, quick, methods=METHODS, seeds=(0, 1), on_run=seen.append) == before
    assert len(seen) == 6
    assert {path: path.stat().st_mtime_ns for path in files} == stamps


def test_a_method_can_be_added_to_a_comparison(compared: tuple[Path, dict[str, Any]], quick: dict[str, Any]) -> None:
    folder, before = compared
    more = surefoot.compare(folder, quick, methods=("zero_shot", "linear_probe"), seeds=(0,))
    assert [row["method"] for row in more["rows"]] == ["zero_shot", "linear_probe"]
    against_others = {"effective_robustness": None}  # needs fine_tune beside it
    assert more["rows"][0] == {**before["rows"][0], **against_others}
    assert surefoot.compare(folder, quick, methods=METHODS, seeds=(0, 1)) == before


def test_options_under_a_methods_name_are_that_methods_alone(quick: dict[str, Any]) -> None:
    settings = {**quick, "wise_ft.alpha": 0.25, "engine.lr": 0.5}
    wise = config_of(settings, "wise_ft", 0, methods=METHODS)
    tuned = config_of(settings, "fine_tune", 0, methods=METHODS)
    assert wise.method.to_dict()["alpha"] == 0.25
    assert "alpha" not in tuned.method.to_dict()
    assert wise.engine.lr == tuned.engine.lr == 0.5


def test_nothing_is_written_when_a_setting_is_wrong(quick: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"engine\.lrr"):
        surefoot.compare(tmp_path / "new", {**quick, "engine.lrr": 1}, methods=METHODS)
    with pytest.raises(ValueError, match="did you mean flyp"):
        surefoot.compare(tmp_path / "new", quick, methods=("zero_shot", "flipp"))
    with pytest.raises(ValueError, match="needs methods and seeds"):
        surefoot.compare(tmp_path / "new", quick, methods=())
    assert not (tmp_path / "new").exists()


def test_a_setting_under_a_methods_name_is_for_its_runs_alone() -> None:
    methods = ("fine_tune", "flyp+kd")
    settings = {"engine.lr": 0.5, "flyp+kd.engine.lr": 0.25, "flyp+kd.kd.weight": 3, "fine_tune.label_smoothing": 0.1}
    plain, composed = (config_of(settings, method, 0, methods=methods) for method in methods)
    assert (plain.engine.lr, composed.engine.lr) == (0.5, 0.25)
    assert composed.method.to_dict()["options"] == {"kd": {"weight": 3}}
    assert plain.method.to_dict()["label_smoothing"] == 0.1
    unused = config_of({**settings, "ema.momentum": 0.5}, "fine_tune", 0, methods=methods)
    assert unused == plain


@pytest.mark.parametrize(("setting", "meant"), [("method", "--methods"), ("seed", "--seeds")])
def test_what_is_for_one_run_is_refused(setting: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"{setting} is for one run; a comparison takes {meant}"):
        config_of({setting: "1"}, "fine_tune", 0, methods=METHODS)
