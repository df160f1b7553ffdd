import json
import math

import pytest

from surefoot.report import comparison, find_runs, html, markdown, read_records

TWO = {"shifts": ("solid", "pixel")}


def test_a_row_holds_means_and_the_worst_of_the_shifts(tmp_path, make_results, make_run):
    content = make_results("fine_tune", (0.75, 0.5, 0.25), groups={"a": 0.9, "b": 0.4}, **TWO)
    make_run(tmp_path, content)
    found = comparison(find_runs(tmp_path))
    (row,) = found["rows"]
    splits = content["splits"]
    assert row["run"] == "fine_tune/seed-0"
    assert row["id_accuracy"] == splits["line"]["accuracy"]
    assert math.isclose(row["shift_accuracy"], (splits["solid"]["accuracy"] + splits["pixel"]["accuracy"]) / 2)
    assert row["worst_shift_accuracy"] == splits["pixel"]["accuracy"]
    assert math.isclose(row["shift_ece"], (splits["solid"]["ece"] + splits["pixel"]["ece"]) / 2)
    assert row["worst_group_accuracy"] == 0.4
    assert row["reweighted_accuracy"] == row["splits"]["line"]["reweighted_accuracy"] == 0.65
    assert set(row["splits"]) == {"line", "solid", "pixel", "validation"}
    assert "class_accuracy" not in row["splits"]["line"]
    assert found["curves"] == []


def test_a_task_without_shifts_has_null_for_them(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=()))
    (row,) = comparison(find_runs(tmp_path))["rows"]
    assert (row["shift_accuracy"], row["worst_shift_accuracy"], row["shift_ece"]) == (None, None, None)


def test_not_a_number_is_read_as_missing(tmp_path, make_results, make_run):
    content = make_results("fine_tune", (0.75, 0.5, 0.25), **TWO)
    content["splits"]["pixel"]["accuracy"] = math.nan
    make_run(tmp_path, content)
    (row,) = comparison(find_runs(tmp_path))["rows"]
    assert row["shift_accuracy"] is None
    assert row["splits"]["pixel"]["accuracy"] is None


def test_curves_hold_alpha_home_and_shifts(tmp_path, make_results, make_run):
    point = {"alpha": 0.5, "validation_accuracy": 0.7, "id_accuracy": 0.7, "shift_accuracy": 0.6}
    make_run(tmp_path, make_results("fine_tune", (0.75, 0.5, 0.25), sweep=[point], **TWO))
    (curve,) = comparison(find_runs(tmp_path))["curves"]
    kept = {"alpha": 0.5, "id_accuracy": 0.7, "shift_accuracy": 0.6}
    assert curve == {"method": "fine_tune", "seed": 0, "points": [kept]}


def test_seeds_are_found_in_the_order_of_their_numbers(tmp_path, make_results, make_run):
    for seed in (10, 2, 1):
        make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=(), seed=seed))
    assert [run.results["seed"] for run in find_runs(tmp_path)] == [1, 2, 10]


def test_unfinished_and_half_written_runs_are_all_named_with_the_remedy(tmp_path, make_results, make_run):
    whole = make_results("fine_tune", (0.75,), shifts=())
    make_run(tmp_path, whole)
    (make_run(tmp_path, {**whole, "method": "lp_ft"}) / "results.json").unlink()
    cut = make_run(tmp_path, {**whole, "method": "flyp"}) / "results.json"
    cut.write_text(cut.read_text()[:100])
    make_run(tmp_path, {**whole, "method": "kd", "format": 2})
    del (lacking := dict(whole))["splits"]
    make_run(tmp_path, {**lacking, "method": "ema"})
    with pytest.raises(ValueError, match="4 of 5 runs") as caught:
        find_runs(tmp_path)
    message = str(caught.value)
    for expected in (
        "lp_ft/seed-0: unfinished",
        "flyp/seed-0: results.json is half-written",
        "format 2",
        "lacks 'splits'",
    ):
        assert expected in message
    assert "fine_tune" not in message
    assert "once more" in message


@pytest.mark.parametrize("key", ["task", "backbone", "home", "classes", "shifts"])
def test_runs_that_differ_are_refused_and_the_difference_named(tmp_path, make_results, make_run, key):
    other = {"task": "pets", "backbone": "b", "home": "validation", "classes": ["cat", "cow"], "shifts": []}
    make_run(tmp_path, make_results("fine_tune", (0.75, 0.5, 0.25), **TWO))
    content = make_results("flyp", (0.75, 0.5, 0.25), **TWO)
    make_run(tmp_path, {**content, key: other[key]})
    with pytest.raises(ValueError, match=f"differ in {key};.*separate folders"):
        comparison(find_runs(tmp_path))


