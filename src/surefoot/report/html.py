"""The report as one self-contained HTML page: no network, no script but the page's own, all text from files escaped.

The page carries a content security policy under which nothing else can load or run. Layout and looks are in `page/`.
"""

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from surefoot.report import figures, summary, svg, tables
from surefoot.report.examples import Example
from surefoot.report.records import Records
from surefoot.report.runs import Run
from surefoot.report.summary import Entry

IMAGE_BUDGET = 3_000_000  # characters of images; with them the page stays well below 5 MB
CLASSES_SHOWN = 2_000
VERSIONS_SHOWN = 40


@dataclass(frozen=True)
class Panel:
    """A small figure under its own heading."""

    heading: str
    detail: str
    figure: Markup


@dataclass(frozen=True)
class Made:
    """How one method was run."""

    name: str
    seeds: str
    selected_on: str
    honest: bool
    temperature: str
    seconds: str
    folders: tuple[str, ...]


def html(records: Records) -> str:
    """The whole page as text."""
    comparison = records.comparison
    found = summary.entries(comparison)
    shown, hidden = _within_budget(records.examples)
    first = records.runs[0].results
    return render(
        "report.html.jinja",
        comparison=comparison,
        first=first,
        bins=len(first["splits"][first["home"]]["reliability"]["count"]),
        headline=summary.headline(comparison),
        facts=summary.facts(comparison),
        notes=[*summary.notes(comparison), *records.notes],
        table=tables.table(comparison),
        groups=_column_groups(tables.table(comparison)),
        looks=figures.looks(found),
        shapes=svg.SHAPES,
        reference=summary.reference_of(found),
        seeds=sorted({row["seed"] for row in comparison["rows"]}),
        margin=_margin(comparison),
        scatter_wide=figures.scatter("scatter-wide", comparison, width=860, height=520),
        scatter_narrow=figures.scatter("scatter-narrow", comparison, width=328, height=400),
        domains=_domains(comparison, found),
        group_panels=_groups(comparison, found),
        calibration=_calibration(records, found),
        lost=[example for example in shown if example.change == "lost"],
        gained=[example for example in shown if example.change == "gained"],
        hidden=hidden,
        made=[_made(entry, _runs_of(records, entry)) for entry in found],
        versions=_versions(records.runs),
        classes=first["classes"][:CLASSES_SHOWN],
        more_classes=max(0, len(first["classes"]) - CLASSES_SHOWN),
    )


def render(template: str, **values: Any) -> str:
    """A template of `page/` with the page's style and script and the hashes under which they may run."""
    environment = Environment(
        loader=PackageLoader("surefoot.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "percent": summary.percent}
    script, style = asset("page.js"), asset("page.css")
    return environment.get_template(template).render(
        style=Markup(style), script=Markup(script), style_hash=_hash(style), script_hash=_hash(script), **values
    )


def breakable(name: str, least: int = 0) -> Markup:
    """A name that may break over lines after an underscore, a slash or a dash where it is longer than `least`."""
    parts = re.findall(r"[^_/-]*[_/-]|[^_/-]+", name) if len(name) > least else [name]
    return Markup("<wbr>").join(parts)


def asset(name: str) -> str:
    """The text of a file of the page."""
    return resources.files("surefoot.report").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _within_budget(examples: Sequence[Example]) -> tuple[list[Example], int]:
    shown: list[Example] = []
    size = 0
    for example in examples:
        size += len(example.image)
        if size > IMAGE_BUDGET:
            break
        shown.append(example)
    return shown, len(examples) - len(shown)


def _column_groups(table: tables.Table) -> list[tuple[str, int]]:
    """The header's first line: each unit and how many columns it spans."""
    spans: list[tuple[str, int]] = []
    for column in table.columns:
        if spans and spans[-1][0] == column.group:
            spans[-1] = (column.group, spans[-1][1] + 1)
        else:
            spans.append((column.group, 1))
    return spans


def _margin(comparison: Mapping[str, Any]) -> tuple[int, float]:
    """How many home test images there are, and the half-width in points of a 95 % interval for an accuracy of 70 %."""
    count = int(comparison["rows"][0]["splits"][comparison["home"]]["count"])
    return count, 100 * 1.96 * math.sqrt(0.7 * 0.3 / count) if count else math.nan


def _domains(comparison: Mapping[str, Any], found: Sequence[Entry]) -> list[Panel]:
    panels = []
    names = (comparison["home"], *comparison["shifts"])
    values = [summary.split_accuracy(name) for name in names]
    most = figures.round_top(found, values)
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        count = comparison["rows"][0]["splits"][name]["count"]
        figure = figures.bars(f"domain-{i}", found, value, most=most, title=f"Accuracy on {name} by method")
        panels.append(Panel(name, f"{'home, ' if i == 0 else ''}{count:,} images", figure))
    return panels


def _groups(comparison: Mapping[str, Any], found: Sequence[Entry]) -> list[Panel]:
    groups = summary.groups(comparison)
    accuracies = {group: summary.group_accuracy(comparison["home"], group) for group in groups}
    panels = []
    most = figures.round_top(found, list(accuracies.values()))
    for i, (group, accuracy) in enumerate(accuracies.items()):
        title = f"Accuracy on group {group} by method"
        figure = figures.bars(f"group-{i}", found, accuracy, most=most, title=title)
        panels.append(Panel(group, f"{groups[group]:,} images", figure))
    return panels


def _calibration(records: Records, found: Sequence[Entry]) -> list[Panel]:
    home, shifts = records.comparison["home"], records.comparison["shifts"]
    panels = []
    for i, entry in enumerate(found):
        runs = _runs_of(records, entry)
        at_home = figures.pooled(runs, [home])
        shifted = figures.pooled(runs, shifts) if shifts else None
        detail = f"ECE: home {summary.percent(at_home.ece)}"
        detail += f", shifts {summary.percent(shifted.ece)}" if shifted else ""
        figure = figures.reliability(f"reliability-{i}", at_home, shifted, title=f"Reliability of {entry.name}")
        panels.append(Panel(entry.name, detail, figure))
    return panels


def _runs_of(records: Records, entry: Entry) -> list[Run]:
    names = {row["run"] for row in entry.rows}
    return [run for run in records.runs if run.name in names]


def _made(entry: Entry, runs: Sequence[Run]) -> Made:
    temperatures = summary.estimate([run.results.get("temperature") for run in runs])
    seconds = summary.estimate([row["seconds"] for row in entry.rows])
    chosen = sorted({row["selected_on"] for row in entry.rows})
    return Made(
        name=entry.name,
        seeds=", ".join(str(seed) for seed in sorted(entry.seeds)),
        selected_on=", ".join(chosen),
        honest=all(name in summary.HONEST for name in chosen),
        temperature=f"{temperatures.mean:.2f}" if temperatures else "–",
        seconds=f"{seconds.mean:.0f}" if seconds else "–",
        folders=tuple(run.name for run in runs),
    )


def _versions(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Every version that any run.json records; two versions of one package are both shown."""
    collected: dict[str, set[str]] = {}
    for run in runs:
        versions = run.record.get("versions")
        for name, version in versions.items() if isinstance(versions, dict) else ():
            collected.setdefault(str(name), set()).add(str(version))
    return [(name, ", ".join(sorted(each))) for name, each in sorted(collected.items())][:VERSIONS_SHOWN]
