"""Runs on the variants of a task (each domain left out, each data set) become one run: their mean.

The mean has the form of a run, so that every table and figure shows it: a shift for each variant. It is over all
variants or there is none, and every variant counts alike, whatever its number of images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surefoot.report.runs import Run
from surefoot.report.summary import HONEST

MEANS = ("accuracy", "ece", "ece_noise_floor", "ece_calibrated", "nll", "brier", "macro_f1", "class_mean_accuracy")
POINTS = ("validation_accuracy", "id_accuracy", "shift_accuracy")


def join(root: Path, variants: Mapping[str, Sequence[Run]]) -> list[Run]:
    """A run for each method and seed, in the first variant's order. ValueError where a variant has others."""
    if not variants:
        raise ValueError(f"{root} has no variants to take the mean of; give at least one")
    by_key = {
        name: {(run.results["method"], run.results["seed"]): run for run in runs} for name, runs in variants.items()
    }
    first, expected = next(iter(by_key.items()))
    for name, found in by_key.items():
        if odd := set(found) ^ set(expected):
            told = ", ".join(f"{method} (seed {seed})" for method, seed in sorted(odd))
            raise ValueError(
                f"{root}: variants {first} and {name} have not the same runs (differing: {told}), so there is no mean "
                "over both; run the comparison again"
            )
    return [_joined(root, {name: found[key] for name, found in by_key.items()}) for key in expected]


def _joined(root: Path, runs: Mapping[str, Run]) -> Run:
    first = next(iter(runs.values()))
    if odd := [name for name, run in runs.items() if run.results["backbone"] != first.results["backbone"]]:
        raise ValueError(f"{root}: variant {odd[0]} has another backbone; run the comparison again")
    each = [run.results for run in runs.values()]
    home = first.results["home"]
    shifts = {name: pooled(_shifts(run.results)) for name, run in runs.items()}
    results = {
        **{key: first.results[key] for key in ("format", "backbone", "method", "seed")},
        "task": _common_words([found["task"] for found in each]),
        "home": home,
        "shifts": list(shifts),
        "classes": list(dict.fromkeys(name for found in each for name in found["classes"])),
        "selected_on": _least_honest([found["selected_on"] for found in each]),
        "rule": next((found["rule"] for found in each if found.get("rule")), ""),
        "seconds": sum(found["seconds"] for found in each),
        "splits": {home: pooled([found["splits"][found["home"]] for found in each]), **shifts},
        "sweep": _mean_sweep([found["sweep"] for found in each]),
    }
    parts = tuple(f"{name}/{part}" for name, run in runs.items() for part in (run.parts or (run.name,)))
    method, seed = results["method"], results["seed"]
    return Run(root, f"{method}/seed-{seed}", results, _record(runs), parts)


def pooled(splits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of several splits' measures; counts and bins of confidence are added up. Groups are each split's own."""
    counts: dict[str, int] = {}
    for split in splits:
        for name, count in split["class_count"].items():
            counts[name] = counts.get(name, 0) + count
    return {
        **{key: _mean([split[key] for split in splits]) for key in MEANS if all(key in split for split in splits)},
        "count": sum(split["count"] for split in splits),
        "class_accuracy": {},
        "class_count": counts,
        "groups": {},
        "worst_group_accuracy": None,
        "reweighted_accuracy": None,
        "reliability": _added([split["reliability"] for split in splits]),
    }


def _shifts(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The splits whose mean a variant is: its shifts, or its home where it has none."""
    return [results["splits"][name] for name in results["shifts"] or [results["home"]]]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _added(parts: Sequence[Mapping[str, Sequence[Any]]]) -> dict[str, list[Any]]:
    bins = range(min(len(part["count"]) for part in parts))
    count = [sum(part["count"][i] for part in parts) for i in bins]
    means = {
        key: [
            sum((part[key][i] or 0) * part["count"][i] for part in parts) / count[i] if count[i] else None for i in bins
        ]
        for key in ("confidence", "accuracy")
    }
    return {**means, "count": count}


def _mean_sweep(sweeps: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Point by point; empty where the variants have not the same alphas."""
    alphas = [[point["alpha"] for point in sweep] for sweep in sweeps]
    if any(each != alphas[0] for each in alphas):
        return []
    keys = [key for key in POINTS if all(key in point for sweep in sweeps for point in sweep)]
    return [
        {"alpha": points[0]["alpha"], **{key: sum(point[key] for point in points) / len(points) for key in keys}}
        for points in zip(*sweeps, strict=True)
    ]


def _least_honest(chosen_on: Sequence[str]) -> str:
    return max(chosen_on, key=lambda name: (name not in HONEST, name != "none"))


def _common_words(names: Sequence[str]) -> str:
    """The words that all names begin with: "domainbed PACS" of "domainbed PACS: photo" and "domainbed PACS: sketch"."""
    split = [name.split() for name in names]
    shared = 0
    while all(len(words) > shared for words in split) and len({words[shared] for words in split}) == 1:
        shared += 1
    return " ".join(split[0][:shared]).rstrip(":,") or names[0]


def _record(runs: Mapping[str, Run]) -> dict[str, Any]:
    """What the variants' run.json say together: settings of the first, every version, all notes with whose they are."""
    first = next(iter(runs.values()))
    whose: dict[str, list[str]] = {}
    versions: dict[str, list[str]] = {}
    for name, run in runs.items():
        for note in run.section("data").get("notes") or ():
            whose.setdefault(str(note), []).append(name)
        for library, version in run.section("versions").items():
            versions.setdefault(library, []).append(str(version))
    names = ", ".join(runs)
    about = f"Each number is the mean over {len(runs)} variants ({names}); each has a report in a folder of its name."
    notes = [note if len(names) == len(runs) else f"{', '.join(names)}: {note}" for note, names in whose.items()]
    prints = [str(run.section("data").get("fingerprint")) for run in runs.values()]
    return {
        "config": first.section("config"),
        "data": {"notes": [about, *notes], "fingerprint": " ".join(prints)},
        "versions": {library: ", ".join(dict.fromkeys(found)) for library, found in versions.items()},
    }
