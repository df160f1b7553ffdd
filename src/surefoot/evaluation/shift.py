"""What a shift costs, from accuracies: effective robustness, corruption curves.

Numbers in, numbers out; fractions in [0, 1]. Raises ValueError for NaN and for fractions outside of [0, 1].
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

EDGE = 1e-6  # accuracies of 0 and 1 are moved this far inwards, since their logits are infinite
SEVERITY = re.compile(r"(?P<name>.+)-(?P<severity>[1-5])")


@dataclass(frozen=True)
class Line:
    """logit(shift accuracy) = slope * logit(ID accuracy) + intercept."""

    slope: float
    intercept: float

    def at(self, id_accuracy: float) -> float:
        """The accuracy on the shift that the line expects of a model with this ID accuracy."""
        return float(1 / (1 + np.exp(-(self.slope * _logit([id_accuracy])[0] + self.intercept))))


def robustness_line(id_accuracy: Sequence[float], shift_accuracy: Sequence[float]) -> Line:
    """The least-squares line through baselines such as zero-shot and fine-tuned, both axes in logits.

    The logit axis is that of Taori et al., 2020 (arXiv:2007.00644), on which accuracies of many models lie near a line.
    Through two baselines it is a chord, not a trend: it says how a model stands against these two only. Raises
    ValueError for fewer than two, or where all have the same ID accuracy.
    """
    if len(id_accuracy) != len(shift_accuracy) or len(id_accuracy) < 2:
        raise ValueError(
            f"got {len(id_accuracy)} ID and {len(shift_accuracy)} shift accuracies; give both of at least two baselines"
        )
    x, y = _logit(id_accuracy), _logit(shift_accuracy)
    spread = x - x.mean()
    if np.abs(spread).max() < 1e-9:
        raise ValueError(f"all baselines have the ID accuracy {id_accuracy[0]:g}; a line needs two that differ")
    slope = float((spread * (y - y.mean())).sum() / (spread**2).sum())
    return Line(slope, float(y.mean() - slope * x.mean()))


def effective_robustness(line: Line, id_accuracy: float, shift_accuracy: float) -> float:
    """Accuracy on the shift above what the line expects at this ID accuracy (Taori et al., 2020, section 2)."""
    _logit([shift_accuracy])
    return shift_accuracy - line.at(id_accuracy)


def corruption_curves(accuracy: Mapping[str, float]) -> dict[str, list[list[float]]]:
    """For each corruption [severity, accuracy], severity rising, from splits named as the task `corrupted` does with
    `split_by=severity`: fog-1, fog-2, ... Splits of other names are left out.
    """
    found: dict[str, list[list[float]]] = {}
    for split, value in accuracy.items():
        if match := SEVERITY.fullmatch(split):
            _logit([value])
            found.setdefault(match["name"], []).append([int(match["severity"]), value])
    return {name: sorted(points) for name, points in found.items()}


def _logit(accuracies: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.array(accuracies, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():  # also refuses NaN
        raise ValueError(f"accuracies are {list(accuracies)}; give fractions in [0, 1], no NaN")
    inside = np.clip(values, EDGE, 1 - EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))
