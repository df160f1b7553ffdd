"""Teachers: `Frozen`, which can remember what it has seen, and `Average`, which follows. Imported through `base`."""

import copy
from collections.abc import Callable
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.data.batch import Batch
from surefoot.weights import ema_

Copied = TypeVar("Copied", bound=nn.Module)


class _Aside(nn.Module, Generic[Copied]):
    """Keeps a copy of a module, in eval mode, out of `parameters()`, of DDP and of every change of mode.

    As an attribute of a module it follows that module's `.to()`.
    """

    def __init__(self, module: Copied) -> None:
        super().__init__()
        self._teacher = (copy.deepcopy(module).eval().requires_grad_(False),)  # in a tuple: not a registered child

    @property
    def module(self) -> Copied:
        """The copy."""
        return self._teacher[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.module._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-any-return,no-untyped-call]


class Average(_Aside[Copied]):
    """A teacher that follows its student: the exponential moving average of a module's parameters.

    It never trains, DDP does not know it, and it is in `state_dict()`, so that a resumed run goes on with it.
    """

    def follow(self, student: nn.Module, momentum: float) -> None:
        """average <- momentum * average + (1 - momentum) * student, over parameters; buffers stay."""
        ema_(dict(self.module.named_parameters()), dict(student.named_parameters()), momentum)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination |= {prefix + name: tensor for name, tensor in self.module.state_dict(keep_vars=keep_vars).items()}

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
        own = {name: state_dict[prefix + name] for name in self.module.state_dict()}
        self.module.load_state_dict(own)


class Frozen(_Aside[Copied]):
    """The teacher: a copy of an image module that never trains and is in no `parameters()` or `state_dict()`.

    With `views` = K > 0 (`data.views=K`: K fixed crops an image) its features are remembered by (index, view), also
    for the evaluation transform (view -1); they are those of the uncached teacher. Keeping new ones waits for the
    device, finding them does not. With 0 each batch is computed anew. A run tells the teachers of its method
    (`Method.remember_crops`).
    """

    def __init__(self, module: Copied, *, views: int = 0) -> None:
        super().__init__(module)
        self._views = 0
        self.remember(views)

    def remember(self, views: int) -> None:
        """Remember `views` crops an image from now on, or more where it was made for more; forgets what it knew."""
        if views < 0:
            raise ValueError(f"views is {views}; give 0 (remember nothing) or the number of fixed crops an image")
        self._views = max(views, self._views)
        self._memory = _Memory(self._views + 1)  # the last column is view -1

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """Features (B, D) of `batch.images`, no gradient."""
        if self._views == 0:
            return self._features(batch)
        _, index, view = (torch.from_numpy(part) for part in batch.on_host())
        remembered = self._memory.find(index, view)
        if len(remembered) == len(index):
            return remembered.to(batch.images.device, non_blocking=True)
        features = self._features(batch)  # the whole batch: a part of it might be rounded in another way
        self._memory.keep(index, view, features)
        return features

    def _features(self, batch: Batch) -> Tensor:
        features: Tensor = self.module(batch.images)
        return features


class _Memory:
    """Rows of float32 features on the CPU by (index, view); grows as rows arrive."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.slots = torch.full((0,), -1, dtype=torch.int64)  # key -> row, -1 where there is none
        self.rows = torch.empty(0, 0)
        self.used = 0

    def find(self, index: Tensor, view: Tensor) -> Tensor:
        """The rows (B, D), or an empty tensor where one of them is missing."""
        keys = self._keys(index, view)
        slots = self.slots[keys]
        return self.rows[slots] if bool((slots >= 0).all()) else self.rows[:0]

    def keep(self, index: Tensor, view: Tensor, features: Tensor) -> None:
        keys, position = torch.unique(self._keys(index, view), return_inverse=True)
        first = torch.empty_like(keys).scatter_(0, position, torch.arange(len(position)))
        new = self.slots[keys] < 0
        keys, first = keys[new], first[new]
        if self.used + len(keys) > len(self.rows):
            grown = torch.empty(2 * (self.used + len(keys)), features.shape[1])
            grown[: self.used] = self.rows[: self.used] if self.used else grown[:0]
            self.rows = grown
        self.slots[keys] = torch.arange(self.used, self.used + len(keys))
        self.rows[self.used : self.used + len(keys)] = features[first.to(features.device)].cpu()
        self.used += len(keys)

    def _keys(self, index: Tensor, view: Tensor) -> Tensor:
        index, view = index.cpu(), view.cpu()
        if int(view.max()) >= self.columns - 1:
            raise ValueError(
                f"a batch has view {int(view.max())}, but the teacher was made with views={self.columns - 1}; "
                "give it the value of data.views (0 where each epoch has new crops)"
            )
        keys = index * self.columns + view % self.columns  # view -1 becomes the last column
        missing = int(keys.max()) + 1 - len(self.slots)
        if missing > 0:
            self.slots = F.pad(self.slots, (0, max(missing, len(self.slots))), value=-1)
        return keys
