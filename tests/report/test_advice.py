import json

import numpy as np
import pytest
from typer.testing import CliRunner

from surefoot.cli import app
from surefoot.report import advice_markdown, advise, read_together
from surefoot.report.advice import _group_draws
from surefoot.report.statistics import bootstrap_p, holm
from surefoot.report.summary import Entry

COUNT = 400


@pytest.fixture
def make(tmp_path, make_results, make_run):
    """A run whose predictions have the accuracies that its results.json says, wrong on the first images of a split."""

    def made(method, home, shift=None, *, seed=0, classes=("cat", "dog"), engine=None, folder=tmp_path, **changes):
        on_shifts = shift if isinstance(shift, tuple) else () if shift is None else (shift,)
        shifts = ("solid", "pixel")[: len(on_shifts)]
        accuracies = (home, *on_shifts)
        content = make_results(method, accuracies, seed=seed, classes=classes, shifts=shifts, **changes)
        run = make_run(folder, content)
        label = np.random.default_rng(5).integers(len(classes), size=COUNT).astype(np.int32)
        arrays = {}
        for name, accuracy in zip(("line", *shifts), accuracies, strict=True):
            wrong = np.arange(COUNT) < round((1 - accuracy) * COUNT)
            guess = np.where(wrong, (label + 1) % len(classes), label)
            arrays |= {f"{name}.label": label, f"{name}.prediction": guess}
            content["splits"][name] |= {"accuracy": float((guess == label).mean()), "count": COUNT}
        np.savez(run / "predictions.npz", **arrays)
        (run / "results.json").write_text(json.dumps(content))
        config = {"method": {"name": method, "alpha": 0.4}, **({"engine": engine} if engine else {})}
        (run / "run.json").write_text(json.dumps({"config": config}))
        return run

    return made


def of(found, against, measure):
    return next(each for each in found["differences"] if (each["against"], each["measure"]) == (against, measure))


def test_a_clear_winner_is_shipped_with_its_alpha_and_what_it_costs(make, tmp_path):
    for seed in (0, 1):
        make("zero_shot", 0.60, 0.50, seed=seed)
        make("fine_tune", 0.80, 0.40, seed=seed)
        make("wise_ft", 0.78, 0.60, seed=seed)
    found = advise(read_together([tmp_path]))
    assert (found["verdict"], found["ship"]["name"], found["ship"]["alphas"]) == ("clear", "wise_ft", [0.4])
    assert found["scores"][0]["score"] == pytest.approx(0.69)
    cost = of(found, "fine_tune", "id")
    assert cost["difference"] == pytest.approx(-0.02)
    assert cost["interval"][0] < -0.02 < cost["interval"][1] < 0
    assert cost["told"]
    assert cost["seeds_above"] == 0
    assert of(found, "zero_shot", "score")["seeds_above"] == 2
    said = advice_markdown(found)
    assert "**Ship wise_ft (alpha 0.4).**" in said
    assert "A clear winner: its score is told from that of all 2 others." in said
    assert "Against fine_tune, wise_ft costs 2.0 points of accuracy on line" in said
    assert "One seed" not in said
    assert "Worst shift: solid, 60.0 %" in said


def test_no_winner_names_those_it_is_not_told_from_and_one_seed_is_admitted(make, tmp_path):
    make("zero_shot", 0.60, 0.50, seconds=0.0)
    make("flyp", 0.8, 0.6025, seconds=90.0)
    make("fine_tune", 0.8, 0.60, seconds=40.0)
    found = advise(read_together([tmp_path]))
    assert (found["verdict"], found["level_with"]) == ("level", ["fine_tune"])
    said = advice_markdown(found)
    assert "No clear winner: its score is not told from that of fine_tune. Of these, fine_tune took the least" in said
    assert "One seed (0): these runs cannot tell how much methods differ between seeds" in said


def test_the_robust_number_is_the_mean_of_the_shifts_and_p_is_corrected_for_all_methods(make, tmp_path):
    make("zero_shot", 0.60, (0.60, 0.60))
    make("fine_tune", 0.80, (0.59, 0.61))
    make("flyp", 0.80, (0.62, 0.55))
    make("wise_ft", 0.81, (0.80, 0.60))
    found = advise(read_together([tmp_path]))
    assert found["ship"]["name"] == "wise_ft"
    for measure in ("id", "robust", "score"):
        of_measure = [each for each in found["differences"] if each["measure"] == measure]
        assert [each["p_holm"] for each in of_measure] == holm([each["p"] for each in of_measure])
        assert len(of_measure) == 3
    gap = of(found, "fine_tune", "robust")
    low, high = gap["interval"]
    assert gap["difference"] == pytest.approx((0.21 - 0.01) / 2)
    # nested mistakes: each shift's gap is a share of images that are all alike, so it spreads as a binomial
    spread = ((0.21 * 0.79 + 0.01 * 0.99) / COUNT) ** 0.5 / 2
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_methods_with_other_seeds_are_chosen_and_tested_on_those_they_share(make, tmp_path):
    make("fine_tune", 0.50, 0.40, seed=0)
    make("fine_tune", 0.90, 0.80, seed=1)
    make("flyp", 0.70, 0.60, seed=0)
    found = advise(read_together([tmp_path]))
    assert (found["ship"]["name"], found["verdict"]) == ("flyp", "clear")
    assert [each["score"] for each in found["scores"]] == pytest.approx([0.65, 0.45])


