"""List the pre-training icons that nearly equal an icon of IconShift, so that pre-training leaves them out.

Compared are all icons of the held-out sets whose name says any class of `classes.yaml`, also those that IconShift
does not ship in the end. Writes `near_duplicates.json`: the rows left out and how many of each set.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import yaml

from icon_catalogue import HELD_OUT_SETS, read_collections, read_icons
from icon_names import ClassMatcher
from icon_rendering import render_all
from near_duplicates import Signatures


def main() -> None:
    """Compare every pre-training icon with every candidate of IconShift."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="the unpacked @iconify/json package")
    parser.add_argument("pretraining", type=Path, help="the folder that build_pretraining_data.py wrote")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    matcher = ClassMatcher(yaml.safe_load(Path(__file__).with_name("classes.yaml").read_text())["classes"])
    collections = read_collections(options.package)
    icons = [
        icon
        for icon_set in HELD_OUT_SETS
        for icon in read_icons(options.package, icon_set, bool(collections[icon_set].get("palette")))
        if matcher.match(icon_set, icon.name)
    ]
    drawn = list(render_all(icons, 64, options.workers))
    theirs = Signatures(pixels if icon.coloured else pixels[..., 3] for icon, pixels in drawn)
    records = json.loads((options.pretraining / "icons.json").read_text())
    piles = {
        False: np.load(options.pretraining / "mono.npy", mmap_mode="r"),
        True: np.load(options.pretraining / "colour.npy", mmap_mode="r"),
    }
    ours = Signatures(piles[record["coloured"]][record["row"]] for record in records)
    pairs = [(int(row), other) for other in range(len(drawn)) for row in ours.near(theirs, other)]
    rows = sorted({row for row, _ in pairs})
    by_set = dict(Counter(records[row]["set"] for row in rows).most_common())
    print(f"{len(rows)} of {len(records)} pre-training icons nearly equal one of {len(drawn)} of the held-out sets")
    print(by_set)
    for row, other in pairs[:: max(1, len(pairs) // 40)]:
        print(records[row]["set"], records[row]["name"], "=", drawn[other][0].icon_set, drawn[other][0].name)
    result = {"compared": len(drawn), "rows": rows, "by_set": by_set}
    (options.pretraining / "near_duplicates.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
