"""Pure measures of predictions, in numpy: arrays in, numbers out; fractions in [0, 1].

Each raises ValueError for no examples, NaN, or arrays that do not fit. What is measured, and on which split, belongs to
`evaluate`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ROUNDING = 1e-4  # how far float32 may push a probability above 1


class Reliability(TypedDict):
    """Equal-width bins of confidence: mean confidence, accuracy (None where a bin is empty) and count of each."""

    confidence: list[float | None]
    accuracy: list[float | None]
    count: list[int]


class Group(TypedDict):
    """Accuracy of a group and how many examples it has."""

    accuracy: float
    count: int


def mean(values: Iterable[float]) -> float:
    """The mean of at least one number, such as the accuracies on the shifts."""
    return float(_numbers(values).mean())


def worst(values: Iterable[float]) -> float:
    """The lowest of at least one number, such as the accuracies on the shifts."""
    return float(_numbers(values).min())


def accuracy(correct: ArrayLike) -> float:
    """The share of `correct` (n) that is true."""
    return float(_correct(correct).mean())


def wilson_interval(share: float, count: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Lower and upper end of Wilson's score interval for a share of `count` examples, at the 95 % level.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927). (0, 1) for none.
    """
    if not 0 <= share <= 1 or count < 0:
        raise ValueError(f"share is {share} of {count} examples; give a share in [0, 1] and a count of 0 or more")
    if count == 0:
        return 0.0, 1.0
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return centre - half, centre + half


def class_accuracy(correct: ArrayLike, labels: Integers, *, classes: int) -> tuple[list[float | None], list[int]]:
    """Accuracy (None where there is no example) and count of each class, from `correct` and `labels` (n)."""
    right = _correct(correct)
    _check_numbers("labels", labels, count=len(right), lowest=0, end=classes)
    return _means(labels, right, bins=classes), np.bincount(labels, minlength=classes).tolist()


def class_mean_accuracy(correct: ArrayLike, labels: Integers, *, classes: int) -> float:
    """Mean over the classes that have examples of their accuracies: what Caltech, Pets and Flowers tables show."""
    found, _ = class_accuracy(correct, labels, classes=classes)
    return mean(value for value in found if value is not None)


def macro_f1(prediction: Integers, labels: Integers, *, classes: int) -> float:
    """Mean F1 over the classes that have examples, as iWildCam of WILDS measures (arXiv:2012.07421).

    F1 = 2 right / (predicted + true), 0 for a class that is never predicted right.
    """
    if len(labels) == 0:
        raise ValueError("labels are empty; give at least one example")
    _check_numbers("labels", labels, count=len(labels), lowest=0, end=classes)
    _check_numbers("prediction", prediction, count=len(labels), lowest=0, end=classes)
    right = np.bincount(labels[prediction == labels], minlength=classes)
    both = np.bincount(labels, minlength=classes) + np.bincount(prediction, minlength=classes)
    there = np.unique(labels)
    return float((2 * right[there] / both[there]).mean())


def group_accuracy(correct: ArrayLike, groups: Integers, *, names: Sequence[str]) -> dict[str, Group]:
    """Accuracy and count of each group that has examples; `groups` (n) index `names`, -1 is no group."""
    right = _correct(correct)
    _check_numbers("groups", groups, count=len(right), lowest=-1, end=len(names))
    found = {name: right[groups == number] for number, name in enumerate(names)}
    return {name: Group(accuracy=float(part.mean()), count=len(part)) for name, part in found.items() if len(part)}


def worst_group(groups: Mapping[str, Group]) -> float | None:
    """The lowest accuracy of the groups; None where there is none."""
    return min((group["accuracy"] for group in groups.values()), default=None)


def group_gap(groups: Mapping[str, Group]) -> float | None:
    """The highest accuracy of the groups less the lowest; None where there is none."""
    found = [group["accuracy"] for group in groups.values()]
    return max(found) - min(found) if found else None


def reweighted_accuracy(groups: Mapping[str, Group], training: Mapping[str, int]) -> float | None:
    """Mean of the groups' accuracies by their shares of the training examples: what Waterbirds tables call the average.

    After Sagawa et al., 2020 (arXiv:1911.08731): from balanced test groups it tells the accuracy on images that are
    distributed as in training. `training` counts the training examples of each group. None where none has a group, or
    where one of their groups has no example in `groups`.
    """
    wrong = {name: count for name, count in training.items() if count < 0}
    if wrong:
        raise ValueError(f"training counts {wrong}; give the number of examples of each group, 0 or more")
    shares = {name: count for name, count in training.items() if count}
    if not shares or not shares.keys() <= groups.keys():
        return None
    return sum(groups[name]["accuracy"] * count for name, count in shares.items()) / sum(shares.values())


def bin_numbers(confidence: Floats, *, bins: int) -> Integers:
    """The equal-width bin of each confidence (n): bin b holds (b / bins, (b + 1) / bins], and the first one also 0."""
    edges = np.arange(1, bins) / bins  # inner edges, each the float nearest to the fraction
    return np.searchsorted(edges, confidence, side="left")


