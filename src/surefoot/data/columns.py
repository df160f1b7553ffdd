"""A table file becomes columns of text: CSV with any usual separator, or Parquet. What they mean is left to others."""

import csv
import io
from collections import Counter
from collections.abc import Sequence

SEPARATORS = (",", "\t", ";", "|")
HEADER_CHARACTERS = 2**16  # as much of a CSV file is looked at to find the separator


def read_columns(data: bytes, origin: str, *, wanted: Sequence[str] = ()) -> dict[str, list[str]]:
    """The columns of a table by name, a text a row, without blanks around it.

    `origin` is the file's name, for messages; where it ends in .parquet, `data` are read as Parquet. Columns that are
    not `wanted` are named but left empty; nothing wanted means all. Raises ValueError for what is no table, naming row
    or line.
    """
    read = _parquet_columns if origin.lower().endswith(".parquet") else _csv_columns
    return read(data, origin, wanted)


def decode(data: bytes, origin: str) -> str:
    """Text in UTF-8, or in UTF-16 with its mark at the start. Raises ValueError that names the first line which is not.

    A byte order mark is left out.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        near = data[max(start, error.start - 12) : error.start + 12].decode("cp1252", errors="replace").splitlines()[0]
        raise ValueError(
            f"{origin} is not in UTF-8: line {line} holds the byte 0x{data[error.start]:02x} (near {near!r} if it is "
            "Windows-1252); save it as UTF-8, or convert it: iconv -f WINDOWS-1252 -t UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{origin} holds zero bytes, so it is no text in UTF-8; save it as UTF-8")
    return text


def separator(text: str) -> str:
    """Which of `SEPARATORS` parts the first line into most names; quotes count."""

    def names(by: str) -> int:
        return len(next(csv.reader(io.StringIO(text[:HEADER_CHARACTERS], newline=""), delimiter=by), []))

    return max(SEPARATORS, key=names)  # of equal ones the first


def _csv_columns(data: bytes, origin: str, wanted: Sequence[str]) -> dict[str, list[str]]:
    text = decode(data, origin)
    by = separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=by, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns: list[list[str]] = [[] for _ in header]
        kept = [(at, columns[at]) for at, name in enumerate(header) if not wanted or name in wanted]
        for number, row in enumerate((row for row in reader if row), start=1):
            if len(row) != len(header):
                raise ValueError(
                    f"{origin}: row {number} has {len(row)} values for {len(header)} columns (separator {by!r}); put "
                    "values that hold the separator between quotes"
                )
            for at, column in kept:
                column.append(row[at].strip())
    except csv.Error as error:
        raise ValueError(f"{origin} is no whole table in CSV: {error}; is a quote left open?") from error
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise ValueError(f"{origin}: the columns {twice} stand more than once in its first line; rename one of each")
    return dict(zip(header, columns, strict=True))


def _parquet_columns(data: bytes, origin: str, wanted: Sequence[str]) -> dict[str, list[str]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"{origin}: reading Parquet needs pyarrow; pip install 'surefoot[parquet]'") from error
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        names = file.schema_arrow.names
        table = file.read(columns=[name for name in names if not wanted or name in wanted])
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{origin} is not a whole Parquet file: {error}") from error
    found: dict[str, list[str]] = {name: [] for name in names}
    for name in table.column_names:
        found[name] = ["" if v is None else str(v) for v in table.column(name).to_pylist()]
    return found
