"""Reads examples.json: the test images that changed sides between the zero-shot and a fine-tuned model."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.report.files import read_json

_IMAGE = re.compile(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/]+={0,2})")
_MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff"}


@dataclass(frozen=True)
class Example:
    """A test image on which the two models disagree; their guesses are (class, probability), best first."""

    split: str
    label: str
    image: str  # data:image/png or jpeg, base64
    method: str
    zero_shot: tuple[tuple[str, float], ...]
    fine_tuned: tuple[tuple[str, float], ...]
    change: str  # "lost" or "gained"


def read_examples(path: Path) -> tuple[Example, ...]:
    """The images of examples.json, none where the file is missing. Only base64 PNG and JPEG images are taken."""
    if not path.exists():
        return ()
    remedy = "delete the file and run the comparison again"
    try:
        found = [_example(entry) for entry in read_json(path)]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {remedy}") from error
    return tuple(found)


def _example(entry: Mapping[str, Any]) -> Example:
    image, change = str(entry["image"]), str(entry["change"])
    match = _IMAGE.fullmatch(image)
    try:
        data = base64.b64decode(match[2], validate=True) if match else b""
    except binascii.Error:
        data = b""
    if not match or not data.startswith(_MAGIC[match[1]]):
        raise ValueError(f"image {image[:30]!r} is no base64 PNG or JPEG")
    if change not in ("lost", "gained"):
        raise ValueError(f"change {change!r} is neither 'lost' nor 'gained'")
    return Example(
        split=str(entry["split"]),
        label=str(entry["label"]),
        image=image,
        method=str(entry["fine_tuned"]["method"]),
        zero_shot=tuple((str(name), float(share)) for name, share in entry["zero_shot"]["top"]),
        fine_tuned=tuple((str(name), float(share)) for name, share in entry["fine_tuned"]["top"]),
        change=change,
    )
