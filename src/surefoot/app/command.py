"""The command `surefoot app`. Torch and the web server are imported inside it."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes, usage_errors


def app(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs of one task and one backbone.")],
    host: Annotated[
        str, typer.Option(help="Address to listen at. Any but a loopback address lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 is any free one.", min=0, max=65535)] = 8321,
    max_upload: Annotated[float, typer.Option(help="Largest image file, in MiB.", min=0.001, max=1024)] = 20,
    nearest_by: Annotated[
        str, typer.Option(help="Whose image tower finds the nearest training examples: zero_shot, or METHOD/seed-N.")
    ] = "zero_shot",
) -> None:
    """Open a page in which images are classified by the runs and the zero-shot model, side by side.

    Example: surefoot app runs/demo/fine_tune/seed-0 runs/demo/flyp/seed-0
    """
    with usage_errors():
        from surefoot.app.server import (
            ANY,
            LOOPBACK_NAMES,
            address_of,
            bind,
            is_loopback,
            require_extra,
            serve,
            web_app,
        )

        require_extra()
        bound = bind(host, port)
    with exit_codes(), bound:
        from surefoot.app.looking import lens
        from surefoot.interruption import Interrupted

        local = is_loopback(host)
        if not local:
            typer.echo(
                f"warning: --host={host} lets every machine that reaches this one use the models and see training "
                "images; there is no password and no encryption",
                err=True,
            )
        made = lens(runs, nearest_by=nearest_by, tell=lambda text: typer.echo(text, err=True))
        for note in made.notes:
            typer.echo(f"note: {note}", err=True)
        web = web_app(made, max_bytes=int(max_upload * 2**20), hosts=LOOPBACK_NAMES | {host} if local else ANY)
        typer.echo(f"Open {address_of(bound)} in a browser; Ctrl-C ends it.")
        with suppress(Interrupted, KeyboardInterrupt):
            serve(web, bound)
