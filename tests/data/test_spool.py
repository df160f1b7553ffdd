import errno
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from surefoot.data.spool import Spool, spool_folder

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later


class Fetching:
    """Writes the name of the wanted file, slowly, and notes each time in a file of its own."""

    def __init__(self, log: Path, text: str, pause: float = 0.0) -> None:
        self.log, self.text, self.pause = log, text, pause

    def __call__(self, to: Path) -> None:
        with self.log.open("a") as log:
            log.write(f"{self.text}\n")
        with to.open("wb") as file:
            file.write(self.text[:3].encode())
            file.flush()
            time.sleep(self.pause)
            file.write(self.text[3:].encode())


def fetched(log):
    return log.read_text().split()


def test_a_file_is_fetched_once_and_read_in_parts(tmp_path):
    spool, log = Spool(tmp_path / "spool", 2), tmp_path / "log"
    for _ in range(3):
        assert spool.read("a", 2, 3, Fetching(log, "abcdefg")) == b"cde"
    assert fetched(log) == ["abcdefg"]


def test_no_more_files_are_kept_than_wanted_and_those_read_last_stay(tmp_path):
    spool, log = Spool(tmp_path / "spool", 2), tmp_path / "log"
    for name in "abac":
        spool.read(name, 0, 1, Fetching(log, name * 4))
        time.sleep(0.02)  # times of files are coarse
        assert len(list((tmp_path / "spool").iterdir())) <= 2
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["a", "c"]
    assert spool.read("b", 0, 4, Fetching(log, "bbbb")) == b"bbbb"
    assert fetched(log) == ["aaaa", "bbbb", "cccc", "bbbb"]


def read_all(folder, log, found):
    spool = Spool(folder, 2)
    for name in ("first", "second", "third") * 2:
        found.put(spool.read(name, 0, 6, Fetching(log, name.ljust(6, "."), pause=0.05)) == name.ljust(6, ".").encode())


def test_processes_share_the_files_and_never_see_half_of_one(tmp_path):
    context = multiprocessing.get_context("fork")
    found, log = context.Queue(), tmp_path / "log"
    readers = [context.Process(target=read_all, args=(tmp_path / "spool", log, found)) for _ in range(4)]
    for reader in readers:
        reader.start()
    assert all(found.get(timeout=60) for _ in range(24))
    for reader in readers:
        reader.join()
        assert reader.exitcode == 0
    assert len(fetched(log)) < 24
    assert {path.suffix for path in (tmp_path / "spool").iterdir()} == {""}


def fetch_forever(folder, started):
    def fetch(to):
        to.write_bytes(b"ha")
        started.set()
        time.sleep(600)

    Spool(folder, 2).file("a", fetch)


def test_what_a_killed_process_left_is_fetched_anew(tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    dying = context.Process(target=fetch_forever, args=(tmp_path / "spool", started))
    dying.start()
    assert started.wait(60)
    dying.kill()
    dying.join()
    assert Spool(tmp_path / "spool", 2).read("a", 0, 5, Fetching(tmp_path / "log", "whole")) == b"whole"


def test_a_fetch_that_fails_leaves_nothing_that_could_be_taken_for_the_file(tmp_path):
    def fail(to):
        to.write_bytes(b"ha")
        raise ValueError("lost")

    spool = Spool(tmp_path / "spool", 2)
    with pytest.raises(ValueError, match="lost"):
        spool.file("a", fail)
    assert spool.read("a", 0, 5, Fetching(tmp_path / "log", "whole")) == b"whole"


def test_a_full_disk_is_explained_by_the_options_that_help(tmp_path):
    def fail(to):
        to.write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ValueError, match=r"cannot be written \(No space left(.|\n)*task\.cache(.|\n)*task\.keep"):
        Spool(tmp_path / "spool", 2).file("a", fail)
    assert list((tmp_path / "spool").iterdir()) == []


def test_the_cache_is_where_the_option_or_the_system_says(tmp_path, monkeypatch):
    assert spool_folder(str(tmp_path), "shards") == tmp_path / "shards"
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path / "kept"))
    assert spool_folder("", "shards") == tmp_path / "kept" / "shards"
    monkeypatch.setenv("SUREFOOT_CACHE", "off")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert spool_folder("", "shards") == tmp_path / f"surefoot-{os.getuid()}" / "shards"
