import os
import sqlite3
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from surefoot.data.cache import Cache
from surefoot.data.contents import UNREAD, read_contents
from surefoot.data.look_alikes import look
from surefoot.data.scan import matches
from surefoot.data.sources import FolderSource, ZipSource
from surefoot.data.task import Split

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12 and later
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on a machine with one core
]
HOUR = 3600


class Counting(FolderSource):
    """A folder that notes what is read."""

    def read(self, path):
        with open(self.root / "read.log", "a", encoding="utf-8") as log:
            log.write(f"{path}\n")
        return super().read(path)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three pictures and a broken file, an hour old."""
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(3):
        paint(root / f"{i}.png", i)
    (root / "3.png").write_bytes(b"broken")
    settle(root)
    return root


def paint(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def settle(root, ago=HOUR):
    for file in root.iterdir():
        os.utime(file, (time.time() - ago, time.time() - ago))


def split(root, paths=("0.png", "1.png", "2.png", "3.png"), source=None):
    zeros = np.zeros(len(paths), np.int64)
    return Split("train", source or Counting(root), tuple(paths), zeros, zeros)


def was_read(root):
    """What was read since the last question."""
    log = root / "read.log"
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").split()
    log.unlink()
    return lines


def told(contents):
    return contents.digests.tolist(), contents.looks.tolist(), dict(contents.reasons)


def test_a_file_tells_its_bytes_its_look_and_whether_it_decodes(root):
    paint(root / "4.png", 0)
    (contents,) = read_contents([split(root, ("0.png", "1.png", "4.png", "3.png", "gone.png"))])
    assert contents.digests[0] == contents.digests[2] != contents.digests[1]
    assert contents.looks[0] == look(Image.open(root / "0.png"))
    assert contents.reasons == {
        3: "3.png: not an image, or a format that is not supported",
        4: "gone.png: No such file or directory",
    }
    assert contents.digests[3] != UNREAD == contents.digests[4]


def test_files_that_are_as_they_were_are_not_read_again(root):
    first = told(*read_contents([split(root)]))
    assert was_read(root) == ["0.png", "1.png", "2.png", "3.png"]
    assert told(*read_contents([split(root)])) == first
    assert was_read(root) == []


def test_changed_replaced_and_new_files_are_read_again(root):
    read_contents([split(root)])
    was_read(root)
    paint(root / "0.png", 9)
    os.utime(root / "1.png", ns=(1, 1))
    (root / "2.png").unlink()
    (contents,) = read_contents([split(root)])
    assert was_read(root) == ["0.png", "1.png", "2.png"]
    assert contents.looks[0] == look(Image.open(root / "0.png"))
    assert contents.reasons[2] == "2.png: No such file or directory"


def test_a_file_that_changed_a_moment_ago_is_read_again(root):
    settle(root, ago=0)
    read_contents([split(root)])
    was_read(root)
    read_contents([split(root)])
    assert len(was_read(root)) == 4


def test_a_file_in_several_splits_is_read_once(root):
    both = read_contents([split(root, ("0.png", "3.png")), split(root, ("3.png", "0.png", "0.png"))])
    assert was_read(root) == ["0.png", "3.png"]
    assert both[1].digests.tolist() == [both[0].digests[i] for i in (1, 0, 0)]
    assert (set(both[0].reasons), set(both[1].reasons)) == ({1}, {0})


def test_a_limit_on_pixels_counts_for_what_is_remembered_too(root):
    assert set(read_contents([split(root)], max_pixels=1000)[0].reasons) == {0, 1, 2, 3}
    assert set(read_contents([split(root)])[0].reasons) == {3}
    (contents,) = read_contents([split(root)], max_pixels=1999)
    assert contents.reasons[0] == (
        "0.png: 50 x 40 pixels are more than data.max_pixels=1999; shrink the image, or raise the limit if the file is "
        "to be trusted"
    )


def test_processes_tell_what_one_tells(root, monkeypatch):
    paths = [f"{i % 4}.png" for i in range(4)] + [f"no {i}.png" for i in range(1200)]
    one = told(*read_contents([split(root, paths, FolderSource(root))]))
    monkeypatch.setenv("SUREFOOT_CACHE", "")
    assert told(*read_contents([split(root, paths, FolderSource(root))], workers=2)) == one


def test_files_of_a_zip_are_remembered_while_the_zip_is_the_same(root):
    def pack(names):
        with zipfile.ZipFile(root / "all.zip", "w") as archive:
            for name in names:
                archive.write(root / name, name)
        settle(root)

    pack(["0.png", "1.png", "3.png"])
    paths = ("0.png", "1.png", "3.png", "2.png")
    first = told(*read_contents([split(root, paths, ZipSource(root / "all.zip"))]))
    assert set(first[2]) == {2, 3}
    assert len(list(Cache(root / "all.zip").files())) == 3  # what is missing may come
    assert told(*read_contents([split(root, paths, ZipSource(root / "all.zip"))])) == first
    pack(["0.png", "1.png", "3.png", "2.png"])
    assert set(read_contents([split(root, paths, ZipSource(root / "all.zip"))])[0].reasons) == {2}


def test_a_source_that_cannot_tell_changes_is_read_each_time(root):
    class Memory:
        def read(self, path):
            return (root / path).read_bytes()

        def describe(self):
            return "memory"

    first = told(*read_contents([split(root, source=Memory())]))
    assert told(*read_contents([split(root)])) == first


def test_nonsense_in_a_sound_cache_is_thrown_away(root):
    first = told(*read_contents([split(root)]))
    with sqlite3.connect(Cache(root).file) as connection:
        connection.execute("UPDATE files SET digest = 'x'")
    connection.close()
    assert told(*read_contents([split(root)])) == first
    assert not Cache(root).file.exists() or told(*read_contents([split(root)])) == first


def test_matches_pair_each_file_with_the_first_of_the_same_content():
    known, other = np.array([7, 5, 7, UNREAD], np.uint64), np.array([UNREAD, 7, 9, 5, 7], np.uint64)
    assert matches(known, other).tolist() == [[0, 1], [1, 3], [0, 4]]
    assert matches(np.empty(0, np.uint64), other).tolist() == []
