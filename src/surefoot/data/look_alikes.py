"""Images that look alike though their files differ: a perceptual hash of 64 bits, and a search for near hashes.

The hash is of our own making, in the manner of DCT hashes: the signs of the lowest 64 frequencies of a grey thumbnail.
It stays near itself when an image is scaled, re-compressed or a little brighter, not when it is cropped or mirrored.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # of the thumbnail, in pixels
FLAT = 2.0  # grey levels; a thumbnail whose standard deviation is below shows next to nothing
NO_LOOK = 0  # hash of an image that cannot be read or is flat
BANDS, WIDTH = 4, 16  # the parts of a hash that the search looks up, and their bits
MOST_BITS = 11  # that may differ; beyond, the search is slow, and images that have nothing in common are found
AT_ONCE = 2**22  # pairs of hashes compared at a time: about 100 MB

Hashes = NDArray[np.uint64]


def _frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the 64 lowest frequencies but the mean, in the order of their bits.

    Neighbours in frequency go to different bands, so that no band holds only coarse or only fine detail.
    """
    by_height = sorted(((u, v) for u in range(SIDE) for v in range(SIDE) if u + v > 0), key=lambda uv: (sum(uv), uv))
    rows, columns = np.array(by_height[: BANDS * WIDTH]).T
    places = np.arange(BANDS * WIDTH).reshape(WIDTH, BANDS).T.ravel()
    return rows[places], columns[places]


_ROWS, _COLUMNS = _frequencies()
_WAVES = np.arange(max(_ROWS.max(), _COLUMNS.max()) + 1)
_COSINES = np.cos(np.pi / SIDE * np.outer(_WAVES, np.arange(SIDE) + 0.5))  # DCT-II, (wave, pixel)


class Alike(NamedTuple):
    """Pairs of near hashes: for each of the others that has one, the nearest known hash (the first of equals)."""

    known: NDArray[np.int64]  # (pairs,) positions
    other: NDArray[np.int64]  # (pairs,) positions, rising
    bits: NDArray[np.int64]  # (pairs,) how many differ


def look(image: Image.Image) -> int:
    """The 64-bit hash of an upright RGB image, `NO_LOOK` where it is one colour. At least 32 pixels a side are best."""
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
    if grey.std() < FLAT:
        return NO_LOOK
    waves = _COSINES @ (grey - grey.mean()) @ _COSINES.T
    return int.from_bytes(np.packbits(waves[_ROWS, _COLUMNS] > 0).tobytes(), "big")


def look_alikes(known: Hashes, other: Hashes, *, bits: int) -> Alike:
    """For each of `other` (m,) the nearest of `known` (n,) within `bits`; `NO_LOOK` is near nothing.

    Exact: of two hashes that differ in at most `bits`, at least one of the four bands differs in at most bits // 4.
    Raises ValueError where `bits` lies outside 0 to 11.
    """
    if not 0 <= bits <= MOST_BITS:
        raise ValueError(f"{bits} bits of a look may not differ; give 0 (the same look) to {MOST_BITS}")
    known_once, first_known = np.unique(known, return_index=True)
    other_once, all_other = np.unique(other, return_inverse=True)
    best = np.full(len(other_once), (bits + 1) << 32, dtype=np.int64)  # distance and place in one number
    for at_known, at_other in _candidates(known_once, other_once, reach=bits // BANDS):
        differ = np.bitwise_count(known_once[at_known] ^ other_once[at_other]).astype(np.int64)
        near = differ <= bits
        np.minimum.at(best, at_other[near], (differ[near] << 32) + first_known[at_known[near]])
    best[other_once == NO_LOOK] = (bits + 1) << 32
    each = best[all_other.reshape(-1)]
    found = np.flatnonzero(each >> 32 <= bits)
    return Alike(known=each[found] & (2**32 - 1), other=found, bits=each[found] >> 32)


def _candidates(known: Hashes, other: Hashes, *, reach: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions of pairs that agree in a band but for `reach` bits, in parts of bounded size; some stand twice."""
    known_places = np.flatnonzero(known != NO_LOOK)
    masks = [sum(1 << bit for bit in flips) for n in range(reach + 1) for flips in combinations(range(WIDTH), n)]
    for band in range(BANDS):
        shift = np.uint64(band * WIDTH)
        values = (known[known_places] >> shift & np.uint64(2**WIDTH - 1)).astype(np.int64)
        sorted_places = known_places[np.argsort(values, kind="stable")]
        starts = np.concatenate(([0], np.cumsum(np.bincount(values, minlength=2**WIDTH))))
        wanted = (other >> shift & np.uint64(2**WIDTH - 1)).astype(np.int64)
        for mask in masks:
            yield from _pairs(starts, sorted_places, wanted ^ mask)


def _pairs(
    starts: NDArray[np.int64], places: NDArray[np.int64], wanted: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    first, counts = starts[wanted], starts[wanted + 1] - starts[wanted]
    ends = np.cumsum(counts)
    total, done, row = int(ends[-1]) if len(ends) else 0, 0, 0
    while done < total:
        stop = max(row + 1, int(np.searchsorted(ends, done + AT_ONCE, side="right")))
        part = counts[row:stop]
        at_other = np.repeat(np.arange(row, stop), part)
        inside = np.arange(len(at_other)) - np.repeat(ends[row:stop] - part - done, part)
        yield places[np.repeat(first[row:stop], part) + inside], at_other
        row, done = stop, int(ends[stop - 1])
