"""A small DomainNet: three classes in five domains, with the lists that come with it."""

from pathlib import Path

from PIL import Image

CLASSES = ("aircraft_carrier", "cello", "cell_phone")  # in the order of their labels
DOMAINS = ("real", "painting", "clipart", "infograph", "sketch")
TRAIN, TEST = 6, 3  # images of a class


def make(root: Path, *, lists: bool = True) -> dict[str, object]:
    """Write it below `root`, with the lists or without; the options of the task."""
    for style, domain in enumerate(DOMAINS):
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for label, name in enumerate(CLASSES):
            for at in range(TRAIN + TEST):
                path = f"{domain}/{name}/{domain}_{label + 1:03d}_{at + 1:06d}.jpg"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 20), (80 * label, 40 * style, 20 * at)).save(root / path, quality=95)
                lines["train" if at < TRAIN else "test"].append(f"{path} {label}")
        for part, text in lines.items() if lists else ():
            (root / f"{domain}_{part}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return {"root": str(root)}
