"""Which runs may stand in one table: those of one task, backbone, class list and set of examples."""

from collections.abc import Sequence
from typing import Any

from surefoot.report.runs import Run

SAME = ("task", "backbone", "home", "shifts", "classes")  # what runs must share to stand in one table


def refuse_mixture(runs: Sequence[Run]) -> None:
    """ValueError naming what differs. Runs of two trials may differ in their examples, which the trial drew."""
    first = runs[0]
    for run in runs[1:]:
        differing = [key for key in SAME if run.results[key] != first.results[key]]
        drawn_alike = [other for other in runs if other.trial == run.trial]
        if not differing and (_examples_of(run) != _examples_of(drawn_alike[0]) or _other_data(run, runs)):
            differing = ["test examples"]
        if not differing and _bins_of(run) != _bins_of(first):
            differing = ["evaluation.ece_bins"]
        if differing:
            raise ValueError(
                f"runs {first.name} and {run.name} cannot stand in one comparison: they differ in "
                f"{', '.join(differing)}; report them from separate folders"
            )


def _examples_of(run: Run) -> dict[str, Any]:
    """How many images of each class each test split has: what tells two sets of examples apart without the images."""
    splits = run.results["splits"]
    names = (run.results["home"], *run.results["shifts"])
    return {name: (splits[name]["count"], splits[name]["class_count"]) for name in names}


def _other_data(run: Run, runs: Sequence[Run]) -> bool:
    """Whether another run of the same seed (which draws the splits) was made from other data."""
    prints = {
        fingerprint
        for other in runs
        if other.results["seed"] == run.results["seed"]
        if (fingerprint := other.section("data").get("fingerprint")) is not None
    }
    return len(prints) > 1


def _bins_of(run: Run) -> int:
    return len(run.results["splits"][run.results["home"]]["reliability"]["count"])
