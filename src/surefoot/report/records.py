"""Reads what runs left behind (`results.json`, `run.json`) and joins it to one comparison.

A run that is unfinished, half-written or of another format is named and refused, never skipped (`runs.py`); so is a mix
of runs over different tasks, classes or examples (`mixture.py`) and a mean over some of a task's variants only
(`joined.py`). Means over seeds are `summary.py`'s, looks are the others'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surefoot.evaluation.shift import corruption_curves, effective_robustness, robustness_line
from surefoot.report.examples import Example, read_examples
from surefoot.report.fairness import unfair
from surefoot.report.files import read_json
from surefoot.report.joined import join
from surefoot.report.mixture import refuse_mixture
from surefoot.report.runs import POINT_KEYS, Run, chosen, find_runs, read_runs, run_names
from surefoot.report.summary import BASELINES

BULKY = (
    "class_accuracy",
    "class_count",
    "reliability",
    "paper_compat",
    "group_intervals",
)  # of a split; stay in the run's own results.json

SAME = 1e-6  # ID accuracies so near each other give no line


@dataclass(frozen=True)
class Records:
    """All that a report is made of: `comparison` as in comparison.json, its runs in the same order, the examples."""

    comparison: Mapping[str, Any]
    runs: tuple[Run, ...]
    examples: tuple[Example, ...]
    notes: tuple[str, ...]  # what the runs say about their data; runs in the folder that are not compared


def read_records(folder: str | Path) -> Records:
    """The runs that `folder`/comparison.json lists, or all under `folder` where there is no such file."""
    root = Path(folder)
    listing = _listing(root)
    runs = _listed_runs(root, listing) if listing else find_runs(root)
    listed = {name for run in runs for name in (*(run.parts or (run.name,)), *run.results.get("tried", ()))}
    left_out = [] if listing.get("variants") else [name for name in run_names(root) if name not in listed]
    notes = list(dict.fromkeys([*listing.get("notes", ()), *(note for run in runs for note in _notes_of(run))]))
    notes += unfair(runs)
    if left_out:
        notes.append(f"Not part of this comparison, though in its folder: {', '.join(left_out)}.")
    return Records(
        comparison={**comparison(runs), **{key: listing[key] for key in ("variants", "notes") if key in listing}},
        runs=tuple(runs),
        examples=read_examples(root / "examples.json"),
        notes=tuple(notes),
    )


def read_together(folders: Sequence[str | Path]) -> Records:
    """The runs of several folders (runs, or folders of them) in one comparison; of a single folder, `read_records`.

    A run that two of the folders hold counts once. Raises ValueError where runs are not of one task and examples.
    """
    roots = [Path(folder) for folder in folders]
    if len(roots) == 1 and "." not in (run_names(roots[0]) if roots[0].is_dir() else ()):
        return read_records(roots[0])
    found: dict[Path, Run] = {}
    for root in roots:
        listing = _listing(root)
        if listing.get("variants"):
            raise ValueError(f"{root} holds means over variants of a task; give it alone")
        for run in _listed_runs(root, listing) if listing else find_runs(root):
            found.setdefault(run.folder.resolve(), replace(run, name=run.folder.as_posix()))
    runs = tuple(found.values())
    notes = [*dict.fromkeys(note for run in runs for note in _notes_of(run)), *unfair(runs)]
    return Records(comparison=comparison(runs), runs=runs, examples=(), notes=tuple(notes))


def read_variants(folder: str | Path, names: Sequence[str]) -> list[Run]:
    """The means over these subfolders, each of which holds a comparison: a run for each method and seed.

    Raises ValueError where one of them is missing or unfinished, or has other methods or seeds than the first.
    """
    root = Path(folder)
    found: dict[str, Sequence[Run]] = {}
    for name in names:
        listing = _listing(root / name)
        if not listing:
            raise ValueError(
                f"{root / name} holds no comparison.json, so the mean would lack variant {name}; give the command that "
                "made it once more (a finished run is not redone)"
            )
        found[name] = _listed_runs(root / name, listing)
    return join(root, found)


def _listing(root: Path) -> Mapping[str, Any]:
    """The content of comparison.json; empty where there is none."""
    path = root / "comparison.json"
    if not path.exists():
        return {}
    remedy = "delete it and run the comparison again"
    try:
        found = read_json(path)
        names = [*(str(row["run"]) for row in found["rows"]), *map(str, found.get("variants", ()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {remedy}") from error
    if not found["rows"]:
        raise ValueError(f"{path} lists no run; {remedy}")
    outside = [name for name in names if not (root / name).resolve().is_relative_to(root.resolve())]
    if outside:
        raise ValueError(f"{path} names runs outside of its folder: {', '.join(outside)}; {remedy}")
    return dict(found)


def _listed_runs(root: Path, listing: Mapping[str, Any]) -> list[Run]:
    if listing.get("variants"):
        return read_variants(root, listing["variants"])
    rows = listing["rows"]
    runs = read_runs(root, [str(row["run"]) for row in rows])
    return [chosen(run, row) for run, row in zip(runs, rows, strict=True)]


def comparison(runs: Sequence[Run]) -> dict[str, Any]:
    """The content of comparison.json: a row a run, in the order given, fractions in [0, 1].

    A mean over shifts is null where one of its parts is. The worst group is that of the home split.
    Raises ValueError where the runs are not of one task, backbone, class list and set of examples.
    """
    if not runs:
        raise ValueError("no runs to compare; give at least one finished run")
    refuse_mixture(runs)
    first = runs[0].results
    curves = [
        {
            "method": run.results["method"],
            "seed": run.results["seed"],
            "points": [{key: point[key] for key in POINT_KEYS} for point in run.results["sweep"]],
        }
        for run in runs
        if run.results["sweep"]
    ]
    return {
        "task": first["task"],
        "backbone": first["backbone"],
        "home": first["home"],
        "shifts": list(first["shifts"]),
        "rows": _with_robustness([_row(run) for run in runs]),
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
        "runs": max(1, len(run.parts)),
        "id_accuracy": home["accuracy"],
        "shift_accuracy": sum(accuracies) / len(accuracies) if known else None,
        "worst_shift_accuracy": min(accuracies) if known else None,
        "id_ece": home["ece"],
        "shift_ece": _mean([shift["ece"] for shift in shifts]),
        "id_ece_floor": home.get("ece_noise_floor"),
        "shift_ece_floor": _mean([shift.get("ece_noise_floor") for shift in shifts]),
        "corruption_curves": corruption_curves(
            {name: splits[name]["accuracy"] for name in results["shifts"] if splits[name]["accuracy"] is not None}
        ),
        "worst_group_accuracy": home["worst_group_accuracy"],
        "reweighted_accuracy": home.get("reweighted_accuracy"),
        "seconds": results["seconds"],
        "selected_on": results["selected_on"],
        "rule": results.get("rule", ""),
        "setting": results.get("setting", {}),
        "tried": results.get("tried", []),
        "splits": {
            name: {key: value for key, value in split.items() if key not in BULKY} for name, split in splits.items()
        },
    }


def _with_robustness(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `effective_robustness`: mean shift accuracy above the line through zero_shot and fine_tune.

    Null where one of the two baselines, or a shift, is missing, or where both have the same ID accuracy.
    """
    for row in rows:
        row["effective_robustness"] = None
    whole = [row for row in rows if None not in (row["id_accuracy"], row["shift_accuracy"])]
    means = [
        [_mean([row[key] for row in whole if row["method"] == name]) for key in ("id_accuracy", "shift_accuracy")]
        for name in BASELINES
    ]
    points = [(x, y) for x, y in means if x is not None and y is not None]
    if len(points) < len(BASELINES) or abs(points[0][0] - points[1][0]) < SAME:
        return rows
    line = robustness_line([x for x, _ in points], [y for _, y in points])
    for row in whole:
        row["effective_robustness"] = effective_robustness(line, row["id_accuracy"], row["shift_accuracy"])
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _notes_of(run: Run) -> list[str]:
    """What the run has to say about its data, such as images that stand both in train and in test."""
    path = run.folder / "notes.json"
    found: list[Any] = [run.section("data").get("notes")]
    if path.exists() and isinstance(beside := read_json(path), dict):
        found.append(beside.get("notes"))
    return [str(note) for notes in found if isinstance(notes, list) for note in notes]
