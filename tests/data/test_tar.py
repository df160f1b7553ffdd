import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.data.tar import members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def tar(*entries, form="pax"):
    """Entries are (name, content) or a TarInfo."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[form]) as archive:
        for entry in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry[0])
            content = b"" if isinstance(entry, tarfile.TarInfo) else entry[1]
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def read(data):
    return list(members(io.BytesIO(data), length=len(data), name="a.tar"))


def told(data):
    """What the members are called, or the message."""
    try:
        return [member.name for member in read(data)]
    except ValueError as error:
        return str(error)


def odd(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("form", FORMATS)
@given(
    st.lists(st.tuples(st.text("abcdé/._-", min_size=1, max_size=90), st.binary(max_size=1500)), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_members_and_their_bytes_are_those_that_pythons_reader_finds(form, entries):
    entries = [(f"x/{name}.jpg", data) for name, data in entries if ".." not in name and "//" not in name]
    data = tar(*entries, form=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(info.name, info.offset_data, info.size) for info in archive]
    found = read(data)
    assert [tuple(member) for member in found] == expected
    assert [data[m.offset : m.offset + m.size] for m in found] == [content for _, content in entries]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_names_longer_than_a_header_are_read(form):
    name = "folder-" * 30 + "/" + "é" * 90 + ".jpg"
    assert [m.name for m in read(tar((name, b"1"), ("b.jpg", b"2"), form=form))] == [name, "b.jpg"]


def test_files_of_more_than_8_gib_have_their_size():
    info = tarfile.TarInfo("big.jpg")
    info.size = 2**33 + 7
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ValueError, match=f"'big.jpg' ends at byte {2**33 + 7 + 512}, but the file has 1024"):
        read(header + bytes(512))


def test_folders_are_passed_over_and_a_leading_dot_is_taken_off():
    assert [m.name for m in read(tar(odd("./a", tarfile.DIRTYPE), ("./a/b.jpg", b"1")))] == ["a/b.jpg"]


def test_an_archive_without_members_has_none():
    assert read(tar()) == []


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_an_archive_that_is_cut_anywhere_is_named(cut):
    data = tar(("a.jpg", b"x" * 700), ("b.jpg", b"y" * 10), form="ustar")
    end = 512 + 1024 + 512 + 512  # the end mark begins here
    with pytest.raises(ValueError, match=r"^a\.tar.*cut short\?"):
        read(data[: cut % (end + 512)])


def test_zeros_in_place_of_the_end_are_the_end():
    data = tar(("a.jpg", b"x"))
    assert len(read(data[: 1024 + 512])) == 1


@given(st.integers(0, 511), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_of_a_header_is_noticed(place, change):
    data = bytearray(tar(("a.jpg", b"x" * 700), ("b.jpg", b"y" * 10), form="ustar"))
    data[1536 + place] ^= change
    found = told(bytes(data))
    same_checksum = found == ["a.jpg", "b.jpg"] and 148 <= place < 156  # digits that mean the same number
    assert same_checksum or (isinstance(found, str) and found.startswith("a.tar"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("/etc/passwd", b"x"), r"'/etc/passwd', a path that leads out"),
        (("a/../../b.jpg", b"x"), r"'a/../../b.jpg', a path that leads out"),
        (odd("../a", tarfile.DIRTYPE), r"'../a/', a path that leads out"),
        (odd("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), r"'a.jpg' is a symbolic link"),
        (odd("a.jpg", tarfile.LNKTYPE, "b.jpg"), r"'a.jpg' is a hard link"),
        (odd("a.jpg", tarfile.CHRTYPE), r"'a.jpg' is a character device"),
        (odd("a.jpg", tarfile.BLKTYPE), r"'a.jpg' is a block device"),
        (odd("a.jpg", tarfile.FIFOTYPE), r"'a.jpg' is a FIFO"),
        (odd("a.jpg", b"Q"), r"'a.jpg' is of the unknown type b'Q'"),
        (odd("a.jpg", tarfile.GNUTYPE_SPARSE), r"'a.jpg' is a sparse file"),
    ],
)
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_what_does_not_belong_into_a_shard_is_refused(entry, message, form):
    with pytest.raises(ValueError, match=r"^a\.tar.*" + message):
        read(tar(("fine.jpg", b"1"), entry, form=form))


def test_a_path_that_leads_out_is_refused_when_a_pax_header_has_it():
    with pytest.raises(ValueError, match="leads out"):
        read(tar(("../" + "long" * 60, b"x"), form="pax"))


def test_a_name_that_is_not_utf_8_is_refused():
    with pytest.raises(ValueError, match=r"member name b'caf\\xe9.jpg' is not UTF-8"):
        read(tar(("caf\udce9.jpg", b"x"), form="gnu"))


def test_a_checksum_of_signed_bytes_is_one_too():
    header = bytearray(tarfile.TarInfo("café.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[1]
    assert [m.name for m in read(bytes(header) + bytes(1024))] == ["café.jpg"]


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"BZh9", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"])
def test_a_compressed_archive_is_refused(start):
    with pytest.raises(ValueError, match=r"a\.tar is compressed"):
        read(start + bytes(2000))


@pytest.mark.parametrize("size", [b"-0000001000", b"+0000001000", b"0_000001000"])
def test_a_size_with_a_sign_is_damage_and_does_not_lead_in_circles(size):
    block = bytearray(tar(("a.jpg", b"1"), form="ustar")[:512])
    block[124:136] = size + b"\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    assert "no header of a tar" in told(bytes(block) + bytes(2048))


def test_something_else_is_no_tar():
    with pytest.raises(ValueError, match=r"no header of a tar|wrong checksum"):
        read(b"<html>not found</html>" * 100)


def test_a_pax_header_that_claims_to_be_huge_is_not_read():
    info = tarfile.TarInfo("h")
    info.type, info.size = tarfile.XHDTYPE, 2**21
    with pytest.raises(ValueError, match=r"a header of 2097152 bytes"):
        read(info.tobuf(tarfile.USTAR_FORMAT) + bytes(2**21 + 1024))


@given(st.binary(min_size=512, max_size=4096))
@settings(max_examples=200, deadline=None)
def test_any_bytes_end_in_members_or_a_message(data):
    found = told(data)
    assert not found or "a.tar" in found


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_pax_header_ends_in_members_or_a_message(content):
    info = tarfile.TarInfo("h")
    info.type, info.size = tarfile.XHDTYPE, len(content)
    data = info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512) + tar(("a.jpg", b"1"), form="ustar")
    found = told(data)
    assert len(found) == 1 or "a.tar" in found
