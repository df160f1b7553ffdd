"""The command `surefoot advise`; it reads files only, without torch."""

import json
from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes


def advise(
    runs: Annotated[list[Path], typer.Argument(help="Folder of a comparison, or folders of runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say in plain words which method to ship, what it costs, and what to collect next. Prints Markdown.

    Example: surefoot advise runs/demo
    """
    with exit_codes():
        from surefoot import report

        found = report.advise(report.read_together(runs))
        typer.echo(json.dumps(found, indent=1) if as_json else report.advice_markdown(found), nl=as_json)
