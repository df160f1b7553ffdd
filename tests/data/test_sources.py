import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest

from surefoot.data.sources import FolderSource, ZipSource, instead
from surefoot.data.task import Stamped

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later


@pytest.mark.parametrize("path", ["../cat/a.png", "/cat/a.png"])
def test_a_zip_that_leads_out_of_itself_is_refused(tmp_path, path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(path, b"x")
    with pytest.raises(ValueError, match="leads out of the zip"):
        ZipSource(tmp_path / "evil.zip")


def test_a_damaged_file_in_a_zip_is_a_read_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"0123456789" * 9)
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data.replace(b"0123456789", b"9876543210", 1))
    source = ZipSource(tmp_path / "x.zip")
    with pytest.raises(OSError, match="CRC"):
        source.read("a.png")
    with pytest.raises(FileNotFoundError, match=r"b\.png is not in zip"):
        source.read("b.png")


def test_sources_name_themselves_and_raise_for_missing_files(tmp_path):
    source = FolderSource(tmp_path)
    assert source.describe() == f"folder {tmp_path}"
    with pytest.raises(FileNotFoundError):
        source.read("a.png")


def test_a_zip_is_opened_anew_in_a_copy_and_in_another_process(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"pixels")
    source = ZipSource(tmp_path / "x.zip")
    assert pickle.loads(pickle.dumps(source)).read("a.png") == source.read("a.png") == b"pixels"
    child = os.fork()
    if child == 0:
        os._exit(source.read("a.png") != b"pixels" or source._opened[0] != os.getpid())
    assert os.waitpid(child, 0)[1] == 0


def test_files_beside_are_those_of_the_same_folders_that_are_not_named(tmp_path):
    for name in ("a/1.png", "a/2.png", "a/.hidden.png", "b/3.png", "top.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with zipfile.ZipFile(tmp_path.parent / "beside.zip", "w") as archive:
        for file in sorted(tmp_path.rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path))
    for source in (FolderSource(tmp_path), ZipSource(tmp_path.parent / "beside.zip")):
        assert source.beside(["a/1.png"]) == ["a/2.png"]
        assert source.beside(["top.png", "a/2.png", "a/1.png"]) == []
        assert source.beside(["nowhere/1.png"]) == []


def test_stamps_are_size_and_time_of_change(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    os.utime(tmp_path / "a.png", ns=(1, 1_000_000_007))
    source = FolderSource(tmp_path)
    assert isinstance(source, Stamped)
    absolute = str(tmp_path / "a.png")
    assert source.stamps(["a.png", "b.png", absolute]).tolist() == [[5, 10**9 + 7], [-1, -1], [5, 10**9 + 7]]
    assert source.stamps([]).shape == (0, 2)


def test_a_zip_stamps_all_its_files_alike(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"pixels")
    source = ZipSource(tmp_path / "x.zip")
    assert isinstance(source, Stamped)
    state = (tmp_path / "x.zip").stat()
    assert source.stamps(["a.png", "b.png"]).tolist() == [[state.st_size, state.st_mtime_ns]] * 2


def test_what_stands_in_place_of_images_is_told():
    assert instead([]) == "nor any other file"
    assert instead(["a.txt", "b.txt", "c"]) == "but 3 other files: 2 .txt, 1 without suffix"
    assert instead(["train.zip"]) == "but 1 other files: 1 .zip; unpack train.zip, or give the zip itself"
    assert instead(["a/train.tar"]).endswith("; unpack a/train.tar")


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name can be any bytes")
def test_a_file_name_that_is_not_utf8_is_named_with_a_remedy(tmp_path):
    (tmp_path / "cat").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/caf\xe9.jpg")).touch()
    with pytest.raises(ValueError, match=r"caf\\xe9\.jpg.*not UTF-8.*convmv"):
        FolderSource(tmp_path).files()
