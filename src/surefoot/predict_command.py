"""`surefoot predict`. Torch is imported inside it."""

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from surefoot.exit_codes import exit_codes, usage_errors


class Form(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    jsonl = "jsonl"
    arrow = "arrow"


def predict(
    classifier: Annotated[Path, typer.Argument(help="Folder of a run or of a classifier.")],
    images: Annotated[
        list[Path],
        typer.Argument(help="Images, folders, patterns such as 'a/**/*.png', or -: a path a line."),
    ],
    top_k: Annotated[int, typer.Option(help="Classes to show for each image.", min=1)] = 1,
    form: Annotated[Form, typer.Option("--format", help="How to write.")] = Form.table,
    output: Annotated[str, typer.Option("--output", "-o", help="A file instead of the screen.")] = "",
    batch_size: Annotated[int, typer.Option(help="Images at a time.", min=1)] = 64,
    abstain_risk: Annotated[
        float,
        typer.Option(
            help="Say nothing where confidence is low: so that of the run's answers on validation this share is wrong.",
            show_default="answer always",
            min=0,
            max=1,
        ),
    ] = 1,
) -> None:
    """Classify images with calibrated probabilities.

    Example: surefoot predict runs/demo/flyp/seed-0 photos/ --top-k 3 --format csv
    """
    with usage_errors():
        if form is Form.arrow and not output:
            raise ValueError("--format=arrow: it is no text; give a file with --output")
        if output and not Path(output).absolute().parent.is_dir():
            raise ValueError(f"--output={output}: its folder is not there; make it first")
    with exit_codes():
        from surefoot.checkpoint import write_text, write_whole
        from surefoot.classifier import Classifier
        from surefoot.predicting import abstention, image_files, listed, predict_images, write_arrow, written
        from surefoot.run_folder import classifier_folder

        threshold = 0.0
        if abstain_risk < 1:
            chosen = abstention(classifier, abstain_risk)
            threshold = chosen.threshold
            typer.echo(
                f"abstaining below {threshold:.3f}: on validation {chosen.coverage:.1%} are answered, of them "
                f"{chosen.risk:.1%} wrong",
                err=True,
            )
        paths = [path for given in images for path in (listed(sys.stdin) if str(given) == "-" else [given])]
        files = [image for path in paths for image in image_files(path)]
        model = Classifier.from_pretrained(classifier_folder(classifier))
        begun = time.perf_counter()
        found = predict_images(model, files, top_k=top_k, batch_size=batch_size, threshold=threshold)
        seconds = time.perf_counter() - begun
        if form is Form.arrow:
            write_whole(Path(output), lambda path: write_arrow(found, path))
        elif output:
            write_text(Path(output), written(found, form.value))
        else:
            typer.echo(written(found, form.value), nl=False)
        typer.echo(f"{len(found)} images in {seconds:.1f} s ({len(found) / seconds:.0f} a second)", err=True)
