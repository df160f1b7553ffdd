"""What an icon's name says: the concept it shows, and the style its designer drew it in.

A name such as ``traffic-light-bold-duotone`` or ``baseline-home`` is cut into the concept ("traffic light", "home")
and the style words that were dropped. Which words are style differs by icon set, so each set's own endings come first.
"""

import re

STYLE_WORDS = {
    "outline": "line", "outlined": "line", "line": "line", "linear": "line", "stroke": "line", "regular": "line",
    "fill": "solid", "filled": "solid", "solid": "solid",
    "duotone": "duotone", "twotone": "duotone", "duo": "duotone", "bulk": "duotone",
    "thin": "thin",
    "flat": "flat",
    "bold": "", "rounded": "", "round": "", "sharp": "", "baseline": "", "alt": "", "variant": "", "remix": "",
    "minimalistic": "", "24px": "", "16": "", "20": "", "28": "", "32": "", "48": "",
}  # fmt: skip
"""Endings that are style in any set, and the style they say ("" where they say none)."""

NUMBER_WORDS = {"one", "two", "three", "four", "five", "six"}

SET_ENDINGS = {
    "ph": {"thin": "thin", "light": "thin", "bold": "line", "fill": "solid", "duotone": "duotone"},
    "solar": {
        "broken": "broken", "line-duotone": "duotone", "linear": "line", "outline": "line", "bold": "solid",
        "bold-duotone": "duotone",
    },
    "fluent": {"light": "thin", "regular": "line", "filled": "solid"},
    "iconamoon": {"light": "thin", "thin": "thin", "bold": "line", "fill": "solid", "duotone": "duotone"},
    "stash": {"light": "thin", "solid": "solid", "duotone": "duotone"},
    "lets-icons": {"light": "thin", "fill": "solid", "duotone": "duotone", "duotone-line": "duotone"},
    "glyphs": {"bold": "solid", "duo": "duotone", "outline": "line"},
    "streamline-ultimate": {"bold": "solid"},
    "healthicons": {"outline": "line", "outline-24px": "line", "24px": "solid", "negative": "negative"},
    "iconmind": {
        "outline-thin": "thin", "outline-regular": "line", "outline-bold": "line", "duotone-thin": "duotone",
        "duotone-regular": "duotone", "duotone-bold": "duotone",
    },
    "keyline-icons": {"sharp-two-tone": "duotone", "two-tone": "duotone", "sharp-duotone": "duotone"},
}  # fmt: skip
"""Endings that mean something else, or only mean something, in one set."""

FIRST_WORDS = {"ic": {"baseline": "solid", "outline": "line", "round": "solid", "sharp": "solid", "twotone": "duotone"}}


def split_name(icon_set: str, name: str) -> tuple[str, list[str]]:
    """Return the concept a name shows, in plain words, and the styles its endings say, outermost first."""
    styles = []
    words = name.lower().replace("_", "-").replace("traffic-light", "trafficlight")  # no style
    for first, style in FIRST_WORDS.get(icon_set, {}).items():
        if words.startswith(first + "-"):
            words = words[len(first) + 1 :]
            styles.append(style)
            break
    endings = sorted(SET_ENDINGS.get(icon_set, {}).items(), key=lambda pair: -len(pair[0]))
    for ending, style in endings * 2:
        if words.endswith("-" + ending):
            words = words[: -len(ending) - 1]
            styles.append(style)
    parts = [part for part in words.split("-") if part]
    while len(parts) > 1:
        if parts[-1] in STYLE_WORDS:
            styles.append(STYLE_WORDS[parts.pop()])
        elif parts[-1].isdigit() or parts[-1] in NUMBER_WORDS:
            parts.pop()
        else:
            break
    parts[-1] = re.sub(r"(?<=[a-z]{3})\d+$", "", parts[-1])
    return " ".join(parts).replace("trafficlight", "traffic light"), [style for style in styles if style]


class ClassMatcher:
    """Tells which class, if any, an icon's name says."""

    def __init__(self, classes: list[dict]):
        self.label_of = {}
        for entry in classes:
            for term in [entry["name"], *entry.get("synonyms", []), *entry.get("matches", [])]:
                taken = self.label_of.setdefault(str(term).lower().replace(" ", ""), entry["name"])
                if taken != entry["name"]:
                    raise ValueError(f"{term!r} is claimed by the classes {taken!r} and {entry['name']!r}")

    def match(self, icon_set: str, name: str) -> str | None:
        """Return the class whose name or synonym is exactly what remains of `name` without style words."""
        concept, _ = split_name(icon_set, name)
        return self.label_of.get(concept.replace(" ", ""))
