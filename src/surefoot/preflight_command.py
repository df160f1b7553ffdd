"""The command `surefoot preflight`. Torch is imported inside it."""

from typing import Annotated

import typer

from surefoot.arguments import settings_of
from surefoot.exit_codes import exit_codes, usage_errors


def preflight(
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings as section.option=value, as for train.", show_default=False)
    ] = None,
    task: Annotated[str, typer.Option(help="Name of a task, or a folder, zip or table of your own images.")] = "",
    root: Annotated[str, typer.Option(help="Where the task's files lie.")] = "",
    backbone: Annotated[str, typer.Option(help="Name of a backbone, a folder, or a hub id.")] = "",
    method: Annotated[str, typer.Option(help="Name of a method.")] = "",
    memory: Annotated[
        float, typer.Option(help="GiB that there are; a tenth is left free.", show_default="what is free", min=0)
    ] = 0.0,
    config: Annotated[str, typer.Option(help="A YAML file of settings; the command line wins over it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make two training steps of two sizes, estimate the run's memory and time, and propose settings that fit.

    Example: surefoot preflight --method flyp --backbone openai/clip-vit-base-patch16 --task photos/
    """
    chosen = {"task": task, "task.root": root, "backbone": backbone, "method": method}
    with usage_errors():
        wanted = settings_of(settings, config, chosen)
        from surefoot.config import resolve

        resolve(wanted)
    with exit_codes():
        from surefoot.preflight import preflight

        found = preflight(wanted, memory_gib=memory)
        typer.echo(found.to_json() if as_json else found.text())
    if not found.fits:
        raise typer.Exit(1)
