"""Grids of settings, and which run a rule picks."""

from pathlib import Path
from typing import Any

import pytest

from surefoot.run import Run
from surefoot.tuning import Grid, Tried, about_choice, pick


def run(*, validation: float, groups: dict[str, float], shift: float, apart: dict[str, float]) -> Run:
    splits: dict[str, Any] = {
        "validation": {"accuracy": validation, "groups": {k: {"accuracy": v, "count": 9} for k, v in groups.items()}},
        "sources": {"accuracy": validation},
        "test_in": {"accuracy": shift},
        **{name: {"accuracy": value} for name, value in apart.items()},
    }
    results = {"task": "t", "seed": 0, "home": "sources", "shifts": ["test_in"], "splits": splits}
    return Run(Path("x"), results)


UNEVEN = Tried("a", run(validation=0.9, groups={"p": 0.95, "q": 0.55}, shift=0.3, apart={"target_out": 0.8}))  # .75
EVEN = Tried("b", run(validation=0.8, groups={"p": 0.80, "q": 0.80}, shift=0.4, apart={"target_out": 0.7}))  # .80


def test_every_combination_has_a_name_that_is_a_folder() -> None:
    grid = Grid({"engine.lr": ["1e-5", "3e-5"], "data.crop_scale": [[0.5, 1]]}, "training_domain")
    assert grid.settings() == {
        "engine.lr=1e-5,data.crop_scale=[0.5,1]": {"engine.lr": "1e-5", "data.crop_scale": [0.5, 1]},
        "engine.lr=3e-5,data.crop_scale=[0.5,1]": {"engine.lr": "3e-5", "data.crop_scale": [0.5, 1]},
    }
    assert Grid({}, "oracle").settings() == {"": {}}


@pytest.mark.parametrize(
    ("values", "rule", "message"),
    [
        ({"engine.lr": []}, "oracle", "give each value to try once"),
        ({"engine.lr": ["1", 1]}, "oracle", "give each value to try once"),
        ({"task.target": ["x", "y"]}, "oracle", "a grid is over settings of training"),
        ({"data.root": ["x", "y"]}, "oracle", "a grid is over settings of training"),
        ({"seed": [0, 1]}, "oracle", "a grid is over settings of training"),
        ({}, "validation", "no such rule; known: training_domain, leave_one_out, oracle"),
    ],
)
def test_what_is_no_grid_is_refused(values: dict[str, list[Any]], rule: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(values, rule)


def test_source_domains_count_alike_in_training_domain_validation() -> None:
    assert pick([UNEVEN, EVEN], "training_domain") is EVEN
    whole = [Tried(one.setting, without_groups(one.run)) for one in (UNEVEN, EVEN)]
    assert pick(whole, "training_domain") is whole[0]


def without_groups(one: Run) -> Run:
    splits = one.results["splits"]
    return Run(one.folder, {**one.results, "splits": {**splits, "validation": {**splits["validation"], "groups": {}}}})


def test_the_oracle_looks_at_the_tests_that_stand_apart() -> None:
    assert pick([UNEVEN, EVEN], "oracle") is UNEVEN
    usual = Tried("c", run(validation=0.9, groups={}, shift=0.3, apart={}))
    with pytest.raises(ValueError, match="rule=oracle: the task has no held-out images of its target"):
        pick([usual, usual], "oracle")


def test_cross_validation_looks_at_the_runs_without_each_source() -> None:
    def left_out(accuracy: float) -> Run:
        return run(validation=0, groups={}, shift=0, apart={"left_out": accuracy})

    low = Tried("a", UNEVEN.run, {"p": left_out(0.2), "q": left_out(0.3)})
    high = Tried("b", EVEN.run, {"p": left_out(0.5), "q": left_out(0.1)})
    assert pick([low, high], "leave_one_out") is high
    assert len(high.runs) == 3
    with pytest.raises(ValueError, match="without q"):
        pick([low, Tried("b", EVEN.run, {"p": left_out(0.5)})], "leave_one_out")
    with pytest.raises(ValueError, match="the task has no domains to leave out"):
        pick([UNEVEN, EVEN], "leave_one_out")


def test_the_choice_says_what_it_was_made_on() -> None:
    about = about_choice({"engine.lr": "1e-5"}, ["x/fine_tune/seed-0"], "oracle")
    assert about == {
        "rule": "oracle",
        "selected_on": "target_out",
        "setting": {"engine.lr": "1e-5"},
        "tried": ["x/fine_tune/seed-0"],
    }
