"""Which icon sets of `@iconify/json` are used, for what, under which licence, and their icons one by one.

The sets of IconShift are held out: IconCLIP never sees an icon of them. All other permissive sets are for pre-training.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from icon_names import split_name

PERMITTED_LICENCES = {
    "MIT", "Apache-2.0", "ISC", "BSD-3-Clause", "BSD-2-Clause", "CC0-1.0", "Unlicense", "OFL-1.1", "CC-BY-3.0",
    "CC-BY-4.0",
}  # fmt: skip

HELD_OUT_SETS = {
    "tabler": {"": "line"},
    "lucide": {"": "line"},
    "lucide-lab": {"": "line"},
    "feather": {"": "line"},
    "ph": {"": "line"},
    "iconoir": {"": "line"},
    "hugeicons": {"": "line"},
    "solar": {"solid": "solid", "duotone": "colour"},
    "mingcute": {"line": "line"},
    "icon-park-outline": {},
    "icon-park-solid": {"": "solid"},
    "icon-park-twotone": {"": "colour"},
    "icon-park": {"": "colour"},
    "glyphs": {"solid": "solid"},
    "glyphs-poly": {"": "colour"},
    "flat-color-icons": {"": "colour"},
    "marketeq": {"": "colour"},
    "noto": {"": "emoji"},
    "twemoji": {"": "emoji"},
    "fluent-emoji-flat": {"": "emoji"},
    "fxemoji": {"": "emoji"},
    "fluent-emoji": {"": "emoji_3d"},
    "fluent-emoji-high-contrast": {"": "emoji_mono"},
    "pixelarticons": {"": "pixel"},
    "memory": {"": "pixel"},
    "dinkie-icons": {"": "pixel", "solid": "pixel"},
}
"""The sets of IconShift: for each style that a name can say ("" for none), the domain its icons belong to.

A family of sets (`ph`, `solar`, `icon-park`, `glyphs`) is either at home or in the shifts: its filled icons are its
line icons, filled.
"""

LEFT_OUT_CATEGORIES = {"Logos"}
LEFT_OUT_SETS = {
    "fa-brands", "fa6-brands", "fa7-brands", "cif", "circle-flags", "flag", "flagpack", "devicon", "devicon-plain",
    "skill-icons", "gcp", "unjs", "line-md", "svg-spinners", "meteocons", "academicons", "file-icons", "ginetex",
    "k8s", "bpmn", "websymbol", "geo", "reicon",
}  # fmt: skip
"""Logos, brands, flags and animations, which show no concept that has an English name; and `reicon`, of whose pictures
hundreds nearly equal `solar`'s, which is held out."""

DEFAULT_STYLES = {
    "pixel": "pixel", "streamline-pixel": "pixel",
    "streamline-freehand": "freehand", "streamline-freehand-color": "freehand",
    "emojione": "emoji", "noto-v1": "emoji", "streamline-emojis": "emoji", "emojione-monotone": "emoji_mono",
    "vscode-icons": "file", "material-icon-theme": "file", "catppuccin": "file",
    "game-icons": "solid",
}  # fmt: skip
"""The style of all icons of a set, where it is neither in their names nor to be seen in the picture."""

_SKIN_FLAG_OR_BRAND = re.compile(r"skin-tone|^flag-|^(brand|logo|logos)-|-logo$")
_FLUENT_SKIN = re.compile(r"-(light|medium|medium-light|medium-dark|dark)$")


@dataclass(frozen=True)
class Icon:
    """One icon as drawn by its designer: where it comes from, what its name says, and its SVG."""

    icon_set: str
    name: str
    concept: str
    styles: tuple[str, ...]
    coloured: bool
    svg: str


def read_collections(package: Path) -> dict[str, dict]:
    """Return the description (name, author, licence) of every set under a permitted licence."""
    sets = json.loads((package / "collections.json").read_text(encoding="utf-8"))
    return {key: info for key, info in sets.items() if info["license"].get("spdx") in PERMITTED_LICENCES}


def pretraining_sets(collections: dict[str, dict]) -> list[str]:
    """Return the permitted sets that are neither held out nor logos, flags or animations."""
    return sorted(
        key
        for key, info in collections.items()
        if key not in HELD_OUT_SETS
        and key not in LEFT_OUT_SETS
        and info.get("category") not in LEFT_OUT_CATEGORIES
        and "Contains Animations" not in info.get("tags", [])
    )


def read_icons(package: Path, icon_set: str, coloured: bool) -> Iterator[Icon]:
    """Yield the visible icons of a set, without flags, brands and repeated skin tones."""
    data = json.loads((package / "json" / f"{icon_set}.json").read_text(encoding="utf-8"))
    for name, icon in sorted(data["icons"].items()):
        if icon.get("hidden") or _SKIN_FLAG_OR_BRAND.search(name):
            continue
        if icon_set.startswith("fluent-emoji") and _FLUENT_SKIN.search(name) and "traffic" not in name:
            continue
        concept, styles = split_name(icon_set, name)
        yield Icon(icon_set, name, concept, tuple(styles), coloured, _svg(icon, data))


def _svg(icon: dict, data: dict) -> str:
    box = [icon.get(key, data.get(key, default)) for key, default in _BOX]
    width, height = box[2], box[3]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" '
        f'height="{height}" viewBox="{" ".join(map(str, box))}" color="#000">{icon["body"]}</svg>'
    )


_BOX = (("left", 0), ("top", 0), ("width", 16), ("height", 16))
