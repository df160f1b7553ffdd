import os
import sqlite3
import time

import pytest

from surefoot.data import listing
from surefoot.data.cache import Cache
from surefoot.data.listing import files_below, folders_below
from surefoot.data.sources import FolderSource


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes and something hidden, which did not change for an hour; any listing is large enough to be kept."""
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "LARGE", 2)
    root = tmp_path / "photos"
    for name in ("cat/1.png", "cat/2.png", "cat/.hidden.png", "dog a/3.png", "dog/deep/4.png", ".git/5.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    settle(root)
    return root


def settle(root):
    hour_ago = time.time() - 3600
    for folder, _, _ in os.walk(root):
        os.utime(folder, (hour_ago, hour_ago))


FILES = ["cat/1.png", "cat/2.png", "dog a/3.png", "dog/deep/4.png"]


def test_files_are_sorted_by_path_and_hidden_ones_left_out(root):
    assert files_below(root) == FILES
    assert FolderSource(root).folders() == ["cat", "dog", "dog a", "dog/deep"]


def test_a_second_listing_reads_no_folder(root, monkeypatch):
    assert files_below(root) == FILES
    monkeypatch.setattr(os, "scandir", lambda place: pytest.fail(f"{place} is listed again"))
    assert files_below(root) == FILES


def test_changed_folders_are_listed_again(root):
    files_below(root)
    (root / "cat" / "9.png").touch()
    (root / "dog" / "deep" / "4.png").unlink()
    (root / "bird").mkdir()
    (root / "bird" / "7.png").touch()
    assert files_below(root) == ["bird/7.png", "cat/1.png", "cat/2.png", "cat/9.png", "dog a/3.png"]
    (root / "cat" / "1.png").unlink()
    for file in ("cat/2.png", "cat/9.png", "cat/.hidden.png"):
        (root / file).unlink()
    (root / "cat").rmdir()
    assert files_below(root) == ["bird/7.png", "dog a/3.png"]


def test_a_folder_that_changed_a_moment_ago_is_not_remembered(root):
    (root / "cat" / "9.png").touch()
    files_below(root)
    assert "cat/" not in {os.fsdecode(row.path) for row in Cache(root).folders()}


def test_small_trees_are_not_remembered(root, monkeypatch):
    monkeypatch.setattr(listing, "LARGE", 100)
    files_below(root)
    assert not Cache(root).file.exists()


def test_a_wrong_cache_of_folders_is_healed(root):
    files_below(root)
    with sqlite3.connect(Cache(root).file) as connection:
        connection.execute("UPDATE folders SET mtime = mtime - 1")
    connection.close()
    assert files_below(root) == FILES


def test_links_are_followed_but_not_in_circles(root):
    (root / "cat" / "up").symlink_to(root)
    (root / "bird").symlink_to(root / "dog")
    (root / "gone").symlink_to(root / "nowhere")
    assert files_below(root) == ["bird/deep/4.png", *FILES, "gone"]


def test_a_name_that_is_no_utf8_is_remembered(root):
    name = os.fsdecode(b"caf\xe9.png")
    (root / "cat" / name).touch()
    settle(root)
    assert files_below(root) == files_below(root)
    assert f"cat/{name}" in files_below(root)


def test_a_folder_that_is_not_there_has_no_files(root):
    assert folders_below(root / "nowhere") == []
