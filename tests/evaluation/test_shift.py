"""Effective robustness against numpy's own fit, losses by class, corruption curves."""

import math

import numpy as np
import pytest

from surefoot.evaluation.shift import corruption_curves, effective_robustness, robustness_line


def test_a_line_through_two_baselines_meets_both() -> None:
    line = robustness_line([0.6, 0.8], [0.5, 0.55])
    assert effective_robustness(line, 0.6, 0.5) == pytest.approx(0, abs=1e-12)
    assert effective_robustness(line, 0.8, 0.55) == pytest.approx(0, abs=1e-12)
    assert effective_robustness(line, 0.7, 0.7) > 0.1


def test_a_line_through_many_is_the_least_squares_fit_in_logits() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.uniform(0.1, 0.9, size=(2, 9))
    slope, intercept = np.polyfit(np.log(x / (1 - x)), np.log(y / (1 - y)), 1)
    line = robustness_line(list(x), list(y))
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    assert line.at(0.5) == pytest.approx(1 / (1 + math.exp(-intercept)))


def test_accuracies_of_zero_and_one_give_finite_lines() -> None:
    line = robustness_line([0.0, 1.0], [0.0, 1.0])
    assert math.isfinite(line.slope)
    assert effective_robustness(line, 1.0, 1.0) == pytest.approx(0, abs=1e-5)


def test_bad_baselines_are_named() -> None:
    with pytest.raises(ValueError, match="at least two baselines"):
        robustness_line([0.5], [0.5])
    with pytest.raises(ValueError, match="two that differ"):
        robustness_line([0.5, 0.5], [0.1, 0.2])
    with pytest.raises(ValueError, match="no NaN"):
        robustness_line([0.5, math.nan], [0.1, 0.2])


def test_corruption_curves_rise_in_severity() -> None:
    found = corruption_curves({"fog-2": 0.4, "clean": 0.9, "fog-1": 0.6, "motion_blur-5": 0.1})
    assert found == {"fog": [[1, 0.6], [2, 0.4]], "motion_blur": [[5, 0.1]]}
