"""A finished classifier for other libraries: folders and files that transformers, open_clip, ONNX and timm users open.

Each format is a module beside this one; torch and they are imported when an export begins, so that help is quick.
"""

from enum import StrEnum
from pathlib import Path


class Format(StrEnum):
    """What `surefoot export --to` writes."""

    transformers = "transformers"  # a folder: CLIPModel, for the zero-shot pipeline
    image_classification = "image-classification"  # a folder: CLIPForImageClassification
    openclip = "openclip"  # a folder: open_clip's names
    onnx = "onnx"  # a file: images to probabilities
    head = "head"  # a file: weight and bias


FILE_ENDINGS = {Format.onnx: ".onnx", Format.head: ".safetensors"}
"""The formats that are one file; the others are folders."""


def default_output(run: Path, form: Format) -> Path:
    """Where an export goes unless told otherwise: beside the run."""
    run = run.absolute()
    return run.with_name(f"{run.name}-{form}{FILE_ENDINGS.get(form, '')}")


def export(run: str | Path, form: Format, output: str | Path, *, licence: str = "", base_model: str = "") -> list[str]:
    """Write a run's classifier (or that of a classifier's folder) in a format; returns what is to be said about it.

    A folder also gets the run's model card, with `licence` and `base_model` in it. Raises ValueError where the classifier has no such
    form, where what was written does not compute the same probabilities, or where the folder is not empty.
    """
    from surefoot.exporting import head, image_classification, onnx, openclip, zero_shot
    from surefoot.exporting.card import write_card
    from surefoot.exporting.source import Source, new_folder
    from surefoot.permissions import write_whole

    output = Path(output)
    if form in FILE_ENDINGS and output.suffix != FILE_ENDINGS[form]:
        raise ValueError(f"output={output}: {form} is one file; give a name that ends in {FILE_ENDINGS[form]}")
    source = Source.open(Path(run))
    notes: list[str] = []
    if form in FILE_ENDINGS:
        write = head.write if form is Format.head else onnx.write
        write_whole(output, lambda partial: notes.extend(write(source, partial)))
        return notes
    writers = {
        Format.transformers: zero_shot.write,
        Format.image_classification: image_classification.write,
        Format.openclip: openclip.write,
    }
    with new_folder(output) as folder:
        notes += writers[form](source, folder)
        notes += write_card(Path(run), folder / "README.md", form=form, licence=licence, base_model=base_model)
    return notes
