"""Reports made from the files that runs leave behind; works without torch."""

from surefoot.report import lines
from surefoot.report.advice import advise
from surefoot.report.advice_text import advice_markdown
from surefoot.report.examples import Example
from surefoot.report.html import html
from surefoot.report.records import Records, comparison, read_records, read_together, read_variants
from surefoot.report.runs import Run, chosen, find_runs, read_runs
from surefoot.report.tables import as_csv, markdown, terminal
from surefoot.report.write import write_report

__all__ = [
    "Example",
    "Records",
    "Run",
    "advice_markdown",
    "advise",
    "as_csv",
    "chosen",
    "comparison",
    "find_runs",
    "html",
    "lines",
    "markdown",
    "read_records",
    "read_runs",
    "read_together",
    "read_variants",
    "terminal",
    "write_report",
]
