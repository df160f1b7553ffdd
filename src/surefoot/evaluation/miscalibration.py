"""Further measures of calibration, over the whole set, in numpy: class by class, debiased, at worst, parts of Brier.

The noise floor says how much of an ECE is chance. The plain ECE, and what each argument must hold, is in `metrics`.
"""

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surefoot.evaluation.metrics import (
    ROUNDING,
    batch_mean_ece,
    bin_numbers,
    brier,
    equal_mass_ece,
    expected_calibration_error,
    reliability,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ClassBins = tuple[Floats, Integers]  # see `_class_bins`
DRAWS = 200  # of the noise floor


class BrierParts(TypedDict):
    """Two numbers whose sum is the Brier score."""

    calibration: float
    refinement: float


class Miscalibration(TypedDict):
    """What `results.json` says of a split beside its ECE."""

    ece_noise_floor: float
    ece_equal_mass: float
    ece_classwise: float
    ece_debiased: float | None
    ece_maximum: float
    brier_calibration: float
    brier_refinement: float


def miscalibration(probabilities: ArrayLike, labels: Integers, correct: ArrayLike, *, bins: int = 15) -> Miscalibration:
    """All measures of this module for probabilities (n, C), labels (n) and correct (n).

    `ece_debiased` is None for a single example. Raises ValueError as each of them does.
    """
    values = _probabilities(probabilities, labels)
    confidence, binned = values.max(-1), _class_bins(values, labels, bins=bins)
    parts = _brier_parts(values, labels, binned)
    return Miscalibration(
        ece_noise_floor=ece_noise_floor(confidence, bins=bins),
        ece_equal_mass=equal_mass_ece(confidence, correct, bins=bins),
        ece_classwise=_classwise_ece(values, labels, binned),
        ece_debiased=debiased_calibration_error(confidence, correct, bins=bins) if len(values) > 1 else None,
        ece_maximum=maximum_calibration_error(confidence, correct, bins=bins),
        brier_calibration=parts["calibration"],
        brier_refinement=parts["refinement"],
    )


def paper_compat(confidence: ArrayLike, correct: ArrayLike) -> dict[str, float]:
    """ECE as CaRot's code measures it: 10 bins, mean over batches of 512. Only beside numbers made in the same way."""
    return {"ece": batch_mean_ece(confidence, correct, bins=10, batch_size=512)}


def classwise_ece(probabilities: ArrayLike, labels: Integers, *, bins: int = 15) -> float:
    """Mean over the classes of the ECE of that class's probability against whether it is the label.

    Kull et al., 2019 (arXiv:1910.12656). Classes that have neither a label nor any probability, as those outside a
    split's mask, are left out.
    """
    values = _probabilities(probabilities, labels)
    return _classwise_ece(values, labels, _class_bins(values, labels, bins=bins))


def _classwise_ece(values: Floats, labels: Integers, binned: ClassBins) -> float:
    gaps, _ = binned
    counted = (values.max(0) > 0) | (np.bincount(labels, minlength=values.shape[1]) > 0)
    return float(np.abs(gaps).sum(-1)[counted].mean() / len(values))


def maximum_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """The largest gap between mean confidence and accuracy of any equal-width bin that has examples.

    Naeini et al., 2015 (Obtaining well calibrated probabilities using Bayesian binning). A bin of one example counts
    like any other, so it is noisy: read it beside the counts.
    """
    found = reliability(confidence, correct, bins=bins)
    pairs = zip(found["confidence"], found["accuracy"], strict=True)
    return max(abs(mean - share) for mean, share in pairs if mean is not None and share is not None)


def debiased_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """Root of the mean squared gap of equal-mass bins, less what chance adds to it.

    Kumar et al., 2019 (arXiv:1909.10155): acc (1 - acc) / (n_b - 1) is taken from the squared gap of each bin. A
    negative total becomes 0. At most n // 2 bins, so that each has two examples. Equal confidences stand in the order
    given. Raises ValueError for fewer than two examples.
    """
    expected_calibration_error(confidence, correct, bins=bins)  # checks both
    values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    count = len(values)
    if count < 2:
        raise ValueError("got 1 example; a debiased calibration error needs at least 2")
    used = min(bins, count // 2)
    order = np.argsort(values, kind="stable")
    number = np.arange(count) * used // count
    sizes = np.bincount(number)
    share = np.bincount(number, weights=right[order]) / sizes
    gap = np.bincount(number, weights=np.minimum(values, 1.0)[order]) / sizes - share
    total = (sizes * (gap**2 - share * (1 - share) / (sizes - 1))).sum() / count
    return float(max(total, 0.0) ** 0.5)


def brier_parts(probabilities: ArrayLike, labels: Integers, *, bins: int = 15) -> BrierParts:
    """The Brier score as what recalibration could remove, and what remains.

    Murphy, 1973, class by class with equal-width bins: calibration is the sum over classes and bins of n_b / n times
    the squared gap between mean probability and share of labels. Refinement is the rest of the Brier score, so that
    the two add up; it holds the spread inside bins too (Stephenson et al., 2008).
    """
    values = _probabilities(probabilities, labels)
    return _brier_parts(values, labels, _class_bins(values, labels, bins=bins))


def _brier_parts(values: Floats, labels: Integers, binned: ClassBins) -> BrierParts:
    gaps, counts = binned
    squared = np.divide(gaps**2, counts, out=np.zeros_like(gaps), where=counts > 0)
    calibration = float(squared.sum() / len(values))
    return BrierParts(calibration=calibration, refinement=brier(values, labels) - calibration)


def ece_noise_floor(confidence: ArrayLike, *, bins: int = 15, draws: int = DRAWS, seed: int = 0) -> float:
    """The mean equal-width ECE of a perfectly calibrated model with these confidences (n), by simulation.

    In each of `draws` an example is right with its confidence as probability. The seed is fixed: the same confidences
    give the same number. An ECE near it tells of no miscalibration that n examples could show.
    """
    values = np.asarray(confidence, dtype=np.float64)
    expected_calibration_error(values, np.zeros(values.shape), bins=bins)  # checks
    if draws < 1:
        raise ValueError(f"draws is {draws}; give 1 or more")
    values = np.minimum(values, 1.0)
    order = np.argsort(bin_numbers(values, bins=bins), kind="stable")
    sizes = np.bincount(bin_numbers(values, bins=bins), minlength=bins)
    starts = np.concatenate([[0], np.cumsum(sizes[sizes > 0])[:-1]])
    values = values[order]
    generator = np.random.default_rng(seed)
    total = 0.0
    for _ in range(draws):
        right = generator.random(len(values)) < values
        total += float(np.abs(np.add.reduceat(values - right, starts)).sum())
    return total / draws / len(values)


def _class_bins(values: Floats, labels: Integers, *, bins: int) -> ClassBins:
    """For each class and bin the sum of probability - label, and the number of examples: both (C, bins).

    Few probabilities of a row exceed 1 / bins, so only these are sorted into bins.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; give 1 or more")
    count, classes = values.shape
    high = values > 1 / bins
    rows, columns = np.nonzero(high)
    number = bin_numbers(values[rows, columns], bins=bins)
    place = columns * bins + number
    gaps = np.bincount(place, weights=values[rows, columns], minlength=classes * bins).astype(np.float64)
    gaps = gaps.reshape(classes, bins)
    counts = np.bincount(place, minlength=classes * bins).reshape(classes, bins)
    gaps[:, 0] += np.where(high, 0.0, values).sum(0)
    counts[:, 0] += count - high.sum(0)
    own = bin_numbers(values[np.arange(count), labels], bins=bins)
    gaps -= np.bincount(labels * bins + own, minlength=classes * bins).reshape(classes, bins)
    return gaps, counts


def _probabilities(probabilities: ArrayLike, labels: Integers) -> Floats:
    """(n, C) in float64 and at most 1; raises ValueError where they or the labels do not fit."""
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"probabilities have shape {values.shape}; give (n, C), at least one example")
    if not (values.min() >= 0 and values.max() <= 1 + ROUNDING):  # also refuses NaN
        raise ValueError("probabilities must lie in [0, 1] and not be NaN; give softmax of the logits")
    if labels.shape != values.shape[:1] or labels.min() < 0 or labels.max() >= values.shape[1]:
        raise ValueError(f"labels must be one an example ({len(values)}), from 0 to {values.shape[1] - 1}")
    return np.minimum(values, 1.0)
