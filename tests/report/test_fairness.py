import json

import numpy as np
import pytest

from surefoot.report import find_runs, html, markdown, read_records
from surefoot.report.fairness import unfair
from surefoot.report.paired import pairs

ONE = {"shifts": ()}


def test_other_budgets_and_choices_are_told_in_the_page_and_in_markdown(tmp_path, make_results, make_run):
    for method, epochs in {"fine_tune": 5, "flyp": 10}.items():
        folder = make_run(tmp_path, make_results(method, (0.75,), selected_on="line", **ONE))
        (folder / "run.json").write_text(json.dumps({"config": {"engine": {"epochs": epochs}}}))
    records = read_records(tmp_path)
    expected = "budgets differ in engine.epochs: 5 (fine_tune); 10 (flyp)."
    assert expected in html(records)
    said = markdown(records.comparison, notes=records.notes)
    assert said.count("chosen on line") == 2  # once a method
    assert "budgets differ" in said


def test_equal_budgets_say_nothing_and_an_unrecorded_one_is_named(tmp_path, make_results, make_run):
    for method in ("fine_tune", "flyp"):
        folder = make_run(tmp_path, make_results(method, (0.75,), **ONE))
        (folder / "run.json").write_text(json.dumps({"config": {"engine": {"epochs": 5}}}))
    assert unfair(find_runs(tmp_path)) == []
    (folder / "run.json").write_text("{}")
    assert "no settings are recorded of flyp/seed-0" in unfair(find_runs(tmp_path))[0]
    (folder.parent.parent / "fine_tune" / "seed-0" / "run.json").write_text("{}")
    assert "no settings are recorded of fine_tune/seed-0, flyp/seed-0" in unfair(find_runs(tmp_path))[0]


def test_methods_are_paired_on_the_same_examples_and_others_refused(tmp_path, make_results, make_run):
    label = np.arange(40) % 2
    for method, wrong in {"fine_tune": 20, "flyp": 0}.items():
        folder = make_run(tmp_path, make_results(method, (0.75,), **ONE))
        guess = np.where(np.arange(40) < wrong, 1 - label, label)
        np.savez(folder / "predictions.npz", **{"line.label": label, "line.prediction": guess})
    (found,) = pairs(find_runs(tmp_path), "line")
    assert found["difference"] == -0.5
    assert found["interval"][0] < -0.5 < found["interval"][1] < 0
    assert found["p_holm"] == pytest.approx(2**-19)
    np.savez(folder / "predictions.npz", **{"line.label": 1 - label, "line.prediction": guess})
    with pytest.raises(ValueError, match="differ in the examples of split line"):
        pairs(find_runs(tmp_path), "line")
