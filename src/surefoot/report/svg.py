"""Pieces of inline SVG: an axis, tick positions, marker shapes, labels that keep clear of each other.

Everything is `Markup` built by `.format`, so text from files is escaped. Colours are CSS classes of the page.
"""

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

SHAPES = (  # centred paths of about equal area; a method keeps its shape and colour through the page
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
    "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "M0 -6.3L6.3 0L0 6.3L-6.3 0Z",
    "M0 -6L5.8 4.4H-5.8Z",
    "M0 6L5.8 -4.4H-5.8Z",
    "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "M-6 0L-3 -5.2H3L6 0L3 5.2H-3Z",
    "M0 -6.6L1.7 -2.1L6.3 -2L2.7 .9L3.9 5.3L0 2.8L-3.9 5.3L-2.7 .9L-6.3 -2L-1.7 -2.1Z",
)
COLOURS = 7  # the page's classes c0 to c6; the reference has the class "ref"


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return across * down if across > 0 and down > 0 else 0.0

    def inside(self, other: "Box") -> bool:
        return (
            self.x >= other.x
            and self.y >= other.y
            and self.x + self.width <= other.x + other.width
            and self.y + self.height <= other.y + other.height
        )


def figure(key: str, *, width: float, height: float, title: str, description: str, parts: Iterable[Markup]) -> Markup:
    """An `svg` that a screen reader announces as one image. `key` is unique on the page."""
    return Markup(
        '<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        'aria-labelledby="{key}-t {key}-d"><title id="{key}-t">{title}</title><desc id="{key}-d">{description}</desc>'
        "{parts}</svg>"
    ).format(width=width, height=height, key=key, title=title, description=description, parts=Markup("").join(parts))


def standalone(drawn: Markup, *, style: str) -> str:
    """A figure as a file of its own, with the page's style and a ground in its paper's colour."""
    ground = '<rect width="100%" height="100%" style="fill: var(--paper)"/>'
    head, rest = str(drawn).split("</desc>", 1)
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}</desc><style>{style}</style>{ground}{rest}\n"


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    pattern = '<line x1="{:.4g}" y1="{:.4g}" x2="{:.4g}" y2="{:.4g}" class="{}"/>'
    return Markup(pattern).format(x1, y1, x2, y2, style)


def rectangle(box: Box, style: str, *, title: str = "") -> Markup:
    pattern = '<rect x="{:.5g}" y="{:.5g}" width="{:.5g}" height="{:.5g}" class="{}">{}</rect>'
    return Markup(pattern).format(box.x, box.y, max(box.width, 0), max(box.height, 0), style, tooltip(title))


def text(x: float, y: float, content: str, style: str = "") -> Markup:
    return Markup('<text x="{:.5g}" y="{:.5g}" class="{}">{}</text>').format(x, y, style, content)


def marker(x: float, y: float, slot: int, style: str, *, title: str = "") -> Markup:
    pattern = '<path d="{}" transform="translate({:.5g} {:.5g})" class="marker {}">{}</path>'
    return Markup(pattern).format(SHAPES[slot % len(SHAPES)], x, y, style, tooltip(title))


def polyline(points: Sequence[tuple[float, float]], style: str) -> Markup:
    joined = " ".join(f"{x:.5g},{y:.5g}" for x, y in points)
    return Markup('<polyline points="{}" class="{}"/>').format(joined, style)


def tooltip(content: str) -> Markup:
    return Markup("<title>{}</title>").format(content) if content else Markup("")


def ticks(low: float, high: float, *, most: int) -> list[float]:
    """At most `most` round positions within [low, high], 1, 2, 2.5 or 5 times a power of ten apart."""
    magnitude = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(s * magnitude for s in (1, 2, 2.5, 5, 10, 20) if (high - low) / (s * magnitude) <= most - 1)
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], *, least: float) -> tuple[float, float]:
    """The values' range, at least `least` wide, with a margin on both sides."""
    low, high = min(values), max(values)
    span = max(high - low, least)
    middle = (low + high) / 2
    return middle - 0.58 * span, middle + 0.58 * span


def text_width(content: str, *, size: float) -> float:
    """About how wide a text is in a sans-serif font; errs on the wide side."""
    wide = sum(1.0 if unicodedata.east_asian_width(c) in "WF" else 0.72 if c.isupper() else 0.57 for c in content)
    return wide * size


def cut(content: str, *, size: float, width: float) -> str:
    """The text, shortened by an ellipsis to what fits into `width`."""
    if text_width(content, size=size) <= width:
        return content
    while content and text_width(f"{content}…", size=size) > width:
        content = content[:-1]
    return f"{content}…"


def place_labels(
    anchors: Sequence[tuple[float, float]], widths: Sequence[float], *, height: float, area: Box, avoid: Sequence[Box]
) -> list[Box]:
    """A box near each anchor inside `area`, clear of the other labels and of `avoid` wherever there is room.

    Greedy, the most crowded anchors first; of the free places around an anchor the nearest wins, the right one first.
    """
    placed: dict[int, Box] = {}
    taken = list(avoid)
    order = sorted(range(len(anchors)), key=lambda i: sum(math.dist(anchors[i], other) for other in anchors))
    for i in order:
        candidates = list(_around(anchors[i], widths[i], height))
        within = [box for box in candidates if box.inside(area)] or candidates
        best = min(within, key=lambda box: sum(box.overlap(other) for other in taken))  # the first of equals: nearest
        placed[i] = best
        taken.append(best)
    return [placed[i] for i in range(len(anchors))]


def along(points: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes that cover a polyline, for labels to keep clear of."""
    boxes = []
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        count = max(1, math.ceil(math.dist((x1, y1), (x2, y2)) / 5))
        for i in range(count + 1):
            boxes.append(Box(x1 + (x2 - x1) * i / count - 2, y1 + (y2 - y1) * i / count - 2, 4, 4))
    return boxes


def _around(anchor: tuple[float, float], width: float, height: float) -> Iterable[Box]:
    x, y = anchor
    for gap in (9, 15, 22, 30, 40, 52, 66, 82, 100, 125, 150):
        for degrees in (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240):
            dx, dy = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
            middle = (x + dx * (gap + width / 2), y + dy * (gap + height / 2))
            yield Box(middle[0] - width / 2, middle[1] - height / 2, width, height)
