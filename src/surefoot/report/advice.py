"""Which of several methods to ship, and why, from the numbers of their runs; the rules stand in docs/advise.md.

Numbers only: words are `advice_text.py`'s, reading is `records.py`'s and `paired.py`'s.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from surefoot.evaluation.metrics import wilson_interval
from surefoot.report import summary
from surefoot.report.paired import read_predictions, resampled
from surefoot.report.records import Records
from surefoot.report.runs import Run
from surefoot.report.statistics import Floats, bootstrap_p, holm, percentile_interval
from surefoot.report.summary import BASELINES, HONEST, Entry, Value

LEVEL = 0.05  # a difference is told from 0 where its p after Holm is below
RESAMPLES = 2000
CONFUSED = 5


def advise(records: Records, *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """What docs/advise.md describes, fractions in [0, 1]; `differences` is empty where nothing pairs the runs.

    Raises ValueError where no method has all the numbers that the choice is made from.
    """
    comparison = records.comparison
    found = _on_shared_seeds(summary.entries(comparison))
    robust, measure = _robust(comparison)
    values: dict[str, Value] = {"id": summary.id_accuracy, **({"robust": robust} if measure else {})}
    scores = _scores(found, values)
    if not scores:
        raise ValueError(
            "no method has its accuracies at home and on the shifts; nothing can be advised from these runs"
        )
    honest = [each["name"] for each in scores if each["honest"]]
    ship = next(entry for entry in found if entry.name == (honest or [each["name"] for each in scores])[0])
    runs = _named(records.runs, found)
    others = [entry for entry in found if entry.name in {each["name"] for each in scores} and entry is not ship]
    differences, unpaired = _differences(
        comparison, runs, ship, others, values=values, measure=measure, resamples=resamples
    )
    on_score = [each for each in differences if each["measure"] == "score"]
    level = [each["against"] for each in on_score if not each["told"] and (each["against"] in honest or not honest)]
    ahead = [each["against"] for each in on_score if each["difference"] < 0]
    mine = [run for run in runs if run.results["method"] == ship.name]
    seeds = sorted({row["seed"] for row in comparison["rows"]})
    return {
        "task": comparison["task"],
        "backbone": comparison["backbone"],
        "home": comparison["home"],
        "shifts": list(comparison["shifts"]),
        "seeds": seeds,
        "measure": measure,
        "verdict": _verdict(others, differences, level, ahead),
        "ship": {
            "name": ship.name,
            "method": ship.rows[0]["method"],
            "alphas": sorted({alpha for run in mine for alpha in _alpha(run, ship)}),
            "runs": [row["run"] for row in ship.rows],
            "selected_on": sorted({row["selected_on"] for row in ship.rows}),
        },
        "scores": scores,
        "level_with": level,
        "differences": differences,
        "unpaired": unpaired,
        "calibration": [_calibration(comparison, entry) for entry in found if entry is ship or _is_baseline(entry)],
        "parts": _parts(comparison, ship),
        "confused": _confused(mine, (comparison["home"], *comparison["shifts"])),
        "left_out": [entry.name for entry in found if entry.name not in {each["name"] for each in scores}],
        "notes": list(dict.fromkeys([*summary.notes(comparison), *records.notes])),
    }


def _on_shared_seeds(found: Sequence[Entry]) -> list[Entry]:
    """The methods with the seeds that all have, so that choice and tests are of the same runs; else as given."""
    seeds = set.intersection(*({row["seed"] for row in entry.rows} for entry in found))
    if not seeds:
        return list(found)
    return [replace(entry, rows=tuple(row for row in entry.rows if row["seed"] in seeds)) for entry in found]


def _robust(comparison: Mapping[str, Any]) -> tuple[Value, str]:
    """The robust number and its key in a row: the mean over the shifts, else the worst group, else none."""
    if comparison["shifts"]:
        return summary.shift_accuracy, "shift_accuracy"
    if any(row["worst_group_accuracy"] is not None for row in comparison["rows"]):
        return summary.worst_group, "worst_group_accuracy"
    return summary.id_accuracy, ""


def _scores(found: Sequence[Entry], values: Mapping[str, Value]) -> list[dict[str, Any]]:
    """Every method that has all numbers, the highest score first; of equal ones that which trained less."""
    scores = []
    for entry in found:
        numbers = {key: estimate.mean for key, value in values.items() if (estimate := entry.estimate(value))}
        if len(numbers) < len(values):
            continue
        seconds = summary.estimate([row["seconds"] for row in entry.rows])
        scores.append(
            {
                "name": entry.name,
                "score": sum(numbers.values()) / len(numbers),
                **numbers,
                "seconds": seconds.mean if seconds else 0.0,
                "honest": all(row["selected_on"] in HONEST for row in entry.rows),
            }
        )
    return sorted(scores, key=lambda each: (-round(each["score"], 12), each["seconds"]))


def _named(runs: Sequence[Run], found: Sequence[Entry]) -> list[Run]:
    """The runs under the names of the table, so that two settings of one method stand apart."""
    names = {row["run"]: entry.name for entry in found for row in entry.rows}
    return [replace(run, results={**run.results, "method": names[run.name]}) for run in runs if run.name in names]


def _verdict(
    others: Sequence[Entry], differences: Sequence[Mapping[str, Any]], level: Sequence[str], ahead: Sequence[str]
) -> str:
    if not others:
        return "alone"
    if not differences:
        return "untested"
    return "level" if level or ahead else "clear"


def _differences(
    comparison: Mapping[str, Any],
    runs: Sequence[Run],
    ship: Entry,
    others: Sequence[Entry],
    *,
    values: Mapping[str, Value],
    measure: str,
    resamples: int,
) -> tuple[list[dict[str, Any]], str]:
    """The shipped method less each other, and why there is nothing, if so. Holm's correction within each measure."""
    if not others:
        return [], ""
    if comparison.get("variants"):
        return [], "The numbers are means over variants of the task, whose examples are not paired here."
    names = [ship.name, *(entry.name for entry in others)]
    chosen = [run for name in names for run in runs if run.results["method"] == name]
    splits = (comparison["home"], *comparison["shifts"])
    try:
        each = [resampled(chosen, split, resamples=resamples, seed=i) for i, split in enumerate(splits)]
    except ValueError as error:
        return [], f"No differences are tested: {error}."
    seeds = each[0].seeds
    draws: dict[str, Floats] = {"id": each[0].draws}
    if measure == "shift_accuracy":
        draws["robust"] = np.mean([one.draws for one in each[1:]], axis=0)
    elif measure:
        draws["robust"] = _group_draws(comparison, [ship, *others], seeds, resamples=resamples)
    draws["score"] = np.mean([draws[key] for key in values], axis=0)
    found = []
    for key, drawn in draws.items():
        tested = [drawn[:, 0] - drawn[:, i] for i in range(1, len(names))]
        p = [bootstrap_p(gaps) for gaps in tested]
        for entry, gaps, raw, corrected in zip(others, tested, p, holm(p), strict=True):
            by_seed = [_of_seed(ship, s, key, values) - _of_seed(entry, s, key, values) for s in seeds]
            found.append(
                {
                    "against": entry.name,
                    "measure": key,
                    "difference": sum(by_seed) / len(by_seed),
                    "interval": list(percentile_interval(gaps)),
                    "p": raw,
                    "p_holm": corrected,
                    "told": corrected < LEVEL,
                    "seeds": list(seeds),
                    "seeds_above": sum(gap > 0 for gap in by_seed),
                }
            )
    return found, ""


