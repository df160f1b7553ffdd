"""ImageNet's six sets as they are unpacked, with 6 classes in place of 1,000 and tiny images."""

import json
from pathlib import Path

from PIL import Image

IDS = ("n01440764", "n02708093", "n03196217", "n04004767", "n06359193", "n15075141")
LABELS = ("tench, Tinca tinca", "analog clock", "digital clock", "printer", "web site, website", "toilet tissue")
NAMES = ("tench", "analog clock", "digital clock", "printer", "website", "toilet paper")
LINES = {"0": 4, "1": 2, "2": 0, "3": 5, "4": 1, "5": 3}  # class index -> line of imagenet_to_label_2012_v2
FOLDERS = {"alarm_clock": "Alarm clock", "printer": "Printer", "toilet_paper_roll": "Toilet paper roll", "egg": "Egg"}
OVERLAP = {
    "Toilet paper roll": "toilet tissue",
    "Alarm clock": "analog clock; digital clock",
    "Printer": "printer",
}  # "egg" is not in ImageNet


def make(root: Path) -> dict[str, object]:
    for label, id_ in enumerate(IDS):
        for i in range(5):
            _image(root / "imagenet/train" / id_ / f"{id_}_{i}.JPEG", (40 * label, 10 * i, 0))
        _image(root / "imagenet/val" / id_ / f"ILSVRC2012_val_{label:08d}.JPEG", (40 * label, 0, 99))
        _image(root / "imagenetv2-matched-frequency-format-val" / str(label) / f"{label}0.jpeg", (40 * label, 0, 120))
        _image(root / "sketch" / id_ / f"sketch_{label}.JPEG", (200, 200, 40 * label))
    for id_ in (IDS[1], IDS[4]):
        _image(root / "imagenet-r" / id_ / "art_0.jpg", (1, 2, 3))
    for id_ in (IDS[0], IDS[3]):
        _image(root / "imagenet-a" / id_ / "0.01_fox squirrel _ marmot_0.9.jpg", (4, 5, 6))
    (root / "imagenet-r" / "README.txt").write_text("renditions")
    objectnet = root / "objectnet-1.0"
    for place, folder in enumerate(FOLDERS):
        _image(objectnet / "images" / folder / f"{place}abc.png", (9, 9, 50 * place), border=True)
    mappings = objectnet / "mappings"
    mappings.mkdir()
    (mappings / "folder_to_objectnet_label.json").write_text(json.dumps(FOLDERS))
    (mappings / "objectnet_to_imagenet_1k.json").write_text(json.dumps(OVERLAP))
    (mappings / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps(LINES))
    by_line = {line: LABELS[int(index)] for index, line in LINES.items()}
    (mappings / "imagenet_to_label_2012_v2").write_text("".join(f"{by_line[line]}\n" for line in range(6)))
    names = root / "names.txt"
    names.write_text("\n".join(NAMES))
    return {"root": str(root), "class_names": str(names), "validation_fraction": 0.2}


def _image(file: Path, colour: tuple[int, int, int], *, border: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (12, 10), (255, 0, 0) if border else colour)
    if border:
        image.paste(colour, (2, 2, 10, 8))
    image.save(file)
