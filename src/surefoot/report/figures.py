"""The page's figures as inline SVG: home against shifts, reliability, bars. What they show also stands in the table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from surefoot.report import summary, svg
from surefoot.report.runs import Run
from surefoot.report.summary import Entry, Estimate, Value, percent, signed
from surefoot.report.svg import Box, Scale

LABEL = 13.0  # font sizes in pixels, as in page.css
SMALL = 12.0


@dataclass(frozen=True)
class Look:
    """How a method looks in every figure."""

    slot: int
    style: str  # its colour class


def looks(found: Sequence[Entry]) -> dict[str, Look]:
    """By name. The reference is drawn in ink, the others in the palette's order."""
    others = [entry for entry in found if not summary.is_reference(entry)]
    chosen = {entry.name: Look(i + 1, f"c{i % svg.COLOURS}") for i, entry in enumerate(others)}
    return {entry.name: chosen.get(entry.name, Look(0, "ref")) for entry in found}


def scatter(key: str, comparison: Mapping[str, Any], *, width: float, height: float) -> Markup:
    """Accuracy at home (across) against the mean over the shifts (up), with the curves of blended weights."""
    found = [(e, a, b) for e in summary.entries(comparison) for a, b in [_position(e)] if a and b]
    if not found:
        return Markup("")
    look = looks(summary.entries(comparison))
    curves = _curves(comparison)
    across = [v for _, a, _ in found for v in (a.low, a.high)] + [x for c in curves.values() for _, x, _ in c]
    up = [v for _, _, b in found for v in (b.low, b.high)] + [y for c in curves.values() for _, _, y in c]
    plot = Box(46, 12, width - 46 - 14, height - 12 - 46)
    x = Scale(*svg.padded([100 * v for v in across], least=2.0), plot.x, plot.x + plot.width)
    y = Scale(*svg.padded([100 * v for v in up], least=2.0), plot.y + plot.height, plot.y)
    parts = _frame(plot, x, y, home=comparison["home"])
    avoid: list[Box] = []
    for entry, a, b in found:
        if summary.is_reference(entry):
            px, py = x(100 * a.mean), y(100 * b.mean)
            parts += [svg.line(px, plot.y, px, plot.y + plot.height, "reference")]
            parts += [svg.line(plot.x, py, plot.x + plot.width, py, "reference")]
            avoid += [Box(px - 1, plot.y, 2, plot.height), Box(plot.x, py - 1, plot.width, 2)]
    for name, curve in curves.items():
        style = look[name].style
        points = [(x(100 * a), y(100 * b)) for _, a, b in curve]
        parts.append(svg.polyline(points, f"curve {style}"))
        avoid += svg.along(points)
        for (alpha, at_home, shifted), (px, py) in zip(curve, points, strict=True):
            where = f"{percent(at_home)} % on {comparison['home']}, {percent(shifted)} % on the shifts"
            title = f"{name}, α = {alpha:g}: {where}"
            pattern = '<circle cx="{:.5g}" cy="{:.5g}" r="2.6" class="dot {}">{}</circle>'
            parts.append(Markup(pattern).format(px, py, style, svg.tooltip(title)))
    described, anchors, names, markers = [], [], [], []
    for entry, a, b in found:
        style, px, py = look[entry.name].style, x(100 * a.mean), y(100 * b.mean)
        title = f"{entry.name}: {percent(a.mean)} % on {comparison['home']}, {percent(b.mean)} % on the shifts"
        if len(entry.rows) > 1:
            ends = [(x(100 * a.low), py), (x(100 * a.high), py)], [(px, y(100 * b.low)), (px, y(100 * b.high))]
            parts += [svg.line(*start, *end, f"error {style}") for start, end in ends]
            avoid += [box for pair in ends for box in svg.along(pair)]
        markers.append(svg.marker(px, py, look[entry.name].slot, style, title=title))
        described.append(title)
        anchors.append((px, py))
        names.append(svg.cut(entry.name, size=LABEL, width=0.45 * width))
        avoid.append(Box(px - 8, py - 8, 16, 16))
    widths = [svg.text_width(name, size=LABEL) for name in names]
    boxes = svg.place_labels(anchors, widths, height=LABEL + 3, area=plot, avoid=avoid)
    for (px, py), box in zip(anchors, boxes, strict=True):
        nearest = (min(max(px, box.x), box.x + box.width), min(max(py, box.y), box.y + box.height))
        if abs(nearest[0] - px) + abs(nearest[1] - py) > 16:
            parts.append(svg.line(px, py, *nearest, "leader"))
    parts += markers
    parts += [svg.text(b.x + b.width / 2, b.y + LABEL, name, "label") for b, name in zip(boxes, names, strict=True)]
    title = f"Accuracy on {comparison['home']} against mean accuracy on the shifts"
    return svg.figure(key, width=width, height=height, title=title, description="; ".join(described), parts=parts)


