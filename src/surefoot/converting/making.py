"""From an old file and a model of the same architecture to a folder that Surefoot and transformers open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.classifier import Classifier, Head
from surefoot.converting.names import in_transformers_names, model_prefix
from surefoot.converting.reading import read_state
from surefoot.permissions import new_folder

HEAD = "classification_head."  # of WiSE-FT's ImageClassifier
TEXT = ("text_model.", "text_projection.")
TEXT_BLOCKS = "text_model.encoder."


@dataclass(frozen=True)
class Converted:
    """A written folder, and what its user should know of it."""

    folder: Path
    notes: tuple[str, ...]


def convert(
    old: str | Path, *, like: str, output: str | Path, classes: Sequence[str] = (), allow_pickle: bool = False
) -> Converted:
    """Write the weights of `old` as a folder in transformers' format, with tokenizer and image settings of `like`.

    `like` names a CLIP model of the same architecture. With `classes`, the names of the file's head (WiSE-FT's
    ImageClassifier), the folder is a classifier. Raises ValueError, naming the tensor, where the two do not fit.
    """
    old, output = Path(old), Path(output).absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output={output} exists and is not empty; give a new or an empty folder")
    backbone = _clip(like)
    state = read_state(old, allow_pickle=allow_pickle)
    notes: list[str] = []
    try:
        prefix = model_prefix(state)
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if not prefix:
            own = {name: value for name, value in own.items() if not name.startswith(HEAD)}
        notes += _fill(backbone, in_transformers_names(own), like)
        head = _head(state)
    except ValueError as error:
        raise ValueError(f"{old}: {error}") from error
    if head is not None and classes:
        _save_classifier(backbone, head, classes, output, old, like)
        return Converted(output, (*notes, f"with its head of {len(classes)} classes"))
    if classes:
        raise ValueError(f"{old}: it has no head ({HEAD}weight), so that --classes has nothing to name; leave it out")
    if head is not None:
        notes.append(f"its head of {len(head.weight)} classes was left out; name them with --classes to keep it")
    with new_folder(output) as folder:
        backbone.save(folder)
    return Converted(output, tuple(notes))


def _clip(like: str) -> Backbone:
    backbone = load_backbone(like)
    if "logit_scale" not in backbone.file_names.values() or "image.visual_projection.weight" not in backbone.file_names:
        raise ValueError(f"--like={like}: a {type(backbone).__name__} is no CLIP model of transformers; give one")
    return backbone


@torch.no_grad()
def _fill(backbone: Backbone, found: Mapping[str, Tensor], like: str) -> list[str]:
    """Put the tensors into the backbone; gives what was taken from `like` instead."""
    notes, state = [], backbone.state_dict()
    places = {there: name for name, there in backbone.file_names.items()}
    if not any(name.startswith(TEXT_BLOCKS) for name in found):
        found = {name: value for name, value in found.items() if not name.startswith(TEXT)}
        places = {there: name for there, name in places.items() if not there.startswith(TEXT)}
        notes.append(f"the file has no text tower, as WiSE-FT leaves it out; the folder has that of {like}")
    if "logit_scale" not in found:
        del places["logit_scale"]
        notes.append(f"the file has no logit_scale; the folder has that of {like}")
    odd = sorted(set(found) ^ set(places))
    if odd:
        what = "has" if odd[0] in found else "lacks"
        raise ValueError(f"it {what} {odd[0]}, unlike {like}; give a --like of the same architecture")
    for there, name in places.items():
        if found[there].shape != state[name].shape:
            raise ValueError(
                f"its {there} has shape {tuple(found[there].shape)}, but {like} has {tuple(state[name].shape)}; give a "
                "--like of the same architecture"
            )
        state[name].copy_(found[there])
    return notes


def _head(state: Mapping[str, Tensor]) -> Head | None:
    """WiSE-FT's head: unit features times rows, plus a bias."""
    weight = next((value for name, value in state.items() if name.endswith(f"{HEAD}weight")), None)
    if weight is None:
        return None
    bias = next((value for name, value in state.items() if name.endswith(f"{HEAD}bias")), torch.zeros(len(weight)))
    return Head(weight, bias=bias, scale=torch.ones(()), convention="scaled")


def _save_classifier(
    backbone: Backbone, head: Head, classes: Sequence[str], output: Path, old: Path, like: str
) -> None:
    if len(head.weight) != len(classes):
        raise ValueError(
            f"{old}: its head has {len(head.weight)} classes, --classes names {len(classes)}; name each, in its order"
        )
    told = {"converted_from": old.name, "like": like}
    Classifier(backbone, head, classes=classes, provenance=told).save_pretrained(output)
