"""Reads what runs left behind (`results.json`, `run.json`) and joins it to one comparison.

A run that is unfinished, half-written or of another format is named and refused, never skipped; so is a mix of
runs over different tasks, classes or examples. Means over seeds are `summary.py`'s, looks are the others'.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.report.examples import Example, read_examples
from surefoot.report.files import read_json

FORMAT = 1
RUN_FILES = ("run.json", "metrics.jsonl", "results.json")  # one of them makes a folder a run
BULKY = ("class_accuracy", "class_count", "reliability")  # of a split; stay in the run's own results.json
SAME = ("task", "backbone", "home", "shifts", "classes")  # what runs must share to stand in one table

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
_POINT_KEYS = ("alpha", "id_accuracy", "shift_accuracy")


@dataclass(frozen=True)
class Run:
    """A finished run: where it stands, its `results.json` and its `run.json` (empty where there is none)."""

    folder: Path
    name: str  # the folder, relative to the one that was searched
    results: Mapping[str, Any]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Records:
    """All that a report is made of: `comparison` as in comparison.json, its runs in the same order, the examples."""

    comparison: Mapping[str, Any]
    runs: tuple[Run, ...]
    examples: tuple[Example, ...]
    notes: tuple[str, ...]  # what the runs say about their data; runs in the folder that are not compared


def find_runs(folder: str | Path) -> list[Run]:
    """Every run under `folder`, by name. Raises ValueError that names each unfinished or unreadable one."""
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give the folder that `surefoot compare` or `surefoot train` wrote")
    names = _run_names(root)
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


def read_records(folder: str | Path) -> Records:
    """The runs that `folder`/comparison.json lists, or all under `folder` where there is no such file."""
    root = Path(folder)
    listing = root / "comparison.json"
    if listing.exists():
        try:
            names = [str(row["run"]) for row in read_json(listing)["rows"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{listing} cannot be read ({error}); delete it and run the comparison again") from error
        if not names:
            raise ValueError(f"{listing} lists no run; delete it and run the comparison again")
        outside = [name for name in names if not (root / name).resolve().is_relative_to(root.resolve())]
        if outside:
            raise ValueError(
                f"{listing} names runs outside of its folder: {', '.join(outside)}; delete it and run again"
            )
        runs = read_runs(root, names)
    else:
        runs = find_runs(root)
    listed = {run.name for run in runs}
    left_out = [name for name in _run_names(root) if name not in listed]
    notes = list(dict.fromkeys(note for run in runs for note in _notes_of(run)))
    if left_out:
        notes.append(f"Not part of this comparison, though in its folder: {', '.join(left_out)}.")
    return Records(
        comparison=comparison(runs),
        runs=tuple(runs),
        examples=read_examples(root / "examples.json"),
        notes=tuple(notes),
    )


def comparison(runs: Sequence[Run]) -> dict[str, Any]:
    """The content of comparison.json: a row a run, in the order given, fractions in [0, 1].

    A mean over shifts is null where one of its parts is. The worst group is that of the home split.
    Raises ValueError where the runs are not of one task, backbone, class list and set of examples.
    """
    if not runs:
        raise ValueError("no runs to compare; give at least one finished run")
    _refuse_mixture(runs)
    first = runs[0].results
    curves = [
        {
            "method": run.results["method"],
            "seed": run.results["seed"],
            "points": [{key: point[key] for key in _POINT_KEYS} for point in run.results["sweep"]],
        }
        for run in runs
        if run.results["sweep"]
    ]
    return {
        "task": first["task"],
        "backbone": first["backbone"],
        "home": first["home"],
        "shifts": list(first["shifts"]),
        "rows": [_row(run) for run in runs],
        "curves": curves,
    }


def _row(run: Run) -> dict[str, Any]:
    results = run.results
    splits, home = results["splits"], results["splits"][results["home"]]
    shifts = [splits[name] for name in results["shifts"]]
    accuracies = [shift["accuracy"] for shift in shifts]
    known = bool(shifts) and None not in accuracies
    return {
        "method": results["method"],
        "seed": results["seed"],
        "run": run.name,
        "id_accuracy": home["accuracy"],
        "shift_accuracy": sum(accuracies) / len(accuracies) if known else None,
        "worst_shift_accuracy": min(accuracies) if known else None,
        "id_ece": home["ece"],
        "shift_ece": _mean([shift["ece"] for shift in shifts]),
        "worst_group_accuracy": home["worst_group_accuracy"],
        "reweighted_accuracy": home.get("reweighted_accuracy"),
        "seconds": results["seconds"],
        "selected_on": results["selected_on"],
        "splits": {
            name: {key: value for key, value in split.items() if key not in BULKY} for name, split in splits.items()
        },
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _notes_of(run: Run) -> list[str]:
    """What the run has to say about its data, such as images that stand both in train and in test."""
    path = run.folder / "notes.json"
    found: list[Any] = [_mapping(run.record.get("data")).get("notes")]
    if path.exists():
        found.append(_mapping(read_json(path)).get("notes"))
    return [str(note) for notes in found if isinstance(notes, list) for note in notes]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _run_names(root: Path) -> list[str]:
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
        if not isinstance(point, dict) or any(not isinstance(point.get(key), int | float) for key in _POINT_KEYS):
            return f"has a sweep point without {', '.join(_POINT_KEYS)}"
    return ""


def _wrong_types(values: Mapping[str, Any], types: Mapping[str, tuple[type, ...]]) -> str:
    for key, kinds in types.items():
        if key not in values:
            return f"lacks {key!r}"
        if not isinstance(values[key], kinds):
            return f"has {values[key]!r} for {key!r}"
    return ""


def _refuse_mixture(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        differing = [key for key in SAME if run.results[key] != first.results[key]]
        if not differing and (_examples_of(run) != _examples_of(first) or _other_data(run, runs)):
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
        if (fingerprint := _mapping(other.record.get("data")).get("fingerprint")) is not None
    }
    return len(prints) > 1


def _bins_of(run: Run) -> int:
    return len(run.results["splits"][run.results["home"]]["reliability"]["count"])
