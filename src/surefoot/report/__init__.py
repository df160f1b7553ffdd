"""Reports made from the files that runs leave behind; works without torch."""

from surefoot.report import lines
from surefoot.report.examples import Example
from surefoot.report.html import html
from surefoot.report.records import Records, Run, comparison, find_runs, read_records, read_runs
from surefoot.report.tables import as_csv, markdown, terminal
from surefoot.report.write import write_report

__all__ = [
    "Example",
    "Records",
    "Run",
    "as_csv",
    "comparison",
    "find_runs",
    "html",
    "lines",
    "markdown",
    "read_records",
    "read_runs",
    "terminal",
    "write_report",
]
