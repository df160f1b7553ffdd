"""A metadata file with columns of its own: which of them say what, in which words. Its rows become a `manifest.Table`.

The plug-ins in `tasks/` know their columns; a value that they do not know is an error with its count and row.
"""

import difflib
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from surefoot.data.columns import read_columns
from surefoot.data.manifest import SPLIT_NAMES, ClassList, Table

NUMBERED_SPLITS: Mapping[str, str] = {"0": "train", "1": "validation", "2": "test"}
KNOWN_SPLITS: Mapping[str, str] = {**SPLIT_NAMES, **NUMBERED_SPLITS}


@dataclass(frozen=True)
class Sheet:
    """The columns of a metadata file by name, a text a row; `origin` is for messages."""

    origin: str
    columns: Mapping[str, list[str]]

    def __len__(self) -> int:
        return max(map(len, self.columns.values()), default=0)

    def column(self, name: str, *, option: str = "") -> list[str]:
        """One column. Raises ValueError with the nearest name, and `option` where the user chose the name."""
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=1, cutoff=0.5)
            chosen = f"{option}={name}: " if option else ""
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"{chosen}{self.origin} has no column {name!r}{hint} It has {list(self.columns)}")
        return self.columns[name]

    def first_of(self, names: Sequence[str], *, option: str = "") -> str:
        """Which of `names` is a column. Raises ValueError where none is, naming the `option` that says it."""
        found = [name for name in names if name in self.columns]
        if not found:
            told = f"; name the one that is meant with {option}=COLUMN" if option else ""
            raise ValueError(f"{self.origin} has none of the columns {list(names)}{told}. It has {list(self.columns)}")
        return found[0]

    def filled(self, name: str, *, option: str = "") -> list[str]:
        """One column, every row of which must say something."""
        values = self.column(name, option=option)
        if "" in values:
            raise ValueError(
                f"{self.origin}: {values.count('')} rows have nothing in the column {name!r} (first: row "
                f"{values.index('') + 1}); fill it in, or remove them"
            )
        return values

    def paths(self, name: str, *, option: str = "") -> list[str]:
        """One column of paths, as they are written here: with slashes, and without "./"."""
        return [posixpath.normpath(path.replace("\\", "/")) for path in self.filled(name, option=option)]

    def words(self, name: str, meaning: Mapping[str, str], *, option: str = "") -> list[str]:
        """One column in the words that `meaning` has for its values. Raises ValueError for other values."""
        values = self.column(name, option=option)
        other = Counter(value for value in values if value not in meaning)
        if other:
            first = next(row for row, value in enumerate(values, start=1) if value not in meaning)
            known = ", ".join(value if value == word else f"{value} ({word})" for value, word in meaning.items())
            raise ValueError(
                f"{self.origin}: {other.total()} rows hold {sorted(other)[:5]} in the column {name!r} (first: "
                f"row {first}); known are {known}"
            )
        return [meaning[value] for value in values]


def read_sheet(file: Path, *, wanted: Sequence[str] = ()) -> Sheet:
    """A CSV or Parquet file, of which only the `wanted` columns are kept; nothing wanted means all.

    Raises ValueError where it is none, or has no rows.
    """
    sheet = Sheet(str(file), read_columns(file.read_bytes(), str(file), wanted=wanted))
    if len(sheet) == 0 and (not wanted or set(wanted) & sheet.columns.keys()):
        raise ValueError(f"{file} has no rows; it must have one for each image")
    return sheet


def class_list(names: Sequence[str], *, called: Sequence[str] = ()) -> ClassList:
    """All classes of a task in their order, and what sentences call each where that is something else."""
    synonyms = {name: (other,) for name, other in zip(names, called, strict=False)}
    return ClassList(tuple(names), {name: at for at, name in enumerate(names)}, complete=True, synonyms=synonyms)


def need_all_splits(table: Table) -> Table:
    """The table. Raises ValueError unless it has rows to train, to validate and to test."""
    counts = Counter(table.split)
    absent = [split for split in NUMBERED_SPLITS.values() if not counts[split]]
    if absent:
        there = ", ".join(f"{split or 'no split'}: {count} rows" for split, count in counts.items())
        raise ValueError(f"{table.origin}: no row has the split {' or '.join(absent)} ({there}); is the file whole?")
    return table
