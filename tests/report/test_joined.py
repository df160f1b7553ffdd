"""The mean over a task's variants, against numbers worked out by hand; and that it is over all of them or none."""

import csv
import io
import json

import pytest
from rich.console import Console

from surefoot.report import (
    as_csv,
    comparison,
    find_runs,
    html,
    markdown,
    read_records,
    read_variants,
    terminal,
    write_report,
)
from surefoot.report.joined import join

POINT = {"alpha": 0.5, "validation_accuracy": 0.5, "id_accuracy": 0.25, "shift_accuracy": 0.75}


@pytest.fixture
def make_variant(make_results, make_run):
    """A folder with a comparison of two methods over two seeds; accuracies are those of fine_tune, home and shift."""

    def make(root, name, accuracies, *, methods=("zero_shot", "fine_tune"), seeds=(0, 1), **changes):
        for seed in seeds:
            for method in methods:
                found = accuracies if method == "fine_tune" else (0.25, 0.25)
                content = make_results(
                    method, found, seed=seed, shifts=("test_in",), task=f"bed SET: {name}", **changes
                )
                run = make_run(root / name, content)
                record = {
                    "config": {"task": {"trial": seed}},
                    "data": {"fingerprint": f"{name} {seed}", "notes": [f"about {name}", "said by both"]},
                    "versions": {"torch": "2"},
                }
                (run / "run.json").write_text(json.dumps(record))
        (root / name / "comparison.json").write_text(json.dumps(comparison(find_runs(root / name))))

    return make


@pytest.fixture
def joined(tmp_path, make_variant):
    """Two variants and their mean above them."""
    make_variant(tmp_path, "a", (0.5, 0.75), sweep=[POINT])
    make_variant(tmp_path, "b", (1.0, 0.25), sweep=[{**POINT, "id_accuracy": 0.75}])
    found = comparison(read_variants(tmp_path, ["a", "b"]))
    about = {"variants": ["a", "b"], "notes": ["Not there, so in no mean: c."]}
    (tmp_path / "comparison.json").write_text(json.dumps({**found, **about}))
    return tmp_path


def test_every_number_is_the_mean_over_the_variants_which_are_the_columns(joined):
    found = read_records(joined).comparison
    assert (found["task"], found["shifts"]) == ("bed SET", ["a", "b"])
    rows = {(row["method"], row["seed"]): row for row in found["rows"]}
    assert list(rows) == [("fine_tune", 0), ("fine_tune", 1), ("zero_shot", 0), ("zero_shot", 1)]
    row = rows["fine_tune", 1]
    assert row["id_accuracy"] == pytest.approx(0.75, abs=0.01)
    assert row["splits"]["a"]["accuracy"] == pytest.approx(0.75)
    assert row["splits"]["b"]["accuracy"] == pytest.approx(0.25)
    assert row["shift_accuracy"] == pytest.approx(0.5)
    assert row["worst_shift_accuracy"] == pytest.approx(0.25)
    assert row["runs"] == 2
    assert row["seconds"] == pytest.approx(2 * 47.3)
    assert row["splits"]["line"]["count"] == 2 * 512


def test_every_variant_counts_alike_whatever_its_number_of_images(tmp_path, make_variant):
    make_variant(tmp_path, "a", (0.5, 1.0))
    make_variant(tmp_path, "b", (0.5, 0.0))
    for run in (tmp_path / "b").rglob("results.json"):
        content = json.loads(run.read_text())
        content["splits"]["test_in"]["count"] = 9000
        run.write_text(json.dumps(content))
    (row, *_) = comparison(read_variants(tmp_path, ["a", "b"]))["rows"]
    assert row["shift_accuracy"] == pytest.approx(0.5)


def test_a_mean_of_means_weighs_the_outer_variants_alike(tmp_path, make_variant):
    """DomainBed's average is over data sets, not over all targets: (1 + (0.5 + 0.25 + 0) / 3) / 2."""
    targets = {"one": {"p": 1.0}, "two": {"p": 0.5, "q": 0.25, "r": 0.0}}
    for name, accuracies in targets.items():
        for target, accuracy in accuracies.items():
            make_variant(tmp_path / name, target, (0.5, accuracy))
        found = comparison(read_variants(tmp_path / name, list(accuracies)))
        (tmp_path / name / "comparison.json").write_text(json.dumps({**found, "variants": list(accuracies)}))
    (row, *_) = comparison(read_variants(tmp_path, list(targets)))["rows"]
    assert row["method"] == "fine_tune"
    assert row["shift_accuracy"] == pytest.approx((1 + 0.25) / 2)
    assert row["runs"] == 4