def _position(entry: Entry) -> tuple[Estimate | None, Estimate | None]:
    return entry.estimate(summary.id_accuracy), entry.estimate(summary.shift_accuracy)


def _curves(comparison: Mapping[str, Any]) -> dict[str, list[tuple[float, float, float]]]:
    """(alpha, home, shifts) by method, alphas in order; the mean over the seeds that have this alpha."""
    names = {row["method"]: entry.name for entry in summary.entries(comparison) for row in entry.rows}
    collected: dict[str, dict[float, list[tuple[float, float]]]] = {}
    for curve in comparison["curves"]:
        points = collected.setdefault(names[curve["method"]], {})
        for point in curve["points"]:
            points.setdefault(point["alpha"], []).append((point["id_accuracy"], point["shift_accuracy"]))
    return {
        name: [(alpha, *_middle(values)) for alpha, values in sorted(points.items())]
        for name, points in collected.items()
    }


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _frame(plot: Box, x: Scale, y: Scale, *, home: str) -> list[Markup]:
    bottom, right = plot.y + plot.height, plot.x + plot.width
    parts = []
    for tick in svg.ticks(x.low, x.high, most=max(4, int(plot.width // 60))):
        parts += [
            svg.line(x(tick), plot.y, x(tick), bottom, "grid"),
            svg.text(x(tick), bottom + 17, f"{tick:g}", "tick"),
        ]
    for tick in svg.ticks(y.low, y.high, most=max(3, int(plot.height // 50))):
        parts += [
            svg.line(plot.x, y(tick), right, y(tick), "grid"),
            svg.text(plot.x - 7, y(tick) + 4, f"{tick:g}", "tick end"),
        ]
    name = svg.cut(home, size=SMALL, width=plot.width - 100)
    parts.append(svg.text(plot.x + plot.width / 2, bottom + 38, f"Accuracy on {name}, %", "axis"))
    turned = Markup('<text transform="translate(12 {:.5g}) rotate(-90)" class="axis">{}</text>')
    return [*parts, turned.format(plot.y + plot.height / 2, "Mean accuracy on the shifts, %")]


def bars(key: str, found: Sequence[Entry], value: Value, *, most: float, title: str) -> Markup:
    """Horizontal bars from 0 to `most`, a method each; a dashed line and a difference in points refer to zero-shot."""
    look, reference, width, row = looks(found), summary.reference_of(found), 328.0, 22.0
    label, numbers = 104.0, 90.0 if reference else 44.0
    scale = Scale(0, 100 * most, label, width - numbers)
    height = row * len(found) + 6
    parts, described = [svg.line(label, 0, label, height - 4, "axisline")], []
    for i, entry in enumerate(found):
        middle, number = 3 + row * (i + 0.5), entry.estimate(value)
        parts.append(svg.text(label - 8, middle + 4, svg.cut(entry.name, size=SMALL, width=label - 8), "small end"))
        if number is None:
            parts.append(svg.text(label + 8, middle + 4, "not measured", "small muted start"))
            continue
        end, told = scale(100 * number.mean), f"{entry.name}: {percent(number.mean)} %"
        box = Box(label, middle - 7, end - label, 14)
        parts.append(svg.rectangle(box, f"bar {look[entry.name].style}", title=told))
        if len(entry.rows) > 1:
            parts.append(svg.line(scale(100 * number.low), middle, scale(100 * number.high), middle, "spread"))
        parts.append(svg.text(width - numbers + 38, middle + 4, percent(number.mean), "small end number"))
        change = summary.difference(entry, reference, value) if reference else None
        if change is not None and entry is not reference:
            style = "small end number " + ("worse" if change < 0 else "better" if change > 0 else "muted")
            parts.append(svg.text(width, middle + 4, signed(change), style))
            told += f" ({signed(change)} points)"
        described.append(told)
    level = reference.estimate(value) if reference else None
    if level:
        at = scale(100 * level.mean)
        parts.append(svg.line(at, 1, at, height - 4, "level"))
    return svg.figure(key, width=width, height=height, title=title, description="; ".join(described), parts=parts)


def round_top(found: Sequence[Entry], values: Sequence[Value]) -> float:
    """Where bars that are drawn side by side all end: the highest of the numbers, rounded up to a tenth."""
    numbers = [number.high for entry in found for value in values if (number := entry.estimate(value)) is not None]
    return max(0.1, math.ceil(round(10 * max(numbers, default=1.0), 6)) / 10)


@dataclass(frozen=True)
class Bins:
    """A reliability diagram's bins, pooled over splits and seeds."""

    confidence: NDArray[np.float64]  # (bins,) mean confidence, NaN where empty
    accuracy: NDArray[np.float64]  # (bins,)
    count: NDArray[np.int64]  # (bins,)

    @property
    def ece(self) -> float:
        """The expected calibration error of the pooled images; NaN where there are none."""
        full = self.count > 0
        gaps = np.abs(self.confidence - self.accuracy)[full] * self.count[full]
        return float(gaps.sum() / self.count.sum()) if full.any() else float("nan")


def pooled(runs: Sequence[Run], splits: Sequence[str]) -> Bins:
    """Adds up the bins of the named splits: counts are summed, means are weighted by them."""
    parts = [run.results["splits"][name]["reliability"] for run in runs for name in splits]
    count = np.array([part["count"] for part in parts], dtype=np.int64).sum(axis=0)  # (bins,)
    means = []
    for field in ("confidence", "accuracy"):
        values = np.array([[np.nan if v is None else v for v in part[field]] for part in parts], dtype=np.float64)
        weighted = np.nansum(values * np.array([part["count"] for part in parts]), axis=0)
        means.append(np.divide(weighted, count, out=np.full(count.shape, np.nan), where=count > 0))
    return Bins(confidence=means[0], accuracy=means[1], count=count)


def reliability(key: str, home: Bins, shifts: Bins | None, *, title: str) -> Markup:
    """Accuracy against confidence by bins; below, the share of the images in each bin."""
    width, side, left, top = 246.0, 196.0, 38.0, 8.0
    x, y = Scale(0, 1, left, left + side), Scale(0, 1, top + side, top)
    base = top + side + 62.0
    bottom, height = base, base + 36
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts += [
            svg.line(x(tick), top, x(tick), top + side, "grid"),
            svg.line(left, y(tick), left + side, y(tick), "grid"),
        ]
        parts.append(svg.text(left - 7, y(tick) + 4, f"{100 * tick:.0f}", "tick end"))
        parts.append(svg.text(x(tick), bottom + 15, f"{100 * tick:.0f}", "tick"))
    parts.append(svg.line(x(0), y(0), x(1), y(1), "level"))
    parts.append(svg.line(left, bottom, left + side, bottom, "axisline"))
    series = [(home, "home", 1)] + ([(shifts, "shift", 2)] if shifts else [])
    tallest = max((float(b.count.max() / b.count.sum()) for b, _, _ in series if b.count.sum()), default=1.0)
    described = []
    for i, (bins, style, slot) in enumerate(series):
        full = np.flatnonzero(bins.count)
        points = [(x(bins.confidence[j]), y(bins.accuracy[j])) for j in full]
        parts.append(svg.polyline(points, f"curve {style}"))
        name = "home" if style == "home" else "shifts"
        for j, point in zip(full, points, strict=True):
            sure, right = percent(bins.confidence[j]), percent(bins.accuracy[j])
            told = f"{name}: {bins.count[j]} images, confidence {sure} %, right {right} %"
            parts.append(svg.marker(*point, slot - 1, f"mini {style}", title=told))
        step = side / len(bins.count)
        bar = (step - 2) / len(series)
        for j in full:
            tall = 44 * bins.count[j] / bins.count.sum() / tallest
            box = Box(left + j * step + 1 + i * bar, bottom - tall, bar, tall)
            parts.append(svg.rectangle(box, f"bar {style}", title=f"{name}: {bins.count[j]} images"))
        described.append(f"{name}: ECE {percent(bins.ece)}" if full.size else f"{name}: no images")
    parts.append(svg.text(left + side / 2, height - 5, "Confidence, %", "axis"))
    turned = Markup('<text transform="translate(11 {:.5g}) rotate(-90)" class="axis">{}</text>')
    parts += [turned.format(top + side / 2, "Right, %"), turned.format(bottom - 24, "Images")]
    return svg.figure(key, width=width, height=height, title=title, description="; ".join(described), parts=parts)
