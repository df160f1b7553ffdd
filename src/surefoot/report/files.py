"""Reads JSON and writes text, whole or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """JSON with NaN and infinity, which no number in a report may be, read as null."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is half-written or not JSON ({error})") from error


def write_whole(path: Path, text: str) -> None:
    """Replaces `path` in one step, so that nobody ever reads half of it; an old file stays if writing fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)  # mkstemp's 0600 would keep a web server from showing the page
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
