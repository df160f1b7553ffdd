"""Draw every pre-training icon once and write them as arrays that `pretrain_iconclip.py` maps into memory.

Writes `mono.npy` (alpha only, (N, 64, 64) bytes), `colour.npy` ((M, 64, 64, 4) bytes) and `icons.json` (set, name,
concept and style of each). Which icons are too near to IconShift is decided afterwards, by `near_duplicates.py`.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from icon_catalogue import DEFAULT_STYLES, Icon, pretraining_sets, read_collections, read_icons
from icon_rendering import render_all, stroke_style

SIZE = 64


def style_of(icon: Icon, alpha: np.ndarray) -> str:
    """Return the style a caption may name: the set's, else the name's, else what the picture shows."""
    stated = DEFAULT_STYLES.get(icon.icon_set)
    if stated:
        return stated
    if icon.coloured:
        return "flat"
    return icon.styles[-1] if icon.styles else stroke_style(alpha)


def main() -> None:
    """Read the package, draw, and write the arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="the unpacked @iconify/json package")
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    collections = read_collections(options.package)
    records, mono, colour = [], [], []
    for icon_set in pretraining_sets(collections):
        coloured = bool(collections[icon_set].get("palette"))
        icons = read_icons(options.package, icon_set, coloured)
        if icon_set == "iconmind":  # 31,722 icons in six weights; two of them say all
            icons = (icon for icon in icons if icon.name.endswith("-regular"))
        if icon_set in ("fluent", "fluent-color"):  # one drawing in up to eight sizes
            icons = (icon for icon in icons if "-20" in icon.name or "-48" in icon.name)
        if icon_set in ("material-symbols", "material-symbols-light", "ic", "keyline-icons"):  # corners differ, no more
            icons = (icon for icon in icons if "sharp" not in icon.name)
        before = len(records)
        for icon, pixels in render_all(icons, SIZE, options.workers):
            pile = colour if coloured else mono
            row = len(pile)
            pile.append(pixels if coloured else pixels[..., 3])
            records.append(
                {"set": icon_set, "name": icon.name, "concept": icon.concept, "style": style_of(icon, pixels[..., 3]),
                 "coloured": coloured, "row": row}
            )  # fmt: skip
        print(f"{icon_set:28s} {len(records) - before:6d}", flush=True)
    np.save(options.output / "mono.npy", np.stack(mono))
    np.save(options.output / "colour.npy", np.stack(colour))
    (options.output / "icons.json").write_text(json.dumps(records))
    print(f"{len(mono)} monochrome and {len(colour)} coloured icons")


if __name__ == "__main__":
    main()
