"""The commands of `surefoot prompts`: what a language model can write for a task. Torch is imported inside them."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes, usage_errors

app = typer.Typer(no_args_is_help=True)


@app.callback()
def prompts() -> None:
    """Let a language model write phrases for a task."""


@app.command()
def spurious(
    classes: Annotated[
        str, typer.Option(help="A classes.yaml, a .txt of a class a line, or a task: its name, folder, zip or table.")
    ],
    lm: Annotated[str, typer.Option(help="Folder or hub id of a language model, or an endpoint's URL.")] = "",
    model: Annotated[str, typer.Option(help="The endpoint's name of the model.")] = "",
    key_env: Annotated[
        str, typer.Option(help="Environment variable with the endpoint's key; '' sends none.")
    ] = "OPENAI_API_KEY",
    count: Annotated[int, typer.Option(help="Phrases wanted.", min=5, max=1000)] = 50,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1, max=86400)] = 300,
    output: Annotated[Path, typer.Option("--output", "-o", help="The pool file.")] = Path("spurious.txt"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a pool of phrases for star_ft: what often goes along with your classes but does not make them.

    Example: surefoot prompts spurious --classes classes.yaml --lm Qwen/Qwen2.5-1.5B-Instruct -o pool.txt
    """
    with usage_errors():
        from surefoot.spurious import ask, language_model, read_class_list, require_free, write_pool

        asked = language_model(lm, model=model, key_env=key_env, timeout=timeout)
        require_free(output, force=force)
    with exit_codes():
        names = read_class_list(classes)
        typer.echo(f"asking {asked.name} (up to {timeout:g} s an answer)", err=True)
        pool = ask(asked, names, count=count)
        typer.echo(pool.summary(), err=True)
        write_pool(output, pool)
        typer.echo(f"Written to {output}; read it, then train with --method star_ft method.pools=[{output}]")
