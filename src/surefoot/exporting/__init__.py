"""A finished classifier for other libraries: folders and files that transformers, open_clip, ONNX and timm users open.

Each format is a module beside this one; torch and they are imported when an export begins, so that help is quick.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Details:
    """What a model card says beside what the run's files say; an empty text is not told."""

    licence: str = ""
    base_model: str = ""  # hub id
    place: str = "FOLDER"  # where the model will lie: a repository, or a folder


NO_DETAILS = Details()


def default_output(run: Path, form: Format) -> Path:
    """Where an export goes unless told otherwise: beside the run."""
    run = run.absolute()
    return run.with_name(f"{run.name}-{form}{FILE_ENDINGS.get(form, '')}")


def require_ending(output: Path, form: Format) -> None:
    """ValueError for a file's name that does not say what the file is."""
    if form in FILE_ENDINGS and output.suffix != FILE_ENDINGS[form]:
        raise ValueError(f"output={output}: {form} is one file; give a name that ends in {FILE_ENDINGS[form]}")


def export(run: str | Path, form: Format, output: str | Path, *, details: Details = NO_DETAILS) -> list[str]:
    """Write a run's classifier (or that of a classifier's folder) in a format; returns what is to be said about it.

    A folder of a finished run also gets its model card. Raises ValueError where the classifier has no such form, where
    what was written does not compute the same probabilities, or where the folder is not empty.
    """
    from surefoot.exporting import clip_model, head, image_classification, onnx, openclip
    from surefoot.exporting.card import card
    from surefoot.exporting.source import Source
    from surefoot.permissions import new_folder, write_whole

    run, output = Path(run), Path(output)
    require_ending(output, form)
    source = Source.open(run)
    notes: list[str] = []
    if form in FILE_ENDINGS:
        write = head.write if form is Format.head else onnx.write
        write_whole(output, lambda partial: notes.extend(write(source, partial)))
        return notes
    writers = {
        Format.transformers: clip_model.write,
        Format.image_classification: image_classification.write,
        Format.openclip: openclip.write,
    }
    with new_folder(output) as folder:
        notes += writers[form](source, folder)
        if (run / "results.json").is_file():
            text = card(run, form=form, details=details, notes=notes)
            (folder / "README.md").write_text(text, encoding="utf-8")
        else:
            notes.append(f"no model card: {run} is no finished run")
    return notes
