import multiprocessing
import os
import sqlite3
import time

import pytest

from surefoot.data.cache import FORMAT, Cache, FileRow, FolderRow, settled

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "photos"


def row(name, size=7):
    return FileRow(os.fsencode(name), size, 2**62, -(2**63), 30, 20, 2**63 - 1, "")


def test_what_is_kept_is_known_to_the_next_cache_of_the_place(place):
    Cache(place).keep_files([row("a.png"), row("b.png")])
    Cache(place).keep_files([row("b.png", size=8)])
    assert set(Cache(place).files()) == {row("a.png"), row("b.png", size=8)}
    assert set(Cache(place.parent).files()) == set()
    Cache(place).keep_folders([FolderRow(b"x/", 1, b"", b"a/b")])
    Cache(place).keep_folders([FolderRow(b"y/", 2, b"z", b"")])
    assert list(Cache(place).folders()) == [FolderRow(b"y/", 2, b"z", b"")]


def test_nothing_is_written_beside_the_data(place):
    place.mkdir()
    Cache(place).keep_files([row("a.png")])
    assert list(place.iterdir()) == []
    assert Cache(place).file.parent == place.parent / "cache" / FORMAT
    assert Cache(place).file.name.startswith("photos-")


def test_an_empty_name_keeps_nothing(place, monkeypatch):
    monkeypatch.setenv("SUREFOOT_CACHE", "")
    Cache(place).keep_files([row("a.png")])
    assert list(Cache(place).files()) == []


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 99, "cut", "overwritten"])
def test_a_damaged_cache_is_made_anew(place, damage):
    Cache(place).keep_files([row(f"{i}.png") for i in range(2000)])
    file = Cache(place).file
    whole = file.read_bytes()
    if damage == "cut":
        damage = whole[: len(whole) // 2]
    elif damage == "overwritten":
        damage = whole[:5000] + b"\xff" * (len(whole) - 5000)
    file.write_bytes(damage)
    assert len(list(Cache(place).files())) < 2000  # and no error
    Cache(place).keep_files([row("a.png")])
    Cache(place).keep_files([row("a.png")])  # the first may have found the damage and dropped the file
    assert list(Cache(place).files()) == [row("a.png")]


def test_a_cache_that_cannot_be_written_is_no_error(place, monkeypatch):
    (place.parent / "file").touch()
    monkeypatch.setenv("SUREFOOT_CACHE", str(place.parent / "file"))
    Cache(place).keep_files([row("a.png")])
    assert list(Cache(place).files()) == []


def test_a_cache_that_another_process_holds_is_no_error_and_stays(place, monkeypatch):
    monkeypatch.setattr("surefoot.data.cache.WAIT", 0.1)
    Cache(place).keep_files([row("a.png")])
    holder = sqlite3.connect(Cache(place).file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    Cache(place).keep_files([row("b.png")])
    assert list(Cache(place).files()) == []
    holder.execute("ROLLBACK")
    holder.close()
    assert list(Cache(place).files()) == [row("a.png")]


def keep_many(place, first):
    for start in range(first, first + 1000, 100):
        Cache(place).keep_files([row(f"{i}.png") for i in range(start, start + 100)])


def test_two_processes_write_at_the_same_time(place):
    workers = [multiprocessing.get_context("fork").Process(target=keep_many, args=(place, n)) for n in (0, 1000)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {known.path for known in Cache(place).files()} == {b"%d.png" % i for i in range(2000)}


def test_what_changed_a_moment_ago_may_change_again():
    now = time.time_ns()
    assert not settled(now, now)
    assert not settled(now - 10**9, now)
    assert settled(now - 3 * 10**9, now)
