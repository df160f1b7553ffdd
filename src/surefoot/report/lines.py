"""One line of plain text about one thing: a run, a split, a part of a blend. What the terminal shows as it happens."""

from collections.abc import Mapping
from typing import Any

from surefoot.report.summary import percent


def run(results: Mapping[str, Any]) -> str:
    """What a run reached and cost, from its results.json."""
    splits, home, shifts = results["splits"], results["home"], results["shifts"]
    line = f"{results['method']} (seed {results['seed']}): {percent(splits[home]['accuracy'])} % on {home}"
    if shifts:
        line += f", {percent(sum(splits[name]['accuracy'] for name in shifts) / len(shifts))} % on the shifts"
    worst = splits[home]["worst_group_accuracy"]
    if worst is not None:
        line += f", {percent(worst)} % on the worst group"
    return f"{line}, trained {results['seconds']:.0f} s"


def split(name: str, measured: Mapping[str, Any]) -> str:
    """Size, accuracy and calibration of one split, from its entry in results.json; below it a line a group."""
    first = (
        f"{name:<16} {measured['count']:>7} images  accuracy {percent(measured['accuracy'])} %  "
        f"ECE x100 {percent(measured['ece'])} (calibrated {percent(measured['ece_calibrated'])})"
    )
    of_groups = [
        f"  {group:<14} {numbers['count']:>7} images  accuracy {percent(numbers['accuracy'])} %"
        for group, numbers in measured["groups"].items()
    ]
    joint = (("worst", measured["worst_group_accuracy"]), ("re-weighted", measured["reweighted_accuracy"]))
    of_all = ", ".join(f"{what} {percent(value)} %" for what, value in joint if value is not None)
    return "\n".join([first, *of_groups, *([f"  of the groups: {of_all}"] if of_all else [])])


def contexts(name: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """The size of a split; below it the accuracy by the context that images seem to show, the most frequent first."""
    total = sum(numbers["count"] for numbers in groups.values())
    ranked = sorted(groups.items(), key=lambda group: -group[1]["count"])
    width = max(map(len, groups), default=0)
    of_contexts = [
        f"  {context:<{width}} {numbers['count']:>7} images  accuracy {percent(numbers['accuracy'])} %"
        for context, numbers in ranked
    ]
    return "\n".join([f"{name}: {total} images by estimated context", *of_contexts])


def tried_run(tried: Mapping[str, Any]) -> str:
    """A run that a greedy soup tried, from an entry of its selection."""
    alone, soup = percent(tried["validation_accuracy"]), percent(tried["soup_accuracy"])
    return (
        f"{tried['run']}: validation alone {alone} %, in the soup {soup} %, {'kept' if tried['kept'] else 'left out'}"
    )


def blend_point(point: Mapping[str, float]) -> str:
    """Accuracy of a blend, from an entry of a sweep."""
    return (
        f"alpha {point['alpha']:.2f}: validation {percent(point['validation_accuracy'])} %, "
        f"home {percent(point['id_accuracy'])} %, shifts {percent(point['shift_accuracy'])} %"
    )
