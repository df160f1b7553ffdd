"""An archive of the shape of the embedded one: a zip with a manifest of groups and a classes.yaml with synonyms."""

import io
import zipfile
from pathlib import Path

from PIL import Image

GROUPS = ("animal on grass", "animal on water", "vehicle on grass", "vehicle on water")
CLASSES = """classes: [{name: animal, synonyms: [cat, dog]}, {name: vehicle, synonyms: [bus]}]
templates: ['a {} on grass.']
contexts: ['a {} on water.']
"""


def make(root: Path) -> dict[str, object]:
    lines = ["path,label,split,domain,group,member"]
    with zipfile.ZipFile(root / "icongroups.zip", "w") as archive:
        for split in ("train", "validation", "test"):
            for place, group in enumerate(GROUPS):
                path = f"{split}/{group.replace(' ', '-')}.png"
                image = io.BytesIO()
                Image.new("RGB", (64, 64), (60 * place, len(split), len(lines))).save(image, "PNG")
                archive.writestr(path, image.getvalue())
                lines.append(f"{path},{group.split()[0]},{split},{('line', 'emoji')[place % 2]},{group},cat")
        archive.writestr("manifest.csv", "\n".join(lines))
        archive.writestr("classes.yaml", CLASSES)
    return {"root": str(root / "icongroups.zip")}
