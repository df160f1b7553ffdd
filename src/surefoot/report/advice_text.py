"""Advice in plain words, as Markdown: every sentence is made from the numbers of `advice.py`, all names are escaped."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from surefoot.report.summary import BASELINES, percent, signed
from surefoot.report.tables import escape_markdown

MEASURES = {"shift_accuracy": "the mean of the shifts", "worst_group_accuracy": "the worst group"}


def advice_markdown(found: Mapping[str, Any]) -> str:
    """The whole advice: what to ship, what it costs, calibration, weak places, what to collect, what to doubt."""
    sections = {
        f"# Advice: {escape_markdown(found['backbone'])} on {escape_markdown(found['task'])}": _ship(found),
        "## What it gains and costs": _costs(found),
        "## Calibration": _calibration(found),
        "## Where it is weakest": _weakest(found),
        "## What to collect next": _collect(found),
        "## What to keep in mind": [f"- {line}" for line in _doubts(found)],
    }
    return "\n\n".join("\n\n".join([title, _joined(lines)]) for title, lines in sections.items() if lines) + "\n"


def _joined(lines: Sequence[str]) -> str:
    """Paragraphs, but rows of a table and items of a list without an empty line between."""
    text = lines[0]
    for before, line in itertools.pairwise(lines):
        text += ("\n" if line[0] == before[0] and line[0] in "|-" else "\n\n") + line
    return text


def _ship(found: Mapping[str, Any]) -> list[str]:
    ship, first = found["ship"], found["scores"][0]
    name = escape_markdown(ship["name"])
    score = next(each for each in found["scores"] if each["name"] == ship["name"])
    alpha = f" (alpha {', '.join(f'{value:g}' for value in ship['alphas'])})" if ship["alphas"] else ""
    home = escape_markdown(found["home"])
    if found["measure"]:
        what = MEASURES[found["measure"]]
        numbers = f"{percent(score['id'])} % on {home} (ID) and {percent(score['robust'])} % on {what}"
        why = f"It has {numbers}, and the mean of the two, {percent(score['score'])} %, is the choice's score."
    else:
        why = f"It has {percent(score['id'])} % on {home} (ID). "
        why += "There are no shifts and no groups: nothing says how robust it is."
    said = [f"**Ship {name}{alpha}.** {why}", _verdict(found)]
    if first["name"] != ship["name"]:
        said.append(
            f"{escape_markdown(first['name'])} has a higher score, but something else than ID validation chose its "
            "setting, so it is left out of the choice."
        )
    return said


def _verdict(found: Mapping[str, Any]) -> str:
    verdict, level = found["verdict"], found["level_with"]
    if verdict == "alone":
        return "It is the only method here; nothing says whether another is better."
    if verdict == "untested":
        return f"No winner is proved. {escape_markdown(found['unpaired'])}"
    if not level:
        others = sum(each["measure"] == "score" for each in found["differences"])
        if verdict == "clear":
            whose = "the other method" if others == 1 else f"all {others} others"
            return f"A clear winner: its score is told from that of {whose}."
        return "It is not the best by score, but the best whose setting was honestly chosen."
    seconds = {each["name"]: each["seconds"] for each in found["scores"]}
    least = min([found["ship"]["name"], *level], key=lambda name: seconds[name])
    return (
        f"No clear winner: its score is not told from that of {', '.join(map(escape_markdown, level))}. "
        f"Of these, {escape_markdown(least)} took the least training ({seconds[least]:.0f} s)."
    )


def _costs(found: Mapping[str, Any]) -> list[str]:
    if not found["differences"]:
        return []
    places = {"id": f"{found['home']} (ID)", "robust": MEASURES.get(found["measure"], ""), "score": "the score"}
    name = found["ship"]["name"]
    said = [
        sentence
        for baseline in BASELINES
        for each in found["differences"]
        if each["against"] == baseline and each["measure"] == "id"
        for sentence in [_cost(name, each, found["home"])]
    ]
    rows = [
        "| against | on | points | 95 % interval | p (Holm) | told from 0 | seeds above |",
        "|---|---|---:|---|---:|---|---:|",
    ]
    for each in found["differences"]:
        if each["measure"] == "score" and not found["measure"]:
            continue
        rows.append(
            f"| {escape_markdown(each['against'])} | {escape_markdown(places[each['measure']])} "
            f"| {signed(100 * each['difference'])} | {_interval(each)} | {_p(each['p_holm'])} "
            f"| {'yes' if each['told'] else 'no'} | {each['seeds_above']} of {len(each['seeds'])} |"
        )
    paired = "paired bootstrap over the same images"
    if found["measure"] == "worst_group_accuracy":
        paired += (
            "; the worst group is drawn apart from them, so that its own intervals are too wide and those of the score "
            "may be too narrow"
        )
    return [
        *said,
        *rows,
        f"{escape_markdown(name)} less each other method; intervals: {paired}. "
        "p: Holm's correction within each measure.",
    ]


def _cost(name: str, each: Mapping[str, Any], home: str) -> str:
    points = 100 * each["difference"]
    told = "told from 0" if each["told"] else "not told from 0: it may be chance"
    who = f"Against {escape_markdown(each['against'])}, {escape_markdown(name)}"
    where = f"on {escape_markdown(home)} (95 % interval {_interval(each)})"
    if not round(points, 1):
        return f"{who} stays level in accuracy {where}."
    return f"{who} {'gains' if points > 0 else 'costs'} {abs(points):.1f} points of accuracy {where}, {told}."


def _interval(each: Mapping[str, Any]) -> str:
    low, high = each["interval"]
    return f"{signed(100 * low)} to {signed(100 * high)}"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _calibration(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for each in found["calibration"]:
        cells = [each[f"{place}_{key}"] for place in ("id", "shift") for key in ("ece", "ece_calibrated")]
        if any(cell is not None for cell in cells):
            numbers = " | ".join("–" if cell is None else percent(cell) for cell in cells)
            rows.append(f"| {escape_markdown(each['name'])} | {numbers} |")
    if not rows:
        return []
    head = ["| method | ID | ID, with temperature | shifts | shifts, with temperature |", "|---|---:|---:|---:|---:|"]
    return ["ECE ×100, lower is better; the temperature was fitted on ID validation.", *head, *rows]


def _weakest(found: Mapping[str, Any]) -> list[str]:
    said = []
    for kind, what in (("shift", "Worst shift"), ("group", "Worst group")):
        parts = [part for part in found["parts"] if part["kind"] == kind]
        if parts:
            said.append(f"{what}: {_part(parts[0])}.")
    return said


def _part(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]
    return (
        f"{escape_markdown(part['name'])}, {percent(part['accuracy'])} % "
        f"(95 % interval {percent(low)} to {percent(high)} %, {part['count']} images)"
    )


def _collect(found: Mapping[str, Any]) -> list[str]:
    parts = found["parts"]
    if not parts:
        return []
    said = [f"Images like those of {_part(parts[0])}: the accuracy is lowest there."]
    widest = max(parts, key=lambda part: part["interval"][1] - part["interval"][0])
    if widest is not parts[0]:
        said.append(f"Test images like those of {_part(widest)}: the interval is widest there.")
    said += [
        f"- {escape_markdown(each['class'])} taken for {escape_markdown(each['taken_for'])}: "
        f"{each['times']} of {each['images']} images"
        for each in found["confused"]
    ]
    if found["confused"]:
        said.insert(
            len(said) - len(found["confused"]),
            "Images that tell apart the classes most often confused (all seeds and test splits together):",
        )
    return [*said, "Whether more images help is not known from these runs. Keep those you train on out of the tests."]


def _doubts(found: Mapping[str, Any]) -> list[str]:
    said = []
    if len(found["seeds"]) == 1:
        said.append(
            f"One seed ({found['seeds'][0]}): these runs cannot tell how much methods differ between seeds; "
            "the intervals are over test images only."
        )
    else:
        said.append("The intervals are over test images; how seeds differ is in the last column and in the report.")
    said.append("The choice was made on the test numbers shown, so they flatter what was chosen a little.")
    if found["left_out"]:
        said.append(f"Left out, since numbers are missing: {', '.join(map(escape_markdown, found['left_out']))}.")
    missing = [name for name in BASELINES if name not in {each["name"] for each in found["scores"]}]
    if missing:
        said.append(
            f"No run of {' and '.join(missing)} is part of this, so what it gains or costs against that is not known."
        )
    return [*said, *map(escape_markdown, found["notes"])]
