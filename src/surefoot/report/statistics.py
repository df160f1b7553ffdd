"""Tests and intervals between methods on the same examples; numpy in, numbers out.

Reading files is `paired.py`'s, words are `advice.py`'s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CHUNK = 100  # resamples at a time, so that memory does not grow with their number


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same examples: how often each alone was right, and the p-value that this is chance."""

    first_only: int
    second_only: int
    p: float


def bootstrap(correct: ArrayLike, *, resamples: int = 2000, seed: int = 0) -> Floats:
    """Accuracies (resamples, M) of M methods on the same resampled examples, from `correct` (M, n), shares in [0, 1].

    Paired: all methods see the same draw, so that differences of columns are draws of the difference. A draw is how
    often each example was taken, and a matrix product gives all accuracies (Efron, 1979, Annals of Statistics 7).
    Raises ValueError for no methods, no examples, NaN, or no resamples.
    """
    values = np.asarray(correct, dtype=np.float64)
    if values.ndim != 2 or not values.size or resamples < 1:
        raise ValueError(f"correct has shape {values.shape}, resamples={resamples}; give (methods, examples)")
    if not np.isfinite(values).all():
        raise ValueError("correct has NaN or infinity; give the share of right answers of each example")
    count = values.shape[1]
    draw, found = np.random.default_rng(seed), np.empty((resamples, len(values)))
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        taken = draw.integers(count, size=(size, count))
        counts = np.stack([np.bincount(row, minlength=count) for row in taken]).astype(np.float64)  # (size, n)
        found[start : start + size] = counts @ values.T / count
    return found


def percentile_interval(draws: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of bootstrap draws."""
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(draws: ArrayLike) -> float:
    """Two-sided p that a difference is 0: twice the smaller share of its draws on either side, never exactly 0.

    A. C. Davison and D. V. Hinkley, 1997, Bootstrap Methods and their Application, chapter 4 (the +1).
    """
    values = np.asarray(draws, dtype=np.float64)
    least = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(values) + 1))


def mcnemar(first: ArrayLike, second: ArrayLike) -> Comparison:
    """McNemar's test of two methods' right answers (n) on the same examples, two-sided, exact (binomial) for any n.

    Q. McNemar, 1947, Psychometrika 12. Where both are right or wrong on every example alike, p is 1.
    """
    one, two = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != two.shape or one.ndim != 1 or not one.size:
        raise ValueError(f"answers have shapes {one.shape} and {two.shape}; give those on the same examples")
    alone, other = int((one & ~two).sum()), int((two & ~one).sum())
    return Comparison(alone, other, _binomial(min(alone, other), alone + other))


def _binomial(least: int, count: int) -> float:
    """Two-sided p of at most `least` heads, or tails, in `count` throws."""
    if 2 * least >= count:
        return 1.0
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - count * math.log(2)
        for k in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(each) for each in logs))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (S. Holm, 1979, Scandinavian Journal of Statistics 6), in the same order."""
    corrected, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected
