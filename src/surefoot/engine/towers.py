"""How the towers of a method go through a batch while it trains: options of the engine, of which methods know nothing.

What the towers then do stands in `backbones._passes`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from surefoot.backbones.base import Average, Frozen, Tower
from surefoot.engine.memory import return_large_blocks


@contextmanager
def towers_told(method: nn.Module, *, micro_batch: int, compiled: bool) -> Iterator[None]:
    """Inside, the towers of student and teachers take `micro_batch` rows at a time (0: all) and are compiled or not."""
    teachers = [part.module for part in method.modules() if isinstance(part, Frozen | Average)]
    towers = [part for model in (method, *teachers) for part in model.modules() if isinstance(part, Tower)]
    if micro_batch:
        return_large_blocks()
    try:
        for tower in towers:
            tower.micro_batch, tower.compiled = micro_batch, compiled
        yield
    finally:
        for tower in towers:
            tower.micro_batch, tower.compiled = 0, False
