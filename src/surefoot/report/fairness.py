"""What would make a comparison unfair: other budgets, other grids. Who chose the settings is told in `summary`."""

from collections.abc import Mapping, Sequence
from typing import Any

from surefoot.report.runs import Run

BUDGET = ("epochs", "steps", "batch_size")  # of a config's section engine
UNTRAINED = ("zero_shot",)  # has no budget


def unfair(runs: Sequence[Run]) -> list[str]:
    """A sentence for each thing that is not the same for all methods.

    Runs without a config in run.json are named as unknown, not taken for fair.
    """
    said = list[str]()
    trained = [run for run in runs if run.results["method"] not in UNTRAINED]
    told = [run for run in trained if run.section("config").get("engine")]
    if len(told) < len(trained) and len({run.results["method"] for run in trained}) > 1:
        names = ", ".join(run.name for run in trained if run not in told)
        said.append(f"Not known whether the budgets are equal: no settings are recorded of {names}.")
    for key in BUDGET:
        found = _by_value([(run, run.section("config")["engine"].get(key, "unset")) for run in told])
        if len(found) > 1:
            said.append(f"Not fair: budgets differ in engine.{key}: {_listed(found)}.")
    tried = _by_value([(run, len(run.results.get("tried", ())) or 1) for run in trained])
    if len(tried) > 1:
        said.append(f"Not fair: the number of settings tried differs: {_listed(tried)}.")
    return said


def _by_value(pairs: Sequence[tuple[Run, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run, value in pairs:
        methods = found.setdefault(str(value), [])
        if run.results["method"] not in methods:
            methods.append(run.results["method"])
    return found


def _listed(found: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{value} ({', '.join(methods)})" for value, methods in found.items())
