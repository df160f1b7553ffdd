"""Folders of images, one a class, listed with as few questions to the disk as there are folders.

For data sets of a million files: a folder is read once and remembered, no file is asked for. What the folders mean is
for the tasks.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from surefoot.data.listing import folders_below
from surefoot.data.manifest import IMAGE_SUFFIXES

Folders = Mapping[str, Sequence[str]]
"""Folder name -> names of the image files directly in it."""


def class_folders(root: Path) -> dict[str, tuple[str, ...]]:
    """The folders directly under `root`, sorted, each with its image files, sorted; one without images has none.

    Hidden files and folders are left out, links are followed, what is in folders inside a class folder is not told.
    FileNotFoundError or NotADirectoryError where `root` is no folder.
    """
    with os.scandir(root):
        listed = {folder.path: folder for folder in folders_below(root)}
    names = listed[""].subfolders
    return {name: tuple(filter(_is_image, listed[f"{name}/"].file_names())) for name in names if f"{name}/" in listed}


def flatten(folders: Folders, labels: Mapping[str, int], *, base: str) -> tuple[list[str], NDArray[np.int64]]:
    """Paths below `base` and their labels (n,), folder by folder in the order of `labels`, which also chooses them."""
    paths = [f"{base}/{folder}/{name}" for folder in labels for name in folders[folder]]
    counts = [len(folders[folder]) for folder in labels]
    return paths, np.repeat(np.fromiter(labels.values(), np.int64, len(labels)), counts)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
