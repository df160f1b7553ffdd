"""Several settings of each method in a comparison, and the rule that chooses among their runs.

The rules are `evaluation.selection`'s; here results become its records. What a rule did not choose stays on the disk
and in no table.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from surefoot.evaluation.selection import RULES, SELECTED_ON, Record, Rule
from surefoot.run import Run

NO_GRID: Mapping[str, Sequence[Any]] = MappingProxyType({})


@dataclass(frozen=True)
class Grid:
    """Values to try for each setting, all with all, and the rule that alone may choose. Without values: one setting."""

    values: Mapping[str, Sequence[Any]]
    rule: Rule

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule}: there is no such rule; known: {', '.join(RULES)}")
        for name, values in self.values.items():
            if not values or len(set(map(str, values))) < len(values):
                raise ValueError(f"grid {name}={list(values)}: give each value to try once, such as 1e-5,3e-5")
            if name.partition(".")[0] in ("task", "seed", "backbone") or name == "method" or name == "data.root":
                raise ValueError(
                    f"grid {name}: a grid is over settings of training, such as engine.lr; results on other "
                    f"{name.partition('.')[0]}s do not belong together"
                )

    def settings(self) -> dict[str, dict[str, Any]]:
        """Each combination by its name, which is also that of its folder; one without a name where there is no grid."""
        return {
            ",".join(f"{name}={_in_a_path(value)}" for name, value in zip(self.values, combination, strict=True)): dict(
                zip(self.values, combination, strict=True)
            )
            for combination in itertools.product(*self.values.values())
        }


@dataclass(frozen=True)
class Tried:
    """A finished run with one setting, and those of the same setting without each of its sources, where a rule asks."""

    setting: str
    run: Run
    without: Mapping[str, Run] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[Run, ...]:
        return (self.run, *self.without.values())

    def record(self) -> Record:
        """What a rule may see. Where validation has groups (the source domains), each counts alike."""
        results = self.run.results
        splits, shifts = results["splits"], results["shifts"] or [results["home"]]
        validation = splits["validation"]
        groups = {name: group["accuracy"] for name, group in validation["groups"].items()}
        apart = [name for name in splits if name not in ("validation", results["home"], *shifts)]
        return Record(
            setting=self.setting,
            target=results["task"],
            trial=results["seed"],
            step=0,  # every run is at its last
            sources=groups or {"validation": validation["accuracy"]},
            test_in=_mean([splits[name]["accuracy"] for name in shifts]),
            target_out=_mean([splits[name]["accuracy"] for name in apart]) if apart else float("nan"),
            left_out={name: run.results["splits"]["left_out"]["accuracy"] for name, run in self.without.items()},
        )


def pick(tried: Sequence[Tried], rule: Rule) -> Tried:
    """The run that the rule chooses. ValueError where there is nothing that it could choose by."""
    records = {one.setting: one.record() for one in tried}
    if rule == "oracle" and any(math.isnan(record.target_out) for record in records.values()):
        raise ValueError("rule=oracle: the task has no held-out images of its target; choose by training_domain")
    if rule == "leave_one_out" and not all(one.without for one in tried):
        raise ValueError("rule=leave_one_out: the task has no domains to leave out; choose by training_domain")
    choice = RULES[rule](list(records.values()))
    return next(one for one in tried if one.setting == choice.record.setting)


def about_choice(setting: Mapping[str, Any], tried: Sequence[str], rule: Rule) -> dict[str, Any]:
    """What a row of comparison.json says of a chosen run: by which rule, on which images, and among which runs."""
    return {"rule": rule, "selected_on": SELECTED_ON[rule], "setting": dict(setting), "tried": list(tried)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _in_a_path(value: Any) -> str:
    return str(value).replace("/", "_").replace(" ", "")