def reliability(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> Reliability:
    """Mean confidence, accuracy and count in each of `bins` equal-width bins of confidence (n); see `bin_numbers`."""
    confidences, right = _confidences(confidence, correct, bins)
    number = bin_numbers(confidences, bins=bins)
    return Reliability(
        confidence=_means(number, confidences, bins=bins),
        accuracy=_means(number, right, bins=bins),
        count=np.bincount(number, minlength=bins).tolist(),
    )


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """ECE of the whole set: the gap between mean confidence and accuracy of equal-width bins, weighted by their counts.

    Guo et al., 2017 (arXiv:1706.04599), eq. 3. Bins are open on the left and closed on the right, so a confidence of
    exactly 1 counts in the last.
    """
    confidences, right = _confidences(confidence, correct, bins)
    return _gap(bin_numbers(confidences, bins=bins), confidences - right)


def equal_mass_ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15) -> float:
    """ECE of the whole set with bins of equal counts instead of equal widths (counts differ by at most one).

    "Adaptive" calibration error of the top label, after Nguyen and O'Connor, 2015 (arXiv:1508.05154): no bin is nearly
    empty. Where equal confidences fall on both sides of an edge, each side gets its share of their right answers, so
    the order of the examples does not matter. With fewer examples than bins, each is a bin.
    """
    confidences, right = _confidences(confidence, correct, bins)
    values, place = np.unique(confidences, return_inverse=True)
    shared = np.bincount(place, weights=right) / np.bincount(place)  # accuracy at each value
    ordered = np.sort(place)
    return _gap(np.arange(len(ordered)) * bins // len(ordered), (values - shared)[ordered])


def batch_mean_ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10, batch_size: int = 512) -> float:
    """Mean of the ECEs of consecutive batches, weighted by their sizes: only to compare with CaRot's tables.

    So the code of CaRot (arXiv:2311.01723) measures, in batches of 512. A small batch adds noise to every bin, and the
    gaps of noise do not cancel: a perfectly calibrated model scores .02 to .05 here. Never to be shown beside the ECE
    of the whole set.
    """
    confidences, right = _confidences(confidence, correct, bins)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give 1 or more")
    number = bin_numbers(confidences, bins=bins) + bins * (np.arange(len(right)) // batch_size)  # bins of each batch
    return _gap(number, confidences - right)


def negative_log_likelihood(log_probabilities: Floats, labels: Integers) -> float:
    """Mean of -log p of the true class, in nats; log-probabilities (n, C), labels (n)."""
    values = _by_class(log_probabilities, labels)
    if values.max() > ROUNDING:
        raise ValueError(f"a log-probability is {values.max():g}, above 0; give log_softmax of the logits")
    return float(-values[np.arange(len(values)), labels].mean())


def brier(probabilities: Floats, labels: Integers) -> float:
    """Mean over examples of the squared distance between probabilities (n, C) and the one-hot label, in [0, 2].

    Summed over the classes, as in Brier, 1950; for two classes it is twice the score of one of them.
    """
    values = _by_class(probabilities, labels)
    if values.min() < 0 or values.max() > 1 + ROUNDING:
        raise ValueError(f"probabilities run from {values.min():g} to {values.max():g}; give softmax of the logits")
    true = values[np.arange(len(values)), labels]
    others = np.square(values).sum(-1) - np.square(true)
    return float((np.square(1 - true) + others).mean())


def _gap(number: Integers, difference: Floats) -> float:
    """Sum over bins of |sum of (confidence - correct)|, over n: the weighted mean gap, without dividing twice."""
    return float(np.abs(np.bincount(number, weights=difference)).sum() / len(difference))


def _means(number: Integers, values: Floats, *, bins: int) -> list[float | None]:
    count = np.bincount(number, minlength=bins)
    total = np.bincount(number, weights=values, minlength=bins)
    return [float(s / n) if n else None for s, n in zip(total, count, strict=True)]


def _numbers(values: Iterable[float]) -> Floats:
    numbers = np.array(list(values), dtype=np.float64)
    if len(numbers) == 0 or np.isnan(numbers).any():
        raise ValueError(f"got {numbers.tolist()}; give at least one number, and no NaN")
    return numbers


def _correct(correct: ArrayLike) -> Floats:
    values = np.asarray(correct)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"correct has shape {values.shape}; give one value an example, and at least one example")
    if not ((values == 0) | (values == 1)).all():  # also refuses NaN
        raise ValueError("correct holds values that are neither true nor false; give prediction == label")
    return values.astype(np.float64)


def _confidences(confidence: ArrayLike, correct: ArrayLike, bins: int) -> tuple[Floats, Floats]:
    values, right = np.asarray(confidence, dtype=np.float64), _correct(correct)
    if bins < 1:
        raise ValueError(f"bins is {bins}; give 1 or more")
    if values.shape != right.shape:
        raise ValueError(f"confidence has shape {values.shape}, correct {right.shape}; give one of each an example")
    if not ((values >= 0) & (values <= 1 + ROUNDING)).all():  # also refuses NaN
        raise ValueError("confidence must lie in [0, 1] and not be NaN; give probabilities, not logits")
    return np.minimum(values, 1.0), right


def _by_class(values: Floats, labels: Integers) -> Floats:
    """`values` (n, C) in float64, once they and the labels (n) are known to fit."""
    wide = np.asarray(values, dtype=np.float64)
    if wide.ndim != 2 or wide.size == 0:
        raise ValueError(f"got values of shape {wide.shape}; give (n, C), one row an example, at least one example")
    if np.isnan(wide).any():
        raise ValueError("the values hold NaN; the classifier that gave them is broken")
    _check_numbers("labels", labels, count=len(wide), lowest=0, end=wide.shape[1])
    return wide


def _check_numbers(what: str, numbers: Integers, *, count: int, lowest: int, end: int) -> None:
    if numbers.shape != (count,):
        raise ValueError(f"{what} has shape {numbers.shape}; give one an example, ({count},)")
    if numbers.min() < lowest or numbers.max() >= end:
        raise ValueError(f"{what} run from {numbers.min()} to {numbers.max()}; they must lie in [{lowest}, {end})")
