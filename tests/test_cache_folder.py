import os
from pathlib import Path

import pytest

from surefoot.cache_folder import cache_folder


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_CACHE", "~/here")
    assert cache_folder() == Path.home() / "here"
    monkeypatch.setenv("SUREFOOT_CACHE", "off")
    assert cache_folder() is None
    monkeypatch.delenv("SUREFOOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", os.sep + "cached")
    assert cache_folder() == Path(os.sep, "cached", "surefoot")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "surefoot"
