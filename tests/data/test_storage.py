from pathlib import Path

import pytest

from surefoot.data import storage
from surefoot.data.storage import Unreachable, download, expanded, is_remote, opened, part, stat


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0, 0.0))


def found(*patterns, root="/data"):
    return expanded(patterns, root, option="task.train")


def test_braces_stand_for_numbers_of_one_width_and_for_lists():
    assert found("a-{008..011}.tar") == [f"/data/a-{n}.tar" for n in ("008", "009", "010", "011")]
    assert found("{a,b}/{0..1}.tar") == ["/data/a/0.tar", "/data/a/1.tar", "/data/b/0.tar", "/data/b/1.tar"]


def test_patterns_start_at_the_root_unless_they_are_whole():
    assert found("a.tar", "/else/b.tar", "http://host/c.tar", "file:///d.tar") == [
        "/data/a.tar",
        "/else/b.tar",
        "http://host/c.tar",
        "/d.tar",
    ]
    assert found("a.tar", root="s3://bucket/set/") == ["s3://bucket/set/a.tar"]
    assert is_remote("simplecache::s3://bucket/a.tar")


def test_a_question_mark_in_a_url_is_no_pattern():
    assert found("https://host/a.tar?signature=1") == ["https://host/a.tar?signature=1"]


def test_brackets_and_braces_of_the_folder_stand_for_themselves(tmp_path):
    root = tmp_path / "set [v2] {a,b}"
    root.mkdir()
    for name in ("t0.tar", "t1.tar"):
        (root / name).touch()
    wanted = [str(root / "t0.tar"), str(root / "t1.tar")]
    assert expanded(["t*.tar"], str(root), option="task.train") == wanted
    assert expanded(["t{0..1}.tar"], str(root), option="task.train") == wanted


def test_stars_are_looked_for_in_order(tmp_path):
    for name in ("b.tar", "a.tar", "c.txt"):
        (tmp_path / name).touch()
    assert [Path(path).name for path in found("*.tar", root=str(tmp_path))] == ["a.tar", "b.tar"]
    with pytest.raises(FileNotFoundError, match=r"task\.train='.*/x\*\.tar': no file has such a name"):
        found("x*.tar", root=str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a-{0..3.tar", "braces do not match"),
        ("a-{3..1}.tar", "must run upwards"),
        ("a-{x}.tar", "is no range and no list"),
        ("a-{0..9999999}.tar", "at most 1000000"),
        ("{0..2000}{0..2000}.tar", "stands for 4004001 files"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(pattern, message):
    with pytest.raises(ValueError, match=rf"task\.train='.*{message}"):
        found(pattern)


def test_a_file_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"names /data/a1\.tar twice"):
        found("a{0..3}.tar", "a1.tar")


def test_files_on_the_disk_and_behind_a_url_read_alike(file_server, tmp_path):
    content = bytes(range(256)) * 40
    (file_server.root / "a.bin").write_bytes(content)
    for path in (str(file_server.root / "a.bin"), f"{file_server.url}/a.bin"):
        assert stat(path).size == len(content)
        assert stat(path).version
        assert part(path, 100, 50) == content[100:150]
        assert part(path, 100, 0) == b""
        with opened(path) as file:
            file.seek(5000)
            assert file.read(10) + file.read(10) == content[5000:5020]
            file.seek(len(content) - 3)
            assert file.read(100) == content[-3:]
    download(f"{file_server.url}/a.bin", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"/nowhere/a\.tar: there is no such file"):
        stat("/nowhere/a.tar")


def test_a_missing_file_behind_a_url_is_not_asked_for_again_and_again(file_server):
    for act in (stat, lambda path: part(path, 0, 3)):
        with pytest.raises(FileNotFoundError, match=r"http.*a\.tar: there is no such file"):
            act(f"{file_server.url}/a.tar")


def test_a_server_that_stumbles_is_asked_again_and_one_that_is_down_is_named(file_server):
    (file_server.root / "a.bin").write_bytes(b"0123456789")
    file_server.fail = 3
    assert part(f"{file_server.url}/a.bin", 2, 3) == b"234"
    file_server.fail = 4
    with pytest.raises(Unreachable, match=r"a\.bin cannot be read .*503"):
        part(f"{file_server.url}/a.bin", 2, 3)


def test_a_server_without_byte_ranges_is_named_with_the_remedy(file_server):
    (file_server.root / "a.bin").write_bytes(b"0123456789")
    file_server.ranges = False
    with pytest.raises(Unreachable, match=r"a\.bin.*asked for 3 bytes, got 10(.|\n)*task\.keep"):
        part(f"{file_server.url}/a.bin", 2, 3)
    assert len(file_server.asked) == 1


def test_a_protocol_that_nobody_knows_is_named():
    with pytest.raises(ValueError, match=r"odd://a\.tar: Protocol not known"):
        stat("odd://a.tar")
