"""Save a run's state and find it again: one safetensors file, written whole or not at all; no pickle.

The file holds the method's tensors, the optimizer's by parameter name, and the counters as JSON in its header.
What stands in a finished run's `classifier/` belongs to `classifier`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from surefoot.permissions import write_whole as write_whole

FILE, BEFORE = "state.safetensors", "before.safetensors"  # the last checkpoint, and the one before it
NEXT = "next-state.safetensors"  # whole, on its way to FILE
MODEL, OPTIMIZER = "method.", "optimizer."
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass
class TrainState:
    """How far a run is: `step` steps into stage `stage`; `seconds` of training so far."""

    stage: int = 0
    step: int = 0
    seconds: float = 0.0
    optimizer: dict[str, Tensor] = field(default_factory=dict)  # to be restored when the stage begins
    note: str = ""  # what there is to tell of where it came from


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""

    def write(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    write_whole(path, write)


def save(folder: Path, method: nn.Module, optimizer: Optimizer, state: TrainState) -> None:
    """Write `folder`/state.safetensors and keep the one before it beside it.

    Raises OSError naming the folder; what was saved before then stands.
    """
    tensors = {MODEL + name: tensor.detach().cpu().contiguous() for name, tensor in method.state_dict().items()}
    names: dict[Tensor, str] = {parameter: name for name, parameter in method.named_parameters()}
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            tensors[f"{OPTIMIZER}{names[parameter]}/{key}"] = value.detach().cpu().contiguous()
    counters = {"stage": state.stage, "step": state.step, "seconds": state.seconds}
    with disk_errors(folder, "the checkpoint"):
        made = folder / NEXT
        write_whole(made, lambda path: save_file(tensors, path, metadata={"state": json.dumps(counters)}))
        if (folder / FILE).is_file():
            (folder / FILE).replace(folder / BEFORE)
        made.replace(folder / FILE)  # killed before this line, `load` takes it from where it lies


@contextmanager
def disk_errors(folder: Path, what: str) -> Iterator[None]:
    """A failed write inside, also of safetensors, becomes an OSError that says what stands and what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{what} could not be written to {folder} ({error}); what was saved before still stands. "
            "Free some space or make the folder writable, then start the same command again to go on from there."
        ) from error


def load(folder: Path, method: nn.Module) -> TrainState:
    """Put the saved tensors into `method` and return the state; a new TrainState where nothing was saved.

    Where the last checkpoint is damaged the one before it is taken, and the state's `note` says so. Raises ValueError,
    naming the file, where there is none before it, and for a pickle or one of another method or backbone.
    """
    path = folder / FILE
    there = [one for one in (folder / NEXT, path, folder / BEFORE) if one.is_file()]
    if not there:
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES)
        if pickles:
            raise ValueError(
                f"{folder / pickles[0]} is a pickle, which can run code when opened and is refused; "
                "checkpoints are safetensors. Remove it to start anew."
            )
        return TrainState()
    damages = []
    for path in there:
        try:
            tensors, counters = _read(path)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            damages.append(f"{path} is damaged ({error})")
            continue
        load_tensors(path, method, {k.removeprefix(MODEL): v for k, v in tensors.items() if k.startswith(MODEL)})
        moments = {k.removeprefix(OPTIMIZER): v for k, v in tensors.items() if k.startswith(OPTIMIZER)}
        state = TrainState(int(counters["stage"]), int(counters["step"]), float(counters["seconds"]), moments)
        if damages:
            state.note = (
                f"{damages[0]}; going on from the checkpoint before it, step {state.step} of stage {state.stage}"
            )
        return state
    what = "it" if len(damages) == 1 else "both"
    raise ValueError(f"{'; '.join(damages)}; remove {what} to start this run anew")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        counters = json.loads((file.metadata() or {})["state"])
    return tensors, {name: counters[name] for name in ("stage", "step", "seconds")}


def load_tensors(path: Path, method: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """`load_state_dict` with an error that names the file and the first tensor that does not fit."""
    expected = method.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise ValueError(f"{path} is of another method or backbone: it has no {name!r}; use another output folder")
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{path} is of another backbone: {name!r} has shape {tuple(tensors[name].shape)}, "
                f"expected {tuple(tensor.shape)}; use another output folder"
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise ValueError(
            f"{path} is of another method or backbone: it also has {extra[0]!r}; use another output folder"
        )
    method.load_state_dict(dict(tensors))


def restore(optimizer: Optimizer, method: nn.Module, moments: Mapping[str, Tensor]) -> None:
    """Put saved optimizer tensors, keyed "parameter/key", back beside the parameters they belong to."""
    parameters = dict(method.named_parameters())
    for name, value in moments.items():
        parameter, key = name.rsplit("/", 1)
        like = parameters[parameter]
        # fused AdamW keeps its step counter in float32 beside the parameter, as it does the moments
        optimizer.state[like][key] = value.to(like.device)
