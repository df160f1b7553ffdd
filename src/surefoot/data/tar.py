"""Which files lie where in a tar: one pass over its headers, strict about what does not belong there.

Nothing is extracted. The formats are those of POSIX (ustar, pax) and GNU tar, uncompressed. Python's `tarfile` takes a
damaged header, and a cut between two members, for the end of the archive; here both are errors.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

BLOCK = 512
MAX_HEADER_BYTES = 2**20  # a long name or a pax header
REGULAR = frozenset({b"0", b"7", b"\0"})
FOLDER, LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"5", b"L", b"K", b"x", b"g"
REFUSED = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device", b"6": "a FIFO",
    b"S": "a sparse file", b"V": "a volume label", b"M": "a continued file",
}  # fmt: skip
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


class Member(NamedTuple):
    """A regular file of a tar: its bytes begin at `offset` of the archive."""

    name: str
    offset: int
    size: int


class _Header(NamedTuple):
    kind: bytes
    name: bytes
    size: int


def members(file: BinaryIO, *, length: int, name: str) -> Iterator[Member]:
    """The regular files of a tar of `length` bytes, in its order; `name` is for messages.

    The caller may seek in between. Raises ValueError for an archive that is cut short or damaged, and for members with
    an absolute path, a path that leads out of the archive, links and devices.
    """
    place, told, pax, always = 0, b"", dict[str, bytes](), dict[str, bytes]()
    while True:
        block = _bytes_at(file, place, BLOCK)
        if place == 0 and block[:2] in COMPRESSED:
            raise ValueError(
                f"{name} is compressed ({COMPRESSED[block[:2]]}); only a plain tar can be read in any order"
            )
        if len(block) < BLOCK:
            raise ValueError(
                f"{name} ends at byte {place + len(block)} without the end mark of a tar; was the download or copy cut "
                "short? Get it again"
            )
        if block == bytes(BLOCK):
            return
        header = _header(block, place, name)
        own = {**always, **pax}
        size = _pax_size(own, name) if "size" in own and header.kind not in (PAX, PAX_GLOBAL) else header.size
        shown = _text(told or own.get("path", header.name), name)
        start = place + BLOCK
        place = start + -(-size // BLOCK) * BLOCK
        if start + size > length:
            raise ValueError(
                f"{name}: member {shown!r} ends at byte {start + size}, but the file has {length}; was the download or "
                "copy cut short? Get it again"
            )
        if header.kind in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
            if size > MAX_HEADER_BYTES:
                raise ValueError(
                    f"{name}: a header of {size} bytes at byte {start}; at most {MAX_HEADER_BYTES} are read"
                )
            content = _bytes_at(file, start, size)
            if header.kind == LONG_NAME:
                told = content.rstrip(b"\0")
            elif header.kind == PAX:
                pax = _records(content, name)
            elif header.kind == PAX_GLOBAL:
                always |= _records(content, name)
            continue
        _refuse(shown, header.kind, own, name)
        told, pax = b"", {}
        if header.kind in REGULAR and not shown.endswith("/"):
            yield Member(shown.removeprefix("./"), start, size)


def _header(block: bytes, place: int, name: str) -> _Header:
    try:
        written = int(block[148:156].strip(b"\0 ") or b"0", 8)
        size = _number(block[124:136])
    except ValueError as error:
        raise ValueError(f"{name}: the bytes at {place} are no header of a tar; the file is damaged") from error
    plain = block[:148] + b" " * 8 + block[156:]
    if sum(plain) != written != sum(byte - 256 * (byte > 127) for byte in plain):  # old archives sum signed bytes
        raise ValueError(f"{name}: the header at byte {place} has a wrong checksum; the file is damaged, or no tar")
    path = block[:100].split(b"\0")[0]
    prefix = block[345:500].split(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _Header(block[156:157], prefix + b"/" + path if prefix else path, size)


def _number(field: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set (files of 8 GiB and more)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b"\0 ") or b"0"
    if not digits.isdigit():  # int() would take a sign: a size below 0 leads back to the same header for ever
        raise ValueError(f"{digits!r} is no size")
    return int(digits, 8)


def _records(content: bytes, name: str) -> dict[str, bytes]:
    """A pax header: "<length> <key>=<value>\\n" again and again."""
    found: dict[str, bytes] = {}
    while content.strip(b"\0"):
        digits, _, _ = content[:20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = content[len(digits) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n") or length > len(content):
            raise ValueError(f"{name}: a pax header cannot be read; the file is damaged")
        found[key.decode("utf-8", "replace")] = value[:-1]
        content = content[length:]
    return found


def _pax_size(own: dict[str, bytes], name: str) -> int:
    if not own["size"].isdigit():
        raise ValueError(f"{name}: a pax header gives the size {own['size']!r}; the file is damaged")
    return int(own["size"])


def _text(path: bytes, name: str) -> str:
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: the member name {path!r} is not UTF-8; write the archive anew") from error


def _refuse(path: str, kind: bytes, own: dict[str, bytes], name: str) -> None:
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{name} holds {path!r}, a path that leads out of the archive; it is refused")
    known = REFUSED.get(kind, "" if kind in REGULAR or kind == FOLDER else f"of the unknown type {kind!r}")
    if any(key.startswith("GNU.sparse") for key in own):
        known = REFUSED[b"S"]
    if known:
        raise ValueError(f"{name}: member {path!r} is {known}; shards may hold plain files only")


def _bytes_at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)
