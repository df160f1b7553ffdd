"""Files readable by those who may read new files: safetensors writes for the owner alone."""

import os
from pathlib import Path


def as_new(*files: Path) -> None:
    """Give files the permissions that the system gives new ones."""
    mask = os.umask(0)
    os.umask(mask)
    for file in files:
        file.chmod(0o666 & ~mask)
