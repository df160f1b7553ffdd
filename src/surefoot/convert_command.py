"""The command `surefoot convert`. Torch is imported inside it."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes, usage_errors


def convert(
    old: Annotated[Path, typer.Argument(help="A state dict of OpenAI's CLIP, open_clip, WiSE-FT or FLYP (.pt).")],
    like: Annotated[str, typer.Option(help="A CLIP model of the same architecture: a folder or a hub id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder.")],
    classes: Annotated[
        str, typer.Option(help="Names of the head's classes: classes.yaml, a .txt of a class a line, or a task.")
    ] = "",
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Open whole objects too, which may run any code: trusted files only.")
    ] = False,
) -> None:
    """Turn an old file of weights into a folder that Surefoot and transformers open.

    Example: surefoot convert finetuned.pt --like openai/clip-vit-base-patch16 -o models/finetuned
    """
    with usage_errors():
        from surefoot.converting import convert
        from surefoot.spurious import read_class_list

        names = read_class_list(classes).names if classes else ()
    with exit_codes(), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: typer.echo(f"surefoot: {message}", err=True)
        made = convert(old, like=like, output=output, classes=names, allow_pickle=allow_pickle)
        for note in made.notes:
            typer.echo(note)
        typer.echo(f"Written to {made.folder}")
