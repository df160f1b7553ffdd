"""Numbers a method: means and 95 % t-intervals over its seeds, and what they say in plain words.

Every sentence is made from the numbers and holds whatever they are. Reading files is `records.py`'s.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Value = Callable[[Mapping[str, Any]], float | None]  # a number of a row, None where it is missing

REFERENCE = "zero_shot"  # the method that others are measured against, where it was run
BASELINES = (REFERENCE, "fine_tune")  # what a method must be worth its trouble against
HONEST = ("none", "validation", "left-out sources")  # what may choose a setting

_T_975 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423),
)  # the t distribution's 97.5 % quantile for 1 to 30 degrees of freedom


@dataclass(frozen=True)
class Estimate:
    """A number over seeds; `half_width` of its 95 % t-interval is None for a single seed."""

    mean: float
    low: float  # the lowest seed
    high: float  # the highest seed
    half_width: float | None


@dataclass(frozen=True)
class Entry:
    """One method (or one of its settings): its rows of comparison.json, one a seed."""

    name: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(row["seed"] for row in self.rows)

    def estimate(self, value: Value) -> Estimate | None:
        """Over the seeds; None where the value is missing in any of them."""
        return estimate([value(row) for row in self.rows])


@dataclass(frozen=True)
class Fact:
    """A number worth reading first."""

    label: str
    value: str
    detail: str


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; above 30 degrees of freedom its expansion around the normal's."""
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def estimate(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    count, mean = len(known), math.fsum(known) / len(known)
    half_width = None
    if count > 1:
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (count - 1))
        half_width = t_quantile(count - 1) * deviation / math.sqrt(count)
    return Estimate(mean=mean, low=min(known), high=max(known), half_width=half_width)


