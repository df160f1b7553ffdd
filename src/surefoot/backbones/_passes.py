"""How a tower goes through its rows: all at once or in parts, as it is written or compiled. Imported through `base`.

Cached gradients (GradCache, Gao et al., 2021, arXiv:2101.06983): of each part only the features are kept, the loss sees
the features of all rows, and on the way back each part is computed again for the gradient of its own features. So a
loss over the whole batch needs the memory of a part, and no loss has to know.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Pass = Callable[[Any, Tensor], Tensor]


class Tower(nn.Module):
    """Base of both towers: whatever `raw` a subclass defines goes through its rows as it is told here.

    `micro_batch`: rows of a part, 0 for all at once. `compiled`: by torch.compile.
    """

    micro_batch: int = 0
    compiled: bool = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "raw" in cls.__dict__:
            cls.raw = as_told(cls.__dict__["raw"])  # type: ignore[attr-defined]


def as_told(raw: Pass) -> Pass:
    """A tower's `raw` that does as the tower's `micro_batch` and `compiled` say; an abstract one stays abstract."""

    @cache
    def fast() -> Pass:
        return torch.compile(raw)

    @wraps(raw)
    def run(tower: Tower, rows: Tensor) -> Tensor:
        once = raw
        if tower.compiled:
            _refuse_hooks(tower)
            once = fast()
        if not 0 < tower.micro_batch < len(rows):
            return once(tower, rows)
        parts = torch.split(rows, tower.micro_batch)
        if not torch.is_grad_enabled():
            return torch.cat([once(tower, part) for part in parts])
        # not reentrant: the kind for DDP, autocast, hooks and frozen weights; random states are those of the first time
        return torch.cat([checkpoint(once, tower, part, use_reentrant=False) for part in parts])

    return run


def _refuse_hooks(tower: Tower) -> None:
    if any(part._forward_hooks or part._forward_pre_hooks for part in tower.modules()):
        raise ValueError(
            "engine.compile=true: something looks into the tower or changes what its parts give, as the methods miro "
            "and r_adapter do, which compiled code would leave out; set engine.compile=false"
        )