def test_curves_are_averaged_point_by_point_where_the_alphas_are_the_same(joined):
    curves = {(curve["method"], curve["seed"]): curve for curve in read_records(joined).comparison["curves"]}
    assert curves["fine_tune", 0]["points"] == [{"alpha": 0.5, "id_accuracy": 0.5, "shift_accuracy": 0.75}]


def test_the_tables_and_the_page_are_those_of_any_comparison_and_say_what_the_mean_is_without(joined):
    records = read_records(joined)
    console = Console(width=120, file=io.StringIO())
    console.print(terminal(records.comparison))
    shown = console.file.getvalue()
    assert "means over 2 variants of the task" in shown
    assert "Not there, so in no mean: c." in shown
    text = markdown(records.comparison, notes=records.notes)
    for told in ("Not there, so in no mean: c.", "the mean over 2 variants (a, b)", "a: about a", "said by both"):
        assert told in text
        assert told in html(records)
    table = {row["method"]: row for row in csv.DictReader(io.StringIO(as_csv(records.comparison)))}
    assert (table["fine_tune"]["a (%)"], table["fine_tune"]["b (%)"]) == ("75.0", "25.0")
    assert table["fine_tune"]["mean shift (%)"] == "50.0"
    assert not any("Not part" in note for note in records.notes)
    assert write_report(joined).read_text(encoding="utf-8").count("said by both") == 1


def test_trials_may_differ_in_their_examples_and_runs_of_one_trial_may_not(tmp_path, make_variant):
    make_variant(tmp_path, "a", (0.5, 0.5))
    path = tmp_path / "a" / "fine_tune" / "seed-1" / "results.json"
    content = json.loads(path.read_text())
    content["splits"]["test_in"]["class_count"] = {"cat": 40, "dog": 60}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="differ in test examples"):
        comparison(find_runs(tmp_path / "a"))
    other = tmp_path / "a" / "zero_shot" / "seed-1" / "results.json"
    content = json.loads(other.read_text())
    content["splits"]["test_in"]["class_count"] = {"cat": 40, "dog": 60}
    other.write_text(json.dumps(content))
    assert len(comparison(find_runs(tmp_path / "a"))["rows"]) == 4


def test_there_is_no_mean_over_some_of_the_variants(joined, make_variant):
    make_variant(joined, "short", (0.5, 0.5), seeds=(0,))
    with pytest.raises(
        ValueError, match=r"variants a and short have not the same runs \(differing: fine_tune \(seed 1"
    ):
        read_variants(joined, ["a", "short"])
    with pytest.raises(ValueError, match="the mean would lack variant c"):
        read_variants(joined, ["a", "c"])
    (joined / "b" / "fine_tune" / "seed-0" / "results.json").unlink()
    with pytest.raises(ValueError, match="unfinished"):
        read_records(joined)


def test_variants_of_another_backbone_have_no_mean_with_these(tmp_path, make_variant):
    make_variant(tmp_path, "a", (0.5, 0.5))
    make_variant(tmp_path, "b", (0.5, 0.5), backbone="other")
    with pytest.raises(ValueError, match="variant b has another backbone"):
        read_variants(tmp_path, ["a", "b"])
    with pytest.raises(ValueError, match="no variants"):
        join(tmp_path, {})


def test_what_was_chosen_is_read_from_the_row_and_one_dishonest_variant_shows(tmp_path, make_variant):
    for name, rule, chosen_on in (("a", "training_domain", "validation"), ("b", "oracle", "target_out")):
        make_variant(tmp_path, name, (0.5, 0.5), seeds=(0,))
        path = tmp_path / name / "comparison.json"
        content = json.loads(path.read_text())
        for row in content["rows"]:
            row |= {"rule": rule, "selected_on": chosen_on, "setting": {"engine.lr": 1}, "tried": [row["run"], "other"]}
        path.write_text(json.dumps(content))
    (row, *_) = read_records(tmp_path / "a").comparison["rows"]
    assert (row["rule"], row["selected_on"], row["setting"]) == ("training_domain", "validation", {"engine.lr": 1})
    joined = comparison(read_variants(tmp_path, ["a", "b"]))
    assert {row["selected_on"] for row in joined["rows"]} == {"target_out"}
    told = markdown(joined)
    assert "was chosen on target_out, not on validation: its numbers there flatter it" in told.replace("\\", "")


def test_a_listing_that_leads_out_of_its_folder_is_refused(joined):
    path = joined / "comparison.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "variants": ["a", "../elsewhere"]}))
    with pytest.raises(ValueError, match="names runs outside of its folder"):
        read_records(joined)
