"""The page of a data check: one self-contained file in the report's style, made from the check's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from surefoot.report import svg
from surefoot.report.html import CLASSES_SHOWN, IMAGE_BUDGET, render

HEIGHT, LEFT, BOTTOM = 220.0, 56.0, 30.0  # of the figure, in pixels
BAR = 80.0  # the most that a bar and its gap take, in pixels
EXAMPLES_SHOWN = 50


@dataclass(frozen=True)
class Row:
    """A class or group and its images in each split, with the width of the interval where that is told."""

    name: str
    cells: tuple[tuple[int, float], ...]


def check_page(found: Mapping[str, Any], images: Mapping[str, str]) -> str:
    """The whole page as text. `found` is the JSON of `surefoot check`, `images` small pictures by path as data URIs."""
    splits = found["splits"]
    counts = {level: sum(f["level"] == level for f in found["findings"]) for level in ("error", "warning", "note")}
    training = splits["train"]["classes"] if splits else {}
    order = {"error": 0, "warning": 1, "note": 2}
    return render(
        "check.html.jinja",
        found=found,
        counts=counts,
        headline=_headline(found["verdict"], counts, loaded=bool(splits)),
        total=sum(split["images"] for split in splits.values()),
        findings=sorted(found["findings"], key=lambda finding: order[finding["level"]]),
        images=_within_budget(images),
        lines=[_line(name, split) for name, split in splits.items()],
        groups=_rows(splits, "groups"),
        classes=_rows(splits, "classes")[:CLASSES_SHOWN],
        more_classes=max(0, len(training) - CLASSES_SHOWN),
        profile_wide=_profile("profile-wide", training, 860),
        profile_narrow=_profile("profile-narrow", training, 328),
        examples_shown=EXAMPLES_SHOWN,
    )


def _headline(verdict: str, counts: Mapping[str, int], *, loaded: bool) -> str:
    if not loaded:
        return "The task cannot be loaded."
    told = [f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n]
    start = {
        "errors": "Something would stop a run",
        "warnings": "Nothing would stop a run, but look at what would make its numbers doubtful",
        "ok": "Nothing is in the way of a run",
    }[verdict]
    return f"{start}: {', '.join(told)}." if told else f"{start}."


def _line(name: str, split: Mapping[str, Any]) -> dict[str, Any]:
    held = [count for count in split["classes"].values() if count]
    return {"name": name, "held": len(held), "least": min(held), "most": max(held), **split}


def _rows(splits: Mapping[str, Any], what: str) -> list[Row]:
    """A row for each name, in the order of the task."""
    names = list(next(iter(splits.values()))[what]) if splits else []
    return [Row(name, tuple(_cell(key, split, what, name) for key, split in splits.items())) for name in names]


def _cell(key: str, split: Mapping[str, Any], what: str, name: str) -> tuple[int, float]:
    measured = what == "groups" and key != "train"
    return split[what][name], split["group_intervals"][name] if measured else 0.0


def _profile(key: str, training: Mapping[str, int], width: float) -> Markup:
    """A bar for each class, the most frequent first; nothing where there are no classes."""
    if not training:
        return Markup("")
    ranked: Sequence[tuple[str, int]] = sorted(training.items(), key=lambda item: -item[1])
    up = svg.Scale(0, max(1, ranked[0][1]), HEIGHT - BOTTOM, 8)
    step = min(BAR, (width - LEFT) / len(ranked))
    parts = []
    for tick in svg.ticks(0, max(1, ranked[0][1]), most=5):
        parts.append(svg.line(LEFT, up(tick), width, up(tick), "grid"))
        parts.append(svg.text(LEFT - 8, up(tick) + 4, f"{tick:,.0f}", "tick end"))
    gap = min(2.0, step / 5)
    for i, (name, count) in enumerate(ranked):
        box = svg.Box(LEFT + i * step, up(count), step - gap, HEIGHT - BOTTOM - up(count))
        parts.append(svg.rectangle(box, "bar c1", title=f"{name}: {count:,}"))
    parts.append(svg.line(LEFT, HEIGHT - BOTTOM, width, HEIGHT - BOTTOM, "axisline"))
    parts.append(svg.text(LEFT, HEIGHT - 8, f"{len(ranked):,} classes, the largest first", "axis start"))
    told = f"From {ranked[0][1]:,} images of {ranked[0][0]} to {ranked[-1][1]:,} of {ranked[-1][0]}."
    title = "Training images by class"
    return svg.figure(key, width=width, height=HEIGHT, title=title, description=told, parts=parts)


def _within_budget(images: Mapping[str, str]) -> dict[str, str]:
    shown, size = {}, 0
    for path, image in images.items():
        size += len(image)
        if size > IMAGE_BUDGET:
            break
        shown[path] = image
    return shown
