"""What the corruptions share: the picture's type, how strongly to change it, and random numbers of its own."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surefoot.data.draws import CORRUPTION, fractions

Floats = NDArray[np.float32]
"""A picture (H, W, 3), or one layer of it (H, W); values from 0 to 1."""


class Chance:
    """Random numbers that depend on (seed, corruption, severity, index) and on how many draws came before."""

    def __init__(self, seed: int, name: str, severity: int, *, index: int) -> None:
        self.seed, self.name, self.severity, self.index = seed, name, severity, index
        self.draws = 0

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Numbers in (0, 1), of `shape`."""
        key = hashlib.blake2b(f"{self.name}-{self.severity}-{self.draws}".encode(), digest_size=7).digest()
        self.draws += 1
        count = int(np.prod(shape, dtype=np.int64))
        return fractions(self.seed, self.index, int.from_bytes(key, "big"), count=count, use=CORRUPTION).reshape(shape)

    def between(self, low: float, high: float) -> float:
        """One number between these two."""
        return low + (high - low) * float(self.uniform(1)[0])

    def normal(self, *shape: int) -> Floats:
        """Normally distributed numbers of mean 0 and deviation 1, of `shape` (Box and Muller, 1958)."""
        count = int(np.prod(shape, dtype=np.int64))
        first, second = self.uniform(2, (count + 1) // 2)
        length, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
        return (
            np.concatenate([length * np.cos(angle), length * np.sin(angle)])[:count].reshape(shape).astype(np.float32)
        )


@dataclass(frozen=True)
class Setting:
    """How to corrupt one picture.

    `values` are the numbers of the published table. `scale` is the picture's short side over the size that the table
    was made for: lengths in pixels are multiplied by it, so that a corruption is as strong on a picture between sizes.
    """

    values: tuple[float, ...]
    scale: float
    chance: Chance
