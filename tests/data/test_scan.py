from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from surefoot.data.scan import BadImage, broken_images, duplicates, leakage_notes, open_example, unreadable
from surefoot.data.sources import FolderSource
from surefoot.data.task import Split, Task

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later


def split(root, name, shades):
    """One image for each shade; -1 is a broken one."""
    paths = []
    for i, shade in enumerate(shades):
        paths.append(f"{name}{i}.png")
        if shade < 0:
            (root / paths[-1]).write_bytes(b"broken")
        else:
            Image.new("L", (3, 3), shade).save(root / paths[-1])
    labels = np.arange(len(shades)) % 2
    return Split(name, FolderSource(root), tuple(paths), labels.astype(np.int64), np.full(len(shades), -1))


def test_duplicates_pair_files_of_the_same_content(tmp_path):
    a, b = split(tmp_path, "a", [1, 2, 2, 3]), split(tmp_path, "b", [3, 9, 2, 2])
    assert duplicates(a, b) == [(3, 0), (1, 2), (1, 3)]


class Brighter:
    name = "brighter"

    def __call__(self, image, index):
        return image.point(lambda level: level + 10 * index)


def test_an_image_of_an_altered_split_depends_on_where_it_stood(tmp_path):
    part = replace(split(tmp_path, "a", [1, 2, 3]), alter=Brighter()).subset([2, 0])
    assert [open_example(part, i).pixels().getpixel((0, 0))[0] for i in range(2)] == [3 + 20, 1]


def test_leakage_is_noted_with_counts_and_an_example(tmp_path):
    train, validation = split(tmp_path, "a", [1, 2]), split(tmp_path, "b", [5, 6])
    tests = {"photo": split(tmp_path, "c", [7, 2, 2])}
    task = Task("x", ("cat", "dog"), ("a {}",), (), train, validation, tests, "photo")
    assert leakage_notes(task) == (
        "2 of 3 images of photo also stand in train, byte for byte (c1.png = a1.png); its accuracy will look too good",
    )


def test_unreadable_images_are_found_on_any_number_of_workers(tmp_path):
    part = split(tmp_path, "a", [-1 if i in (3, 70) else 1 for i in range(80)])
    (tmp_path / "a9.png").unlink()
    expected = [
        BadImage(3, "a3.png: not an image, or a format that is not supported"),
        BadImage(9, "a9.png: No such file or directory"),
        BadImage(70, "a70.png: not an image, or a format that is not supported"),
    ]
    assert unreadable(part) == unreadable(part, workers=2) == expected


def test_broken_images_of_all_splits_are_told_at_once(tmp_path):
    splits = [split(tmp_path, "a", [1, -1]), split(tmp_path, "b", [2, 3]), split(tmp_path, "c", [-1])]
    told = broken_images(splits)
    assert told.splitlines() == [
        f"1 of 2 images of split 'a' (folder {tmp_path}) cannot be read:",
        "  a1.png: not an image, or a format that is not supported",
        f"1 of 1 images of split 'c' (folder {tmp_path}) cannot be read:",
        "  c0.png: not an image, or a format that is not supported",
        "Replace or remove them, or set data.on_bad_image=skip to leave them out.",
    ]
    assert broken_images(splits[1:2]) == ""
