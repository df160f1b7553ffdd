"""Build `icongroups.zip`: animals and vehicles on grass and on water, where training pictures go together by 95 %.

In training, animals stand on grass and vehicles on water in 19 of 20 pictures; validation and test show every icon on
both. Splits are by icon set: no designer's set is in two of them.
"""

import argparse
import hashlib
import io
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from archive_writing import table, write_zip
from backgrounds import texture
from icon_catalogue import read_collections
from icon_rendering import render
from iconshift_card import attribution
from iconshift_selection import Candidate, gather, without_near_duplicates

SIZE = 64
QUALITY = 88
AGREEMENT = 0.95
USUAL = {"animal": "grass", "vehicle": "water"}
VALIDATION_SETS = {"iconoir", "flat-color-icons", "fxemoji", "marketeq"}
TEST_SETS = {
    "ph", "mingcute", "icon-park", "icon-park-outline", "icon-park-solid", "icon-park-twotone", "twemoji", "feather",
    "lucide", "lucide-lab",
}  # fmt: skip

CARD = """# IconGroups: data card

Icons of animals and vehicles on procedural grass and water, 64 x 64 pixels. In training, animals stand on grass and
vehicles on water in 95 % of the pictures; in validation and test every icon stands on both, so the four groups are
balanced. A model that learns the background instead of the object fails on the rare groups: report the worst of the
four groups.

| split | {groups} |
|---|---|---|---|---|
{table}

- Icons: the held-out sets of IconShift (`@iconify/json` 2.2.535; all its styles), so IconCLIP
  has seen none of them; it has seen other grass and water from the same generator, and its captions name them.
- Members of a class (`synonyms` in `classes.yaml`) are chosen by name, as in IconShift; near-duplicates are dropped.
- Splits are by icon set, and sets of one family are in the same split. Icons of one colour are black or white, by a
  fixed pseudo-random key.
- The backgrounds are drawn, not photographed, and the icons do not touch them: this is a test bed for methods, in the
  manner of Waterbirds, and does not replace it. Some icons (a boat on grass, a fish on grass) are odd on purpose.
"""


def split_of(icon_set: str) -> str:
    """Return the split of all icons of a set."""
    return "test" if icon_set in TEST_SETS else "validation" if icon_set in VALIDATION_SETS else "train"


def key(text: str) -> int:
    """Return a fixed pseudo-random number for a text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def backgrounds_of(candidate: Candidate, place: int, split: str) -> list[str]:
    """Return what an icon stands on: both outside training, else the usual background but for every 20th icon."""
    usual = USUAL[candidate.label]
    unusual = "water" if usual == "grass" else "grass"
    if split != "train":
        return ["grass", "water"]
    return [unusual if place % round(1 / (1 - AGREEMENT)) == 10 else usual]


def paste(candidate: Candidate, background: str) -> bytes:
    """Return the JPEG of an icon at 7/8 of the size on its own piece of background."""
    name = f"{candidate.icon.icon_set}/{candidate.icon.name}"
    canvas = texture(background, SIZE, key(f"{name} on {background}")).astype(np.float32)
    inner = SIZE * 7 // 8
    pixels = render(candidate.icon.svg, inner).astype(np.float32)
    if not candidate.icon.coloured:
        pixels[..., :3] = 255 * (key(name) % 2)
    top = (SIZE - inner) // 2
    part = canvas[top : top + inner, top : top + inner]
    alpha = pixels[..., 3:] / 255
    part[:] = pixels[..., :3] * alpha + part * (1 - alpha)
    file = io.BytesIO()
    Image.fromarray(np.rint(canvas).astype(np.uint8)).save(file, format="JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def main() -> None:
    """Choose, draw and pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="the unpacked @iconify/json package")
    parser.add_argument("output", type=Path, help="where icongroups.zip and its card go")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    recipe = yaml.safe_load(Path(__file__).with_name("groups.yaml").read_text(encoding="utf-8"))
    concepts = yaml.safe_load(Path(__file__).with_name("classes.yaml").read_text(encoding="utf-8"))["classes"]
    super_class = {member: entry["name"] for entry in recipe["classes"] for member in entry["synonyms"]}
    members = [entry for entry in concepts if entry["name"] in super_class]
    collections = read_collections(options.package)
    found = gather(options.package, collections, members, options.workers)
    kept, dropped = without_near_duplicates(found)
    kept.sort(key=lambda c: key(f"{c.icon.icon_set}/{c.icon.name}"))
    rows, files, places = [], {}, Counter()
    for candidate in kept:
        member, candidate.label = candidate.label, super_class[candidate.label]
        split = split_of(candidate.icon.icon_set)
        places[candidate.label, split] += 1
        for background in backgrounds_of(candidate, places[candidate.label, split], split):
            path = f"{split}/{candidate.icon.icon_set}/{candidate.icon.name}-on-{background}.jpg"
            rows.append(
                {
                    "path": path,
                    "label": candidate.label,
                    "split": split,
                    "domain": candidate.domain,
                    "icon_set": candidate.icon.icon_set,
                    "name": candidate.icon.name,
                    "licence": collections[candidate.icon.icon_set]["license"]["spdx"],
                    "group": f"{candidate.label} on {background}",
                    "member": member,
                }
            )
            files[path] = paste(candidate, background)
    counts = Counter((row["split"], row["group"]) for row in rows)
    groups = sorted({row["group"] for row in rows})
    lines = [
        f"| {split} | {' | '.join(str(counts[split, group]) for group in groups)} |"
        for split in ("train", "validation", "test")
    ]
    card = CARD.format(groups=" | ".join(groups), table="\n".join(lines))
    credits_ = attribution(rows, collections, "IconGroups")
    texts = {
        "manifest.csv": table(rows),
        "classes.yaml": yaml.safe_dump(recipe, sort_keys=False, width=120).encode(),
        "README.md": card.encode(),
        "ATTRIBUTION.md": credits_.encode(),
    }
    write_zip(options.output / "icongroups.zip", {**texts, **files})
    (options.output / "icongroups.DATA_CARD.md").write_text(card, encoding="utf-8")
    (options.output / "icongroups.ATTRIBUTION.md").write_text(credits_, encoding="utf-8")
    print(f"near-duplicates dropped: {dict(dropped)}")
    print("\n".join(lines))
    print(f"{len(rows)} pictures, {(options.output / 'icongroups.zip').stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
