"""Choose IconShift's icons: which name says which class, how many a class, which are too alike, and the splits."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icon_catalogue import HELD_OUT_SETS, Icon, read_icons
from icon_names import ClassMatcher
from icon_rendering import render_all
from near_duplicates import Signatures

SIZE = 64
SPLIT_SHARES = {"test": 0.25, "validation": 0.1}
MOST_A_CLASS = {
    "line": 20, "solid": 8, "colour": 8, "emoji": 8, "emoji_3d": 2, "emoji_mono": 2, "pixel": 4,
}  # fmt: skip
"""At most so many icons of a class in a domain, so that no class rules the mean."""
FEWEST_LINE, FEWEST_EMOJI, FEWEST_SHIFTS = 5, 2, 3


@dataclass
class Candidate:
    """An icon of a class with its picture, and, once decided, its split."""

    icon: Icon
    label: str
    domain: str
    pixels: np.ndarray
    split: str = "test"


def domain_of(icon: Icon) -> str | None:
    """Return the domain an icon of a held-out set belongs to, or None for styles that no domain takes."""
    if icon.icon_set == "solar" and icon.name.endswith(("-outline", "-line-duotone")):
        return None  # the same drawings as -linear and -bold-duotone
    style = icon.styles[-1] if icon.styles else ""
    return HELD_OUT_SETS[icon.icon_set].get(style)


def label_of(icon: Icon, matcher: ClassMatcher, emoji_matcher: ClassMatcher) -> str | None:
    """Return the class an icon's name says; emoji names are matched without what the class keeps from them."""
    emoji = "emoji" in set(HELD_OUT_SETS[icon.icon_set].values()) or icon.icon_set.startswith("fluent-emoji")
    return (emoji_matcher if emoji else matcher).match(icon.icon_set, icon.name)


def matchers(classes: list[dict]) -> tuple[ClassMatcher, ClassMatcher]:
    """Return the matcher for icon sets and the one for emoji sets, where a `not_emoji` term means something else."""
    everywhere = [{**entry, "matches": entry.get("matches", []) + entry.get("not_emoji", [])} for entry in classes]
    return ClassMatcher(everywhere), ClassMatcher(classes)


def gather(package: Path, collections: dict, classes: list[dict], workers: int) -> list[Candidate]:
    """Return every icon of the held-out sets whose name says a class and whose style has a domain."""
    matcher, emoji_matcher = matchers(classes)
    chosen = []
    for icon_set in HELD_OUT_SETS:
        for icon in read_icons(package, icon_set, bool(collections[icon_set].get("palette"))):
            label, domain = label_of(icon, matcher, emoji_matcher), domain_of(icon)
            if label and domain:
                chosen.append((icon, label, domain))
    drawn = dict(render_all([icon for icon, *_ in chosen], SIZE, workers))
    return [Candidate(icon, label, domain, drawn[icon]) for icon, label, domain in chosen if icon in drawn]


def without_near_duplicates(candidates: list[Candidate]) -> tuple[list[Candidate], Counter]:
    """Drop each icon that nearly equals an earlier one of its domain or any of the home domain; count the dropped."""
    line = [c for c in candidates if c.domain == "line"]
    rest = [c for c in candidates if c.domain != "line"]
    ordered = line + rest
    signatures = Signatures(c.pixels for c in ordered)
    kept, dropped = np.ones(len(ordered), dtype=bool), Counter()
    for row, candidate in enumerate(ordered):
        earlier = [
            other
            for other in signatures.near(signatures, row)
            if other < row and kept[other] and ordered[other].domain in ("line", candidate.domain)
        ]
        if earlier:
            kept[row] = False
            dropped[candidate.domain] += 1
    return [candidate for candidate, keep in zip(ordered, kept, strict=True) if keep], dropped


def enough(candidates: list[Candidate]) -> list[Candidate]:
    """Keep the classes that have enough pictures at home and in the shifts, at most so many of each."""
    piles = defaultdict(list)
    for candidate in candidates:
        piles[candidate.label, candidate.domain].append(candidate)
    kept = []
    for label in sorted({label for label, _ in piles}):
        counts = {domain: len(pile) for (name, domain), pile in piles.items() if name == label}
        shifts = sum(domain != "line" for domain in counts)
        if counts.get("line", 0) < FEWEST_LINE or counts.get("emoji", 0) < FEWEST_EMOJI or shifts < FEWEST_SHIFTS:
            continue
        for domain, most in MOST_A_CLASS.items():
            kept += _spread(piles[label, domain], most)
    return kept


def split_home(candidates: list[Candidate]) -> None:
    """Give every home icon its split: in each class about 65 % train, 10 % validation, 25 % test."""
    piles = defaultdict(list)
    for candidate in candidates:
        if candidate.domain == "line":
            piles[candidate.label].append(candidate)
    for pile in piles.values():
        pile.sort(key=_draw)
        test = max(1, round(SPLIT_SHARES["test"] * len(pile)))
        validation = max(1, round(SPLIT_SHARES["validation"] * len(pile)))
        for place, candidate in enumerate(pile):
            candidate.split = "test" if place < test else "validation" if place < test + validation else "train"


def _spread(pile: list[Candidate], most: int) -> list[Candidate]:
    """Return at most `most` icons, taken in turns from each set."""
    turn, turns = Counter(), []
    for candidate in sorted(pile, key=_draw):
        turn[candidate.icon.icon_set] += 1
        turns.append((turn[candidate.icon.icon_set], _draw(candidate), candidate))
    return [candidate for *_, candidate in sorted(turns, key=lambda item: item[:2])[:most]]


def _draw(candidate: Candidate) -> str:
    """Return a fixed pseudo-random key of an icon, the same on every machine."""
    return hashlib.sha256(f"{candidate.icon.icon_set}/{candidate.icon.name}".encode()).hexdigest()
