"""Build `iconshift.zip`: icons of everyday things in several styles, drawn by many designers, with a manifest.

Every byte follows from the package and `classes.yaml`. Prints how many icons each rule dropped, and writes the
data card and the attribution beside the zip too.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import yaml

from archive_writing import png, table, write_zip
from icon_catalogue import read_collections
from icon_rendering import on_white
from iconshift_card import attribution, data_card
from iconshift_selection import Candidate, enough, gather, split_home, without_near_duplicates

PALETTE = 96
VENDORS = {
    "noto": "Google", "twemoji": "Twitter", "fluent-emoji-flat": "Microsoft", "fxemoji": "Mozilla",
    "fluent-emoji": "Microsoft", "fluent-emoji-high-contrast": "Microsoft",
}  # fmt: skip


def manifest_row(candidate: Candidate, collections: dict) -> dict:
    """Return the manifest's line for an icon."""
    icon = candidate.icon
    return {
        "path": f"{candidate.domain}/{icon.icon_set}/{icon.name}.png",
        "label": candidate.label,
        "split": candidate.split,
        "domain": candidate.domain,
        "icon_set": icon.icon_set,
        "vendor": VENDORS.get(icon.icon_set, ""),
        "name": icon.name,
        "licence": collections[icon.icon_set]["license"]["spdx"],
    }


def main() -> None:
    """Choose, draw and pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="the unpacked @iconify/json package")
    parser.add_argument("output", type=Path, help="where iconshift.zip and its card go")
    parser.add_argument("--pretraining", type=Path, help="IconCLIP's pretraining.json, for the card's counts")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    recipe = yaml.safe_load(Path(__file__).with_name("classes.yaml").read_text(encoding="utf-8"))
    collections = read_collections(options.package)
    found = gather(options.package, collections, recipe["classes"], options.workers)
    distinct, dropped = without_near_duplicates(found)
    kept = enough(distinct)
    split_home(kept)
    kept.sort(key=lambda c: (c.domain, c.icon.icon_set, c.icon.name))
    print(f"{len(found)} icons match; near-duplicates dropped: {dict(dropped)}; kept {len(kept)}")
    rows = [manifest_row(candidate, collections) for candidate in kept]
    print(Counter((row["domain"], row["split"]) for row in rows))
    labels = {row["label"] for row in rows}
    classes = [
        {"name": entry["name"], "synonyms": entry.get("synonyms", [])}
        for entry in recipe["classes"]
        if entry["name"] in labels
    ]
    texts = {"classes": classes, "templates": recipe["templates"], "contexts": recipe["contexts"]}
    pretraining = json.loads(options.pretraining.read_text()) if options.pretraining else {}
    card = data_card(rows, classes, dropped, pretraining)
    credits_ = attribution(rows, collections, "IconShift")
    files = {
        "manifest.csv": table(rows),
        "classes.yaml": yaml.safe_dump(texts, sort_keys=False, allow_unicode=True, width=120).encode(),
        "README.md": card.encode(),
        "ATTRIBUTION.md": credits_.encode(),
    }
    for row, candidate in zip(rows, kept, strict=True):
        files[row["path"]] = png(on_white(candidate.pixels), PALETTE)
    write_zip(options.output / "iconshift.zip", files)
    (options.output / "iconshift.DATA_CARD.md").write_text(card, encoding="utf-8")
    (options.output / "iconshift.ATTRIBUTION.md").write_text(credits_, encoding="utf-8")
    print(f"{len(classes)} classes, {(options.output / 'iconshift.zip').stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
