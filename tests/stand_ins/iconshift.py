"""An archive of the shape of the embedded one: a zip with a manifest of domains and a classes.yaml."""

import io
import zipfile
from pathlib import Path

from PIL import Image

ROWS = [("line", "train")] * 2 + [("line", "validation"), ("line", "test"), ("emoji", "test"), ("solid", "test")]


def make(root: Path) -> dict[str, object]:
    lines = ["path,label,split,domain,icon_set,name,licence"]
    with zipfile.ZipFile(root / "iconshift.zip", "w") as archive:
        for place, (domain, split) in enumerate(ROWS):
            for label in ("cat", "dog"):
                path = f"images/{domain}/{split}-{place}-{label}.png"
                image = io.BytesIO()
                Image.new("RGB", (64, 64), (40 * place, 90, len(lines))).save(image, "PNG")
                archive.writestr(path, image.getvalue())
                lines.append(f"{path},{label},{split},{domain},a-set,{label}-{place},MIT")
        archive.writestr("manifest.csv", "\n".join(lines))
        archive.writestr("classes.yaml", "classes: [dog, cat]\ntemplates: ['an icon of a {}.']\ncontexts: ['a {}.']\n")
    return {"root": str(root / "iconshift.zip")}
