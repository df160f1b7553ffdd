"""Finds and reads the runs below a folder; one that is unfinished or half-written is named and refused."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surefoot.report.files import read_json

FORMAT = 1
CHOICE = ("rule", "selected_on", "setting", "tried")  # what a row says of a run that was chosen among others
RUN_FILES = ("run.json", "metrics.jsonl", "results.json")  # one of them makes a folder a run

_RESULT_TYPES: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "backbone": (str,),
    "method": (str,),
    "seed": (int,),
    "home": (str,),
    "shifts": (list,),
    "classes": (list,),
    "selected_on": (str,),
    "seconds": (int, float),
    "splits": (dict,),
    "sweep": (list,),
}
_SPLIT_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("accuracy", "ece", "nll", "brier", "worst_group_accuracy"), (int, float, type(None))),
    "count": (int,),
    "class_count": (dict,),
    "groups": (dict,),
    "reliability": (dict,),
}
POINT_KEYS = ("alpha", "id_accuracy", "shift_accuracy")


@dataclass(frozen=True)
class Run:
    """A finished run: where it stands, its `results.json` and its `run.json` (empty where there is none)."""

    folder: Path
    name: str  # the folder, relative to the one that was searched
    results: Mapping[str, Any]
    record: Mapping[str, Any]
    parts: tuple[str, ...] = ()  # the runs that it is the mean of

    def section(self, name: str) -> Mapping[str, Any]:
        """A mapping in its run.json, empty where there is none."""
        return _mapping(self.record.get(name))

    @property
    def trial(self) -> Any:
        """Which of the task's own splits it was made from; None for tasks that have but one."""
        return _mapping(self.section("config").get("task")).get("trial")


def find_runs(folder: str | Path) -> list[Run]:
    """Every run under `folder`, by name. Raises ValueError that names each unfinished or unreadable one."""
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give the folder that `surefoot compare` or `surefoot train` wrote")
    names = run_names(root)
    if not names:
        raise ValueError(f"{root} holds no run (a folder with run.json and results.json); run `surefoot compare` first")
    return read_runs(root, names)


def read_runs(folder: str | Path, names: Sequence[str]) -> list[Run]:
    """The runs in these subfolders of `folder`. Raises ValueError that names each unfinished or unreadable one."""
    root = Path(folder)
    runs: list[Run] = []
    problems: list[str] = []
    for name in names:
        try:
            runs.append(_read_run(root, name))
        except ValueError as error:
            problems.append(f"  {root / name}: {error}")
    if problems:
        raise ValueError(
            f"{len(problems)} of {len(names)} runs cannot be reported:\n" + "\n".join(problems) + "\n"
            "Give the command that made them once more (a finished run is not redone), or delete these folders."
        )
    return runs


def chosen(run: Run, row: Mapping[str, Any]) -> Run:
    """The run as the one that a rule chose among several settings, as a row of comparison.json says of it."""
    return replace(run, results={**run.results, **{key: row[key] for key in CHOICE}}) if row.get("rule") else run


def run_names(root: Path) -> list[str]:
    """The folders below `root` that are runs, finished or not, sorted."""
    names = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        if any(name in files for name in RUN_FILES):
            names.append(Path(folder).relative_to(root).as_posix())
            subfolders.clear()
    return sorted(names, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts seed-2 before seed-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_run(root: Path, name: str) -> Run:
    folder = root / name
    if not (folder / "results.json").exists():
        raise ValueError("unfinished, it has no results.json")
    results = read_json(folder / "results.json")
    problem = _problem(results)
    if problem:
        raise ValueError(f"results.json {problem}")
    record = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    if not isinstance(record, dict):
        raise ValueError("run.json is not a JSON object")
    return Run(folder=folder, name=name, results=results, record=record)


def _problem(results: Any) -> str:
    """What is wrong with the content of a results.json, or an empty string."""
    if not isinstance(results, dict):
        return "is not a JSON object"
    if results.get("format") != FORMAT:
        return f"has format {results.get('format')!r}, this version reads {FORMAT}"
    problem = _wrong_types(results, _RESULT_TYPES)
    if problem:
        return problem
    for name in (results["home"], *results["shifts"]):
        if not isinstance(results["splits"].get(name), dict):
            return f"has no split {name!r}"
    for name, split in results["splits"].items():
        problem = _wrong_types(split, _SPLIT_TYPES)
        if problem:
            return f"{problem} in split {name!r}"
        lists = [split["reliability"].get(key) for key in ("confidence", "accuracy", "count")]
        if not all(isinstance(each, list) and each and len(each) == len(lists[0]) for each in lists):
            return f"has no whole reliability in split {name!r}"
    for point in results["sweep"]:
        if not isinstance(point, dict) or any(not isinstance(point.get(key), int | float) for key in POINT_KEYS):
            return f"has a sweep point without {', '.join(POINT_KEYS)}"
    return ""


def _wrong_types(values: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> str:
    for key, kinds in types.items():
        if key not in values:
            return f"lacks {key!r}"
        if not isinstance(values[key], kinds):
            return f"has {values[key]!r} for {key!r}"
    return ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
