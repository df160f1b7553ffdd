"""What is random in data and captions: a hash of seeds and positions.

So it depends neither on workers and ranks, nor on what was drawn before, nor on the release of a random generator.
"""

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

# what a draw is for, so that no two uses share their numbers
ORDER, CROP, CHOICE, SPURIOUS, TOKENS, LABEL, NAME, BLOCK, CORRUPTION = 1, 2, 3, 4, 5, 6, 7, 8, 9
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: SplitMix64's step


def shuffled(members: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The positions in `members` (n,) in the order in which epoch `epoch` reads them."""
    return members[np.argsort(_hash(seed, ORDER, np.int64(epoch), members), kind="stable")]


def permutation(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """`shuffled` for all of `count` examples."""
    return shuffled(np.arange(count), seed=seed, epoch=epoch)


def path_draws(seed: int, paths: Sequence[str]) -> NDArray[np.float64]:
    """A number in [0, 1) for each file (n,), to part a data set by: it does not depend on other files."""
    start = hashlib.blake2b(f"{seed}:".encode(), digest_size=6)
    digits = np.frombuffer(b"".join([_hashed(start, path) for path in paths]), np.uint8).reshape(-1, 6)
    return digits @ 256.0 ** -np.arange(1, 7)  # exact: 48 bits fit into a float


def shuffled_blocks(
    members: NDArray[np.int64], blocks: NDArray[np.int64], *, window: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """`shuffled` for examples that lie in `blocks` (n,): a window of blocks after the other.

    The blocks are shuffled and taken `window` at a time; the examples of a window are shuffled together. With one
    window for all it is `shuffled`.
    """
    numbers, place = np.unique(blocks, return_inverse=True)
    turns = np.empty(len(numbers), np.int64)
    turns[np.argsort(_hash(seed, BLOCK, np.int64(epoch), numbers), kind="stable")] = np.arange(len(numbers))
    return members[np.lexsort((_hash(seed, ORDER, np.int64(epoch), members), turns[place] // window))]


def crop_draws(seed: int, index: NDArray[np.int64], view: NDArray[np.int64], *, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each image and view: (n, count), by SplitMix64."""
    states = _hash(seed, CROP, index, view)[:, None]
    return _fractions(_mixed(states + GOLDEN * np.arange(1, count + 1, dtype=np.uint64)))


def label_draws(seed: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """A number in [0, 1) for each image (n,), to draw its label from a model's probabilities."""
    return _fractions(_hash(seed, LABEL, index, np.zeros_like(index)))


def choices(
    seed: int, index: NDArray[np.int64], view: NDArray[np.int64], *, count: int | NDArray[np.int64], use: int = CHOICE
) -> NDArray[np.int64]:
    """A whole number in 0..count-1 for each image and view: (n,); `count` is one for all or one an image.

    Raises ValueError where there is nothing to choose from.
    """
    counts = np.asarray(count)
    if (counts < 1).any():
        raise ValueError(f"count is {count}; there must be at least one thing to choose from")
    # the bias of a modulo is below 2^-50 for any sensible count
    return (_hash(seed, use, index, view) % counts.astype(np.uint64)).astype(np.int64)


def random_tokens(
    seed: int, moment: int, *, shape: tuple[int, int], size: int, excluded: Collection[int] = ()
) -> NDArray[np.int64]:
    """Whole numbers in 0..size-1 without the `excluded`, one draw for each `moment`: of `shape`."""
    allowed = np.setdiff1d(np.arange(size), np.fromiter(excluded, np.int64, len(excluded)))
    positions = np.arange(shape[0] * shape[1])
    moments = np.full_like(positions, moment)
    return allowed[choices(seed, moments, positions, count=len(allowed), use=TOKENS)].reshape(shape)


def fractions(seed: int, first: int, second: int, *, count: int, use: int) -> NDArray[np.float64]:
    """`count` numbers in (0, 1) for one (seed, use, first, second), by SplitMix64."""
    state = _hash(seed, use, np.int64(first), np.array([second]))
    return _fractions(_mixed(state + GOLDEN * np.arange(1, count + 1, dtype=np.uint64))) + 2.0**-54


def _hash(seed: int, use: int, first: NDArray[np.int64] | np.int64, second: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 random-looking bits for each (seed, use, first, second)."""
    state = np.array([seed], dtype=np.uint64)
    for part in (np.int64(use), first, second):
        state = _mixed(state) + np.asarray(part).astype(np.uint64)
    return _mixed(state)


def _hashed(start: "hashlib.blake2b", path: str) -> bytes:
    """The hash of what `start` has seen and `path`; going on from there is faster than starting anew."""
    hashed = start.copy()
    hashed.update(path.encode())
    return hashed.digest()


def _fractions(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014); products wrap around."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