def entries(comparison: Mapping[str, Any]) -> list[Entry]:
    """The methods, the reference first. Runs of one method and seed (two settings of it) stand apart, by folder."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in comparison["rows"]:
        grouped.setdefault(row["method"], []).append(row)
    found = []
    for method, rows in grouped.items():
        if len({row["seed"] for row in rows}) == len(rows):
            found.append(Entry(method, tuple(rows)))
            continue
        settings: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            settings.setdefault(_without_seed(row["run"], row["seed"]), []).append(row)
        found += [Entry(name, tuple(same)) for name, same in settings.items()]
    return sorted(found, key=lambda entry: not is_reference(entry))


def is_reference(entry: Entry) -> bool:
    return bool(entry.rows[0]["method"] == REFERENCE)


def _without_seed(run: str, seed: int) -> str:
    suffix = f"/seed-{seed}"
    return run.removesuffix(suffix) or run


def reference_of(found: Sequence[Entry]) -> Entry | None:
    return next((entry for entry in found if is_reference(entry)), None)


def id_accuracy(row: Mapping[str, Any]) -> float | None:
    return _number(row["id_accuracy"])


def shift_accuracy(row: Mapping[str, Any]) -> float | None:
    return _number(row["shift_accuracy"])


def worst_group(row: Mapping[str, Any]) -> float | None:
    return _number(row["worst_group_accuracy"])


def reweighted_accuracy(row: Mapping[str, Any]) -> float | None:
    return _number(row["reweighted_accuracy"])


def group_accuracy(split: str, group: str) -> Value:
    return lambda row: _number(row["splits"][split]["groups"].get(group, {}).get("accuracy"))


def groups(comparison: Mapping[str, Any]) -> dict[str, int]:
    """The groups of the home test split and how many images each has."""
    found = [row["splits"][comparison["home"]]["groups"] for row in comparison["rows"]]
    return {name: numbers["count"] for each in found for name, numbers in each.items()}


def shift_ece(row: Mapping[str, Any]) -> float | None:
    return _number(row["shift_ece"])


def split_accuracy(name: str) -> Value:
    return lambda row: _number(row["splits"][name]["accuracy"])


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def signed(points: float) -> str:
    """A difference in points, with a true minus and no sign on nought."""
    if not round(points, 1):
        return "0.0"
    return f"{'+' if points > 0 else '−'}{abs(points):.1f}"


def difference(entry: Entry, reference: Entry, value: Value) -> float | None:
    """In points, rounded to the decimal that is shown; None where either is missing."""
    mine, theirs = entry.estimate(value), reference.estimate(value)
    return None if mine is None or theirs is None else round(100 * (mine.mean - theirs.mean), 1) + 0.0


def headline(comparison: Mapping[str, Any]) -> list[str]:
    """What was gained and what was lost, in one to three sentences."""
    found = entries(comparison)
    reference, home = reference_of(found), comparison["home"]
    others = [entry for entry in found if not is_reference(entry)]
    if reference is None:
        return [*_best_sentences(comparison, found), f"No {REFERENCE} run is part of this: what was lost is not known."]
    if not others:
        return [f"Only {REFERENCE} was run.", *_best_sentences(comparison, found)]
    if not comparison["shifts"] and reference.estimate(worst_group) is None:
        changes = [(difference(entry, reference, id_accuracy), entry) for entry in others]
        known = [(change, entry) for change, entry in changes if change is not None]
        best = [f"{e.name} {_words(c, home)}, against {REFERENCE}." for c, e in sorted(known, key=_first)[-1:]]
        return [*best, "The task has no shifts and no groups, so nothing says how robust the methods are."]
    robust, elsewhere = _measure_of_robustness(comparison)
    moved = [
        (gain, shift, entry)
        for entry in others
        for gain in [difference(entry, reference, id_accuracy)]
        for shift in [difference(entry, reference, robust)]
        if gain is not None and shift is not None
    ]
    return _trade(moved, home=home, shifts=elsewhere)


def _measure_of_robustness(comparison: Mapping[str, Any]) -> tuple[Value, str]:
    """The accuracy on the shifts, or on the worst group where there are none, and what to call it."""
    if not comparison["shifts"]:
        return worst_group, "the worst group"
    return shift_accuracy, "the shifts" if len(comparison["shifts"]) > 1 else "the shift"


def _trade(moved: Sequence[tuple[float, float, Entry]], *, home: str, shifts: str) -> list[str]:
    if not moved:
        return [f"Accuracies are missing, so no method can be set against {REFERENCE}."]
    traded = [item for item in moved if item[0] > 0 > item[1]]
    kept = [item for item in moved if item[0] >= 0 and item[1] >= 0 and item[0] + item[1] > 0]
    sentences = []
    if traded:
        gain, shift, entry = min(traded, key=lambda item: item[1])
        sentences.append(f"{entry.name} {_words(gain, home)} and {_words(shift, shifts)}, against {REFERENCE}.")
    if kept:
        gain, shift, entry = max(kept, key=lambda item: item[0] + item[1])
        verb = "kept both" if traded else "did best on both"
        sentences.append(f"{entry.name} {verb}: {signed(gain)} on {home}, {signed(shift)} on {shifts}.")
        if not traded:
            sentences.append(f"No method that gained on {home} lost on {shifts}.")
    elif traded:
        if len(traded) > 1:
            gain, shift, entry = max(traded, key=lambda item: item[1])
            sentences.append(f"{entry.name} paid least: {signed(gain)} on {home}, {signed(shift)} on {shifts}.")
        sentences.append("No method kept both.")
    else:
        gain, shift, entry = max(moved, key=lambda item: (item[0], item[1]))
        best = f"{entry.name} came closest: it {_words(gain, home)} and {_words(shift, shifts)}."
        sentences += [
            f"No method was better than {REFERENCE} on {home} or on {shifts} without a loss on the other.",
            best,
        ]
    return sentences


def _words(points: float, where: str) -> str:
    if not points:
        return f"stayed level on {where}"
    return f"{'gained' if points > 0 else 'lost'} {abs(points):.1f} points on {where}"


def _best_sentences(comparison: Mapping[str, Any], found: Sequence[Entry]) -> list[str]:
    sentences = []
    measures = ((id_accuracy, comparison["home"]), (shift_accuracy, "the shifts"), (worst_group, "the worst group"))
    for value, where in measures:
        best = _extreme(found, value, sign=1)
        if best:
            verb = "is best" if len(found) > 1 else "has"
            sentences.append(
                f"{best[1].name} {verb} {'with ' if len(found) > 1 else ''}{percent(best[0])} % on {where}."
            )
    return sentences


def _first(item: tuple[float, Entry]) -> float:
    return item[0]


def _extreme(found: Iterable[Entry], value: Value, *, sign: int) -> tuple[float, Entry] | None:
    """The highest (`sign` 1) or lowest (-1) mean and whose it is."""
    known = [(number.mean, entry) for entry in found if (number := entry.estimate(value)) is not None]
    return max(known, key=lambda item: sign * item[0]) if known else None


def facts(comparison: Mapping[str, Any]) -> list[Fact]:
    """The few numbers that a reader looks for first."""
    found = entries(comparison)
    reference, home, shifts = reference_of(found), comparison["home"], comparison["shifts"]
    chosen = []
    if best := _extreme(found, id_accuracy, sign=1):
        chosen.append(Fact(f"Best on {home}", f"{percent(best[0])} %", best[1].name))
    if best := _extreme(found, shift_accuracy, sign=1):
        chosen.append(Fact("Best on the shifts, mean", f"{percent(best[0])} %", best[1].name))
    if best := _extreme(found, worst_group, sign=1):
        chosen.append(Fact("Best on the worst group", f"{percent(best[0])} %", best[1].name))
    if reference:
        measures = [*((name, split_accuracy(name)) for name in (home, *shifts)), ("the worst group", worst_group)]
        changes = [
            (change, entry.name, name)
            for entry in found
            for name, value in measures
            if not is_reference(entry) and (change := difference(entry, reference, value)) is not None
        ]
        if changes and min(changes)[0] < 0:
            change, method, name = min(changes)
            chosen.append(Fact("Largest single loss", f"{signed(change)} points", f"{method} on {name}"))
    if best := _extreme(found, shift_ece, sign=-1):
        chosen.append(Fact("Lowest ECE on the shifts (×100)", percent(best[0]), best[1].name))
    return chosen


def notes(comparison: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting the table."""
    found = entries(comparison)
    said = []
    seeds = {entry.seeds for entry in found}
    if len({tuple(sorted(each)) for each in seeds}) > 1:
        listing = "; ".join(f"{entry.name}: {', '.join(map(str, sorted(entry.seeds)))}" for entry in found)
        said.append(
            f"The methods were not run with the same seeds, so their means are not over the same runs ({listing})."
        )
    for entry in found:
        wrong = sorted({row["selected_on"] for row in entry.rows} - set(HONEST))
        if wrong:
            said.append(
                f"{entry.name} was chosen on {', '.join(wrong)}, not on validation: its numbers there flatter it."
            )
        if rules := sorted({row.get("rule", "") for row in entry.rows} - {""}):
            said.append(f"{entry.name}: the setting of each run was chosen by {', '.join(rules)}.")
    return said
