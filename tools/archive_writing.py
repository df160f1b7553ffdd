"""Write pictures and tables into a zip whose bytes depend on nothing but its contents."""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

_DATE = (2026, 1, 1, 0, 0, 0)


def png(pixels: np.ndarray, colours: int) -> bytes:
    """Return a small PNG of (H, W, 3) bytes: 16 greys where the picture is grey, else a palette of `colours`."""
    picture = Image.fromarray(pixels)
    if (pixels.max(-1) - pixels.min(-1)).max() == 0:
        levels = np.rint(pixels[..., 0] / 17).astype(np.uint8)
        picture = Image.fromarray(levels, mode="P")
        picture.putpalette([17 * level for level in range(16) for _ in range(3)])
    else:
        picture = picture.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


def table(rows: list[dict]) -> bytes:
    """Return rows as CSV with a header."""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    """Write the files in the given order, pictures as they are and texts compressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith((".png", ".jpg")) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