def test_equal_methods_stay_level(make, tmp_path):
    make("fine_tune", 0.80, 0.40)
    make("wise_ft", 0.80, 0.60)
    assert "Against fine_tune, wise_ft stays level in accuracy on line" in advice_markdown(
        advise(read_together([tmp_path]))
    )


def test_without_shifts_the_worst_group_counts(make, tmp_path):
    make("zero_shot", 0.80, groups={"a": 0.82, "b": 0.78})
    make("fine_tune", 0.90, groups={"a": 0.99, "b": 0.30})
    found = advise(read_together([tmp_path]))
    assert (found["measure"], found["ship"]["name"], found["verdict"]) == ("worst_group_accuracy", "zero_shot", "clear")
    assert of(found, "fine_tune", "robust")["difference"] == pytest.approx(0.48)
    said = advice_markdown(found)
    assert "Worst group: b, 78.0 % (95 % interval" in said
    assert "the worst group is drawn apart from them" in said
    assert "zero_shot costs 10.0 points" in said


def test_unfair_budgets_are_repeated_and_what_validation_did_not_choose_is_not_shipped(make, tmp_path):
    make("zero_shot", 0.60, 0.50)
    make("fine_tune", 0.80, 0.45, engine={"epochs": 5})
    make("flyp", 0.90, 0.80, engine={"epochs": 10}, selected_on="solid")
    found = advise(read_together([tmp_path]))
    assert found["ship"]["name"] == "fine_tune"
    said = advice_markdown(found)
    assert "budgets differ in engine.epochs: 5 (fine_tune); 10 (flyp)" in said
    assert "flyp has a higher score, but something else than ID validation chose its setting" in said
    assert "A clear winner" not in said


def test_runs_of_other_tasks_are_refused_and_single_folders_are_read_together(make, tmp_path):
    one, two = make("zero_shot", 0.6, 0.5), make("fine_tune", 0.8, 0.6)
    found = advise(read_together([one, two, one]))
    assert [each["name"] for each in found["scores"]] == ["fine_tune", "zero_shot"]
    other = make("flyp", 0.8, 0.6, folder=tmp_path / "other", task="icongroups")
    done = CliRunner().invoke(app, ["advise", str(one), str(other)])
    assert done.exit_code == 1
    assert "cannot stand in one comparison: they differ in task" in done.stderr


def test_markup_in_a_class_is_shown_as_text(make, tmp_path):
    make("fine_tune", 0.8, 0.6, classes=("<script>alert(1)</script>", "**bold** | [x](y)"))
    done = CliRunner().invoke(app, ["advise", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "\\<script\\>alert(1)\\</script\\> taken for \\*\\*bold\\*\\* \\| \\[x\\](y)" in done.stdout
    assert "the only method here" in done.stdout
    done = CliRunner().invoke(app, ["advise", str(tmp_path), "--json"])
    confused = json.loads(done.stdout)["confused"]
    assert {each["class"] for each in confused} == {"<script>alert(1)</script>", "**bold** | [x](y)"}
    assert sum(each["times"] for each in confused) == 0.2 * COUNT + 0.4 * COUNT


def test_missing_predictions_leave_the_differences_untested(make, tmp_path):
    make("zero_shot", 0.6, 0.5)
    (make("fine_tune", 0.8, 0.6) / "predictions.npz").unlink()
    found = advise(read_together([tmp_path]))
    assert (found["verdict"], found["differences"], found["confused"]) == ("untested", [], [])
    assert "No winner is proved. No differences are tested: " in advice_markdown(found)


def test_draws_of_a_worst_group_spread_as_the_binomial_does():
    row = {
        "seed": 0,
        "splits": {"test": {"groups": {"a": {"accuracy": 0.5, "count": 400}, "b": {"accuracy": 1.0, "count": 50}}}},
    }
    draws = _group_draws({"home": "test"}, [Entry("m", (row,))], [0], resamples=4000)
    assert draws.mean() == pytest.approx(0.5, abs=0.002)
    assert draws.std() == pytest.approx((0.25 / 400) ** 0.5, rel=0.05)


def test_the_bootstraps_p_is_of_both_sides_and_never_0():
    assert bootstrap_p([-1.0, *[1.0] * 98]) == pytest.approx(2 * 2 / 100)
    assert bootstrap_p([1.0] * 99) == pytest.approx(0.02)
    assert bootstrap_p([0.0] * 10) == 1.0