def _of_seed(entry: Entry, seed: int, key: str, values: Mapping[str, Value]) -> float:
    row = next(row for row in entry.rows if row["seed"] == seed)
    numbers = {name: float(value(row) or 0.0) for name, value in values.items()}
    return sum(numbers.values()) / len(numbers) if key == "score" else numbers[key]


def _group_draws(
    comparison: Mapping[str, Any], entries: Sequence[Entry], seeds: Sequence[int], *, resamples: int
) -> Floats:
    """Draws (resamples, M) of the worst group's accuracy: each group's as from the normal of its own image count.

    Methods are drawn apart, since predictions.npz does not say which image is of which group; so the differences are
    wider than paired ones. The spread is that of (right + 2) / (images + 4), which no share of 0 or 1 makes 0.
    """
    found = np.empty((resamples, len(entries)))
    for i, entry in enumerate(entries):
        rows = [row for row in entry.rows if row["seed"] in seeds]
        groups = [[g for g in row["splits"][comparison["home"]]["groups"].values() if g["count"]] for row in rows]
        share = np.array([[g["accuracy"] for g in of_row] for of_row in groups], dtype=np.float64)  # (seeds, groups)
        count = np.array([[g["count"] for g in of_row] for of_row in groups], dtype=np.float64)
        centre = (share * count + 2) / (count + 4)
        noise = np.random.default_rng([1, i]).standard_normal((resamples, 1, share.shape[1]))  # seeds share the images
        drawn = np.clip(share + noise * np.sqrt(centre * (1 - centre) / (count + 4)), 0, 1)
        found[:, i] = drawn.min(axis=2).mean(axis=1)
    return found


