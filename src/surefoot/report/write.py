"""Writes the report of a comparison folder: report.html, report.md, report.csv and scatter.svg."""

from pathlib import Path

from surefoot.report import figures, svg, tables
from surefoot.report.files import write_whole
from surefoot.report.html import asset, html
from surefoot.report.records import read_records


def write_report(folder: str | Path) -> Path:
    """Writes the files into `folder` and returns the page's path. Raises ValueError where runs are unfinished.

    All are made before the first is written, and each replaces its former version in one step.
    """
    root = Path(folder)
    records = read_records(root)
    contents = {
        "report.csv": tables.as_csv(records.comparison),
        "report.md": tables.markdown(records.comparison, notes=records.notes),
        "report.html": html(records),
    }
    if scatter := figures.scatter("scatter", records.comparison, width=860, height=520):
        contents["scatter.svg"] = svg.standalone(scatter, style=asset("page.css"))
    for name, text in contents.items():
        write_whole(root / name, text)
    return root / "report.html"
