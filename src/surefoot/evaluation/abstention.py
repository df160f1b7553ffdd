"""When a classifier had better say nothing: a threshold on its confidence, in numpy.

Choose it on ID validation only. That its risk holds on other images is a hope and no promise, least of all under shift.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Abstention(NamedTuple):
    """Answer where confidence >= `threshold`: where it was chosen, a share `coverage`, of those `risk` wrong."""

    threshold: float
    coverage: float
    risk: float


def abstention_for(confidence: NDArray[np.floating], correct: NDArray[np.bool_], risk: float) -> Abstention:
    """The lowest threshold whose answers, on these examples (n), are wrong at most in a share `risk` of cases.

    The selective classification of Geifman and El-Yaniv, 2017 (arXiv:1705.08500), with the share that was counted in
    place of their bound. The threshold is a confidence that occurred, so that equal ones are answered all or none;
    infinite where even the most confident are wrong too often. Raises ValueError where the inputs do not fit.
    """
    if not 0 <= risk < 1:
        raise ValueError(f"risk is {risk}; give a share of wrong answers, 0 or more and below 1")
    if confidence.ndim != 1 or confidence.shape != correct.shape or len(correct) == 0:
        raise ValueError(
            f"confidence has shape {confidence.shape}, correct {correct.shape}; give one of each an example"
        )
    if not np.isfinite(confidence).all():
        raise ValueError("confidence holds values that are not finite; the run that wrote it failed")
    order = np.argsort(-confidence, kind="stable")
    ranked, count = confidence[order], np.arange(1, len(order) + 1)
    share = np.cumsum(~correct[order]) / count  # wrong among the first n
    last_of_its_value = np.append(ranked[:-1] != ranked[1:], True)
    fitting = np.flatnonzero((share <= risk) & last_of_its_value)
    if len(fitting) == 0:
        return Abstention(float("inf"), 0.0, 0.0)
    chosen = int(fitting[-1])
    return Abstention(float(ranked[chosen]), (chosen + 1) / len(order), float(share[chosen]))
