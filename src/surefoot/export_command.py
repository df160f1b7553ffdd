"""The commands that take a result elsewhere: export, card, push. Torch is imported inside them."""

from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes, usage_errors
from surefoot.exporting import Details, Format, default_output, require_ending

Run = Annotated[Path, typer.Argument(help="Folder of a finished run, or of a classifier.")]
To = Annotated[Format, typer.Option("--to", help="What to write.")]
Licence = Annotated[str, typer.Option("--license", "--licence", help="What the card says, such as apache-2.0.")]
BaseModel = Annotated[str, typer.Option(help="Hub id for the card, of the model that training began with.")]


def export(
    run: Run,
    to: To,
    output: Annotated[str, typer.Option("--output", "-o", help="Folder or file.", show_default="RUN-FORMAT")] = "",
    license_: Licence = "",
    base_model: BaseModel = "",
) -> None:
    """Write a classifier for other libraries: transformers, open_clip, ONNX, or the head alone.

    Example: surefoot export runs/demo/flyp/seed-0 --to onnx -o flyp.onnx
    """
    with usage_errors():
        target = Path(output) if output else default_output(run, to)
        require_ending(target, to)
    with exit_codes():
        from surefoot.exporting import export

        for note in export(run, to, target, details=Details(license_, base_model)):
            typer.echo(f"note: {note}", err=True)
        typer.echo(f"Written to {target}")


def card(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    to: To = Format.transformers,
    output: Annotated[str, typer.Option("--output", "-o", help="A file instead of the screen.")] = "",
    license_: Licence = "",
    base_model: BaseModel = "",
) -> None:
    """Print the model card of a run, with its measures as the Hugging Face hub reads them.

    Example: surefoot card runs/demo/flyp/seed-0 -o README.md
    """
    with exit_codes():
        from surefoot.checkpoint import write_text
        from surefoot.exporting.card import card

        text = card(run, form=to, details=Details(license_, base_model))
        if output:
            write_text(Path(output), text)
        else:
            typer.echo(text)


def push(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    to: To = Format.transformers,
    license_: Licence = "",
    base_model: BaseModel = "",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Send a run's export and its model card to the Hugging Face hub. Log in first: `hf auth login`.

    Example: surefoot push runs/demo/flyp/seed-0 me/icons --license apache-2.0
    """
    with exit_codes():
        from surefoot.exporting.hub import push

        address, notes = push(run, repository, form=to, details=Details(license_, base_model), private=private)
        for note in notes:
            typer.echo(f"note: {note}", err=True)
        typer.echo(address)
