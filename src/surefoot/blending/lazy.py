"""Weights in safetensors files, each tensor read when it is asked for and not kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from surefoot.classifier import HEAD, Classifier
from surefoot.weights import Weights

BACKBONE = "model.safetensors"


class Stored(Mapping[str, Tensor]):
    """Tensors by name, on the CPU; `places` has the file of each and its name there.

    The file is opened anew for each tensor: what an open one has read stays in memory.
    """

    def __init__(self, places: Mapping[str, tuple[Path, str]]) -> None:
        self._places = dict(places)

    def __getitem__(self, name: str) -> Tensor:
        path, there = self._places[name]
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor(there)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read ({error}); make what it belongs to again") from error
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._places  # without reading

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Only(Mapping[str, Tensor]):
    """One entry of weights, read when it is asked for."""

    def __init__(self, weights: Weights, name: str) -> None:
        self._weights, self._name = weights, name

    def __getitem__(self, name: str) -> Tensor:
        if name != self._name:
            raise KeyError(name)
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter((self._name,))

    def __len__(self) -> int:
        return 1


def stored(path: Path) -> Stored:
    """The tensors of one file."""
    return Stored({name: (path, name) for name in _names(path)})


def stored_classifier(folder: Path, like: Classifier) -> Weights:
    """The weights of a saved classifier, under the names that they have in `like`, one of the same backbone.

    A backbone that saves its weights in other files (see `Backbone.file_names`) is opened whole and stays in memory.
    """
    path = folder / BACKBONE
    there = like.backbone.file_names
    if not path.is_file() or not _names(path) >= set(there.values()):
        return Classifier.from_pretrained(folder).state_dict()
    of_backbone = {f"backbone.{name}": (path, name_there) for name, name_there in there.items()}
    of_head = {f"head.{name}": (folder / HEAD, name) for name in like.head.state_dict()}
    return Stored(of_backbone | of_head)


def _names(path: Path) -> set[str]:
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); make what it belongs to again") from error
