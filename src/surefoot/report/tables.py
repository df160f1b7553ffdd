"""The comparison as one table: on the terminal (rich), in Markdown and as CSV; `html.py` draws the same table.

Accuracies are percentages, ECE is times 100, both with one decimal. Numbers that look equal count as equal: methods
that show the same best number share the mark, and the next lower number shown is second best.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as RichTable
from rich.text import Text

from surefoot.report import summary
from surefoot.report.summary import Entry, Estimate, Value

Mark = Literal["", "best", "second"]
Better = Literal["high", "low", "neither"]

ACCURACY, ECE, GROUP, COST = "Accuracy, %", "ECE ×100", "Groups, %", "Time, s"
EXPLAINED = {
    "ID floor": "Floor: the ECE that a perfectly calibrated model would show here by chance.",
    "effective robustness": "Effective robustness: shift accuracy above the line through zero_shot and fine_tune.",
    "re-weighted": "Re-weighted: the mean of the groups by their shares of the training images.",
}
"""A sentence for each column, by its label, that does not explain itself."""
UNITS = "Accuracy and groups in %, ECE ×100, training in seconds"
EACH_SHIFT, EACH_GROUP = "Accuracy on each shift (%)", "Accuracy on each group (%)"
GROUPS_SHOWN = 12  # of more groups only the worst
NAME_WIDTH, LABEL_WIDTH, SHORT = 18, 11, 6  # of the terminal's columns, in characters
MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]<>|#~]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True)
class Column:
    group: str  # carries the unit
    label: str
    value: Value
    factor: float
    decimals: int
    better: Better
    key: bool = False  # one of the few columns that show an interval where space is short
    apart: str = ""  # the title of the table in which it stands where space is short

    @property
    def name(self) -> str:
        """The label, understandable without the group."""
        return f"ECE {self.label}" if self.group == ECE else self.label

    @property
    def header(self) -> str:
        """Name and unit, for tables with a single header line."""
        return f"{self.name} ({'×100' if self.group == ECE else self.group.rpartition(', ')[2]})"


@dataclass(frozen=True)
class Cell:
    estimate: Estimate | None
    text: str  # "–" where there is no number
    interval: str  # "±2.7", or nothing for a single seed
    mark: Mark


@dataclass(frozen=True)
class Line:
    entry: Entry
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]

    @property
    def explained(self) -> list[str]:
        """Sentences on those of its columns that do not explain themselves."""
        return [EXPLAINED[column.label] for column in self.columns if column.label in EXPLAINED]


def table(comparison: Mapping[str, Any]) -> Table:
    """The table of a comparison.json: a line a method, means over its seeds."""
    found = summary.entries(comparison)
    columns = _columns(comparison)
    marked = [_column(column, found) for column in columns]
    lines = tuple(Line(entry, tuple(cells[i] for cells in marked)) for i, entry in enumerate(found))
    return Table(caption=caption(comparison), columns=columns, lines=lines)


def caption(comparison: Mapping[str, Any]) -> str:
    seeds = sorted({row["seed"] for row in comparison["rows"]})
    over = f"means over {len(seeds)} seeds, ± half the 95 % t-interval" if len(seeds) > 1 else f"one seed ({seeds[0]})"
    variants = comparison.get("variants", ())
    joined = f"means over {len(variants)} variants of the task; " if variants else ""
    return f"{comparison['backbone']} on {comparison['task']}; {joined}{over}"


def _columns(comparison: Mapping[str, Any]) -> tuple[Column, ...]:
    home, shifts = comparison["home"], comparison["shifts"]

    def accuracy(label: str, value: Value, *, group: str = ACCURACY, key: bool = False, apart: str = "") -> Column:
        return Column(group, label, value, factor=100, decimals=1, better="high", key=key, apart=apart)

    columns = [accuracy(f"{home} (ID)", summary.id_accuracy, key=True)]
    if shifts:
        columns += [accuracy(name, summary.split_accuracy(name), apart=EACH_SHIFT) for name in shifts]
        columns.append(accuracy("mean shift", summary.shift_accuracy, key=True))
        columns.append(accuracy("worst shift", _field("worst_shift_accuracy")))
    columns.append(Column(ECE, "ID", _field("id_ece"), factor=100, decimals=1, better="low"))
    if shifts:
        columns.append(Column(ECE, "shifts", summary.shift_ece, factor=100, decimals=1, better="low"))
    floors = [("ID floor", "id_ece_floor"), ("shifts floor", "shift_ece_floor")]
    for label, key in floors:
        if any(row.get(key) is not None for row in comparison["rows"]):
            columns.append(Column(ECE, label, _field(key), factor=100, decimals=1, better="neither"))
    if any(row.get("effective_robustness") is not None for row in comparison["rows"]):
        columns.append(accuracy("effective robustness", _field("effective_robustness")))
    groups = summary.groups(comparison)
    if groups:
        shown = groups if len(groups) <= GROUPS_SHOWN else ()
        each = {name: summary.group_accuracy(home, name) for name in shown}
        columns += [accuracy(name, value, group=GROUP, apart=EACH_GROUP) for name, value in each.items()]
        columns.append(accuracy("worst group", summary.worst_group, group=GROUP, key=True))
    if any(row["reweighted_accuracy"] is not None for row in comparison["rows"]):
        columns.append(accuracy("re-weighted", summary.reweighted_accuracy, group=GROUP))
    columns.append(Column(COST, "training", _field("seconds"), factor=1, decimals=0, better="neither"))
    return tuple(columns)


def _field(name: str) -> Value:
    return lambda row: None if row.get(name) is None else float(row[name])


def _column(column: Column, found: Sequence[Entry]) -> list[Cell]:
    estimates = [entry.estimate(column.value) for entry in found]
    shown = [None if each is None else round(each.mean * column.factor, column.decimals) + 0.0 for each in estimates]
    cells = []
    for each, value, mark in zip(estimates, shown, marks(shown, better=column.better), strict=True):
        text = "–" if value is None else f"{value:.{column.decimals}f}"
        known = each is not None and each.half_width is not None
        width = each.half_width * column.factor if each is not None and each.half_width is not None else 0.0
        cells.append(Cell(each, text, f"±{width:.{column.decimals}f}" if known else "", mark))
    return cells


def marks(values: Sequence[float | None], *, better: Better) -> list[Mark]:
    """Best and second best; equal values share a mark. None at all where every method has the same value."""
    ranked = sorted({value for value in values if value is not None}, reverse=better == "high")
    if better == "neither" or len(ranked) < 2:
        return ["" for _ in values]
    return ["best" if value == ranked[0] else "second" if value == ranked[1] else "" for value in values]


@dataclass(frozen=True)
class TerminalTable:
    """A rich renderable: one table where it fits, else the summary first, the shifts and the groups below it.

    Where there is no terminal to show bold and underlined, a star and a plus take their place. `notes` say what a mean
    is without.
    """

    table: Table
    notes: tuple[str, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        plain = not options.is_terminal
        for title, columns in _pieces(self.table, width=options.max_width, plain=plain):
            yield Text(title, style="bold")
            drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
            drawn.add_column(Text("method"), no_wrap=True, vertical="bottom")
            for i in columns:
                drawn.add_column(Text(_label(self.table.columns[i].name)), justify="right", no_wrap=True)
            for line in self.table.lines:
                cells = (_terminal_cell(self.table.columns[i], line.cells[i], plain=plain) for i in columns)
                drawn.add_row(Text(_cut(line.entry.name, NAME_WIDTH)), *cells)
            yield drawn
            yield Text()
        marked = "*: best, +: second best" if plain else "Bold: best, underlined: second best"
        yield Text("\n".join([f"{self.table.caption}. {marked}.", *self.notes]))


def terminal(comparison: Mapping[str, Any]) -> TerminalTable:
    """For `rich.console.Console.print`; fits any console from 40 columns on."""
    return TerminalTable(table(comparison), tuple(comparison.get("notes", ())))


def _pieces(whole: Table, *, width: int, plain: bool) -> list[tuple[str, list[int]]]:
    """Titles and columns of tables that are each no wider than `width`."""
    everything = list(range(len(whole.columns)))
    if len(_fitting(whole, everything, width=width, plain=plain)) == 1:
        return [(UNITS, everything)]
    parts: dict[str, list[int]] = {UNITS: []}
    for i, column in enumerate(whole.columns):
        parts.setdefault(column.apart or UNITS, []).append(i)
    return [(title, fit) for title, part in parts.items() for fit in _fitting(whole, part, width=width, plain=plain)]


def _fitting(whole: Table, columns: Sequence[int], *, width: int, plain: bool) -> list[list[int]]:
    name = max(len("method"), *(len(_cut(line.entry.name, NAME_WIDTH)) for line in whole.lines))
    fits: list[list[int]] = []
    free = 0
    for i in columns:
        cells = (_terminal_cell(whole.columns[i], line.cells[i], plain=plain) for line in whole.lines)
        need = 3 + max(*map(len, _label(whole.columns[i].name).split("\n")), *map(len, cells), 0)
        if not fits or need > free:
            fits.append([])
            free = width - name
        fits[-1].append(i)
        free -= need
    return fits


def _label(name: str) -> str:
    """Long names break at a space, dash or underscore, and are cut where they have none."""
    parts = re.findall(r"[^ _-]*[ _-]|[^ _-]+", name) if len(name) > SHORT else [name]
    return "\n".join(_cut(part.strip(" "), LABEL_WIDTH) for part in parts)


def _terminal_cell(column: Column, cell: Cell, *, plain: bool) -> Text:
    sign = {"best": "*", "second": "+", "": " "}[cell.mark] if plain and column.better != "neither" else ""
    text = Text(cell.text + sign, style={"best": "bold", "second": "underline", "": ""}[cell.mark])
    if column.key and cell.interval:
        text.append(f" {cell.interval}", style="not bold not underline dim")
    return text


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def markdown(comparison: Mapping[str, Any], *, notes: Sequence[str] = ()) -> str:
    """The headline, the table (best bold, second best italic) and what to know before trusting it."""
    whole = table(comparison)
    rows = [["method", *(column.header for column in whole.columns)]]
    rows.append(["---", *("---:" for _ in whole.columns)])
    for line in whole.lines:
        cells = (_markdown_cell(column, cell) for column, cell in zip(whole.columns, line.cells, strict=True))
        rows.append([escape_markdown(line.entry.name), *cells])
    rows[0] = [escape_markdown(header) for header in rows[0]]
    lines = [
        f"# {escape_markdown(comparison['backbone'])} on {escape_markdown(comparison['task'])}",
        " ".join(escape_markdown(sentence) for sentence in summary.headline(comparison)),
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
        f"{escape_markdown(whole.caption)}. **Bold**: best, *italic*: second best. ID: the home domain's test images; "
        "ECE: expected calibration error, on the shifts their mean."
        + "".join(f" {sentence}" for sentence in whole.explained),
        *(escape_markdown(note) for note in (*summary.notes(comparison), *notes)),
    ]
    return "\n\n".join(lines) + "\n"


def _markdown_cell(column: Column, cell: Cell) -> str:
    text = {"best": f"**{cell.text}**", "second": f"*{cell.text}*", "": cell.text}[cell.mark]
    return f"{text} {cell.interval}" if column.key and cell.interval else text


def escape_markdown(text: str) -> str:
    return MARKDOWN_SPECIAL.sub(lambda match: f"\\{match[0]}", " ".join(text.split()))


def as_csv(comparison: Mapping[str, Any]) -> str:
    """A line a method; a column of half-widths follows each number where there are several seeds."""
    whole = table(comparison)
    several = any(cell.interval for line in whole.lines for cell in line.cells)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headers = [header for c in whole.columns for header in ([c.header, f"{c.header} ±"] if several else [c.header])]
    writer.writerow(["method", "seeds", *(_inert(header) for header in headers)])
    for line in whole.lines:
        numbers: list[str] = []
        for cell in line.cells:
            number = "" if cell.estimate is None else cell.text
            numbers += [number, cell.interval.removeprefix("±")] if several else [number]
        writer.writerow([_inert(line.entry.name), " ".join(map(str, line.entry.seeds)), *numbers])
    return out.getvalue()


def _inert(text: str) -> str:
    """Keeps a spreadsheet from taking a name for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
