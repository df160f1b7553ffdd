"""Old files of weights: state dicts read without running anything in them; whole objects refused, or opened apart.

A pickle can run any code. What `torch.load(weights_only=True)` reads cannot; all else needs the user's consent.
"""

import pickle
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

INSIDE = ("state_dict", "model_state_dict", "model")  # where training scripts put the weights
SCRIPT = "surefoot.converting.unpickling"


def read_state(path: Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """The tensors of a file by name. ValueError where it is damaged, a program, or a pickle that is not allowed."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; give a state dict such as model.pt")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}); take it again") from error
    if _is_program(path):
        code = f"import torch; torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), 'weights.pt')"
        raise ValueError(
            f"{path} is a TorchScript archive, as OpenAI's own downloads are: a program, not weights alone. OpenAI's "
            "models are also on the hub, such as openai/clip-vit-base-patch32; or, if you trust the file, write its "
            f'weights once: python -c "{code}"'
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it may not know all of a newer pickle
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _may_be_pickle(path):
            raise ValueError(f"{path} is damaged, or no file of PyTorch; take it again") from error
        if allow_pickle:
            return _opened_apart(path)
        raise ValueError(
            f"{path} holds whole objects, not weights alone; such a pickle can run any code when opened and is "
            "refused. If you trust where it comes from, convert it once with --allow-pickle, which opens it in a "
            "process of its own"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, struct.error) as error:
        raise ValueError(f"{path} is damaged, or no file of PyTorch ({error}); take it again") from error
    return tensors_of(loaded, what=str(path))


def _may_be_pickle(path: Path) -> bool:
    """A web page saved under the name, or what git-lfs leaves, begins in another way."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))


def tensors_of(loaded: Any, *, what: str) -> dict[str, Tensor]:
    """The tensors of a state dict, also where a training script put it into a larger dictionary."""
    inner = loaded
    if isinstance(loaded, Mapping):
        inner = next((loaded[name] for name in INSIDE if isinstance(loaded.get(name), Mapping)), loaded)
    found = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)} if isinstance(inner, Mapping) else {}
    if not found:
        raise ValueError(f"{what} holds no weights by name but {type(loaded).__name__}; give a state dict")
    return found


def _is_program(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _opened_apart(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle that another process opens and writes down as safetensors."""
    warnings.warn(
        f"{path} is opened with --allow-pickle: any code in it runs, in a process of its own, with your rights",
        stacklevel=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.safetensors"
        done = subprocess.run(
            [sys.executable, "-m", SCRIPT, str(path.absolute()), str(out)], capture_output=True, text=True, check=False
        )
        if done.returncode or not out.is_file():
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise ValueError(f"{path} could not be opened with --allow-pickle: {said[-1]}")
        return load_file(out)