def _alpha(run: Run, entry: Entry) -> list[float]:
    """The share of fine-tuned weights in a wise_ft or a blend of one run; empty for others or where not recorded."""
    if entry.rows[0]["method"].endswith(" + blend"):
        points = [point for point in run.results["sweep"] if point.get("validation_accuracy") is not None]
        best = max(points, key=lambda point: (point["validation_accuracy"], -point["alpha"]), default=None)
        return [float(best["alpha"])] if best else []
    method = run.section("config").get("method")
    alpha = method.get("alpha") if isinstance(method, dict) and entry.rows[0]["method"] == "wise_ft" else None
    return [float(alpha)] if isinstance(alpha, int | float) else []


def _is_baseline(entry: Entry) -> bool:
    return entry.rows[0]["method"] in BASELINES


def _calibration(comparison: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
    """ECE at home and its mean over the shifts, without and with the temperature; null where it is not measured."""
    found: dict[str, Any] = {"name": entry.name}
    for place, splits in (("id", [comparison["home"]]), ("shift", comparison["shifts"])):
        for key in ("ece", "ece_calibrated"):
            numbers = [row["splits"][name].get(key) for row in entry.rows for name in splits]
            mean = summary.estimate(numbers)
            found[f"{place}_{key}"] = mean.mean if mean else None
    return found


def _parts(comparison: Mapping[str, Any], ship: Entry) -> list[dict[str, Any]]:
    """Splits and groups of the shipped method, the lowest accuracy first, each with the interval of its image count."""
    home = comparison["home"]
    named = [
        (name, "home" if name == home else "shift", summary.split_accuracy(name))
        for name in (home, *comparison["shifts"])
    ]
    counts = {name: comparison["rows"][0]["splits"][name]["count"] for name, _, _ in named}
    groups = summary.groups(comparison)
    named += [(name, "group", summary.group_accuracy(home, name)) for name in groups]
    found = []
    for name, kind, value in named:
        count, accuracy = (groups if kind == "group" else counts)[name], ship.estimate(value)
        if accuracy:
            interval = list(wilson_interval(min(1.0, accuracy.mean), count))
            found.append({"name": name, "kind": kind, "accuracy": accuracy.mean, "interval": interval, "count": count})
    return sorted(found, key=lambda part: part["accuracy"])


def _confused(runs: Sequence[Run], splits: Sequence[str]) -> list[dict[str, Any]]:
    """The commonest mistakes of the shipped runs at home and on the shifts; empty where there are no predictions."""
    mistakes: Counter[tuple[int, int]] = Counter()
    images: Counter[int] = Counter()
    for run in runs:
        for split in splits:
            try:
                label, prediction = read_predictions(run, split)
            except ValueError:
                return []
            images.update(label.tolist())
            wrong = label != prediction
            mistakes.update(zip(label[wrong].tolist(), prediction[wrong].tolist(), strict=True))
    classes = runs[0].results["classes"] if runs else []
    ranked = sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"class": classes[true], "taken_for": classes[guess], "times": times, "images": images[true]}
        for (true, guess), times in ranked
        if 0 <= true < len(classes) and 0 <= guess < len(classes)
    ][:CONFUSED]
