from pathlib import Path

from surefoot.permissions import as_new


def test_a_file_gets_the_permissions_of_new_ones(tmp_path: Path) -> None:
    new, private = tmp_path / "new", tmp_path / "private"
    new.touch()
    private.touch(mode=0o600)
    as_new(private)
    assert private.stat().st_mode == new.stat().st_mode
