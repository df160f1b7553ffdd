"""Write IconShift's data card and the credits of the icons' designers."""

from collections import Counter

DOMAIN_TEXT = {
    "line": "outlines; the home domain, the only one with a train and a validation split",
    "solid": "filled shapes",
    "colour": "two-tone and flat colour icons",
    "emoji": "flat colour emoji of four vendors",
    "emoji_3d": "emoji rendered with light and depth",
    "emoji_mono": "emoji in black and white",
    "pixel": "pixel art",
}

CARD = """# IconShift: data card

{total} pictures of {classes} everyday things (animals, food, vehicles, tools, buildings, ...), 64 x 64 pixels on
white, in {domains} styles of drawing. A model is fine-tuned on line icons and tested on line icons and on every other
style.

| domain | train | validation | test | classes in test | what |
|---|---|---|---|---|---|
{table}

## How it was made
- Source: the npm package `@iconify/json` 2.2.535, sets under permissive licences only
  ({licences}). Each row of `manifest.csv` names its set, icon and licence;
  `ATTRIBUTION.md` names the authors.
- Classes: a hand-written list of concrete things with synonyms. Style words (outline, filled, bold, duotone, numbers,
  ...) are dropped from an icon's name; the icon belongs to a class if what remains is exactly the class, a synonym or
  a listed spelling. No picture was looked at to choose or drop it, so some labels are arguable.
- A class stays if it has at least five line icons, two emoji and three domains besides line. Large classes are cut
  (at most 20 line icons, 8 solid, 8 colour, 8 emoji, 2 of the other emoji kinds, 4 pixel), the same way on every
  machine.
- Splits: within each class, line icons are dealt out by a fixed pseudo-random key, about 65 % train, 10 % validation,
  25 % test.
- Near-duplicates: an icon is dropped if it nearly equals (perceptual hash, then pixel correlation) an earlier one of
  its domain or any line icon:
  {dropped}.
- IconCLIP's pre-training saw no icon of these sets; icons of other sets that nearly equal one of these were removed
  from it{removed}.
- Drawn with resvg; PNG with 16 greys or 96 colours. The builder (`tools/build_iconshift.py`) gives the same bytes
  again.

## What it is for, and what not
It ranks ways of robust fine-tuning for development and teaching, on a laptop, in minutes. Icons are not photographs:
a result here does not replace ImageNet or DomainNet.

Known confounds:
- Domains differ in more than style: vendors draw some things differently (a telephone, a train), emoji show faces
  where icons show bodies, and a domain may miss some classes, so accuracies of two domains are not over the same
  classes.
- No icon family is both at home and in `solid` or `colour`. In a first version families were on both sides, and
  fine-tuning on their line icons helped with their filled ones; the families were then dealt out anew. For that, the
  test results of zero-shot, plain fine-tuning and WiSE-FT were looked at; no setting of a method was chosen by them.
  Families do span the shifts: `solid` and `colour` share three, and the three Microsoft emoji sets share designs over
  `emoji`, `emoji_3d` and `emoji_mono`.
- Some things are alike as icons (boat and ship, sunrise and sunset, medal and trophy); nobody scores 100 %.
- Names are the designers', in English; a few are wrong or have a second meaning.
- Test domains of a few hundred pictures have confidence intervals of several points; report them, and several seeds.
"""


def data_card(rows: list[dict], classes: list[dict], dropped: Counter, pretraining: dict) -> str:
    """Return the card's text with the counts of `rows`."""
    counts = Counter((row["domain"], row["split"]) for row in rows)
    lines = []
    for domain, text in DOMAIN_TEXT.items():
        tested = {row["label"] for row in rows if row["domain"] == domain and row["split"] == "test"}
        cells = [str(counts[domain, split]) for split in ("train", "validation", "test")]
        lines.append(f"| {domain} | {' | '.join(cells)} | {len(tested)} | {text} |")
    removed = ""
    if pretraining:
        removed = f" ({pretraining['removed_near_duplicates_total']} icons)"
    return CARD.format(
        total=len(rows),
        classes=len(classes),
        domains=len({row["domain"] for row in rows}),
        table="\n".join(lines),
        licences=", ".join(sorted({row["licence"] for row in rows})),
        dropped=", ".join(f"{count} of {domain}" for domain, count in dropped.items()),
        removed=removed,
    )


def attribution(rows: list[dict], collections: dict, title: str) -> str:
    """Return who drew the icons, set by set, and under which licence."""
    counts = Counter(row["icon_set"] for row in rows)
    lines = [
        f"# {title}: attribution",
        "",
        "The pictures were drawn at 64 pixels from the icons of these sets, as packed in `@iconify/json` 2.2.535.",
        "Changes: rasterised, laid on white or on a drawn background, colours reduced.",
        "",
        "| set | name | author | licence | pictures |",
        "|---|---|---|---|---|",
    ]
    for icon_set, count in sorted(counts.items()):
        info = collections[icon_set]
        author, licence = info["author"], info["license"]
        credit = f"[{author['name']}]({author['url']})" if author.get("url") else author["name"]
        terms = f"[{licence['spdx']}]({licence['url']})" if licence.get("url") else licence["spdx"]
        lines.append(f"| {icon_set} | {info['name']} | {credit} | {terms} | {count} |")
    return "\n".join(lines) + "\n"
