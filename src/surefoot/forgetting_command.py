"""The command `surefoot forgetting`. Torch is imported inside it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes, usage_errors


def forgetting(
    model: Annotated[str, typer.Argument(help="A run, a classifier's folder, or a backbone.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings such as forgetting.images=512.", show_default=False)
    ] = None,
    against: Annotated[str, typer.Option(help="What it started from.", show_default="the run's backbone")] = "",
    images: Annotated[
        str, typer.Option(help="A task, or a folder of any images.", show_default="the run's task, or iconshift")
    ] = "",
    tasks: Annotated[
        str, typer.Option(help="Unrelated zero-shot tasks, with commas between.", show_default="iconshift,icongroups")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    output: Annotated[str, typer.Option("--output", "-o", help="A JSON file for the numbers.")] = "",
) -> None:
    """Say how much of the zero-shot model a fine-tuned one has forgotten. No labels needed.

    Example: surefoot forgetting runs/demo/flyp/seed-0 -o forgetting.json
    """
    with usage_errors():
        named = [name.strip() for name in tasks.split(",") if name.strip()]
        from surefoot.config import flatten, parse_settings, resolve

        wanted = {**({"forgetting.tasks": named} if named else {}), **parse_settings(settings or [])}
        resolve(wanted)
        odd = [name for name, _ in flatten(wanted) if name.partition(".")[0] in ("task", "backbone", "method")]
        if odd:
            raise ValueError(f"{odd[0]}: say which models and images with MODEL, --against and --images")
        if output and not Path(output).absolute().parent.is_dir():
            raise ValueError(f"--output={output}: its folder is not there; make it first")
    with exit_codes():
        from surefoot.forgetting import forgetting, forgetting_text

        found = forgetting(model, wanted, against=against, images=images)
        if output:
            Path(output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        typer.echo(json.dumps(found, indent=1) if as_json else forgetting_text(found))