def test_runs_over_other_examples_or_other_data_are_refused(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=()))
    fewer = make_results("flyp", (0.75,), shifts=())
    fewer["splits"]["line"]["class_count"] = {"cat": 1, "dog": 511}
    folder = make_run(tmp_path, fewer)
    with pytest.raises(ValueError, match="differ in test examples"):
        comparison(find_runs(tmp_path))
    (folder / "results.json").write_text(json.dumps(make_results("flyp", (0.75,), shifts=())))
    (folder / "run.json").write_text(json.dumps({"data": {"fingerprint": "b"}}))
    (tmp_path / "fine_tune" / "seed-0" / "run.json").write_text(json.dumps({"data": {"fingerprint": "a"}}))
    with pytest.raises(ValueError, match="differ in test examples"):
        comparison(find_runs(tmp_path))


def test_a_folder_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run.*surefoot compare"):
        find_runs(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        find_runs(tmp_path / "missing")
    with pytest.raises(ValueError, match="no runs to compare"):
        comparison([])


def test_comparison_json_decides_which_runs_count_and_others_are_noted(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=()))
    found = comparison(find_runs(tmp_path))
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    make_run(tmp_path, make_results("flyp", (0.75,), shifts=()))
    records = read_records(tmp_path)
    assert records.comparison == found
    assert records.notes == ("Not part of this comparison, though in its folder: flyp/seed-0.",)


def test_what_runs_note_about_their_data_is_kept_once(tmp_path, make_results, make_run):
    for seed in (0, 1):
        run = make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=(), seed=seed))
        (run / "notes.json").write_text(json.dumps({"notes": ["3 images stand both in train and in test"]}))
    assert read_records(tmp_path).notes == ("3 images stand both in train and in test",)


def test_comparison_json_cannot_reach_outside_of_its_folder(tmp_path, make_results, make_run):
    make_run(tmp_path / "other", make_results("fine_tune", (0.75,), shifts=()))
    (tmp_path / "here").mkdir()
    rows = [{"run": "../other/fine_tune/seed-0"}]
    (tmp_path / "here" / "comparison.json").write_text(json.dumps({"rows": rows}))
    with pytest.raises(ValueError, match="outside of its folder"):
        read_records(tmp_path / "here")


def test_effective_robustness_is_zero_on_the_baselines_and_the_height_above_their_line_elsewhere(
    tmp_path, make_results, make_run
):
    for method, accuracies in (
        ("zero_shot", (0.6, 0.5, 0.4)),
        ("fine_tune", (0.9, 0.4, 0.3)),
        ("flyp", (0.8, 0.6, 0.5)),
    ):
        make_run(tmp_path, make_results(method, accuracies, **TWO))
    rows = {row["method"]: row for row in comparison(find_runs(tmp_path))["rows"]}

    def logit(row, key):
        return math.log(row[key] / (1 - row[key]))

    x0, x1, x = (logit(rows[name], "id_accuracy") for name in ("zero_shot", "fine_tune", "flyp"))
    y0, y1 = (logit(rows[name], "shift_accuracy") for name in ("zero_shot", "fine_tune"))
    expected = 1 / (1 + math.exp(-(y0 + (y1 - y0) * (x - x0) / (x1 - x0))))
    assert rows["flyp"]["effective_robustness"] == pytest.approx(rows["flyp"]["shift_accuracy"] - expected)
    assert rows["zero_shot"]["effective_robustness"] == pytest.approx(0, abs=1e-12)
    sentence = "Effective robustness: shift accuracy above the line through zero_shot and fine_tune."
    assert sentence in markdown(comparison(find_runs(tmp_path)))
    assert sentence in html(read_records(tmp_path))
    assert rows["fine_tune"]["effective_robustness"] == pytest.approx(0, abs=1e-12)


def test_without_both_baselines_there_is_no_effective_robustness(tmp_path, make_results, make_run):
    for method in ("zero_shot", "flyp"):
        make_run(tmp_path, make_results(method, (0.8, 0.6, 0.5), **TWO))
    assert [row["effective_robustness"] for row in comparison(find_runs(tmp_path))["rows"]] == [None, None]


def test_splits_by_severity_become_curves_and_floors_are_kept(tmp_path, make_results, make_run):
    content = make_results("flyp", (0.8, 0.6, 0.5), shifts=("fog-2", "fog-1"))
    for number, name in enumerate(("line", "fog-2", "fog-1")):
        content["splits"][name]["ece_noise_floor"] = 0.01 * (number + 1)
    make_run(tmp_path, content)
    (row,) = comparison(find_runs(tmp_path))["rows"]
    accuracy = {name: content["splits"][name]["accuracy"] for name in ("fog-1", "fog-2")}
    assert row["corruption_curves"] == {"fog": [[1, accuracy["fog-1"]], [2, accuracy["fog-2"]]]}
    assert (row["id_ece_floor"], row["shift_ece_floor"]) == (pytest.approx(0.01), pytest.approx(0.025))
