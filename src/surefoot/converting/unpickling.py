"""Run as a process of its own: opens a pickle, which may run any code, and writes the tensors in it as safetensors.

Classes that are not installed here are stood in for, since only weights are wanted: the sources of the project that
wrote the file need not be there.
"""

import pickle
import sys
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surefoot.converting.reading import tensors_of


class StandIn(nn.Module):
    """In place of a class or a function that is missing: takes whatever its instances are made of."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            super().__setstate__(state)  # type: ignore[no-untyped-call]

    def append(self, item: object) -> None:
        """As a list that was made smaller."""

    def extend(self, items: object) -> None:
        """As a list that was made smaller."""

    def __setitem__(self, key: object, value: object) -> None:
        """As a dictionary that was made smaller."""


class Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except Exception:  # also what a package raises that is installed, but broken
            return type(name.rpartition(".")[2], (StandIn,), {"__module__": module})


def load(file: BinaryIO, **options: Any) -> Any:
    """As pickle.load, which files of old releases of PyTorch need."""
    return Unpickler(file, **options).load()


def weights_of(opened: Any, *, what: str) -> dict[str, Tensor]:
    """The state dict of a module, or that of a module or a dictionary inside a dictionary."""
    if isinstance(opened, dict):
        inner = next((value for value in opened.values() if isinstance(value, nn.Module)), opened)
        opened = inner
    state = opened.state_dict() if isinstance(opened, nn.Module) and "_modules" in opened.__dict__ else opened
    return tensors_of(state, what=what)


def main(path: str, out: str) -> None:
    lenient = SimpleNamespace(Unpickler=Unpickler, load=load, __name__="pickle")
    opened = torch.load(path, map_location="cpu", weights_only=False, pickle_module=lenient)
    tensors = weights_of(opened, what=path)
    save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
